//! What the databases say about themselves, as metrics, without anybody waiting for them.
//!
//! A database is asked in its worker, which takes as long as it takes. So a page shows what is known, and where that is
//! older than `metrics.store_seconds`, it has the databases asked in the background: the next page has it. A service
//! whose page nobody reads asks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Family, MetricKind};
use crate::store::{Store, StoreStats};

use super::asking::Asked;
use super::context::Named;
use super::store_facts;

/// How long a database may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the databases last said.
#[derive(Debug)]
pub struct StoreNumbers {
    period: Duration,
    told: Arc<Asked<BTreeMap<String, Known>>>,
}

#[derive(Debug, Clone)]
struct Known {
    kind: String,
    answered: bool,
    /// The last answer, which may be older than the last question.
    stats: Option<StoreStats>,
    time: Timestamp,
    took: Duration,
}

impl StoreNumbers {
    /// Nothing is known yet.
    pub(super) fn new(period: Duration) -> Self {
        Self { period, told: Arc::default() }
    }

    /// Asks the databases unless that was done lately or is being done. Awaited it returns when they have answered;
    /// whoever does not want to wait spawns it.
    pub(super) async fn refresh(self: Arc<Self>, stores: Vec<Named<dyn Store>>, clock: Arc<dyn Clock>) {
        let Some(asking) = self.told.claim(clock.monotonic(), self.period) else { return };
        for store in stores {
            let began = clock.monotonic();
            let answer = ask(&store, &clock).await;
            asking.tell(|all| {
                let known = all.entry(store.name.clone()).or_insert_with(|| Known {
                    kind: store.component.capability().kind,
                    answered: false,
                    stats: None,
                    time: clock.now(),
                    took: Duration::ZERO,
                });
                known.answered = answer.is_ok();
                known.took = clock.monotonic().saturating_sub(began);
                if let Ok(stats) = answer {
                    known.stats = Some(stats);
                    known.time = clock.now();
                }
            });
        }
    }

    /// What is known, as metrics.
    pub(super) fn families(&self) -> Vec<Family> {
        let known = self.told.known();
        let gauge = |name: &str, unit: Option<&str>, help: &str, value: &dyn Fn(&Known) -> Option<f64>| {
            let family = Family::new(format!("uplifted_ops_store_{name}"), MetricKind::Gauge, help);
            let family = unit.into_iter().fold(family, |family, unit| family.unit(unit));
            known.iter().fold(family, |family, (store, known)| match value(known) {
                Some(value) => family.number(&[("store", store), ("kind", &known.kind)], value),
                None => family,
            })
        };
        let mut families = vec![
            gauge("up", None, "1 when the database answered when it was last asked", &|known| {
                Some(if known.answered { 1.0 } else { 0.0 })
            }),
            gauge("size_bytes", Some("bytes"), "Bytes of the database, without its log", &|known| {
                Some(known.stats.as_ref()?.size_bytes as f64)
            }),
            gauge("log_bytes", Some("bytes"), "Bytes of the write-ahead log or the journal", &|known| {
                Some(known.stats.as_ref()?.log_bytes? as f64)
            }),
            gauge(
                "answered_timestamp_seconds",
                Some("seconds"),
                "When the database last answered, in seconds since the epoch: the age of the other numbers",
                &|known| known.stats.as_ref().map(|_| known.time.as_millisecond() as f64 / 1000.0),
            ),
            gauge("answer_duration_seconds", Some("seconds"), "How long the database took to answer", &|known| {
                Some(known.took.as_secs_f64())
            }),
        ];
        let details: Vec<(&str, &str, Value)> = known
            .iter()
            .filter_map(|(store, known)| {
                let details = known.stats.as_ref()?.details.clone();
                Some((store.as_str(), known.kind.as_str(), Value::Object(details)))
            })
            .collect();
        let told: Vec<_> = details.iter().map(|(store, kind, details)| (*store, *kind, details)).collect();
        families.extend(store_facts::families(&told));
        families.into_iter().filter(|family| !family.series.is_empty()).collect()
    }
}

async fn ask(store: &Named<dyn Store>, clock: &Arc<dyn Clock>) -> Result<StoreStats> {
    let cancel = Cancel::new();
    let _given_up = CancelOnDrop::new(&cancel);
    let scope = Scope { cancel, clock: Arc::clone(clock), ..Scope::default() };
    tokio::select! {
        biased;
        answer = store.component.stats(&scope) => answer,
        () = clock.sleep(DEADLINE) => Err(Error::new(ErrorKind::Timeout, "the database did not answer")),
    }
}
