//! What the repository promises, tried out.

mod damage;
#[cfg(feature = "sqlite")]
mod fixture;
mod hostile;
mod layouts;
pub(crate) mod read;
mod records;
pub(crate) mod scene;
