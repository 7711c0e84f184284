//! What Redis says about itself, as metrics: of each server that a `[[check]]` of kind `redis` names.
//!
//! A page asks, and waits no longer than `metrics.collector_deadline_seconds`: what has not answered by then is shown by the next
//! page. One question at a time, and not more than one a second, however many pages are asked for.
//!
//! Source: the command `INFO` <https://redis.io/docs/latest/commands/info/>.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Scope;
use crate::clock::Clock;
use crate::component::BuildContext;
use crate::config::Settings;
use crate::health::checks::redis::{Answer, KIND, RedisCheck};
use crate::metrics::{Family, MetricKind};

use super::asking::Asked;

/// Two questions come no closer than this.
const SPACING: Duration = Duration::from_secs(1);

/// The servers, and what they last said.
#[derive(Debug, Default)]
pub struct RedisNumbers {
    servers: Vec<(String, RedisCheck)>,
    patience: Duration,
    told: Arc<Asked<Known>>,
}

/// `None` for one that did not answer.
type Known = BTreeMap<String, Option<Answer>>;

impl RedisNumbers {
    /// The servers that the settings name. What is wrong with one of them is for its check to say.
    pub(super) fn new(settings: &Settings, root: &Path, state: &Path) -> Self {
        let wanted = settings.metrics.collects(KIND.name);
        let named = settings.checks.iter().filter(|check| wanted && check.kind == KIND.name);
        let servers = named.filter_map(|check| {
            let context = BuildContext {
                name: check.name.clone(),
                root: root.to_owned(),
                state: state.to_owned(),
                service: String::new(),
            };
            Some((check.name.clone(), RedisCheck::of(&context, &check.settings).ok()?))
        });
        let patience = settings.metrics.collector_deadline().unwrap_or(SPACING);
        Self { servers: servers.collect(), patience, told: Arc::default() }
    }

    /// Asks the servers, and returns when all have answered or the patience is over: the rest is asked on.
    pub(super) async fn refresh(self: &Arc<Self>, clock: &Arc<dyn Clock>) {
        if self.servers.is_empty() {
            return;
        }
        let Some(asking) = self.told.claim(clock.monotonic(), SPACING) else { return };
        let (this, scope) = (Arc::clone(self), Scope { clock: Arc::clone(clock), ..Scope::default() });
        let asked = tokio::spawn(async move {
            for (name, server) in &this.servers {
                let answer = server.question(&scope).await.ok().and_then(Result::ok);
                asking.tell(|known| drop(known.insert(name.clone(), answer)));
            }
        });
        let _ = tokio::time::timeout(self.patience, asked).await;
    }

    /// What is known, as metrics.
    pub(super) fn families(&self) -> Vec<Family> {
        let known = self.told.known();
        let mut families = vec![told(&known, "up", MetricKind::Gauge, "1 when the Redis answers", |answer| {
            Some(if answer.is_some() { 1.0 } else { 0.0 })
        })];
        families.push(told(
            &known,
            "answer_duration_seconds",
            MetricKind::Gauge,
            "How long the Redis took to answer PING",
            |answer| Some(answer?.ping.as_secs_f64()),
        ));
        for (name, kind, field, help) in FIELDS {
            families.push(told(&known, name, kind, help, |answer| number(answer?, field)));
        }
        families.push(told(
            &known,
            "primary_link_up",
            MetricKind::Gauge,
            "1 while the replica hears its primary; nothing of a primary",
            |answer| Some(if answer?.info.get("master_link_status")? == "up" { 1.0 } else { 0.0 }),
        ));
        families.push(lag(&known));
        families.retain(|family| !family.series.is_empty());
        families
    }
}

use MetricKind::{Counter, Gauge};

/// Names, and the fields of `INFO` that they come from.
const FIELDS: [(&str, MetricKind, &str, &str); 16] = [
    ("uptime_seconds", Gauge, "uptime_in_seconds", "How long the Redis has been running"),
    ("memory_used_bytes", Gauge, "used_memory", "Bytes that the Redis has allocated"),
    ("memory_max_bytes", Gauge, "maxmemory", "Bytes that the Redis may use for data; 0 for no limit"),
    ("connected_clients", Gauge, "connected_clients", "Clients that are connected, without replicas"),
    ("blocked_clients", Gauge, "blocked_clients", "Clients that wait in a command that blocks"),
    ("connected_replicas", Gauge, "connected_slaves", "Replicas that follow the Redis"),
    ("rejected_connections", Counter, "rejected_connections", "Connections refused because of maxclients"),
    ("commands_processed", Counter, "total_commands_processed", "Commands that were worked off"),
    ("evicted_keys", Counter, "evicted_keys", "Keys thrown out because of maxmemory"),
    ("expired_keys", Counter, "expired_keys", "Keys that reached their end"),
    ("keyspace_hits", Counter, "keyspace_hits", "Look-ups that found a key"),
    ("keyspace_misses", Counter, "keyspace_misses", "Look-ups that found none"),
    (
        "last_save_timestamp_seconds",
        Gauge,
        "rdb_last_save_time",
        "When the data was last saved, in seconds since the epoch; the start of one that never did",
    ),
    ("changes_since_last_save", Gauge, "rdb_changes_since_last_save", "Changes that are not saved"),
    (
        "primary_silence_seconds",
        Gauge,
        "master_last_io_seconds_ago",
        "Since when the replica has heard nothing of its primary; -1 while the link is down",
    ),
    ("loading", Gauge, "loading", "1 while the data set is loaded"),
];

