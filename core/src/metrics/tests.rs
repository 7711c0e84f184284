use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::error::{Error, ErrorKind, Result};

fn text(registry: &Registry) -> String {
    render(&registry.snapshot(), Format::Text)
}

fn open(registry: &Registry) -> String {
    render(&registry.snapshot(), Format::OpenMetrics)
}

#[test]
fn a_page_is_what_the_formats_say() {
    let registry = Registry::new();
    let requests = registry
        .counters(Definition::new("shop_requests_total", "Requests \"answered\"\nby \\us").labels(&["method", "path"]))
        .unwrap();
    requests.with(&["GET", "/b"]).unwrap().inc_by(2);
    requests.with(&["GET", "/a\"\\\n\0"]).unwrap().add(0.5).unwrap();
    let took = registry
        .histograms(Definition::new("shop_took_seconds", "Time").unit("seconds").bounds(&[0.1, 1.0, f64::INFINITY]))
        .unwrap()
        .with(&[])
        .unwrap();
    for value in [0.1, 0.10001, 1.0, 7.0] {
        took.observe(value);
    }
    registry.gauge("shop_temperature", "").unwrap().set(f64::NEG_INFINITY);
    assert_eq!(
        text(&registry),
        "# HELP shop_requests_total Requests \"answered\"\\nby \\\\us\n\
         # TYPE shop_requests_total counter\n\
         shop_requests_total{method=\"GET\",path=\"/a\\\"\\\\\\n\u{fffd}\"} 0.5\n\
         shop_requests_total{method=\"GET\",path=\"/b\"} 2\n\
         # TYPE shop_temperature gauge\n\
         shop_temperature -Inf\n\
         # HELP shop_took_seconds Time\n\
         # TYPE shop_took_seconds histogram\n\
         shop_took_seconds_bucket{le=\"0.1\"} 1\n\
         shop_took_seconds_bucket{le=\"1.0\"} 3\n\
         shop_took_seconds_bucket{le=\"+Inf\"} 4\n\
         shop_took_seconds_sum 8.20001\n\
         shop_took_seconds_count 4\n"
    );
    let open = open(&registry);
    assert!(
        open.starts_with("# HELP shop_requests Requests \\\"answered\\\"\\nby \\\\us\n# TYPE shop_requests counter\n")
    );
    assert!(open.contains("\n# UNIT shop_took_seconds seconds\n"));
    assert!(open.ends_with("shop_took_seconds_count 4\n# EOF\n"));
    assert_eq!(render(&MetricsSnapshot::default(), Format::OpenMetrics), "# EOF\n");
    assert_eq!(render(&MetricsSnapshot::default(), Format::Text), "");
}

