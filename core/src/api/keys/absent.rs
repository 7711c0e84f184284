//! The acts in a build without the feature `encryption`.

use super::*;
use crate::backup::seal::unsupported;

pub(super) async fn init(_: &Context, _: &Scope, _: InitRequest) -> Result<MadeResponse> {
    Err(unsupported())
}

pub(super) async fn list(_: &Context, _: &Scope, _: ListRequest) -> Result<ListResponse> {
    Err(unsupported())
}

pub(super) async fn check(_: &Context, _: &Scope, _: CheckRequest) -> Result<CheckResponse> {
    Err(unsupported())
}

pub(super) async fn rewrap(_: &Context, _: &Scope, _: RewrapRequest) -> Result<RewrapResponse> {
    Err(unsupported())
}

pub(super) async fn rotate(_: &Context, _: &Scope, _: RotateRequest) -> Result<MadeResponse> {
    Err(unsupported())
}

pub(super) async fn adopt(_: &Context, _: &Scope, _: AdoptRequest) -> Result<AdoptResponse> {
    Err(unsupported())
}
