//! Threads that work on jobs and hand the results back in the order of the jobs.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// How many threads where the settings say `asked`: 0 is one for each core, at most 8, past which one that reads or the
/// disk is the limit.
pub(in crate::backup) fn threads(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(8),
        asked => asked,
    }
}

/// A few threads, each with its own state (a compressor, a cache of open folders). Whoever submits bounds the
/// memory by [`Pool::in_flight`].
pub(in crate::backup) struct Pool<J, R> {
    jobs: Option<Sender<(u64, J)>>,
    /// `None` where a worker panicked.
    results: Receiver<(u64, Option<R>)>,
    stop: Arc<AtomicBool>,
    /// Results that came before an earlier job's.
    early: BTreeMap<u64, R>,
    submitted: u64,
    taken: u64,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static, R: Send + 'static> Pool<J, R> {
    /// Starts a thread for each of `workers`.
    pub(in crate::backup) fn new<W>(workers: Vec<W>) -> Result<Self>
    where
        W: FnMut(J) -> R + Send + 'static,
    {
        let (jobs, queue) = mpsc::channel();
        let (done, results) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let stop = Arc::new(AtomicBool::new(false));
        let mut pool = Self {
            jobs: Some(jobs),
            results,
            stop: Arc::clone(&stop),
            early: BTreeMap::new(),
            submitted: 0,
            taken: 0,
            threads: Vec::new(),
        };
        for worker in workers {
            let (queue, done, stop) = (Arc::clone(&queue), done.clone(), Arc::clone(&stop));
            let thread = std::thread::Builder::new()
                .name("backup".to_owned())
                .spawn(move || serve(&queue, &done, &stop, worker))
                .map_err(|e| Error::io("start a thread", e))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Gives the threads a job. Never waits.
    pub(in crate::backup) fn submit(&mut self, job: J) -> Result<()> {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send((self.submitted, job)).is_ok());
        self.submitted += 1;
        if sent == Some(true) { Ok(()) } else { Err(died()) }
    }

    /// How many jobs are submitted whose result was not taken.
    pub(in crate::backup) fn in_flight(&self) -> u64 {
        self.submitted - self.taken
    }

    /// Waits for the result of the oldest job not taken.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when a worker panicked, or nothing is in flight.
    pub(in crate::backup) fn next(&mut self) -> Result<R> {
        loop {
            if let Some(result) = self.early.remove(&self.taken) {
                self.taken += 1;
                return Ok(result);
            }
            if self.in_flight() == 0 {
                return Err(Error::internal("no job is in flight"));
            }
            let (number, result) = self.results.recv().map_err(|_| died())?;
            self.early.insert(number, result.ok_or_else(died)?);
        }
    }
}

impl<J, R> Drop for Pool<J, R> {
    fn drop(&mut self) {
        // Nobody wants the results of the jobs that still wait.
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was reported by `next`, or nobody asks any more.
            let _ = thread.join();
        }
    }
}

fn serve<J, R, W: FnMut(J) -> R>(
    queue: &Mutex<Receiver<(u64, J)>>,
    done: &Sender<(u64, Option<R>)>,
    stop: &AtomicBool,
    mut worker: W,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, job)) = job else { return };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // A panic must reach whoever waits for the result: the other threads keep the channel open.
        let result = catch_unwind(AssertUnwindSafe(|| worker(job))).ok();
        let panicked = result.is_none();
        if done.send((number, result)).is_err() || panicked {
            return;
        }
    }
}

fn died() -> Error {
    Error::internal("a thread of the backup ended early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let worker = |job: u64| {
            if job.is_multiple_of(3) {
                std::thread::yield_now();
            }
            job * 2
        };
        let mut pool = Pool::new(vec![worker; 3]).unwrap();
        for job in 0..100 {
            pool.submit(job).unwrap();
        }
        for job in 0..100 {
            assert_eq!(pool.next().unwrap(), job * 2);
        }
        assert!(pool.next().is_err());
    }

    #[test]
    fn a_panic_is_an_error_not_a_hang() {
        let mut pool = Pool::new(vec![|job: u64| if job == 1 { panic!("on purpose") } else { job }; 2]).unwrap();
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        assert_eq!(pool.next().unwrap(), 0);
        assert!(pool.next().is_err());
    }
}
