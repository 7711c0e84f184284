//! The dashboard for Grafana: the classic JSON model, which every version since 9 imports (`schemaVersion` 39; newer ones
//! bring it up to date by themselves).

use serde_json::{Value, json};

use crate::alerts::Facts;
use crate::error::{Error, Result};

use super::files::mark;

/// How a panel shows its numbers.
#[derive(Clone, Copy)]
enum Shape {
    /// Lines over time.
    Lines,
    /// One number each.
    Number,
}

/// A panel: title, shape, unit of Grafana, and queries with their legends. `SCOPE` in a query stands for the labels that the
/// variables choose.
struct Panel {
    title: &'static str,
    shape: Shape,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
}

const fn lines(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, shape: Shape::Lines, unit, queries }
}

const fn number(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, shape: Shape::Number, unit, queries }
}

const TRAFFIC: &[Panel] = &[
    lines(
        "Requests a second, by status",
        "reqps",
        &[("sum by (status) (rate(uplifted_requests_total{SCOPE}[$__rate_interval]))", "{{status}}")],
    ),
    lines(
        "Requests a second, by route",
        "reqps",
        &[(
            "topk(10, sum by (method, path) (rate(uplifted_requests_total{SCOPE}[$__rate_interval])))",
            "{{method}} {{path}}",
        )],
    ),
    lines(
        "Tool calls a second",
        "ops",
        &[("sum by (tool) (rate(uplifted_tool_calls_total{SCOPE}[$__rate_interval]))", "{{tool}}")],
    ),
    lines(
        "Plugins and database connections",
        "short",
        &[
            ("uplifted_active_plugins{SCOPE}", "plugins {{instance}}"),
            ("sum by (state) (uplifted_db_connections{SCOPE})", "connections {{state}}"),
        ],
    ),
];

const ERRORS: &[Panel] = &[
    lines(
        "Share of requests that fail",
        "percentunit",
        &[(
            "(sum by (instance) (rate(uplifted_requests_total{SCOPE,status=~\"5..\"}[$__rate_interval])) or \
             0 * sum by (instance) (rate(uplifted_requests_total{SCOPE}[$__rate_interval]))) / \
             sum by (instance) (rate(uplifted_requests_total{SCOPE}[$__rate_interval]))",
            "{{instance}}",
        )],
    ),
    lines(
        "Failed requests a second, by route and status",
        "reqps",
        &[(
            "sum by (path, status) (rate(uplifted_requests_total{SCOPE,status=~\"5..\"}[$__rate_interval])) or vector(0)",
            "{{status}} {{path}}",
        )],
    ),
    lines(
        "Share of tool calls that fail",
        "percentunit",
        &[(
            "sum by (tool) (rate(uplifted_tool_errors_total{SCOPE}[$__rate_interval])) / \
             sum by (tool) (rate(uplifted_tool_calls_total{SCOPE}[$__rate_interval]))",
            "{{tool}}",
        )],
    ),
];

const LATENCY: &[Panel] = &[
    lines(
        "Time to answer",
        "s",
        &[
            (
                "histogram_quantile(0.5, sum by (le) (rate(uplifted_requests_duration_seconds_bucket{SCOPE}[$__rate_interval])))",
                "half",
            ),
            (
                "histogram_quantile(0.95, sum by (le) (rate(uplifted_requests_duration_seconds_bucket{SCOPE}[$__rate_interval])))",
                "95 %",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(uplifted_requests_duration_seconds_bucket{SCOPE}[$__rate_interval])))",
                "99 %",
            ),
        ],
    ),
    lines(
        "Mean time to answer, by route",
        "s",
        &[(
            "topk(10, sum by (path) (rate(uplifted_requests_duration_seconds_sum{SCOPE}[$__rate_interval])) / \
             sum by (path) (rate(uplifted_requests_duration_seconds_count{SCOPE}[$__rate_interval])))",
            "{{path}}",
        )],
    ),
];

