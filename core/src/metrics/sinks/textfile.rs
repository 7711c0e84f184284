//! `textfile`: a file for the textfile collector of node_exporter.
//!
//! ```toml
//! [[sink]]
//! name = "node"
//! kind = "textfile"
//! path = "/var/lib/node_exporter/textfile/shop.prom"
//! ```
//!
//! The file is replaced as a whole, so the collector never sees half of one. It is readable for everybody, since
//! node_exporter runs as somebody else (`mode` says otherwise). The folder must be there.
//!
//! Source: the README of node_exporter, "Textfile Collector": names end in `.prom`, the format is the text format, and
//! samples have no timestamps.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::write_atomic;
use crate::metrics::{Format, MetricsSink, MetricsSnapshot, render};

/// The kind, for the registry.
pub const KIND: Kind<dyn MetricsSink> = Kind {
    name: "textfile",
    summary: "A file that the textfile collector of node_exporter reads",
    placement: Placement::Host,
    build: |context, settings| {
        let settings: TextfileSettings = context.settings(settings)?;
        let path = context.resolve(&settings.path);
        Ok(Arc::new(TextfileSink::new(TextfileSettings { path, ..settings })?))
    },
    detect: None,
};

/// Settings of [`TextfileSink`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextfileSettings {
    /// The file. Its name ends in `.prom`.
    pub path: PathBuf,
    /// The file's permissions, as an octal number in quotes.
    #[serde(default = "readable")]
    pub mode: String,
}

fn readable() -> String {
    "0644".to_owned()
}

/// Writes a file.
#[derive(Debug)]
pub struct TextfileSink {
    path: PathBuf,
    mode: u32,
}

impl TextfileSink {
    /// A sink as the settings describe it. Writes nothing yet.
    ///
    /// # Errors
    /// When the file would be passed over by the collector, or the mode is none.
    pub fn new(settings: TextfileSettings) -> Result<Self> {
        let TextfileSettings { path, mode } = settings;
        if path.extension().is_none_or(|extension| extension != "prom") {
            return Err(Error::invalid(format!("the collector passes over {path:?}"))
                .with_context("field", "path")
                .with_hint("let the name end in .prom"));
        }
        let bits = u32::from_str_radix(&mode, 8).ok().filter(|bits| *bits <= 0o777).ok_or_else(|| {
            Error::invalid(format!("{mode:?} is no mode of a file"))
                .with_context("field", "mode")
                .with_hint("write an octal number, such as \"0644\"")
        })?;
        Ok(Self { path, mode: bits })
    }
}

#[async_trait]
impl MetricsSink for TextfileSink {
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()> {
        scope.cancel.check()?;
        let (path, mode, page) = (self.path.clone(), self.mode, render(snapshot, Format::Text));
        let written = tokio::task::spawn_blocking(move || write_atomic(&path, mode, page.as_bytes()));
        let written = written.await.map_err(|error| Error::internal(format!("writing a file did not end: {error}")))?;
        written.map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_hint("make the folder, and let the service write in it"),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests;
