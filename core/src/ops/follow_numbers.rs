//! How the stores that are followed stand, as metrics and for the health check: read from what their workers write down.

use crate::api::continuous::{ContinuousStore, standings, standings_in};
use crate::clock::Timestamp;
use crate::config::ContinuousSettings;
use crate::continuous::TargetStanding;
use crate::continuous::folder::Folder;
use crate::error::Result;
use crate::health::checks::continuous::FollowedStore;
use crate::metrics::{Family, MetricKind};

use super::context::Context;

fn all(context: &Context, now: Timestamp) -> Result<Vec<ContinuousStore>> {
    let names: Vec<String> = context.stores.iter().map(|store| store.name.clone()).collect();
    standings(context, &names, now)
}

/// How the stores of the settings stand, for the check.
pub(super) fn of_wanted(folder: &Folder, settings: &ContinuousSettings, now: Timestamp) -> Result<Vec<FollowedStore>> {
    standings_in(folder, settings, &settings.stores, now).map(seen)
}

fn seen(stores: Vec<ContinuousStore>) -> Vec<FollowedStore> {
    let wanted = stores.into_iter().filter(|store| store.wanted);
    wanted
        .map(|store| {
            let standing = store.standing.unwrap_or_default();
            let failing = standing.targets.iter().filter_map(|target| {
                let error = target.error.as_ref()?;
                Some(format!("target {} takes nothing: {}", target.target, error.message))
            });
            FollowedStore {
                failing: failing.collect(),
                name: store.name,
                following: store.following,
                lag_seconds: store.lag_seconds,
                waits_for: standing.waits_for,
                base_wanted: standing.base_wanted_because,
            }
        })
        .collect()
}

/// As metrics.
pub(super) fn families(context: &Context, now: Timestamp) -> Result<Vec<Family>> {
    if context.stores.is_empty() {
        return Ok(Vec::new());
    }
    let stores = all(context, now)?;
    let of_store = |name: &str, help: &str, value: &dyn Fn(&ContinuousStore) -> Option<f64>| {
        let family = Family::new(format!("uplifted_ops_continuous_{name}"), MetricKind::Gauge, help);
        let family = if name.ends_with("_seconds") { family.unit("seconds") } else { family };
        stores.iter().fold(family, |family, store| match value(store) {
            Some(value) => family.number(&[("store", &store.name)], value),
            None => family,
        })
    };
    let of_target = |name: &str, help: &str, value: &dyn Fn(&TargetStanding) -> u64| {
        let family = Family::new(format!("uplifted_ops_continuous_{name}"), MetricKind::Counter, help);
        let family = if name == "bytes" { family.unit("bytes") } else { family };
        let targets = stores.iter().flat_map(|store| {
            store.standing.iter().flat_map(|standing| &standing.targets).map(|target| (&store.name, target))
        });
        targets.fold(family, |family, (store, target)| {
            family.number(&[("store", store), ("target", &target.target)], value(target) as f64)
        })
    };
    let gaps = Family::new("uplifted_ops_continuous_gaps", MetricKind::Counter, "How often a new base was needed");
    let gaps = stores.iter().fold(gaps, |family, store| {
        let gaps = store.standing.as_ref().map_or(0, |standing| standing.gaps_total);
        family.number(&[("store", &store.name)], gaps as f64)
    });
    let families = vec![
        of_store("following", "1 while the store is followed", &|store| Some(if store.following { 1.0 } else { 0.0 })),
        of_store(
            "lag_seconds",
            "How far what is stored is behind: what would be lost if this machine were gone",
            &|store| store.lag_seconds,
        ),
        of_store("coverage_seconds", "How long the stream goes back without a gap", &|store| {
            let standing = store.standing.as_ref()?;
            let until = standing.stored_until()?;
            Some(until.duration_since(standing.since?).as_secs_f64().max(0.0))
        }),
        of_target("segments", "Segments that were stored", &|target| target.segments_total),
        of_target("bytes", "Bytes of the segments that were stored", &|target| target.bytes_total),
        gaps,
    ];
    Ok(families.into_iter().filter(|family| !family.series.is_empty()).collect())
}