const RESOURCES: &[Panel] = &[
    lines(
        "CPU time, in cores",
        "short",
        &[("rate(process_cpu_seconds_total{SCOPE}[$__rate_interval])", "{{instance}}")],
    ),
    lines("Memory", "bytes", &[("process_resident_memory_bytes{SCOPE}", "{{instance}}")]),
    lines(
        "File descriptors and threads",
        "short",
        &[("process_open_fds{SCOPE}", "open {{instance}}"), ("process_threads{SCOPE}", "threads {{instance}}")],
    ),
];

const PROCESS: &[Panel] = &[
    lines(
        "CPU time, of what it may use",
        "percentunit",
        &[(
            "rate(process_cpu_seconds_total{SCOPE}[$__rate_interval]) / on (job, instance) uplifted_ops_process_cpu_limit_cores",
            "{{instance}}",
        )],
    ),
    lines(
        "Memory, of what it may use",
        "percentunit",
        &[(
            "process_resident_memory_bytes{SCOPE} / on (job, instance) uplifted_ops_process_memory_limit_bytes",
            "{{instance}}",
        )],
    ),
    lines(
        "Context switches a second",
        "ops",
        &[("rate(uplifted_ops_process_context_switches_total{SCOPE}[$__rate_interval])", "{{kind}} {{instance}}")],
    ),
];

const FILESYSTEM: &[Panel] = &[
    lines(
        "Free space",
        "percentunit",
        &[(
            "uplifted_ops_filesystem_avail_bytes{SCOPE} / (uplifted_ops_filesystem_size_bytes{SCOPE} \
             - uplifted_ops_filesystem_free_bytes{SCOPE} + uplifted_ops_filesystem_avail_bytes{SCOPE})",
            "{{mountpoint}} {{instance}}",
        )],
    ),
    lines(
        "Free space in six hours, as it goes now",
        "bytes",
        &[("predict_linear(uplifted_ops_filesystem_avail_bytes{SCOPE}[1h], 6 * 3600)", "{{mountpoint}} {{instance}}")],
    ),
];

const NETWORK: &[Panel] = &[lines(
    "Network",
    "Bps",
    &[
        (
            "sum by (instance) (rate(uplifted_ops_network_receive_bytes_total{SCOPE}[$__rate_interval]))",
            "in {{instance}}",
        ),
        (
            "sum by (instance) (rate(uplifted_ops_network_transmit_bytes_total{SCOPE}[$__rate_interval]))",
            "out {{instance}}",
        ),
    ],
)];

const HEALTH: &[Panel] = &[
    number("Up", "short", &[("sum(up{SCOPE})", "instances")]),
    number("Checks that fail", "short", &[("sum(uplifted_ops_check_status{SCOPE,status=\"fail\"}) or vector(0)", "")]),
    number("Running for", "s", &[("time() - max(process_start_time_seconds{SCOPE})", "")]),
    number("Alerts", "short", &[("count(ALERTS{alertstate=\"firing\",severity!=\"none\"}) or vector(0)", "")]),
    lines("Checks", "short", &[("uplifted_ops_check_status{SCOPE,status=~\"warn|fail\"}", "{{check}} {{status}}")]),
    lines("Time that checks take", "s", &[("uplifted_ops_check_duration_seconds{SCOPE}", "{{check}}")]),
];

const BACKUPS: &[Panel] = &[
    number(
        "Age of the last backup",
        "s",
        &[("time() - max(uplifted_ops_backup_last_success_timestamp_seconds{SCOPE})", "")],
    ),
    number(
        "Age of the last verification",
        "s",
        &[("time() - max(uplifted_ops_backup_last_verified_timestamp_seconds{SCOPE})", "")],
    ),
    number(
        "Age of the last restore that was rehearsed",
        "s",
        &[(
            "time() - max by (target) (uplifted_ops_backup_last_verified_restore_timestamp_seconds{SCOPE})",
            "{{target}}",
        )],
    ),
    lines(
        "Bytes of the last backup",
        "bytes",
        &[
            ("max(uplifted_ops_backup_last_size_bytes{SCOPE})", "of the service"),
            ("max(uplifted_ops_backup_last_stored_bytes{SCOPE})", "stored"),
        ],
    ),
    lines(
        "Time that the last backup took",
        "s",
        &[("max(uplifted_ops_backup_last_duration_seconds{SCOPE})", "backup")],
    ),
    lines("Backups", "short", &[("max by (outcome) (uplifted_ops_backups_total{SCOPE})", "{{outcome}}")]),
];

