//! What the repository promises, tried out.

mod damage;
mod layouts;
pub(crate) mod read;
pub(crate) mod scene;
