//! The table.

mod age;
mod archive;
mod repository;
mod settings;
mod target;

use crate::Target;

/// Every target, in the order of the rooms.
pub(super) fn all() -> Vec<Target> {
    [repository::TARGETS, archive::TARGETS, age::TARGETS, target::TARGETS, settings::TARGETS].concat()
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// An error of a kind that no parser may give, for what a target itself finds wrong.
fn broken(what: impl Into<String>) -> uplifted_ops::Error {
    uplifted_ops::Error::new(uplifted_ops::ErrorKind::Internal, what.into())
}

/// The input as text; a parser that takes text is not asked about anything else.
fn text(input: &[u8]) -> uplifted_ops::Result<&str> {
    std::str::from_utf8(input)
        .map_err(|_| uplifted_ops::Error::new(uplifted_ops::ErrorKind::InvalidInput, "it is no text"))
}
