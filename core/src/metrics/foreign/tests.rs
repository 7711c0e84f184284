use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::metrics::{Definition, Format, Registry};

type Memory = [AtomicU64; ForeignCells::CHUNK];

/// An interpreter: its memory outlives its cells, for fields are dropped in order.
struct Interpreter {
    cells: ForeignCells,
    chunks: std::sync::Mutex<std::collections::BTreeMap<u32, Box<Memory>>>,
}

impl Interpreter {
    fn new() -> Self {
        Self { cells: ForeignCells::new(), chunks: std::sync::Mutex::default() }
    }

    #[allow(unsafe_code, reason = "memory that another writes cannot be lent without")]
    fn with<R>(&self, id: u32, then: impl FnOnce(&AtomicU64) -> R) -> R {
        let mut chunks = self.chunks.lock().unwrap();
        let number = id / ForeignCells::CHUNK as u32;
        let memory = chunks.entry(number).or_insert_with(|| {
            let memory: Box<Memory> = Box::new([const { AtomicU64::new(0) }; ForeignCells::CHUNK]);
            // SAFETY: the memory is dropped after `cells`, and written by atomics alone.
            assert!(unsafe { self.cells.attach(number, NonNull::from(&memory[0])) });
            memory
        });
        then(&memory[id as usize % ForeignCells::CHUNK])
    }

    /// As an interpreter adds: with a load and a store.
    fn add(&self, id: u32, by: f64) {
        self.with(id, |cell| {
            cell.store((f64::from_bits(cell.load(Ordering::Relaxed)) + by).to_bits(), Ordering::Relaxed);
        });
    }

    fn at(&self, id: u32) -> f64 {
        self.with(id, |cell| f64::from_bits(cell.load(Ordering::Relaxed)))
    }

    fn set(&self, id: u32, value: f64) {
        self.with(id, |cell| cell.store(value.to_bits(), Ordering::Relaxed));
    }

    fn settle(&self, gauge: &HostGauge) -> bool {
        self.with(gauge.place().first, |_| ());
        gauge.settle(&self.cells)
    }
}

#[test]
fn what_interpreters_count_is_summed_and_stays_when_they_end() {
    let registry = Registry::new();
    let counter = registry.counter("c", "").unwrap();
    let histogram = registry.histogram("h", "", &[1.0, 2.0]).unwrap();
    counter.inc_by(3);
    histogram.observe(0.5);
    let (first, second) = (Interpreter::new(), Interpreter::new());
    for interpreter in [&first, &second] {
        interpreter.add(counter.place().first, 1.0);
        interpreter.add(counter.place().first, 0.25);
        interpreter.add(histogram.place().first + 2, 1.0);
        interpreter.add(histogram.place().second, 7.0);
    }
    let check = || {
        assert_eq!(counter.get(), 5.5);
        let distribution = histogram.get();
        assert_eq!((&*distribution.counts, distribution.sum), (&[1, 0, 2][..], 14.5));
    };
    check();
    drop(first);
    check();
    drop(second);
    check();
    histogram.refuse();
    assert!(registry.render(Format::Text).contains("refused_observations_total{family=\"h\"} 1\n"));
}

#[test]
fn a_chunk_is_attached_once() {
    let interpreter = Interpreter::new();
    interpreter.add(0, 0.0);
    let other: Box<Memory> = Box::new([const { AtomicU64::new(0) }; ForeignCells::CHUNK]);
    #[allow(unsafe_code, reason = "memory that another writes cannot be lent without")]
    // SAFETY: it is refused.
    let attached = unsafe { interpreter.cells.attach(0, NonNull::from(&other[0])) };
    assert!(!attached);
}

#[test]
fn cells_that_are_used_again_begin_at_zero_everywhere() {
    let registry = Registry::new();
    let interpreter = Interpreter::new();
    let family = registry.counters(Definition::new("c", "").labels(&["n"])).unwrap();
    for n in 0..2_000 {
        let counter = family.with(&[&n.to_string()]).unwrap();
        assert_eq!(counter.get(), 0.0, "{n}");
        interpreter.add(counter.place().first, 1.5);
        assert_eq!(counter.get(), 1.5, "{n}");
        family.clear();
    }
}

