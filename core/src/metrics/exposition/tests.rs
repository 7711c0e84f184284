use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::metrics::{Definition, NativeBuckets, Registry};
use crate::testing::random;

/// What Prometheus 2.42 sends by itself, with native histograms, and what 3 sends.
const PLAIN_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                       text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const NATIVE_2: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                        application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const PLAIN_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                       application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                       text/plain;version=0.0.4;q=0.2,/;q=0.1";

#[test]
fn a_scraper_gets_what_it_likes_best() {
    let of = |accept: &str| Exposition::negotiate(Some(accept)).content_type();
    let proto = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, expected) in [
        (PLAIN_2, open),
        (NATIVE_2, proto),
        (PLAIN_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        ("", text),
        ("*/*", text),
        ("application/json", text),
        ("text/plain;version=1.0.0;escaping=dots", "text/plain; version=1.0.0; charset=utf-8; escaping=dots"),
        ("text/plain; escaping=\"values\"", "text/plain; version=0.0.4; charset=utf-8; escaping=values"),
        ("text/plain;escaping=shouting", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
        ("application/vnd.google.protobuf;encoding=delimited, text/plain;q=0.1", text),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", text),
        ("text/plain, application/openmetrics-text", open),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.8", text),
        ("application/openmetrics-text;q=0", text),
        ("application/openmetrics-text;q=2", text),
        ("application/openmetrics-text;version=0.0.1", text),
    ] {
        assert_eq!(of(accept), expected, "{accept}");
    }
    // Text alone, for those who can hand on nothing else.
    assert_eq!((negotiate(Some(NATIVE_2)), negotiate(None)), (Format::OpenMetrics, Format::Text));
    for (header, takes) in [
        ("gzip", true),
        ("gzip;q=0", false),
        ("deflate, gzip;q=1.0, *;q=0.5", true),
        ("*", true),
        ("*;q=0", false),
        ("gzip;q=0, *", false),
        ("identity", false),
        ("", false),
    ] {
        assert_eq!(accepts_gzip(header), takes, "{header}");
    }
}

#[test]
fn names_by_each_scheme() {
    for (name, underscores, dots, values) in [
        ("plain_name:x", "plain_name:x", "plain__name:x", "plain_name:x"),
        (
            "http.server.duration",
            "http_server_duration",
            "http_dot_server_dot_duration",
            "U__http_2e_server_2e_duration",
        ),
        ("a_b.c", "a_b_c", "a__b_dot_c", "U__a__b_2e_c"),
        ("1st", "_st", "__st", "U___31_st"),
        ("é/\u{1F600}", "___", "______", "U___e9__2f__1f600_"),
    ] {
        assert_eq!(Escaping::Underscores.name(name), underscores);
        assert_eq!(Escaping::Dots.name(name), dots);
        assert_eq!(Escaping::Values.name(name), values);
        assert_eq!(Escaping::AllowUtf8.name(name), name);
    }
    assert_eq!((Escaping::Underscores.label("a:b"), Escaping::Values.label("a:b")), ("a_b".into(), "U__a_3a_b".into()));
}

fn page(registry: &Registry, encoding: Encoding, escaping: Escaping) -> String {
    let mut out = Vec::new();
    let exposition = Exposition { encoding, escaping: Some(escaping) };
    registry.expose_into(&mut out, exposition, []);
    assert_eq!(out, exposition.write(&registry.snapshot()));
    String::from_utf8(out).unwrap()
}

#[test]
fn names_of_any_characters_on_a_page() {
    let registry = Registry::new();
    let define =
        || Definition::new("http.requests", "Requests").labels(&["http.method", "path", "a:\"b\""]).any_names();
    registry.counters(define()).unwrap().with(&["G\"T", "/", "x"]).unwrap().inc();
    registry
        .histograms(Definition::new("took.time", "").any_names().bounds(&[1.0]))
        .unwrap()
        .with(&[])
        .unwrap()
        .observe(2.0);
    assert_eq!(
        page(&registry, Encoding::Text1, Escaping::AllowUtf8),
        "# HELP \"http.requests_total\" Requests\n# TYPE \"http.requests_total\" counter\n\
         {\"http.requests_total\",\"http.method\"=\"G\\\"T\",path=\"/\",\"a:\\\"b\\\"\"=\"x\"} 1\n\
         # TYPE \"took.time\" histogram\n\
         {\"took.time_bucket\",le=\"1.0\"} 0\n{\"took.time_bucket\",le=\"+Inf\"} 1\n\
         {\"took.time_sum\"} 2\n{\"took.time_count\"} 1\n"
    );
    assert!(
        page(&registry, Encoding::Text, Escaping::Underscores)
            .contains("\nhttp_requests_total{http_method=\"G\\\"T\",path=\"/\",a__b_=\"x\"} 1\n")
    );
    let dots = page(&registry, Encoding::Text, Escaping::Dots);
    assert!(
        dots.contains("\nhttp_dot_requests__total{http_dot_method=\"G\\\"T\",path=\"/\",a____b__=\"x\"} 1\n"),
        "{dots}"
    );
    let values = page(&registry, Encoding::OpenMetrics, Escaping::Values);
    assert!(
        values.contains("# TYPE U__http_2e_requests counter\nU__http_2e_requests__total{U__http_2e_method=\"G"),
        "{values}"
    );
    assert!(registry.render(Format::Text).contains("\ntook_time_bucket{le=\"1.0\"} 0\n"));

    // To those who read `_` for them, these would be one.
    let refused = |definition: Definition| registry.counters(definition).unwrap_err().to_string();
    assert!(refused(Definition::new("http_requests", "")).contains("twice"));
    assert!(refused(Definition::new("http/requests", "").any_names()).contains("twice"));
    assert!(refused(Definition::new("x", "").labels(&["a.b", "a_b"]).any_names()).contains("twice"));
    assert!(refused(Definition::new("x", "").labels(&["_._"]).any_names()).contains("reserved"));
    assert!(refused(Definition::new("", "").any_names()).contains("0 bytes"));
    assert!(refused(Definition::new("a.b", "")).contains("not a metric name"));
}

/// A message, read by the rules of the encoding: numbers of fields with what they hold.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Whole(u64),
    Float(f64),
    Bytes(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first < &0x80 {
            break;
        }
    }
    value
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len);
    *bytes = rest;
    taken
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Held)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let held = match key & 7 {
            0 => Held::Whole(varint(&mut bytes)),
            1 => Held::Float(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let len = varint(&mut bytes) as usize;
                Held::Bytes(take(&mut bytes, len).to_vec())
            }
            kind => panic!("kind {kind}"),
        };
        fields.push((key >> 3, held));
    }
    fields
}

