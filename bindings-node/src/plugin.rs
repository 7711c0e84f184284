//! An object of JavaScript as a component.
//!
//! One threadsafe function serves an object and what it opens. A call goes out with a number and its arguments as
//! JSON text, and the function returns at once; `lib/host.ts` calls the method, waits for what it returns, and
//! brings the answer to [`Answers`] under that number. An answer to a number that nobody waits for any more is thrown
//! away.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{BufferSlice, FnArgs, Function, ToNapiValue, TypeName, Uint8ArraySlice};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status, ValueType, sys};
use napi_derive::napi;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;
use uplifted_ops::embed::{Argument, Plugin, PluginCall, PluginFacts, PluginReply, Raised, Spelling, methods};
use uplifted_ops::{Cancel, Error, ErrorKind, Progress, ProgressEvent, Result, Scope};

use crate::error::{not_json, thrown};

/// What `lib/host.ts` is told: the word, the call, the object, the method, the arguments as the JSON text of a list,
/// and the block with its place in the list.
type Arguments = FnArgs<(String, i64, u32, String, String, i32, Option<Block>)>;
type Invoke = ThreadsafeFunction<Invocation, (), Arguments, Status, false, true>;

/// The names of methods that an object may have, in JavaScript's spelling.
#[napi]
pub fn plugin_methods() -> Vec<String> {
    let names: HashSet<&str> = methods().map(|method| method.name).collect();
    names.into_iter().map(|name| Spelling::Camel.write(name)).collect()
}

/// An object of JavaScript, to be given to a `Builder` or a suite.
#[napi]
pub struct NativePlugin(Mutex<Option<Arc<Object>>>);

#[napi]
impl NativePlugin {
    /// `facts` is JSON text, see `Facts`; `invoke` makes the calls, and brings the answers to `answers`.
    #[napi(constructor)]
    pub fn new(facts: String, answers: &Answers, invoke: Function<'_, Arguments, ()>) -> napi::Result<Self> {
        let facts = parse_facts(&facts).map_err(|error| thrown(&error))?;
        let invoke = invoke
            .build_threadsafe_function::<Invocation>()
            .weak::<true>()
            .build_callback(|context| Ok(context.value.into_arguments()))?;
        let host = Arc::new(Host { invoke, waiting: Arc::clone(&answers.0), last: AtomicI64::new(0) });
        Ok(Self(Mutex::new(Some(Arc::new(Object { facts, id: 0, host })))))
    }

    /// The object, once: JavaScript keeps none of what keeps its function.
    pub(crate) fn take(&self) -> napi::Result<Arc<dyn Plugin>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match taken {
            Some(object) => Ok(object),
            None => Err(thrown(&Error::internal("this plugin was registered before"))),
        }
    }
}

/// Where the answers of one object come in.
#[napi]
pub struct Answers(Arc<Waiting>);

#[napi]
impl Answers {
    /// Nobody waits yet.
    #[allow(clippy::new_without_default, reason = "JavaScript calls it")]
    #[napi(constructor)]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// A method has answered with plain data, as JSON text.
    #[napi]
    pub fn value(&self, call: i64, json: String) {
        let value: std::result::Result<Value, _> = serde_json::from_str(&json);
        let answer = value.map(PluginReply::json).map_err(|error| not_json("the answer", error));
        self.0.settle(call, answer.map(Reply::Done));
    }

    /// A method has answered with bytes.
    #[napi]
    pub fn bytes(&self, call: i64, bytes: Uint8ArraySlice<'_>) {
        self.0.settle(call, Ok(Reply::Done(PluginReply::bytes(bytes.to_vec()))));
    }

    /// A method has answered with an object, which has that number from now on. Says whether anybody took it: what
    /// nobody took is JavaScript's to end.
    #[napi]
    pub fn object(&self, call: i64, object: u32, facts: String) -> bool {
        self.0.settle(call, parse_facts(&facts).map(|facts| Reply::Object(object, facts)))
    }

