//! Questions that may never be answered, such as the free space of a network mount whose server is gone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// Asks one question about many things, within a deadline.
///
/// The questions are asked one after the other on another thread. One that hangs is left behind with its thread, and
/// the rest are asked on a new one; until it returns that thing is not asked again, so that each thing costs one stuck
/// thread at the most, however often it is asked about.
#[derive(Debug, Default)]
pub(super) struct Patient {
    asking: Arc<Mutex<BTreeSet<String>>>,
}

/// What is asked: a name in, an answer out.
pub(super) type Question<T> = Arc<dyn Fn(&str) -> T + Send + Sync>;

impl Patient {
    /// The answers in the order of `names`; `None` for what hangs, panics, or came too late.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        names: &[String],
        question: &Question<T>,
        deadline: Duration,
    ) -> Vec<Option<T>> {
        let clock = SystemClock;
        let until = clock.monotonic() + deadline;
        // What answers at all answers at once: half of the time is a lot, and leaves some for the others.
        let patience = deadline / 2;
        let mut answers: Vec<Option<T>> = names.iter().map(|_| None).collect();
        let mut rest: Vec<usize> = {
            let asking = self.asking();
            (0..names.len()).filter(|at| !asking.contains(&names[*at])).collect()
        };
        while !rest.is_empty() {
            let Some(receiver) = self.walk(names, &rest, question) else { break };
            let hung = loop {
                let left = until.saturating_sub(clock.monotonic());
                match receiver.recv_timeout(patience.min(left)) {
                    Ok((at, answer)) => {
                        answers[at] = answer;
                        rest.retain(|other| *other != at);
                    }
                    // It has asked all, or its thread could not go on.
                    Err(RecvTimeoutError::Disconnected) => break false,
                    Err(RecvTimeoutError::Timeout) => break true,
                }
            };
            if !hung || clock.monotonic() >= until {
                break;
            }
            let asking = self.asking();
            rest.retain(|at| !asking.contains(&names[*at]));
        }
        answers
    }

    /// Begins to ask.
    fn walk<T: Send + 'static>(
        &self,
        names: &[String],
        wanted: &[usize],
        question: &Question<T>,
    ) -> Option<Receiver<(usize, Option<T>)>> {
        let (send, receive) = channel();
        let mut queue: VecDeque<(usize, String)> = wanted.iter().map(|at| (*at, names[*at].clone())).collect();
        let (asking, question) = (Arc::clone(&self.asking), Arc::clone(question));
        let walk = move || {
            while let Some((at, name)) = queue.pop_front() {
                lock(&asking).insert(name.clone());
                let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| question(&name))).ok();
                lock(&asking).remove(&name);
                // Nobody waits any more: somebody else asks for the rest.
                if send.send((at, answer)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("ops-collect".to_owned()).spawn(walk).ok().map(|_| receive)
    }

    fn asking(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.asking)
    }
}

fn lock(asking: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    asking.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, mpsc};

    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_hangs_keeps_nobody_and_is_not_asked_again_until_it_returns() {
        let gate = Arc::new((Mutex::new(true), Condvar::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, returned) = mpsc::channel();
        let told = Mutex::new(told);
        let question: Question<usize> = {
            let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
            Arc::new(move |name| {
                if name == "dead" {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let mut shut = gate.0.lock().unwrap();
                    while *shut {
                        shut = gate.1.wait(shut).unwrap();
                    }
                    let _ = told.lock().unwrap().send(());
                }
                if name == "panics" {
                    panic!("on purpose");
                }
                name.len()
            })
        };
        let patient = Patient::default();
        let all = names(&["a", "dead", "bb", "panics", "ccc"]);
        // Long for what answers, whatever else the machine does.
        let ask = |deadline| patient.ask(&all, &question, deadline);
        assert_eq!(ask(Duration::from_secs(4)), [Some(1), None, Some(2), None, Some(3)]);
        for _ in 0..3 {
            assert_eq!(ask(Duration::from_secs(60)), [Some(1), None, Some(2), None, Some(3)]);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "one thread for one dead mount");
        *gate.0.lock().unwrap() = false;
        gate.1.notify_all();
        returned.recv().unwrap();
        while !patient.asking().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(ask(Duration::from_secs(60)), [Some(1), Some(4), Some(2), None, Some(3)]);
        assert_eq!(patient.ask(&[], &question, Duration::ZERO), []);
    }
}