fn told(
    known: &Known,
    name: &str,
    kind: MetricKind,
    help: &str,
    value: impl Fn(Option<&Answer>) -> Option<f64>,
) -> Family {
    let family = Family::new(format!("uplifted_ops_redis_{name}"), kind, help);
    let unit = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
    let family = unit.into_iter().fold(family, |family, unit| family.unit(unit));
    known.iter().fold(family, |family, (server, answer)| match value(answer.as_ref()) {
        Some(value) => family.number(&[("redis", server)], value),
        None => family,
    })
}

fn number(answer: &Answer, field: &str) -> Option<f64> {
    answer.info.get(field)?.parse().ok()
}

/// How far each replica is behind, as its primary sees it: `slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1`.
fn lag(known: &Known) -> Family {
    let help = "Since when the primary has heard nothing of the replica";
    let mut family = Family::new("uplifted_ops_redis_replica_lag_seconds", MetricKind::Gauge, help).unit("seconds");
    for (server, answer) in known.iter().filter_map(|(server, answer)| Some((server, answer.as_ref()?))) {
        let replicas = answer
            .info
            .iter()
            .filter(|(name, _)| name.strip_prefix("slave").is_some_and(|number| number.parse::<u32>().is_ok()));
        for (_, text) in replicas {
            let field = |wanted: &str| {
                let mut pairs = text.split(',').filter_map(|pair| pair.split_once('='));
                pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
            };
            if let (Some(ip), Some(port), Some(Ok(lag))) = (field("ip"), field("port"), field("lag").map(str::parse)) {
                family = family.number(&[("redis", server), ("replica", &format!("{ip}:{port}"))], lag);
            }
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::checks::redis::tests::Server;
    use crate::ops::{Ops, RunMode};

    /// What guards against a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn ops(folder: &tempfile::TempDir, checks: serde_json::Value, more: serde_json::Value) -> Ops {
        let builder = Ops::builder().root(folder.path()).environment([]).mode(RunMode::Embedded);
        builder.setting("check", checks).setting("metrics", more).setting("http.socket", false).build().unwrap()
    }

    async fn page(ops: &Ops) -> String {
        let answer = ops.call(ops.scope(), "metrics.render", json!({})).await.unwrap();
        answer.response["body"].as_str().unwrap().to_owned()
    }

    fn value(page: &str, series: &str) -> Option<f64> {
        page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_real_server_tells_its_numbers() {
        let mut primary = Server::start(&["--maxmemory", "64mb"]);
        let replica =
            Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port), "--repl-diskless-sync-delay", "0"]);
        for command in [&["SET", "a", "1"][..], &["GET", "a"], &["GET", "b"], &["GET", "c"]] {
            primary.order(command);
        }
        let folder = tempfile::tempdir().unwrap();
        let checks = json!([
            { "name": "cache", "kind": "redis", "url": primary.url() },
            { "name": "copy", "kind": "redis", "url": replica.url() },
        ]);
        let ops = ops(&folder, checks, json!({ "collector_deadline_seconds": 10 }));
        let clock = crate::clock::SystemClock;
        let until = clock.monotonic() + PATIENCE;
        let mut text = page(&ops).await;
        // The first page has it all but for the replica, which takes a moment to find its primary.
        assert_eq!(value(&text, "uplifted_ops_redis_up{redis=\"cache\"}"), Some(1.0), "{text}");
        while value(&text, "uplifted_ops_redis_primary_link_up{redis=\"copy\"}") != Some(1.0)
            || !text.contains("uplifted_ops_redis_replica_lag_seconds{redis=\"cache\",replica=\"127.0.0.1:")
        {
            assert!(clock.monotonic() < until, "it does not follow: {text}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            text = page(&ops).await;
        }
        let cache = |name: &str| value(&text, &format!("uplifted_ops_redis_{name}{{redis=\"cache\"}}"));
        assert_eq!((cache("keyspace_hits_total"), cache("keyspace_misses_total")), (Some(1.0), Some(2.0)));
        assert_eq!((cache("memory_max_bytes"), cache("connected_replicas")), (Some(64.0 * 1024.0 * 1024.0), Some(1.0)));
        for (name, least) in
            [("memory_used_bytes", 1e5), ("connected_clients", 1.0), ("last_save_timestamp_seconds", 1.7e9)]
        {
            assert!(cache(name).unwrap() >= least, "{name}: {text}");
        }
        assert_eq!((cache("evicted_keys_total"), cache("expired_keys_total")), (Some(0.0), Some(0.0)));
        assert!(cache("primary_link_up").is_none(), "a primary has none");
        primary.process.kill().unwrap();
        primary.process.wait().unwrap();
        while value(&text, "uplifted_ops_redis_up{redis=\"cache\"}") != Some(0.0) {
            assert!(clock.monotonic() < until, "it is still there: {text}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            text = page(&ops).await;
        }
        assert!(!text.contains("uplifted_ops_redis_memory_used_bytes{redis=\"cache\"}"), "what is old is not told");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_hangs_holds_no_page_up_and_one_that_is_not_wanted_is_not_asked() {
        // It lets everybody in, and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", silent.local_addr().unwrap());
        let checks = json!([{ "name": "mute", "kind": "redis", "url": url, "timeout_seconds": 20 }]);
        let folder = tempfile::tempdir().unwrap();
        let asked = ops(&folder, checks.clone(), json!({ "collector_deadline_seconds": 0.1 }));
        for _ in 0..3 {
            let page = tokio::time::timeout(PATIENCE / 3, page(&asked)).await.unwrap();
            assert!(!page.contains("uplifted_ops_redis_up"), "{page}");
        }
        let left_out = ops(&folder, checks, json!({ "collect": ["process"] }));
        assert!(left_out.context().redis_numbers.servers.is_empty());
    }
}
