//! What the repository promises, tried out.

mod damage;
pub(crate) mod read;
pub(crate) mod scene;