fn families(mut page: &[u8]) -> Vec<Vec<(u64, Held)>> {
    let mut families = Vec::new();
    while !page.is_empty() {
        let len = varint(&mut page) as usize;
        families.push(fields(take(&mut page, len)));
    }
    families
}

fn all(message: &[(u64, Held)], field: u64) -> Vec<&Held> {
    message.iter().filter(|(number, _)| *number == field).map(|(_, held)| held).collect()
}

fn inner(message: &[(u64, Held)], field: u64) -> Vec<Vec<(u64, Held)>> {
    let bytes = all(message, field).into_iter().map(|held| match held {
        Held::Bytes(bytes) => fields(bytes),
        other => panic!("{other:?}"),
    });
    bytes.collect()
}

fn text(held: &Held) -> &str {
    if let Held::Bytes(bytes) = held { std::str::from_utf8(bytes).unwrap() } else { panic!("{held:?}") }
}

#[test]
fn protobuf_holds_what_the_snapshot_holds() {
    let clock = Arc::new(ManualClock::new("2026-03-10T02:00:00.25Z".parse().unwrap()));
    let registry = Registry::with_clock(clock);
    let long = "x".repeat(1_000);
    let counters = registry.counters(Definition::new("c", "Counted \"so\"\n").labels(&["a", "b"])).unwrap();
    counters.with(&["q\"\\\n", &long]).unwrap().inc_by(9_007_199_254_740_993);
    counters.inc_with_exemplar(&["plain", ""], &[("trace_id", "abc")]).unwrap();
    registry.gauge("g_seconds", "").unwrap().set(f64::NEG_INFINITY);
    let took = registry.histogram("h", "", &[-1.0, 2.0]).unwrap();
    took.observe(-5.0);
    took.observe_with_exemplar(1.5, &[("trace_id", "def")]).unwrap();
    took.observe(7.0);
    let exposition = Exposition { encoding: Encoding::Protobuf, escaping: None };
    let mut page = Vec::new();
    registry.expose_into(&mut page, exposition, []);
    assert_eq!(page, exposition.write(&registry.snapshot()));

    let families = families(&page);
    let named: Vec<_> = families.iter().map(|family| (text(all(family, 1)[0]), all(family, 3)[0].clone())).collect();
    assert_eq!(named, [("c_total", Held::Whole(0)), ("g_seconds", Held::Whole(1)), ("h", Held::Whole(4))]);
    assert_eq!(text(all(&families[0], 2)[0]), "Counted \"so\"\n");
    let labels = |metric: &[(u64, Held)]| -> Vec<(String, String)> {
        let pairs = inner(metric, 1);
        pairs.iter().map(|pair| (text(all(pair, 1)[0]).to_owned(), text(all(pair, 2)[0]).to_owned())).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let metrics = inner(&families[0], 4);
    assert_eq!(labels(&metrics[0]), [pair("a", "plain"), pair("b", "")]);
    assert_eq!(labels(&metrics[1]), [pair("a", "q\"\\\n"), pair("b", &long)]);
    let counted = inner(&metrics[0], 3).remove(0);
    assert_eq!(all(&counted, 1), [&Held::Float(1.0)]);
    let exemplar = inner(&counted, 2).remove(0);
    assert_eq!(labels(&exemplar), [pair("trace_id", "abc")]);
    let time: Timestamp = "2026-03-10T02:00:00.25Z".parse().unwrap();
    let expected = [(1, Held::Whole(time.as_second() as u64)), (2, Held::Whole(250_000_000))];
    assert_eq!(inner(&exemplar, 3), [expected]);

    let histogram = inner(&inner(&families[2], 4)[0], 7).remove(0);
    assert_eq!((all(&histogram, 1), all(&histogram, 2)), (vec![&Held::Whole(3)], vec![&Held::Float(3.5)]));
    let buckets = inner(&histogram, 3);
    let told: Vec<_> = buckets.iter().map(|bucket| (all(bucket, 1)[0].clone(), all(bucket, 2)[0].clone())).collect();
    let bucket = |count, upper| (Held::Whole(count), Held::Float(upper));
    assert_eq!(told, [bucket(1, -1.0), bucket(2, 2.0), bucket(3, f64::INFINITY)]);
    assert_eq!(buckets.iter().map(|bucket| inner(bucket, 3).len()).collect::<Vec<_>>(), [0, 1, 0]);
}

#[test]
fn native_buckets_are_spans_and_differences() {
    let registry = Registry::new();
    let native = NativeBuckets::default().schema(0).zero_threshold(0.001);
    let define = |name| Definition::new(name, "").bounds(&[]).native(native);
    let took = registry.histograms(define("h")).unwrap().with(&[]).unwrap();
    // Buckets 1, 1, 2, 5 (a gap of two), 10 (one of four), and -3 below zero; one at zero.
    for value in [2.0, 1.5, 3.0, 20.0, 1000.0, -0.1, 0.0] {
        took.observe(value);
    }
    registry.histograms(define("none")).unwrap().with(&[]).unwrap();
    let families = families(&Exposition { encoding: Encoding::Protobuf, escaping: None }.write(&registry.snapshot()));
    let histogram = inner(&inner(&families[0], 4)[0], 7).remove(0);
    let whole = |field| -> Vec<u64> {
        let held = all(&histogram, field).into_iter().map(|held| if let Held::Whole(n) = held { *n } else { panic!() });
        held.collect()
    };
    let signed = |field| whole(field).into_iter().map(|n| (n >> 1) as i64 ^ -((n & 1) as i64)).collect::<Vec<_>>();
    assert_eq!((whole(1), signed(5), whole(7)), (vec![7], vec![0], vec![1]));
    assert_eq!(all(&histogram, 6), [&Held::Float(0.001)]);
    let spans = |field| -> Vec<(i64, u64)> {
        let spans = inner(&histogram, field).into_iter().map(|span| {
            let [(1, Held::Whole(offset)), (2, Held::Whole(length))] = &span[..] else { panic!("{span:?}") };
            ((offset >> 1) as i64 ^ -((offset & 1) as i64), *length)
        });
        spans.collect()
    };
    assert_eq!((spans(12), signed(13)), (vec![(1, 5), (4, 1)], vec![2, -1, -1, 0, 1, 0]));
    assert_eq!((spans(9), signed(10)), (vec![(-3, 1)], vec![1]));
    // One without observations tells that it is native.
    let empty = inner(&inner(&families[1], 4)[0], 7).remove(0);
    assert_eq!(inner(&empty, 12), [vec![]]);
    // Others show what they can.
    assert!(registry.render(Format::Text).contains("h_bucket{le=\"+Inf\"} 7\nh_sum "));
}

#[test]
fn examples_stand_behind_their_lines_in_openmetrics_alone() {
    let clock = Arc::new(ManualClock::new("2026-03-10T02:00:00.25Z".parse().unwrap()));
    let registry = Registry::with_clock(Arc::clone(&clock) as _);
    let counter = registry.counter("c", "").unwrap();
    counter.inc_by_with_exemplar(3, &[("trace_id", "a\"b"), ("span_id", "1")]).unwrap();
    let took = registry.histograms(Definition::new("h", "").labels(&["n"]).bounds(&[1.0])).unwrap();
    took.observe_with_exemplar(&["x"], 0.5, &[("trace_id", "old")]).unwrap();
    took.observe_with_exemplar(&["x"], 0.75, &[]).unwrap();
    took.observe_with_exemplar(&["x"], f64::NAN, &[("trace_id", "nan")]).unwrap();
    took.observe(&["y"], 9.0).unwrap();
    let open = registry.render(Format::OpenMetrics);
    assert_eq!(open, render(&registry.snapshot(), Format::OpenMetrics));
    let time = "1773108000.25";
    assert!(open.contains(&format!("c_total 3 # {{trace_id=\"a\\\"b\",span_id=\"1\"}} 3 {time}\n")), "{open}");
    assert!(open.contains(&format!("h_bucket{{n=\"x\",le=\"1.0\"}} 2 # {{}} 0.75 {time}\n")), "{open}");
    assert!(open.contains("h_bucket{n=\"x\",le=\"+Inf\"} 2\n") && open.contains("h_bucket{n=\"y\",le=\"+Inf\"} 1\n"));
    assert!(!registry.render(Format::Text).contains(" # {"));

    // What cannot be kept is counted all the same.
    let long = "é".repeat(121);
    for wrong in [&[("trace_id", &*long)][..], &[("a", "1"), ("a", "2")], &[("not a name", "x")]] {
        assert!(counter.inc_with_exemplar(wrong).unwrap_err().hint().is_some());
    }
    counter.inc_with_exemplar(&[("trace_id", &long[..240])]).unwrap();
    assert_eq!(counter.get(), 7.0);
    // Another series in the same cells has none of them.
    took.remove(&["x"]).unwrap();
    drop(registry.render(Format::Text));
    took.observe(&["z"], 0.5).unwrap();
    assert!(!registry.render(Format::OpenMetrics).contains("0.75"));
}

#[test]
fn gzip_is_what_it_was() {
    let registry = Registry::new();
    let many = registry.counters(Definition::new("c", "").labels(&["n"])).unwrap();
    (0..1_000).for_each(|n| many.inc(&[&n.to_string()]).unwrap());
    let page = registry.render(Format::Text);
    let packed = gzip(page.as_bytes()).unwrap();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
    assert!(unpacked == page && packed.len() * 4 < page.len());
}

#[test]
fn any_text_in_every_format_reads_back() {
    let mut random = random::seeded("exposition");
    let alphabet: Vec<char> = "ab_:.9 \"\\\n{}=,#é\u{1F600}\t\r\0\u{1}".chars().collect();
    let mut word =
        |max: usize| -> String { (0..random.usize(1..=max)).map(|_| *random.choice(&alphabet).unwrap()).collect() };
    for _ in 0..200 {
        let registry = Registry::new();
        let (name, label, value, help) = (word(12), word(12), word(40), word(40));
        let define = Definition::new(&name, &help).labels(&[&label]).any_names();
        let Ok(counters) = registry.counters(define) else { continue };
        counters.inc(&[&value]).unwrap();
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        let page = Exposition { encoding: Encoding::Protobuf, escaping: Some(Escaping::AllowUtf8) };
        let mut out = Vec::new();
        registry.expose_into(&mut out, page, []);
        let family = families(&out).remove(0);
        let base = name.strip_suffix("_total").unwrap_or(&name);
        assert_eq!(text(all(&family, 1)[0]), clean(base) + "_total");
        let pair = inner(&inner(&family, 4)[0], 1).remove(0);
        assert_eq!((text(all(&pair, 1)[0]), text(all(&pair, 2)[0])), (&*clean(&label), &*clean(&value)));
        for escaping in [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values] {
            for encoding in [Encoding::Text, Encoding::OpenMetrics] {
                let page = self::page(&registry, encoding, escaping);
                let end = usize::from(encoding == Encoding::OpenMetrics);
                assert_eq!(page.lines().count(), 3 + end, "{page}");
                let sample = page.lines().nth(2).unwrap();
                assert!(sample.ends_with("} 1"), "{page}");
                if escaping != Escaping::AllowUtf8 {
                    let (name, rest) = sample.split_once('{').unwrap();
                    let (label, _) = rest.split_once('=').unwrap();
                    assert!(names::is_plain(name) && names::is_plain_label(label), "{page}");
                }
            }
        }
    }
}