#[test]
fn numbers_read_back_as_themselves() {
    let registry = Registry::new();
    let gauge = registry.gauge("g", "").unwrap();
    for value in
        [0.0, -0.0, 1.0, 0.1, 1e15, 1e300, -1e-300, 123_456_789_012_345.0, 1.0 / 3.0, f64::MAX, f64::MIN_POSITIVE]
    {
        gauge.set(value);
        let page = text(&registry);
        let shown = page.lines().last().unwrap().strip_prefix("g ").unwrap();
        assert_eq!(shown.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{shown}");
        assert!(shown.len() < 25, "{shown}");
    }
    gauge.set(f64::NAN);
    assert!(text(&registry).ends_with("g NaN\n"));
}

#[test]
fn open_metrics_leaves_out_a_sum_that_may_go_down() {
    let registry = Registry::new();
    registry.histogram("h", "", &[-1.0, 0.0]).unwrap().observe(-2.0);
    assert!(!open(&registry).contains("h_sum") && !open(&registry).contains("h_count"));
    assert!(text(&registry).contains("h_sum -2\n"));
}

#[test]
fn names_that_would_spoil_the_page_are_refused() {
    let registry = Registry::new();
    for name in ["", "1x", "a-b", "a b", "é", "a\n", "x_total_total", &"x".repeat(201)] {
        assert!(registry.counter(name, "").is_err(), "{name:?}");
    }
    for name in ["x_bucket", "x_created"] {
        assert!(registry.gauge(name, "").is_err(), "{name:?}");
    }
    for labels in [&["__x"][..], &["le"], &["1"], &["a-b"], &[""], &["a", "a"], &["é"]] {
        assert!(registry.gauges(Definition::new("x", "").labels(labels)).is_err(), "{labels:?}");
    }
    for (name, unit) in [("x", "seconds"), ("xseconds", "seconds"), ("seconds", "seconds"), ("x_", "")] {
        assert!(registry.gauges(Definition::new(name, "").unit(unit)).is_err(), "{name} {unit}");
    }
    let nan = f64::NAN;
    for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[nan], &[1.0, nan], &[f64::NEG_INFINITY, 1.0], &[f64::INFINITY, 1.0]]
    {
        assert!(registry.histogram("x", "", bounds).is_err(), "{bounds:?}");
    }
    assert!(registry.snapshot().families.is_empty());
    // A counter's unit stands before its `_total`.
    registry.counters(Definition::new("x_seconds_total", "").unit("seconds")).unwrap();
}

#[test]
fn no_two_families_share_a_sample() {
    let registry = Registry::new();
    registry.counter("a_total", "").unwrap();
    registry.histogram("h", "", &[]).unwrap();
    registry.gauge("g_count", "").unwrap();
    assert!(registry.counter("a", "").is_err());
    assert!(registry.counter("a_total", "").is_err());
    assert!(registry.gauge("a", "").is_err());
    assert!(registry.gauge("h_sum", "").is_err());
    let error = registry.histogram("g", "", &[]).unwrap_err();
    assert_eq!(error.message(), "metric \"g\" is registered twice: \"g_count\" belongs to \"g_count\"");
    // What was refused took no name.
    registry.gauge("g", "").unwrap();
}

#[test]
fn a_counter_never_goes_down() {
    let counter = Registry::new().counter("c", "").unwrap();
    for by in [-1.0, -f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(counter.add(by).unwrap_err().kind(), ErrorKind::InvalidInput, "{by}");
    }
    assert_eq!(counter.get(), 0.0);
    counter.add(-0.0).unwrap();
    counter.add(2.5).unwrap();
    counter.inc();
    assert_eq!(counter.get(), 3.5);
}

#[test]
fn a_counter_counts_past_the_precision_of_a_float() {
    let counter = Registry::new().counter("c", "").unwrap();
    counter.inc_by(1 << 53);
    for _ in 0..100 {
        counter.inc();
        counter.add(1.0).unwrap();
    }
    assert_eq!(counter.get(), ((1_u64 << 53) + 200) as f64);
}

#[test]
fn wrong_numbers_of_labels_are_refused_by_name() {
    let family = Registry::new().gauges(Definition::new("g", "").labels(&["a", "b"])).unwrap();
    for values in [&[][..], &["1"], &["1", "2", "3"]] {
        let error = family.with(values).unwrap_err();
        assert_eq!(error.hint(), Some("give one value for each of: a, b"));
        assert!(family.remove(values).is_err());
    }
}

#[test]
fn label_values_are_told_apart_in_full() {
    let registry = Registry::new();
    let family = registry.counters(Definition::new("c", "").labels(&["a", "b"])).unwrap();
    let sets = [["ab", ""], ["a", "b"], ["", "ab"], ["a,b", ""], ["a\"", "b"], ["", ""]];
    for (at, set) in sets.iter().enumerate() {
        family.with(set).unwrap().inc_by(at as u64 + 1);
        family.with(set).unwrap();
    }
    assert_eq!(registry.snapshot().families[0].series.len(), sets.len());
    for (at, set) in sets.iter().enumerate() {
        assert_eq!(family.with(set).unwrap().get(), at as f64 + 1.0);
    }
}

