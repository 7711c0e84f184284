//! The service's plugins and their tools: what its own endpoints tell about it, and a health check of them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uplifted_ops::health::{CheckOutcome, CheckStatus, HealthCheck};
use uplifted_ops::{Error, Result, Scope};

use crate::Failure;

/// The folder of plugins: each is a folder with a `plugin.json`.
#[derive(Debug, Clone)]
pub struct Plugins(PathBuf);

/// What a `plugin.json` says.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// The plugin's name.
    pub name: String,
    /// Whether it is switched on.
    #[serde(default = "yes")]
    pub active: bool,
    /// The tools that it brings.
    #[serde(default)]
    pub tools: Vec<String>,
}

fn yes() -> bool {
    true
}

/// The answer of `/api/v1/system/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemStatus {
    /// Plugins that are installed.
    pub plugin_count: usize,
    /// Plugins that are switched on.
    pub active_plugin_count: usize,
    /// Tools of all plugins.
    pub total_tools: usize,
    /// Tools of the plugins that are switched on.
    pub active_tools: usize,
    /// Whether the tool server answers.
    pub mcp_available: bool,
}

impl Plugins {
    /// The plugins of the service in `root`.
    pub fn of(root: &Path) -> Self {
        Self(root.join("plugins"))
    }

    /// Reads every manifest, in the order of their folders. No folder is no plugins.
    ///
    /// # Errors
    /// The folder cannot be read, or a manifest cannot be understood.
    pub fn read(&self) -> Result<Vec<Manifest>, Failure> {
        let folders = match std::fs::read_dir(&self.0) {
            Ok(folders) => folders.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut manifests: Vec<PathBuf> = folders.into_iter().map(|folder| folder.join("plugin.json")).collect();
        manifests.retain(|manifest| manifest.exists());
        manifests.sort();
        let read = manifests.iter().map(|path| {
            let text = std::fs::read_to_string(path)?;
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
        });
        read.collect()
    }

    /// Adds them up.
    ///
    /// # Errors
    /// As [`Plugins::read`].
    pub fn status(&self, mcp_available: bool) -> Result<SystemStatus, Failure> {
        let plugins = self.read()?;
        let active = || plugins.iter().filter(|plugin| plugin.active);
        Ok(SystemStatus {
            plugin_count: plugins.len(),
            active_plugin_count: active().count(),
            total_tools: plugins.iter().map(|plugin| plugin.tools.len()).sum(),
            active_tools: active().map(|plugin| plugin.tools.len()).sum(),
            mcp_available,
        })
    }
}

/// Are the plugins as they should be? A check of the host's own, registered as a live object.
#[async_trait]
impl HealthCheck for Plugins {
    async fn check(&self, _: &Scope) -> Result<CheckOutcome> {
        let plugins =
            self.read().map_err(|failure| Error::invalid(failure.to_string()).with_hint("correct the plugin"))?;
        let off: Vec<&str> =
            plugins.iter().filter(|plugin| !plugin.active).map(|plugin| plugin.name.as_str()).collect();
        let outcome = match off.as_slice() {
            [] => CheckOutcome::new(CheckStatus::Pass, "every plugin is switched on"),
            off => CheckOutcome::new(CheckStatus::Warn, format!("switched off: {}", off.join(", "))),
        };
        Ok(outcome.observing((plugins.len() - off.len()) as f64, "plugins"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_counted_and_a_broken_one_is_named() {
        let root = tempfile::tempdir().unwrap();
        let plugins = Plugins::of(root.path());
        assert_eq!(plugins.status(false).unwrap().plugin_count, 0);
        for (name, text) in
            [("a", r#"{"name":"a","tools":["x","y"]}"#), ("b", r#"{"name":"b","active":false,"tools":["z"]}"#)]
        {
            std::fs::create_dir_all(root.path().join("plugins").join(name)).unwrap();
            std::fs::write(root.path().join("plugins").join(name).join("plugin.json"), text).unwrap();
        }
        let expected = SystemStatus {
            plugin_count: 2,
            active_plugin_count: 1,
            total_tools: 3,
            active_tools: 2,
            mcp_available: true,
        };
        assert_eq!(plugins.status(true).unwrap(), expected);
        std::fs::write(root.path().join("plugins/a/plugin.json"), "{").unwrap();
        assert!(plugins.status(true).unwrap_err().to_string().contains("plugins/a/plugin.json"));
    }
}
