//! The suite on the sink that there is, and on sinks that break one clause each.

use super::*;
use crate::metrics::Value;
use crate::testing::assert_all;

/// A memory sink behind something that may spoil what passes.
#[derive(Debug)]
struct Spoiling {
    how: &'static str,
    memory: MemorySink,
}

#[async_trait]
impl MetricsSink for Spoiling {
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()> {
        let mut snapshot = snapshot.clone();
        let mut scope = scope.clone();
        match self.how {
            "drops histograms" => snapshot.families.retain(|family| family.unit.is_none()),
            "trims labels" => {
                let series = snapshot.families.iter_mut().flat_map(|family| &mut family.series);
                series.flat_map(|series| &mut series.labels).for_each(|(_, value)| *value = value.trim().to_owned());
            }
            "sends twice" => self.memory.export(&scope, &snapshot).await?,
            "swallows errors" => {
                let _ = self.memory.export(&scope, &snapshot).await;
                return scope.cancel.check();
            }
            "is deaf" => scope.cancel = Cancel::new(),
            "refuses nothing" if snapshot.families.iter().all(|family| family.series.is_empty()) => {
                return Err(crate::Error::invalid("empty"));
            }
            _ => {}
        }
        self.memory.export(&scope, &snapshot).await
    }
}

struct Behind(Arc<Spoiling>);

#[async_trait]
impl Fixture for Behind {
    fn sink(&self) -> Arc<dyn MetricsSink> {
        self.0.clone()
    }

    async fn received(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let snapshots = self.0.memory.snapshots();
        let family = snapshots.last()?.family(name)?;
        let series = family
            .series
            .iter()
            .find(|series| series.labels.iter().map(|(_, value)| value.as_str()).eq(labels.iter().copied()))?;
        Some(match &series.value {
            Value::Number(number) => *number,
            Value::Distribution(distribution) => distribution.count() as f64,
        })
    }

    async fn exports(&self) -> Option<u64> {
        Some(self.0.memory.snapshots().len() as u64)
    }

    async fn set_failing(&self, failing: bool) -> bool {
        self.0.memory.set_failing(failing);
        true
    }
}

async fn outcomes(how: &'static str) -> Vec<CaseOutcome> {
    run(|| Arc::new(Behind(Arc::new(Spoiling { how, memory: MemorySink::default() }))) as Arc<dyn Fixture>).await
}

#[tokio::test]
async fn the_memory_sink_keeps_the_contract() {
    assert_all(&outcomes("nothing").await);
}

#[tokio::test]
async fn every_broken_clause_is_found() {
    for (how, found) in [
        ("drops histograms", "it_takes_every_kind"),
        ("trims labels", "it_takes_hard_values"),
        ("sends twice", "each_snapshot_arrives_once"),
        ("swallows errors", "an_error_loses_nothing"),
        ("is deaf", "it_gives_up_when_cancelled"),
        ("refuses nothing", "it_takes_an_empty_snapshot"),
    ] {
        let outcomes = outcomes(how).await;
        let failed: Vec<_> = outcomes.iter().filter(|o| o.failure.is_some()).map(|o| o.name).collect();
        assert_eq!(failed, [found], "{how}: {outcomes:?}");
    }
}