const STORES: &[Panel] = &[
    lines(
        "Size",
        "bytes",
        &[
            ("max by (store) (uplifted_ops_store_size_bytes{SCOPE})", "{{store}}"),
            ("max by (store) (uplifted_ops_store_log_bytes{SCOPE})", "log of {{store}}"),
        ],
    ),
    lines(
        "Pages that hold nothing",
        "percentunit",
        &[(
            "max by (store) (uplifted_ops_store_free_pages{SCOPE} / (uplifted_ops_store_pages{SCOPE} > 0))",
            "{{store}}",
        )],
    ),
];

const REDIS: &[Panel] = &[
    lines(
        "Redis: answers in",
        "s",
        &[("max by (redis) (uplifted_ops_redis_answer_duration_seconds{SCOPE})", "{{redis}}")],
    ),
    lines(
        "Redis: memory",
        "bytes",
        &[
            ("max by (redis) (uplifted_ops_redis_memory_used_bytes{SCOPE})", "{{redis}}"),
            ("max by (redis) (uplifted_ops_redis_memory_max_bytes{SCOPE} > 0)", "limit of {{redis}}"),
        ],
    ),
    lines(
        "Redis: look-ups that found a key",
        "percentunit",
        &[(
            "sum by (redis) (rate(uplifted_ops_redis_keyspace_hits_total{SCOPE}[$__rate_interval])) / (sum by (redis) (rate(\
             uplifted_ops_redis_keyspace_hits_total{SCOPE}[$__rate_interval]) + rate(uplifted_ops_redis_keyspace_misses_total{SCOPE}[$__rate_interval])) > 0)",
            "{{redis}}",
        )],
    ),
    lines(
        "Redis: clients, and keys thrown out",
        "short",
        &[
            ("max by (redis) (uplifted_ops_redis_connected_clients{SCOPE})", "clients of {{redis}}"),
            (
                "sum by (redis) (rate(uplifted_ops_redis_evicted_keys_total{SCOPE}[$__rate_interval]))",
                "evicted a second, {{redis}}",
            ),
        ],
    ),
];

// Prometheus keeps a label `job` of ours as `exported_job`.
const JOBS: &[Panel] = &[
    lines(
        "Age of the last success",
        "s",
        &[(
            "time() - max by (exported_job) (uplifted_ops_job_last_success_timestamp_seconds{SCOPE})",
            "{{exported_job}}",
        )],
    ),
    lines(
        "Runs that did not end well",
        "short",
        &[(
            "sum by (exported_job) (increase(uplifted_ops_job_runs_total{SCOPE,outcome!~\"done|skipped\"}[1h])) or vector(0)",
            "{{exported_job}}",
        )],
    ),
];

/// The rows that this service has.
fn rows(facts: &Facts) -> Vec<(&'static str, Vec<&'static Panel>)> {
    let collects = |name: &str| facts.collectors.iter().any(|collector| collector == name);
    let mut resources: Vec<&Panel> = RESOURCES.iter().collect();
    for (name, panels) in [("process", PROCESS), ("filesystem", FILESYSTEM), ("network", NETWORK)] {
        resources.extend(panels.iter().filter(|_| collects(name)));
    }
    let mut rows: Vec<(&str, Vec<&Panel>)> = vec![
        ("Health", HEALTH.iter().collect()),
        ("Traffic", TRAFFIC.iter().collect()),
        ("Errors", ERRORS.iter().collect()),
        ("Latency", LATENCY.iter().collect()),
        ("Resources", resources),
    ];
    for (title, panels, there) in [
        ("Backups", BACKUPS, facts.backups && collects("backups")),
        ("Databases", STORES, facts.stores && collects("stores")),
        ("Redis", REDIS, facts.redis && collects("redis")),
        ("Jobs", JOBS, facts.jobs && collects("jobs")),
    ] {
        if there {
            rows.push((title, panels.iter().collect()));
        }
    }
    rows
}

