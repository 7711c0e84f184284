//! Which of the facts that a database tells in `details` are metrics.
//!
//! A driver names its facts, and this table names the metric of each: a fact that a database does not tell, because it is of
//! another kind or because its user may not see it, has no series. That of SQLite are pages; all else is of servers.

use serde_json::Value;

use crate::metrics::{Family, MetricKind};

/// One number of a database.
struct Fact {
    /// What follows `uplifted_ops_store_`; of a counter without `_total`.
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    /// Where it stands in the details (JSON pointer, RFC 6901).
    at: &'static str,
}

const fn gauge(name: &'static str, at: &'static str, help: &'static str) -> Fact {
    Fact { name, kind: MetricKind::Gauge, help, at }
}

const fn total(name: &'static str, at: &'static str, help: &'static str) -> Fact {
    Fact { name, kind: MetricKind::Counter, help, at }
}

const FACTS: &[Fact] = &[
    gauge("page_size_bytes", "/page_size", "Bytes of a page"),
    gauge("pages", "/page_count", "Pages of the database"),
    gauge("free_pages", "/freelist_count", "Pages of the database that hold nothing"),
    gauge("log_target_bytes", "/log_target_bytes", "Bytes that the log takes as a matter of course"),
    gauge("started_timestamp_seconds", "/started_seconds", "When the server was started, in seconds since the epoch"),
    gauge("standby", "/standby", "1 when the server follows another"),
    gauge("connections", "/connections/used", "Connections of clients to the server"),
    gauge("max_connections", "/connections/max", "Connections that the server takes"),
    gauge("reserved_connections", "/connections/reserved", "Of those the ones that only superusers get"),
    gauge("waiting_connections", "/connections/waiting", "Connections that wait for a lock"),
    total("wal_bytes", "/wal/position_bytes", "Bytes of write-ahead log that were ever written"),
    total("archive_failures", "/wal/archive_failures", "Segments of the log that could not be archived"),
    gauge("archived_age_seconds", "/wal/archived_age_seconds", "Seconds since a segment of the log was archived"),
    gauge(
        "oldest_transaction_seconds",
        "/transactions/oldest_seconds",
        "Seconds for which the oldest transaction is open",
    ),
    gauge("prepared_transactions", "/transactions/prepared", "Prepared transactions that wait for a decision"),
    gauge("transaction_id_age", "/transactions/xid_age", "Transactions since the oldest row that is not frozen"),
    gauge("transaction_ids_left", "/transactions/xid_left", "Transactions until the server refuses to write"),
    gauge("multixact_age", "/transactions/multixact_age", "Multixacts since the oldest that is not frozen"),
    total("commits", "/activity/commits", "Transactions that were committed"),
    total("rollbacks", "/activity/rollbacks", "Transactions that were rolled back"),
    total("deadlocks", "/activity/deadlocks", "Deadlocks"),
    total("conflicts", "/activity/conflicts", "Queries that a standby cancelled because of replication"),
    total("temporary_bytes", "/activity/temporary_bytes", "Bytes of temporary files"),
    total("checksum_failures", "/activity/checksum_failures", "Pages with a wrong checksum"),
    total("blocks_hit", "/activity/blocks_hit", "Pages that were found in shared buffers"),
    total("blocks_read", "/activity/blocks_read", "Pages that were not, and came from the system"),
    gauge("rows_live", "/rows/live", "Rows, as the statistics estimate them"),
    gauge("rows_dead", "/rows/dead", "Dead rows that vacuum has not removed, as the statistics estimate them"),
    gauge("checkpoint_age_seconds", "/checkpoints/age_seconds", "Seconds since the last checkpoint"),
    gauge("lag_bytes", "/lag/bytes", "Bytes that a standby has received and not replayed"),
    gauge("lag_seconds", "/lag/seconds", "Age of the last transaction that a standby has replayed"),
];

/// Numbers under one name that a label tells apart: of fixed parts, or of each entry of a list.
struct Parted {
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    label: &'static str,
    parts: Parts,
}

