//! What the repository promises, tried out.

mod read;
pub(crate) mod scene;
