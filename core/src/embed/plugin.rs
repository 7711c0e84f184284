//! A live object of another language.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

use super::contract::Method;

/// A live object of another language, whose methods are called by name.
///
/// What an implementation promises:
/// - [`Plugin::call`] never blocks the thread that polls it: an object that blocks is called on a thread of the
///   binding;
/// - its future may be dropped at any time. That is the signal to stop (cancel the task, forget the promise), and an
///   answer that comes later is thrown away;
/// - when `scope.cancel` is raised it asks the object to stop, and ends as soon as the object has. One that ignores
///   the flag is dropped a moment later;
/// - an exception is an `Err` made with [`Raised`];
/// - calls overlap: `put` may be called again before it has answered.
#[async_trait]
pub trait Plugin: Send + Sync + fmt::Debug {
    /// What the object is and has. Asked when it is registered, and when an upload is opened; does nothing but answer.
    fn facts(&self) -> PluginFacts;

    /// Calls a method that [`PluginFacts::methods`] names.
    async fn call(&self, scope: &Scope, call: PluginCall) -> Result<PluginReply>;
}

/// What an object is and has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PluginFacts {
    /// The name of its class or type, for messages: `Foo`.
    pub class: String,
    /// The methods it has, by the names of [`methods`](super::methods). Others are not looked at.
    pub methods: Vec<String>,
    /// Its `capability`, for stores and targets.
    pub capability: Option<Value>,
    /// How its language writes names.
    pub spelling: Spelling,
}

impl PluginFacts {
    /// Collects them: `has` says whether the object has a method of that name, in the language's own spelling.
    pub fn collect(class: impl Into<String>, spelling: Spelling, mut has: impl FnMut(&str) -> bool) -> Self {
        let of_name = super::methods().filter(|method| has(&spelling.write(method.name)));
        let methods = of_name.map(|method| method.name.to_owned()).collect();
        Self { class: class.into(), methods, capability: None, spelling }
    }

    /// Adds the value of `capability`.
    #[must_use]
    pub fn capability(mut self, capability: Value) -> Self {
        self.capability = Some(capability);
        self
    }

    /// Whether the object has a method.
    pub fn has(&self, method: &str) -> bool {
        self.methods.iter().any(|has| has == method)
    }
}

/// How a language writes the names of methods, arguments and fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelling {
    /// `snapshot_to`, as on the wire.
    #[default]
    Snake,
    /// `snapshotTo`.
    Camel,
}

impl Spelling {
    /// A wire name as this language writes it.
    pub fn write(self, name: &str) -> String {
        if self == Self::Snake {
            return name.to_owned();
        }
        let mut written = String::with_capacity(name.len());
        let mut parts = name.split('_');
        written.extend(parts.next());
        for part in parts {
            let mut letters = part.chars();
            written.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            written.push_str(letters.as_str());
        }
        written
    }

    /// A name of this language as it is on the wire.
    pub fn read(self, name: &str) -> String {
        if self == Self::Snake {
            return name.to_owned();
        }
        let mut read = String::with_capacity(name.len() + 4);
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                read.push('_');
            }
            read.push(letter.to_ascii_lowercase());
        }
        read
    }
}

/// A call of a method.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginCall {
    /// The method.
    pub method: &'static Method,
    /// The arguments by name, in the language's spelling, without the block. What is not given is `null`.
    pub arguments: Map<String, Value>,
    /// The block, for methods that take one: at most 8 MiB, and never absent for them.
    pub bytes: Option<Vec<u8>>,
}

impl PluginCall {
    /// The arguments in the order in which the method takes them.
    pub fn positional(&mut self, spelling: Spelling) -> Vec<Argument> {
        let parameters = self.method.parameters.iter();
        parameters
            .map(|name| match *name {
                Method::BYTES => Argument::Bytes(self.bytes.take().unwrap_or_default()),
                name => Argument::Json(self.arguments.remove(&spelling.write(name)).unwrap_or_default()),
            })
            .collect()
    }
}

/// One argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A value.
    Json(Value),
    /// The block.
    Bytes(Vec<u8>),
}

/// The answer to a call. Which of the three a method gives is in [`Method::answer`].
#[derive(Debug, Clone, Default)]
pub struct PluginReply {
    /// Plain data. `null` for a method that returned nothing.
    pub value: Value,
    /// The block that `get` and `read_back` return.
    pub bytes: Option<Vec<u8>>,
    /// The object that `upload` returns, wrapped like any other.
    pub object: Option<Arc<dyn Plugin>>,
}

impl PluginReply {
    /// Plain data.
    pub fn json(value: impl Into<Value>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }

    /// A block.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Some(bytes.into()), ..Self::default() }
    }

    /// An object.
    pub fn object(object: Arc<dyn Plugin>) -> Self {
        Self { object: Some(object), ..Self::default() }
    }
}

/// What an object threw, as its language tells it.
///
/// ```
/// use uplifted_ops::embed::Raised;
/// use uplifted_ops::{Error, ErrorKind};
///
/// let missing = Raised { errno: Some(2), ..Raised::new("FileNotFoundError", "no such file: 'a'") };
/// assert_eq!(Error::from(missing).kind(), ErrorKind::NotFound);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raised {
    /// The exception's class: `ValueError`, `TypeError`.
    pub class: String,
    /// Its text.
    pub message: String,
    /// The kind, for exceptions that are ours (`OpsError`): their text is the error's message as it is.
    pub kind: Option<ErrorKind>,
    /// The operating system's error number, of either sign, for exceptions that carry one (`OSError`, Node's system
    /// errors).
    pub errno: Option<i32>,
    /// The hint of an exception that is ours.
    pub hint: Option<String>,
    /// Whether calling again can help, where the exception says so.
    pub retryable: Option<bool>,
    /// The traceback or stack: kept as a cause, not part of the message.
    pub trace: Option<String>,
}

impl Raised {
    /// An exception of which no more is known.
    pub fn new(class: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class: class.into(), message: message.into(), ..Self::default() }
    }
}

impl From<Raised> for Error {
    /// The kind is that of ours, or that of the error number. Anything else is [`ErrorKind::Unavailable`], not to be
    /// tried again: a mistake of the plugin, or a failure that it did not foresee.
    fn from(raised: Raised) -> Self {
        let Raised { class, message, kind, errno, hint, retryable, trace } = raised;
        let said = if message.is_empty() { class.clone() } else { format!("{class}: {message}") };
        let mut error = match (kind, errno.and_then(i32::checked_abs).filter(|number| *number > 0)) {
            (Some(kind), _) => Self::new(kind, if message.is_empty() { class } else { message }),
            (None, Some(number)) => {
                let system = Self::io("", std::io::Error::from_raw_os_error(number));
                let error = Self::new(system.kind(), said);
                match system.hint() {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            (None, None) => Self::new(ErrorKind::Unavailable, said)
                .with_retryable(false)
                .with_hint("correct the method, or let it raise an OpsError whose kind says what the caller must do"),
        };
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        if let Some(retryable) = retryable {
            error = error.with_retryable(retryable);
        }
        match trace {
            Some(trace) => error.with_source(trace),
            None => error,
        }
    }
}