#[test]
fn a_gauge_goes_home_with_its_value_and_comes_back_with_it() {
    let registry = Registry::new();
    let gauge = registry.gauge("g", "").unwrap();
    gauge.set(4.0);
    let page = |value: &str| assert!(registry.render(Format::Text).ends_with(&format!("\ng {value}\n")));
    let interpreter = Interpreter::new();
    let handle = HostGauge::new(&gauge);
    assert!(interpreter.settle(&handle));
    let place = handle.place();
    assert_eq!((interpreter.at(place.first), interpreter.at(place.second)), (4.0, 0.0));
    interpreter.set(place.first, 9.0);
    page("9");
    interpreter.set(place.first, f64::NAN);
    page("NaN");
    interpreter.set(place.first, -1.5);
    // A second handle of the same environment is not at home.
    let again = HostGauge::new(&gauge);
    assert!(!interpreter.settle(&again));
    assert_eq!(interpreter.at(place.second), 1.0);
    drop(again);
    page("-1.5");
    drop(interpreter);
    page("-1.5");
    drop(handle);
    page("-1.5");
    assert_eq!(gauge.get(), -1.5);
}

#[test]
fn of_two_environments_neither_loses_what_it_sets_or_adds() {
    let registry = Registry::new();
    let gauge = registry.gauge("g", "").unwrap();
    let (first, second) = (Interpreter::new(), Interpreter::new());
    let (mine, yours) = (HostGauge::new(&gauge), HostGauge::new(&gauge));
    assert!(first.settle(&mine));
    first.set(mine.place().first, 5.0);
    assert!(!second.settle(&yours));
    assert_eq!(first.at(mine.place().second), 1.0, "the flag is up");
    yours.add(2.0);
    // Was under way when the flag went up.
    first.add(mine.place().first, 1.0);
    assert_eq!((yours.get(), mine.get()), (8.0, 8.0));
    yours.set(3.0);
    // Whoever set last wins, also over what lies at home.
    assert_eq!(mine.get(), 3.0);
    mine.leave();
    mine.add(1.0);
    assert_eq!(yours.get(), 4.0);
    drop((mine, first));
    assert_eq!(yours.get(), 4.0);
    let third = HostGauge::new(&gauge);
    assert!(second.settle(&third));
    assert_eq!((second.at(third.place().first), gauge.get()), (4.0, 0.0));
    // Given back to one that reads it without asking where it is.
    drop(third);
    assert_eq!(gauge.get(), 4.0);
}

#[test]
fn readers_see_nothing_twice_while_environments_come_and_go() {
    let registry = Registry::new();
    let counter = registry.counter("c", "").unwrap();
    let gauge = registry.gauge("g", "").unwrap();
    gauge.set(7.0);
    let place = counter.place();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, shown) = (0.0, HostGauge::new(&gauge));
            while !done.load(Ordering::Acquire) {
                let now = counter.get();
                assert!(now >= last, "{now} after {last}");
                last = now;
                assert_eq!(shown.get(), 7.0);
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let interpreter = Interpreter::new();
                        let handle = HostGauge::new(&gauge);
                        let settled = interpreter.settle(&handle);
                        (0..100).for_each(|_| interpreter.add(place.first, 1.0));
                        if settled {
                            handle.leave();
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    assert_eq!(counter.get(), 40_000.0);
}

#[test]
fn a_family_is_in_as_many_registries_as_adopt_it() {
    let family = crate::metrics::CounterFamily::detached(Definition::new("c_total", "")).unwrap();
    let (one, two) = (Registry::new(), Registry::new());
    one.adopt(&family).unwrap();
    two.adopt(&family).unwrap();
    one.adopt(&family).unwrap_err();
    family.inc(&[]).unwrap();
    assert_eq!(one.render(Format::Text), two.render(Format::Text));
    assert!(two.remove(family.name()) && !two.remove(family.name()));
    assert_eq!(two.render(Format::Text), "");
    two.gauge("c", "").unwrap();
    assert!(one.render(Format::Text).contains("c_total 1\n"));
}
