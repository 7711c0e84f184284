//! An operation as text (until `embed` lands).

use uplifted_ops::ops::Ops;
use uplifted_ops::{Error, Result, Scope};

pub(crate) struct Answered {
    pub(crate) response: String,
    pub(crate) healthy: bool,
}

pub(crate) fn call(
    ops: &Ops,
    scope: Scope,
    name: &str,
    request: &str,
) -> impl Future<Output = Result<Answered>> + Send + 'static {
    let (ops, name) = (ops.clone(), name.to_owned());
    let request = serde_json::from_str(request)
        .map_err(|error| Error::invalid(format!("the request is not JSON: {error}")).in_operation(&name));
    async move {
        let answer = ops.call(scope, &name, request?).await?;
        Ok(Answered { response: answer.response.to_string(), healthy: answer.healthy })
    }
}
