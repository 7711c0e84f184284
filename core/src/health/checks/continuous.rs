//! `continuous`: is every store that is to be followed, and is what is stored young enough.
//!
//! Made by itself where `continuous.stores` names some; `health.without = ["continuous"]` leaves it out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Finding, worst};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// Further behind than this, in seconds, is a warning, and than that a failure.
const LAG: (f64, f64) = (10.0, 300.0);

/// What is known of a store that is to be followed.
#[derive(Debug, Clone, Default)]
pub struct FollowedStore {
    /// Its name.
    pub name: String,
    /// Whether a process follows it.
    pub following: bool,
    /// How far behind what is stored is, in seconds.
    pub lag_seconds: Option<f64>,
    /// What keeps it from being followed.
    pub waits_for: Option<String>,
    /// Why it needs a backup as a base.
    pub base_wanted: Option<String>,
    /// Targets that fail, and what they say.
    pub failing: Vec<String>,
}

/// Where the check learns about them. Called on a thread of its own: it may read files.
pub type FollowedSource = Arc<dyn Fn(Timestamp) -> Result<Vec<FollowedStore>> + Send + Sync>;

/// Judges how the stores that are to be followed stand.
pub struct ContinuousCheck {
    source: FollowedSource,
    reading: Blocking,
}

impl ContinuousCheck {
    /// A check of the stores that `source` tells.
    pub fn new(source: FollowedSource) -> Self {
        Self { source, reading: Blocking::default() }
    }
}

impl fmt::Debug for ContinuousCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContinuousCheck").finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for ContinuousCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (source, now) = (Arc::clone(&self.source), scope.clock.now());
        let seen = self.reading.run(scope, move || source(now)).await?;
        Ok(judge(&seen))
    }
}

fn judge(stores: &[FollowedStore]) -> CheckOutcome {
    let furthest = stores.iter().filter_map(|store| store.lag_seconds).fold(0.0, f64::max);
    let findings: Vec<Finding> = stores
        .iter()
        .flat_map(of_one)
        .map(|(status, message)| Finding { status, message, observed: furthest, unit: "seconds" })
        .collect();
    let count = stores.len();
    let all = if count == 1 { "1 store is".to_owned() } else { format!("{count} stores are") };
    worst(findings).unwrap_or_else(|| {
        CheckOutcome::new(CheckStatus::Pass, format!("{all} followed")).observing(furthest, "seconds")
    })
}

/// What is wrong with a store, and how bad it is.
fn of_one(store: &FollowedStore) -> Vec<(CheckStatus, String)> {
    let name = &store.name;
    let mut found = Vec::new();
    match (store.following, store.lag_seconds) {
        (false, _) => found.push((
            CheckStatus::Fail,
            format!("the store {name} is not followed: `uplifted-ops continuous status` says why"),
        )),
        (true, None) => found.push((CheckStatus::Warn, format!("nothing of the store {name} is stored yet"))),
        (true, Some(lag)) if lag > LAG.1 => {
            found.push((CheckStatus::Fail, format!("what is stored of the store {name} is {lag:.0} s behind")));
        }
        (true, Some(lag)) if lag > LAG.0 => {
            found.push((CheckStatus::Warn, format!("what is stored of the store {name} is {lag:.0} s behind")));
        }
        (true, Some(_)) => {}
    }
    if let Some(waits) = &store.waits_for {
        found.push((CheckStatus::Warn, format!("the store {name} waits: {waits}")));
    }
    if let Some(because) = &store.base_wanted {
        found.push((CheckStatus::Warn, format!("the store {name} cannot go back to now without a backup: {because}")));
    }
    found.extend(store.failing.iter().map(|what| (CheckStatus::Warn, format!("of the store {name}: {what}"))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides() {
        let well =
            FollowedStore { name: "main".into(), following: true, lag_seconds: Some(0.7), ..FollowedStore::default() };
        assert_eq!(judge(std::slice::from_ref(&well)).status, CheckStatus::Pass);
        let late = FollowedStore { lag_seconds: Some(20.0), ..well.clone() };
        assert_eq!(judge(&[well.clone(), late]).status, CheckStatus::Warn);
        let gone = FollowedStore { following: false, ..well.clone() };
        assert_eq!(judge(&[gone, well.clone()]).status, CheckStatus::Fail);
        for odd in [
            FollowedStore { waits_for: Some("WAL mode".into()), ..well.clone() },
            FollowedStore { base_wanted: Some("it is another one".into()), ..well.clone() },
            FollowedStore { failing: vec!["target x is full".into()], ..well.clone() },
            FollowedStore { lag_seconds: None, ..well },
        ] {
            assert_eq!(judge(&[odd]).status, CheckStatus::Warn);
        }
    }
}