enum Parts {
    /// The label's value, and where the number stands.
    Fixed(&'static [(&'static str, &'static str)]),
    /// The list, and the field of each entry; its `name` is the label's value.
    Listed(&'static str, &'static str),
}

const PARTED: &[Parted] = &[
    Parted {
        name: "connections_by_state",
        kind: MetricKind::Gauge,
        help: "Connections of clients by what they do",
        label: "state",
        parts: Parts::Fixed(&[
            ("active", "/connections/active"),
            ("idle", "/connections/idle"),
            ("idle_in_transaction", "/connections/idle_in_transaction"),
        ]),
    },
    Parted {
        name: "checkpoints",
        kind: MetricKind::Counter,
        help: "Checkpoints by why they were made",
        label: "reason",
        parts: Parts::Fixed(&[("timed", "/checkpoints/timed"), ("requested", "/checkpoints/requested")]),
    },
    Parted {
        name: "slot_active",
        kind: MetricKind::Gauge,
        help: "1 when somebody reads from the replication slot",
        label: "slot",
        parts: Parts::Listed("/slots", "active"),
    },
    Parted {
        name: "slot_retained_bytes",
        kind: MetricKind::Gauge,
        help: "Bytes of log that the server keeps for the replication slot",
        label: "slot",
        parts: Parts::Listed("/slots", "retained_bytes"),
    },
    Parted {
        name: "replica_lag_bytes",
        kind: MetricKind::Gauge,
        help: "Bytes that a replica has not replayed, as the server knows it",
        label: "replica",
        parts: Parts::Listed("/replicas", "lag_bytes"),
    },
    Parted {
        name: "replica_lag_seconds",
        kind: MetricKind::Gauge,
        help: "Seconds by which a replica replays later, as the server knows it",
        label: "replica",
        parts: Parts::Listed("/replicas", "lag_seconds"),
    },
];

/// More entries than this of a list are not told: somebody makes slots and forgets them, and `store.stats` has them all.
const MOST: usize = 100;

/// A database's name, its kind, and its facts.
pub(super) type Told<'a> = (&'a str, &'a str, &'a Value);

/// The metrics of what databases tell.
pub(super) fn families(told: &[Told<'_>]) -> Vec<Family> {
    let plain = FACTS.iter().map(|fact| {
        told.iter().fold(family(fact.name, fact.kind, fact.help), |family, (store, kind, details)| {
            match details.pointer(fact.at).and_then(number) {
                Some(value) => family.number(&[("store", store), ("kind", kind)], value),
                None => family,
            }
        })
    });
    let parted = PARTED.iter().map(|parted| {
        let mut family = family(parted.name, parted.kind, parted.help);
        for (store, kind, details) in told {
            for (part, value) in parts(&parted.parts, details) {
                family = family.number(&[("store", store), ("kind", kind), (parted.label, part)], value);
            }
        }
        family
    });
    plain.chain(parted).collect()
}

/// A unit is the last word of a name.
fn family(name: &str, kind: MetricKind, help: &str) -> Family {
    let family = Family::new(format!("uplifted_ops_store_{name}"), kind, help);
    let unit = ["bytes", "seconds"].into_iter().find(|unit| name.rsplit('_').next() == Some(unit));
    unit.into_iter().fold(family, |family, unit| family.unit(unit))
}

fn parts<'a>(parts: &Parts, details: &'a Value) -> Vec<(&'a str, f64)> {
    match parts {
        Parts::Fixed(fixed) => {
            fixed.iter().filter_map(|(part, at)| Some((*part, number(details.pointer(at)?)?))).collect()
        }
        Parts::Listed(list, field) => {
            let entries = details.pointer(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mut found: Vec<(&str, f64)> = Vec::new();
            for entry in entries.iter().take(MOST) {
                let Some((name, value)) =
                    entry.get("name").and_then(Value::as_str).zip(entry.get(field).and_then(number))
                else {
                    continue;
                };
                // Two replicas may have one name: the worse one counts.
                match found.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = known.max(value),
                    None => found.push((name, value)),
                }
            }
            found
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(|yes| if yes { 1.0 } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_is_a_series_and_what_is_not_is_none() {
        let server = json!({
            "standby": false, "connections": { "used": 7, "active": null, "idle": 2 }, "activity": { "deadlocks": 3 },
            "slots": [{ "name": "a", "active": true, "retained_bytes": 9 }, { "name": "b", "active": false }],
            "replicas": [{ "name": "r", "lag_bytes": 1 }, { "name": "r", "lag_bytes": 5 }],
        });
        let families = families(&[("main", "postgres", &server), ("lite", "sqlite", &json!({ "page_count": 4 }))]);
        let series = |name: &str| {
            let family = families.iter().find(|family| family.name == format!("uplifted_ops_store_{name}")).unwrap();
            family.series.len()
        };
        for (name, count) in [
            ("connections", 1),
            ("connections_by_state", 1),
            ("deadlocks", 1),
            ("commits", 0),
            ("pages", 1),
            ("slot_active", 2),
            ("slot_retained_bytes", 1),
            ("replica_lag_bytes", 1),
            ("standby", 1),
        ] {
            assert_eq!(series(name), count, "{name}");
        }
    }
}
