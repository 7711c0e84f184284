use ::metrics::{counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder};

use super::*;
use crate::metrics::{Encoding, Exposition, Format};

fn scene() -> (Registry, Recorder) {
    let registry = Registry::new();
    let recorder = Recorder::of(&registry).unwrap();
    (registry, recorder)
}

/// What was there first must not keep the place of what is asked for.
#[test]
fn keys_that_come_again_are_held_whatever_came_before() {
    let handles = Handles::<Counter>::new();
    let key = |n: usize| Key::from_parts("many", vec![::metrics::Label::new("n", n.to_string())]);
    let asked = |n: usize| {
        let found = handles.get(&key(n)).is_some();
        if !found {
            handles.insert(key(n), None);
        }
        found
    };
    assert!(!(0..3 * MAX_KEYS).any(asked));
    let late = 5 * MAX_KEYS..5 * MAX_KEYS + 64;
    for _ in 0..64 * ADMITTED {
        for n in late.clone() {
            asked(n);
        }
    }
    assert!(late.clone().all(asked));
    let held = handles.held.read().unwrap();
    assert!(held.young.len() + held.old.len() <= MAX_KEYS, "{} {}", held.young.len(), held.old.len());
}

#[test]
fn what_a_host_counts_is_on_the_page() {
    let (registry, recorder) = scene();
    with_local_recorder(&recorder, || {
        describe_counter!("http.requests", Unit::Count, "Requests \"answered\"");
        for status in ["200", "500", "200"] {
            counter!("http.requests", "status" => status, "method" => "GET").increment(1);
            counter!("http.requests", "method" => "GET", "status" => status).increment(10);
        }
        counter!("http.requests").increment(5);
        gauge!("queue_depth", "queue" => "mail").set(4.0);
        gauge!("queue_depth", "queue" => "mail").increment(2.5);
        gauge!("queue_depth", "queue" => "mail").decrement(1.0);
        histogram!("took_seconds").record(0.3);
        histogram!("took_seconds").record_many(20.0, 2);
        // Said late, and with a unit that the name ends in.
        describe_histogram!("took_seconds", Unit::Seconds, "Time");
    });
    let page = registry.render(Format::OpenMetrics);
    assert!(
        page.contains(
            "# HELP http_requests Requests \\\"answered\\\"\n# TYPE http_requests counter\n\
             http_requests_total{method=\"GET\",status=\"200\"} 22\n\
             http_requests_total{method=\"GET\",status=\"500\"} 11\nhttp_requests_total 5\n"
        ),
        "{page}"
    );
    assert!(page.contains("queue_depth{queue=\"mail\"} 5.5\n"), "{page}");
    assert!(page.contains("# HELP took_seconds Time\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n"));
    assert!(page.contains("took_seconds_bucket{le=\"0.5\"} 1\n") && page.contains("took_seconds_sum 40.3\n"), "{page}");
    assert_eq!(page, crate::metrics::render(&registry.snapshot(), Format::OpenMetrics));
    let exposition = Exposition { encoding: Encoding::Protobuf, escaping: None };
    let mut message = Vec::new();
    registry.expose_into(&mut message, exposition, []);
    assert_eq!(message, exposition.write(&registry.snapshot()));
}

#[test]
fn an_absolute_counter_never_goes_back() {
    let (registry, recorder) = scene();
    with_local_recorder(&recorder, || {
        let counter = counter!("seen");
        counter.absolute(9_007_199_254_740_993);
        counter.absolute(7);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let counter = &counter;
                scope.spawn(move || (0..1_000).for_each(|at| counter.absolute(9_007_199_254_740_993 + at * 4 + n)));
            }
        });
    });
    assert!(registry.render(Format::Text).contains("seen_total 9007199254744992"));
}