#[test]
fn a_flood_of_label_values_goes_into_one_series() {
    let registry = Registry::new();
    let family = registry.counters(Definition::new("c", "").labels(&["user"]).max_series(3)).unwrap();
    for user in 0..100 {
        family.with(&[&user.to_string()]).unwrap().inc();
    }
    // Those that were first go on being told apart, and a caller who uses the word itself spoils nothing.
    family.with(&["0"]).unwrap().inc();
    family.with(&[OVERFLOW_LABEL]).unwrap().inc();
    let page = text(&registry);
    assert!(page.contains("c_total{user=\"0\"} 2\n") && page.contains("c_total{user=\"2\"} 1\n"), "{page}");
    assert!(page.contains("c_total{user=\"__overflow__\"} 98\n"), "{page}");
    assert!(page.contains("uplifted_ops_metrics_overflow_total{family=\"c\"} 97\n"), "{page}");
    assert_eq!(page.matches("c_total{user").count(), 4);
    // Room that is made can be used again.
    assert!(family.remove(&["1"]).unwrap() && !family.remove(&["1"]).unwrap());
    family.with(&["new"]).unwrap().inc();
    assert!(text(&registry).contains("c_total{user=\"new\"} 1\n"));
}

#[test]
fn huge_label_values_are_cut() {
    let registry = Registry::new();
    let family = registry.gauges(Definition::new("g", "").labels(&["x"])).unwrap();
    let long = "é".repeat(1 << 20);
    family.with(&[&long]).unwrap().set(1.0);
    family.with(&[&long]).unwrap().set(2.0);
    assert!(text(&registry).len() < 2_000);
    assert!(text(&registry).ends_with("\"} 2\n"));
}

#[test]
fn histograms_leave_out_what_is_no_number() {
    let registry = Registry::new();
    let histogram = registry.histogram("h", "", &[1.0]).unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5] {
        histogram.observe(value);
    }
    let found = histogram.get();
    assert_eq!((found.counts.as_slice(), found.sum, found.count()), (&[1, 0][..], 0.5, 1));
    assert!(text(&registry).contains("uplifted_ops_metrics_refused_observations_total{family=\"h\"} 3\n"));
}

