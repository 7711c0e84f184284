//! Instruments of the process's registry, and of others.
//!
//! The registry belongs to the process, and an event loop is one thread of it: several (`worker_threads`) may load
//! the same service. Whoever defines a family again, exactly as it is, gets the one that is there; that the same
//! thread does so twice is noticed in `lib/metrics`.
//!
//! JavaScript counts in cells of its own (`cells`) and calls for what is rare: the first touch of a series, removal, pages.

mod asking;
mod cells;
mod family;
mod registry;

use napi_derive::napi;
use uplifted_ops::metrics::{Format, global};

/// The page that Prometheus reads.
#[napi(object)]
pub struct Page {
    /// Its `content-type`.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// Every series of the process as text.
#[napi]
pub fn render_metrics(open_metrics: bool) -> Page {
    let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
    Page { content_type: format.content_type().into(), body: global().render(format) }
}
