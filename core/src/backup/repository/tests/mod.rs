//! What the repository promises, tried out.

pub(crate) mod read;
pub(crate) mod scene;