    /// A method has thrown. `raised` is JSON text, see `Thrown`.
    #[napi]
    pub fn failed(&self, call: i64, raised: String) {
        let raised: std::result::Result<Thrown, _> = serde_json::from_str(&raised);
        let error = raised.map_or_else(|error| not_json("what was thrown", error), |raised| Raised::from(raised).into());
        self.0.settle(call, Err(error));
    }

    /// A method says how far it is.
    #[napi]
    pub fn progress(&self, call: i64, event: String) {
        let progress = self.0.calls().get(&call).map(|slot| slot.progress.clone());
        if let (Some(progress), Ok(event)) = (progress, serde_json::from_str::<Stage>(&event)) {
            progress.report(event.into());
        }
    }
}

/// What an object is and has, as `lib/host.ts` says it.
#[derive(Deserialize)]
struct Facts {
    class: String,
    methods: HashSet<String>,
    #[serde(default)]
    capability: Option<Value>,
}

fn parse_facts(text: &str) -> Result<PluginFacts> {
    let Facts { class, methods, capability } =
        serde_json::from_str(text).map_err(|error| not_json("what a plugin is", error))?;
    let facts = PluginFacts::collect(class, Spelling::Camel, |name| methods.contains(name));
    Ok(match capability {
        Some(capability) => facts.capability(capability),
        None => facts,
    })
}

/// What an object threw, as `lib/host.ts` says it.
#[derive(Deserialize)]
struct Thrown {
    class: String,
    message: String,
    #[serde(default)]
    kind: Option<ErrorKind>,
    #[serde(default)]
    errno: Option<i32>,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    retryable: Option<bool>,
    #[serde(default)]
    trace: Option<String>,
}

impl From<Thrown> for Raised {
    fn from(thrown: Thrown) -> Self {
        let Thrown { class, message, kind, errno, hint, retryable, trace } = thrown;
        Self { class, message, kind, errno, hint, retryable, trace }
    }
}

/// Progress of a plugin.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    stage: String,
    #[serde(default)]
    done_bytes: u64,
    #[serde(default)]
    total_bytes: Option<u64>,
}

impl From<Stage> for ProgressEvent {
    fn from(Stage { stage, done_bytes, total_bytes }: Stage) -> Self {
        Self { stage, done_bytes, total_bytes, done_files: 0, total_files: None, uninterruptible: false }
    }
}

/// Calls that somebody waits for.
#[derive(Default)]
struct Waiting(Mutex<HashMap<i64, Slot>>);

struct Slot {
    answer: oneshot::Sender<Result<Reply>>,
    progress: Progress,
}

enum Reply {
    Done(PluginReply),
    Object(u32, PluginFacts),
}