/// Grafana's grid is so many columns wide.
const COLUMNS: usize = 24;

/// The file.
pub(super) fn text(facts: &Facts) -> Result<String> {
    let mut panels = Vec::new();
    let mut id = 0;
    let mut y = 0;
    for (title, row) in rows(facts) {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
        }));
        y += 1;
        let (mut x, mut lowest) = (0, 0);
        for panel in row {
            let (width, height) = match panel.shape {
                Shape::Lines => (8, 8),
                Shape::Number => (6, 4),
            };
            if x + width > COLUMNS {
                (x, y, lowest) = (0, y + lowest, 0);
            }
            id += 1;
            panels.push(drawn(panel, id, [x, y, width, height]));
            x += width;
            lowest = lowest.max(height);
        }
        y += lowest;
    }
    let job = serde_json::Value::from(facts.job.as_str());
    let dashboard = json!({
        "title": format!("{} operations", facts.job),
        "uid": uid(&facts.job),
        "description": format!("Written by uplifted-ops {}, {}", env!("CARGO_PKG_VERSION"), mark()),
        "tags": ["uplifted-ops"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": { "from": "now-3h", "to": "now" },
        "timepicker": {},
        "annotations": { "list": [{
            "name": "Restarts", "enable": true, "iconColor": "orange", "datasource": datasource(),
            "expr": scoped("changes(process_start_time_seconds{SCOPE}[1m]) > 0"), "titleFormat": "restart",
        }] },
        "links": [],
        "panels": panels,
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
              "current": {}, "hide": 0, "includeAll": false, "multi": false, "options": [], "regex": "" },
            variable("job", "Job", "label_values(uplifted_build_info, job)", false, json!({ "text": job, "value": job })),
            variable(
                "instance",
                "Instance",
                "label_values(uplifted_build_info{job=\"$job\"}, instance)",
                true,
                json!({ "text": "All", "value": "$__all" }),
            ),
        ] },
    });
    let text = serde_json::to_string_pretty(&dashboard);
    text.map(|text| text + "\n").map_err(|error| Error::internal(format!("the dashboard is not JSON: {error}")))
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn variable(name: &str, label: &str, query: &str, many: bool, current: Value) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(), "definition": query,
        "query": { "query": query, "refId": "StandardVariableQuery" }, "refresh": 2, "sort": 1, "hide": 0, "regex": "",
        "includeAll": many, "multi": many, "allValue": if many { json!(".*") } else { Value::Null }, "current": current,
        "options": [],
    })
}

fn scoped(query: &str) -> String {
    query.replace("SCOPE", "job=\"$job\",instance=~\"$instance\"")
}

fn drawn(panel: &Panel, id: usize, [x, y, w, h]: [usize; 4]) -> Value {
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..='Z')
        .map(|((query, legend), letter)| {
            let now = matches!(panel.shape, Shape::Number);
            json!({
                "refId": letter.to_string(), "datasource": datasource(), "editorMode": "code", "expr": scoped(query),
                "legendFormat": legend, "range": !now, "instant": now,
            })
        })
        .collect();
    let (kind, options, custom) = match panel.shape {
        Shape::Lines => (
            "timeseries",
            json!({ "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                    "tooltip": { "mode": "multi", "sort": "desc" } }),
            json!({ "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false }),
        ),
        Shape::Number => (
            "stat",
            json!({ "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
                    "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false }, "textMode": "auto" }),
            json!({}),
        ),
    };
    json!({
        "id": id, "type": kind, "title": panel.title, "datasource": datasource(),
        "gridPos": { "x": x, "y": y, "w": w, "h": h },
        "fieldConfig": { "defaults": { "unit": panel.unit, "custom": custom, "mappings": [],
            "color": { "mode": "palette-classic" } }, "overrides": [] },
        "options": options, "targets": targets,
    })
}

/// An identifier that stays the same for a service, so that a later import replaces the earlier one: at most 40 of
/// letters, digits, `-` and `_`.
fn uid(job: &str) -> String {
    format!("uplifted-ops-{}", crate::value::hex(&blake3::hash(job.as_bytes()).as_bytes()[..6]))
}
