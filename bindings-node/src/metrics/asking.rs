//! The `collect` functions of JavaScript, asked for by whoever reads the process's metrics: the listener, a sink, the history.
//!
//! They run on the event loop they belong to. A reader waits for it within a deadline, and shows the last known numbers where it is
//! over, as where a function throws: `uplifted_ops_collector_failures_total{collector="javascript"}` tells.

use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use uplifted_ops::clock::{Clock, SystemClock};
use uplifted_ops::metrics::{Collected, Collector, global};
use uplifted_ops::{Error, ErrorKind, Result};

/// How long a reader waits for all event loops together.
const DEADLINE: Duration = Duration::from_secs(1);
/// What was collected within this time is not collected again.
const FRESH: Duration = Duration::from_millis(100);

type Ask = FnArgs<(f64,)>;

/// The event loops that have something to collect.
static LOOPS: LazyLock<Mutex<Vec<Arc<Loop>>>> = LazyLock::new(Mutex::default);

struct Loop {
    ask: ThreadsafeFunction<f64, (), Ask, Status, false, true>,
    thread: ThreadId,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The question that is under way, and when it was asked.
    asked: Option<(u64, Duration)>,
    /// How many there have been.
    count: u64,
    /// When it was collected last.
    collected: Option<Duration>,
    /// What the last answer complained of.
    trouble: Option<String>,
    ended: bool,
}

impl Loop {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, unless that is under way, or was done just now. Says whether there is something to wait for.
    fn begin(&self, now: Duration) -> bool {
        let mut state = self.state();
        let is_fresh = state.collected.is_some_and(|at| now.saturating_sub(at) < FRESH);
        if state.ended || is_fresh || state.asked.is_some() {
            return state.asked.is_some();
        }
        state.count += 1;
        let call = state.count;
        state.asked = Some((call, now));
        drop(state);
        let is_asked = self.ask.call(call as f64, ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok;
        if !is_asked {
            // Only an event loop that ends refuses.
            self.state().asked = None;
        }
        is_asked
    }

    /// Waits for the answer. A question that is older than the deadline is not waited for: a loop that hangs costs one reader its
    /// second, and not each.
    fn wait(&self, clock: &SystemClock) -> Result<()> {
        let mut state = self.state();
        while let Some((_, asked)) = state.asked.filter(|_| !state.ended) {
            let left = (asked + DEADLINE).saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the event loop did not run its collect functions within {} s", DEADLINE.as_secs()),
                )
                .with_hint("see what keeps it busy; the metrics show the last known numbers meanwhile"));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.trouble {
            Some(trouble) => Err(Error::invalid(format!("a collect function threw: {trouble}"))),
            None => Ok(()),
        }
    }

    fn answer(&self, call: Option<u64>, trouble: Option<String>) {
        let mut state = self.state();
        if call.is_none() || state.asked.is_some_and(|(asked, _)| Some(asked) == call) {
            if call.is_some() {
                state.asked = None;
            }
            state.collected = Some(SystemClock.monotonic());
            state.trouble = trouble;
        }
        drop(state);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }
}

/// Asks the event loops of the process.
struct FromJavaScript;

impl Collector for FromJavaScript {
    fn name(&self) -> &str {
        "javascript"
    }

    /// Gives no families: the functions set instruments, which are read after this.
    fn collect(&self, _: &mut Collected) -> Result<()> {
        let (clock, here) = (SystemClock, std::thread::current().id());
        let now = clock.monotonic();
        let mut asked = loops().clone();
        // Nobody waits for itself: JavaScript that reads has collected before.
        asked.retain(|it| it.thread != here && it.begin(now));
        let answers: Vec<Result<()>> = asked.iter().map(|it| it.wait(&clock)).collect();
        answers.into_iter().collect()
    }
}

fn loops() -> MutexGuard<'static, Vec<Arc<Loop>>> {
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What asks the `collect` functions of this environment.
#[napi]
pub struct NativeCollecting(Arc<Loop>);

#[napi]
impl NativeCollecting {
    /// `ask` is called with the number of a question whenever the metrics are read, answers it, and throws nothing.
    #[napi(constructor)]
    pub fn new(env: Env, ask: Function<'_, Ask, ()>) -> napi::Result<Self> {
        static REGISTER: Once = Once::new();
        let ask = ask
            .build_threadsafe_function::<f64>()
            .weak::<true>()
            .build_callback(|context| Ok(FnArgs::from((context.value,))))?;
        let it = Arc::new(Loop {
            ask,
            thread: std::thread::current().id(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        loops().push(Arc::clone(&it));
        env.add_env_cleanup_hook(Arc::clone(&it), |it| {
            loops().retain(|held| !Arc::ptr_eq(held, &it));
            it.end();
        })?;
        REGISTER.call_once(|| global().collect_from(Arc::new(FromJavaScript)));
        Ok(Self(it))
    }

    /// All have run, or one threw.
    #[napi]
    pub fn answer(&self, call: f64, trouble: Option<String>) {
        self.0.answer(Some(call as u64), trouble);
    }

    /// All have run, unasked.
    #[napi]
    pub fn collected(&self) {
        self.0.answer(None, None);
    }
}