impl Waiting {
    /// Hands an answer over; says whether somebody was there.
    fn settle(&self, call: i64, answer: Result<Reply>) -> bool {
        let slot = self.calls().remove(&call);
        slot.is_some_and(|slot| slot.answer.send(answer).is_ok())
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<i64, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to one object of JavaScript, and to what it opened.
struct Host {
    invoke: Invoke,
    waiting: Arc<Waiting>,
    last: AtomicI64,
}

impl Host {
    /// Tells without waiting.
    fn tell(&self, invocation: Invocation) {
        // Refused only by an event loop that has ended.
        let _ = self.invoke.call(invocation, ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// An object: the registered one is 0, what it opened has other numbers.
struct Object {
    facts: PluginFacts,
    id: u32,
    host: Arc<Host>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("class", &self.facts.class).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Lets JavaScript forget what was opened.
impl Drop for Object {
    fn drop(&mut self) {
        if self.id != 0 {
            self.host.tell(Invocation::Release { object: self.id });
        }
    }
}

#[async_trait::async_trait]
impl Plugin for Object {
    fn facts(&self) -> PluginFacts {
        self.facts.clone()
    }

    async fn call(&self, scope: &Scope, call: PluginCall) -> Result<PluginReply> {
        let mut open = OpenCall::begin(&self.host, scope);
        let invocation = Invocation::call(open.id, self.id, call);
        // Returns when the method was called, not when it has answered. Whatever is thrown meanwhile is caught.
        if let Err(error) = self.host.invoke.call_async_catch(invocation).await {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the event loop could not be reached: {}", error.reason),
            )
            .with_hint("the thread that registered the component has ended: close its Ops before"));
        }
        match open.reply(scope.cancel.clone()).await? {
            Reply::Done(reply) => Ok(reply),
            Reply::Object(id, facts) => {
                Ok(PluginReply::object(Arc::new(Self { facts, id, host: Arc::clone(&self.host) })))
            }
        }
    }
}

/// A call that was made. Dropped without an answer, the object is asked to stop.
struct OpenCall<'a> {
    host: &'a Host,
    id: i64,
    answer: oneshot::Receiver<Result<Reply>>,
    stop: bool,
}

impl<'a> OpenCall<'a> {
    fn begin(host: &'a Host, scope: &Scope) -> Self {
        let id = host.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        host.waiting.calls().insert(id, Slot { answer: sender, progress: scope.progress.clone() });
        Self { host, id, answer, stop: true }
    }

    async fn reply(&mut self, cancel: Cancel) -> Result<Reply> {
        loop {
            tokio::select! {
                answer = &mut self.answer => {
                    self.stop = false;
                    return answer.unwrap_or_else(|_| Err(Error::internal("an answer got lost")));
                }
                () = cancel.cancelled(), if self.stop => self.ask_to_stop(),
            }
        }
    }

    fn ask_to_stop(&mut self) {
        if std::mem::take(&mut self.stop) {
            self.host.tell(Invocation::Cancel { call: self.id });
        }
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.host.waiting.calls().remove(&self.id);
        self.ask_to_stop();
    }
}

/// What JavaScript is told.
enum Invocation {
    /// Call a method.
    Call { call: i64, object: u32, method: &'static str, arguments: String, bytes: Option<(usize, Vec<u8>)> },
    /// Nobody waits for this call any more, or soon nobody will.
    Cancel { call: i64 },
    /// Nobody knows this object any more.
    Release { object: u32 },
}

impl Invocation {
    fn call(call: i64, object: u32, mut what: PluginCall) -> Self {
        let mut bytes = None;
        let arguments: Vec<Value> = what
            .positional(Spelling::Camel)
            .into_iter()
            .enumerate()
            .map(|(at, argument)| match argument {
                Argument::Json(value) => value,
                Argument::Bytes(block) => {
                    bytes = Some((at, block));
                    Value::Null
                }
            })
            .collect();
        Self::Call { call, object, method: what.method.name, arguments: Value::Array(arguments).to_string(), bytes }
    }

    fn into_arguments(self) -> Arguments {
        let nothing = String::new;
        FnArgs::from(match self {
            Self::Call { call, object, method, arguments, bytes } => {
                let (at, block) = match bytes {
                    Some((at, block)) => (i32::try_from(at).unwrap_or(-1), Some(Block(block))),
                    None => (-1, None),
                };
                ("call".into(), call, object, Spelling::Camel.write(method), arguments, at, block)
            }
            Self::Cancel { call } => ("cancel".into(), call, 0, nothing(), nothing(), -1, None),
            Self::Release { object } => ("release".into(), 0, object, nothing(), nothing(), -1, None),
        })
    }
}

/// A block of bytes, which JavaScript gets as a copy of its own: it may keep it, and Electron allows nothing else.
pub struct Block(Vec<u8>);

impl TypeName for Block {
    fn type_name() -> &'static str {
        "Buffer"
    }

    fn value_type() -> ValueType {
        ValueType::Object
    }
}

impl ToNapiValue for Block {
    unsafe fn to_napi_value(env: sys::napi_env, block: Self) -> napi::Result<sys::napi_value> {
        let copy = BufferSlice::copy_from(&Env::from_raw(env), block.0)?;
        // SAFETY: `env` is the one that the copy was made in, a moment ago.
        unsafe { BufferSlice::to_napi_value(env, copy) }
    }
}
