//! The suite of sinks.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::scene::Scene;
use crate::error::Result;
use crate::metrics::MetricsSink;
use crate::testing::sink::Fixture;

pub(super) async fn fresh(scene: &Scene) -> Result<Arc<dyn Fixture>> {
    let around = scene.inner(scene.object("fresh").await?, &["sink", "received"])?;
    let plugin = around.object("sink").await?;
    let sink = around.blame(crate::embed::sink("sink", plugin, around.deadline()))?;
    Ok(Arc::new(Around { around, sink }))
}

struct Around {
    around: Scene,
    sink: Arc<dyn MetricsSink>,
}

#[async_trait]
impl Fixture for Around {
    fn sink(&self) -> Arc<dyn MetricsSink> {
        Arc::clone(&self.sink)
    }

    async fn received(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let arguments = [("name", json!(name)), ("labels", json!(labels))];
        match self.around.blame(self.around.value::<Value>("received", arguments).await).ok()? {
            // What JSON has no number for travels as a word, as it does in the snapshot.
            Value::String(word) => word.parse().ok(),
            number => number.as_f64(),
        }
    }

    async fn exports(&self) -> Option<u64> {
        match self.around.has("exports") {
            true => self.around.blame(self.around.value::<Option<u64>>("exports", []).await).ok().flatten(),
            false => None,
        }
    }

    async fn set_failing(&self, failing: bool) -> bool {
        self.around.has("set_failing") && self.around.act("set_failing", [("failing", json!(failing))]).await.is_ok()
    }
}