#[test]
fn threads_lose_nothing_and_pages_are_consistent_meanwhile() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let registry = Registry::new();
    let counters = registry.counters(Definition::new("c", "").labels(&["t"]).max_series(2)).unwrap();
    let histogram = registry.histogram("h", "", &[1.0, 2.0]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut pages = 0;
            while !done.load(Ordering::Relaxed) {
                let snapshot = registry.snapshot();
                let Value::Distribution(distribution) = &snapshot.family("h").unwrap().series[0].value else {
                    panic!()
                };
                let page = render(&snapshot, Format::Text);
                assert!(page.contains(&format!("h_count {}\n", distribution.count())));
                assert!(page.contains(&format!("le=\"+Inf\"}} {}\n", distribution.count())));
                pages += 1;
            }
            pages
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (counters, histogram) = (counters.clone(), histogram.clone());
                scope.spawn(move || {
                    for at in 0..EACH {
                        counters.with(&[&thread.to_string()]).unwrap().inc();
                        histogram.observe((at % 3) as f64 + 0.5);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    let counted: f64 = registry.snapshot().family("c").unwrap().series.iter().map(|series| number(&series.value)).sum();
    assert_eq!(counted, (THREADS * EACH) as f64);
    let found = histogram.get();
    assert_eq!(found.count(), THREADS * EACH);
    let whole = EACH / 3;
    let each: f64 = (0..EACH).map(|at| (at % 3) as f64 + 0.5).sum();
    assert!(found.counts[0] >= whole * THREADS);
    assert_eq!(found.sum, each * THREADS as f64);
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Distribution(_) => panic!("not a number"),
    }
}

/// A collector that runs what a test gives it.
struct Given<F>(&'static str, F);

impl<F: Fn(&mut Collected) -> Result<()> + Send + Sync> Collector for Given<F> {
    fn name(&self) -> &str {
        self.0
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        (self.1)(out)
    }
}

#[test]
fn a_broken_collector_costs_its_own_families_and_no_others() {
    let registry = Registry::new();
    registry.gauge("own", "").unwrap().set(1.0);
    registry.collect_from(Arc::new(Given("panics", |out: &mut Collected| {
        out.gauge("half", "", 1.0)?;
        panic!("on purpose")
    })));
    registry.collect_from(Arc::new(Given("fails", |_: &mut Collected| Err(Error::internal("x")))));
    registry.collect_from(Arc::new(Given("names badly", |out: &mut Collected| out.gauge("a b", "", 1.0))));
    registry.collect_from(Arc::new(Given("repeats", |out: &mut Collected| out.gauge("own", "", 2.0))));
    registry.collect_from(Arc::new(Given("clashes", |out: &mut Collected| {
        out.counter("c", "", 1.0)?;
        out.gauge("c", "", 2.0)
    })));
    registry.collect_from(Arc::new(Given("goes down", |out: &mut Collected| out.counter("d", "", -1.0))));
    registry.collect_from(Arc::new(Given("fine", |out: &mut Collected| out.gauge("fine", "", 3.0))));
    let page = text(&registry);
    assert!(page.contains("own 1\n") && page.contains("fine 3\n") && page.contains("c_total 1\n"), "{page}");
    assert!(!page.contains("half"), "{page}");
    for (name, failures) in
        [("panics", 1), ("fails", 1), ("names badly", 1), ("repeats", 1), ("clashes", 1), ("goes down", 1), ("fine", 0)]
    {
        let line = format!("uplifted_ops_collector_failures_total{{collector=\"{name}\"}} {failures}\n");
        assert!(page.contains(&line), "{name}: {page}");
    }
    assert!(text(&registry).contains("collector=\"panics\"} 2\n"));
}

#[test]
fn a_collector_may_register_and_give_several_series() {
    let registry = Registry::new();
    let inner = registry.clone();
    registry.collect_from(Arc::new(Given("registers", move |out: &mut Collected| {
        let _ = inner.gauge("late", "");
        let family = Family::new("many", MetricKind::Gauge, "").number(&[("x", "b")], 2.0).number(&[("x", "a")], 1.0);
        out.push(family.number(&[("x", "a")], 9.0))
    })));
    let page = text(&registry);
    assert!(page.contains("many{x=\"a\"} 1\nmany{x=\"b\"} 2\n"), "{page}");
    assert!(text(&registry).contains("late 0\n"));
}

#[test]
fn the_global_registry_has_the_process_and_the_build_from_the_start() {
    let page = text(global());
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
    ] {
        let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 0.0, "{line}");
    }
    let version = format!("version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
    assert!(page.contains("uplifted_ops_build_info{") && page.contains(version.trim_end_matches("} 1\n")), "{page}");
    assert!(page.contains("collector_failures_total{collector=\"process\"} 0\n"));
}

#[test]
fn the_guides_six_have_the_labels_that_its_alerts_assume() {
    let registry = Registry::new();
    let guide = Guide::register(&registry).unwrap();
    guide.requests.with(&["GET", "/status", "500"]).unwrap().inc();
    guide.request_duration.with(&["GET", "/status"]).unwrap().observe(0.012);
    guide.active_plugins.set(10.0);
    guide.tool_calls.with(&["scan"]).unwrap().inc();
    guide.tool_errors.with(&["scan"]).unwrap().inc();
    guide.db_connections.with(&["idle"]).unwrap().set(3.0);
    let page = text(&registry);
    for line in [
        "uplifted_requests_total{method=\"GET\",path=\"/status\",status=\"500\"} 1\n",
        "uplifted_requests_duration_seconds_bucket{method=\"GET\",path=\"/status\",le=\"0.025\"} 1\n",
        "uplifted_requests_duration_seconds_count{method=\"GET\",path=\"/status\"} 1\n",
        "uplifted_active_plugins 10\n",
        "uplifted_tool_calls_total{tool=\"scan\"} 1\n",
        "uplifted_tool_errors_total{tool=\"scan\"} 1\n",
        "uplifted_db_connections{state=\"idle\"} 3\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert!(Guide::register(&registry).is_err());
    assert!(std::ptr::eq(super::guide().unwrap(), super::guide().unwrap()));
}

#[test]
fn our_own_numbers_follow_checks_operations_and_journal() {
    let registry = Registry::new();
    let own = own::Own::register(&registry).unwrap();
    own.check("disk", "warn", 0.25).unwrap();
    own.check("disk", "fail", 0.5).unwrap();
    own.check("gone", "pass", 0.1).unwrap();
    own.forget_check("gone").unwrap();
    own.operation("backup.create", "ok", 3.0).unwrap();
    let page = text(&registry);
    assert!(page.contains("uplifted_ops_check_status{check=\"disk\",status=\"fail\"} 1\n"), "{page}");
    assert!(page.contains("uplifted_ops_check_status{check=\"disk\",status=\"warn\"} 0\n"), "{page}");
    assert!(page.contains("uplifted_ops_check_duration_seconds{check=\"disk\"} 0.5\n"), "{page}");
    assert!(!page.contains("gone"));
    assert!(page.contains("uplifted_ops_operations_total{operation=\"backup.create\",outcome=\"ok\"} 1\n"), "{page}");

    let at = |seconds| crate::clock::Timestamp::from_second(seconds).unwrap();
    let create = |outcome: &str| serde_json::json!({"outcome": outcome, "size_bytes": 1000, "stored_bytes": 100});
    let (complete, partial) = (create("complete"), create("partial"));
    let (ok, bad) = (serde_json::json!({"ok": true}), serde_json::json!({"ok": false}));
    let nothing = serde_json::json!({});
    let answered = serde_json::json!({"ok": true, "depth": "full"});
    let (full, quick) = (serde_json::json!({"depth": "full"}), serde_json::json!({"depth": "quick"}));
    let fact = |time, operation, request, response| own::Fact {
        time: at(time),
        operation,
        request,
        response,
        duration_seconds: 1.5,
    };
    let repository = |bytes: u64| serde_json::json!({"targets": [{"target": "usb", "repository_bytes": bytes, "dead_bytes": 7}, {"target": 1}]});
    let (smaller, larger) = (repository(500), repository(900));
    let sampled = |whole: &[&str]| serde_json::json!({"ok": true, "targets": [{"target": "usb", "whole": whole, "sealed": true}]});
    let (all_of_one, some_of_it) = (sampled(&["1f0c3a9b22de"]), sampled(&[]));
    let facts = [
        fact(720, "backup.collect", None, Some(&larger)),
        fact(710, "backup.collect", None, Some(&smaller)),
        fact(100, "backup.create", None, Some(&complete)),
        fact(300, "backup.create", None, Some(&partial)),
        fact(200, "backup.create", None, Some(&complete)),
        fact(400, "backup.create", None, Some(&serde_json::Value::Null)),
        fact(210, "backup.verify", Some(&full), Some(&ok)),
        fact(500, "backup.verify", Some(&full), Some(&bad)),
        fact(600, "backup.verify", Some(&quick), Some(&ok)),
        fact(700, "config.show", None, Some(&ok)),
        fact(220, "backup.verify", Some(&nothing), Some(&answered)),
        fact(230, "backup.sample", None, Some(&all_of_one)),
        fact(240, "backup.sample", None, Some(&some_of_it)),
    ];
    let history = own::BackupHistory::of(facts);
    assert_eq!((history.last_complete, history.last_verified), (Some(at(200)), Some(at(230))));
    assert_eq!(history.last_proven, Some(at(220)), "nobody has looked into what is encrypted");
    assert_eq!((history.complete, history.partial, history.failed), (2, 1, 1));
    // A drill has looked into what it restored, also where a later verify saw no content.
    let sealed = serde_json::json!({"ok": true, "depth": "full", "level": "sealed"});
    let drilled = own::BackupHistory::of([
        fact(230, "backup.drill", None, Some(&ok)),
        fact(240, "backup.verify", None, Some(&sealed)),
    ]);
    assert_eq!((drilled.last_proven, drilled.last_verified), (Some(at(230)), Some(at(240))));
    let mut snapshot = registry.snapshot();
    snapshot.merge(own::from_journal(facts));
    let page = render(&snapshot, Format::Text);
    assert!(page.contains("uplifted_ops_backup_last_success_timestamp_seconds 200\n"), "{page}");
    assert!(page.contains("uplifted_ops_backups_total{outcome=\"failed\"} 1\n"), "{page}");
    assert!(page.contains("uplifted_ops_backup_last_stored_bytes 100\n"), "{page}");
    assert!(page.contains("uplifted_ops_backup_repository_bytes{target=\"usb\"} 900\n"), "{page}");
    assert!(page.contains("uplifted_ops_backup_repository_dead_bytes{target=\"usb\"} 7\n"), "{page}");
    // Nothing yet: zero, so that an alert on the age fires; and no size.
    let none = own::from_journal([]);
    assert!(none.iter().any(|f| f.name.contains("last_success") && number(&f.series[0].value) == 0.0));
    assert!(!none.iter().any(|f| f.name.contains("size")));
    // Merged twice, a family is there once.
    snapshot.merge(own::from_journal([]));
    let names: Vec<_> = snapshot.families.iter().map(|family| &family.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(names.is_sorted());
}

#[test]
fn the_format_is_the_one_that_was_asked_for() {
    use Format::{OpenMetrics, Text};
    for (accept, format) in [
        (None, Text),
        (Some(""), Text),
        (Some("*/*"), Text),
        (Some("text/html"), Text),
        // Prometheus 2.42, and 3.
        (
            Some(
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ),
            OpenMetrics,
        ),
        (
            Some(
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ),
            OpenMetrics,
        ),
        (Some("application/openmetrics-text; version=\"1.0.0\""), OpenMetrics),
        (Some("Application/OpenMetrics-Text"), OpenMetrics),
        (Some("application/openmetrics-text;version=0.0.1"), Text),
        (Some("application/openmetrics-text;version=1.0.0;q=0"), Text),
        (Some("application/openmetrics-text;q=0.2,text/plain;q=0.9"), Text),
        (Some("application/openmetrics-text;q=banana"), Text),
        (Some(";;;,,,=;q"), Text),
    ] {
        assert_eq!(negotiate(accept), format, "{accept:?}");
    }
    assert_eq!(serde_json::to_string(&OpenMetrics).unwrap(), "\"openmetrics\"");
}

#[test]
fn a_snapshot_crosses_a_pipe_unchanged() {
    let registry = Registry::new();
    registry.gauge("inf", "").unwrap().set(f64::INFINITY);
    registry.histogram("h", "x", &[1.0]).unwrap().observe(3.0);
    registry.counters(Definition::new("c", "").labels(&["a"])).unwrap().with(&["\u{1F600}"]).unwrap().inc();
    let snapshot = registry.snapshot();
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<MetricsSnapshot>(&json).unwrap(), snapshot);
    registry.gauge("nan", "").unwrap().set(f64::NAN);
    let json = serde_json::to_string(&registry.snapshot()).unwrap();
    let back: MetricsSnapshot = serde_json::from_str(&json).unwrap();
    assert!(number(&back.family("nan").unwrap().series[0].value).is_nan());
}