#[test]
fn what_cannot_be_registered_counts_nowhere_and_is_told() {
    let (registry, recorder) = scene();
    registry.gauge("taken", "").unwrap();
    with_local_recorder(&recorder, || {
        counter!("kind").increment(1);
        for _ in 0..3 {
            gauge!("kind").set(5.0);
            counter!("taken").increment(1);
            counter!("twice", "a.b" => "1", "a_b" => "2").increment(1);
            histogram!("le", "le" => "1").record(1.0);
        }
        for n in 0..100 {
            counter!("flood", format!("label{n}") => "x").increment(1);
        }
    });
    let page = registry.render(Format::Text);
    assert!(page.contains("kind_total 1\n"), "{page}");
    for name in ["kind", "taken", "twice", "le"] {
        assert!(
            page.contains(&format!("uplifted_ops_facade_refused_total{{metric=\"{name}\"}} 1\n")),
            "{name}: {page}"
        );
    }
    assert!(page.contains("uplifted_ops_facade_refused_total{metric=\"flood\"} 36\n"), "{page}");
    assert!(Recorder::of(&registry).is_err());
}

#[test]
fn names_are_kept_where_that_is_wanted_and_bounds_are_by_name() {
    let registry = Registry::new();
    let recorder = Recorder::of(&registry).unwrap().any_names().bounds(&[1.0]).bounds_of("size.bytes", &[1e3, 1e6]);
    let recorder = recorder.native(NativeBuckets::default());
    with_local_recorder(&recorder, || {
        counter!("http.requests", "http.method" => "GET").increment(1);
        histogram!("size.bytes").record(5e3);
        histogram!("took").record(0.5);
    });
    let exposition = Exposition { encoding: Encoding::Text1, escaping: Some(Escaping::AllowUtf8) };
    let mut page = Vec::new();
    registry.expose_into(&mut page, exposition, []);
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("{\"http.requests_total\",\"http.method\"=\"GET\"} 1\n"), "{page}");
    assert!(
        page.contains("{\"size.bytes_bucket\",le=\"1000000.0\"} 1\n") && page.contains("took_bucket{le=\"1.0\"} 1\n")
    );
    assert!(registry.render(Format::Text).contains("http_requests_total{http_method=\"GET\"} 1\n"));
}

/// Whoever chooses label values can reckon the hash of a key, but not where it lies here.
#[test]
fn keys_that_were_chosen_to_collide_do_not() {
    let handles = [(); 2].map(|()| Handles::<Counter>::new());
    assert_ne!(handles[0].secret, handles[1].secret);
    let key = |n: u32| Key::from_parts("paid", vec![::metrics::Label::new("by", n.to_string())]);
    // All begin at the same place of a table that believes the hash.
    let chosen: Vec<Key> = (0..).map(key).filter(|key| key.get_hash() % 1_024 == 7).take(128).collect();
    for handles in &handles {
        let places: std::collections::BTreeSet<u64> = chosen.iter().map(|key| handles.hash(key) % 1_024).collect();
        assert!(places.len() > 96, "{}", places.len());
        chosen.iter().for_each(|key| handles.insert(key.clone(), None));
        assert!(chosen.iter().all(|key| handles.get(key).is_some()));
        // Once, and not again.
        handles.insert(chosen[0].clone(), None);
        assert_eq!(handles.held.read().unwrap().young.len(), 128);
    }
    // Whatever their order, such keys are one; the labels of others differ, and the hash may be the same.
    let (one, two) = (("a", "1"), ("b", "2"));
    let [ab, ba] = [[one, two], [two, one]].map(|labels| Key::from_parts("paid", &labels));
    assert_eq!((&ab, handles[0].hash(&ab)), (&ba, handles[0].hash(&ba)));
}

#[test]
fn one_recorder_is_installed_and_the_next_is_told_why_not() {
    // The only test of this program that installs one.
    Recorder::new().unwrap().install().unwrap();
    counter!("facade_test_installed").increment(3);
    assert!(global().render(Format::Text).contains("facade_test_installed_total 3\n"));
    let error = Recorder::of(&Registry::new()).unwrap().install().unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.hint().unwrap().contains("first thing in main"), "{error}");
}
