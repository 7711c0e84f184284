//! What objects answer: defaults for what may be left out, errors for what is wrong.

use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::backup::Object;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::remote::Payload;
use crate::store::{CopyFacts, MaintenanceOutcome, MaintenanceTask, StoreSnapshot};

use super::caller::Caller;
use super::contract::Method;
use super::plugin::{Plugin, PluginReply};

/// The most objects that a page of a list may hold.
const PAGE: usize = 1000;

/// An answer, and who gave it.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) caller: &'a Caller,
    pub(super) method: &'static Method,
    pub(super) reply: PluginReply,
}

impl Answer<'_> {
    /// Nothing: whatever came is not looked at.
    pub(super) fn nothing(self) -> Payload {
        Payload::default()
    }

    /// Plain data that must read as a `T`.
    pub(super) fn value<T: DeserializeOwned>(self) -> Result<Payload> {
        let _: T = self.read()?;
        Ok(Payload { value: self.reply.value, body: Vec::new() })
    }

    /// Plain data with `defaults` for the fields that were left out.
    pub(super) fn with_defaults<T: DeserializeOwned>(
        mut self,
        defaults: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Payload> {
        if let Value::Object(fields) = &mut self.reply.value {
            fill(fields, defaults);
        }
        self.value::<T>()
    }

    /// An object.
    pub(super) fn object(&self) -> Result<Arc<dyn Plugin>> {
        self.reply.object.clone().ok_or_else(|| self.wrong(""))
    }

    /// Bytes. How many is for the caller to judge.
    pub(super) fn block(self) -> Result<Payload> {
        match self.reply.bytes {
            Some(body) => Ok(Payload { value: Value::Null, body }),
            None => Err(self.wrong("")),
        }
    }

    /// Bytes of the object `key`, or nothing when there is none.
    pub(super) fn block_of(self, key: &str) -> Result<Payload> {
        if self.reply.bytes.is_none() && self.reply.object.is_none() && self.reply.value.is_null() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no object {key:?}")));
        }
        self.block()
    }

    /// Whether the object was stored. Nothing is yes, for one that was to be replaced.
    pub(super) fn stored(mut self, if_absent: bool) -> Result<Payload> {
        if self.reply.value.is_null() && !if_absent {
            self.reply.value = Value::Bool(true);
        }
        match self.reply.value {
            Value::Bool(false) if !if_absent => Err(self.wrong("only a put with if_absent leaves an object alone")),
            _ => self.value::<bool>(),
        }
    }

    /// One object, under the key that was asked for.
    pub(super) fn stat(self, key: &str) -> Result<Payload> {
        match self.read::<Option<Object>>()? {
            Some(object) if object.key != key => Err(self.wrong(format_args!("{key:?} was asked for"))),
            _ => Ok(Payload { value: self.reply.value, body: Vec::new() }),
        }
    }

    /// A page of objects, in order and within what was asked for: a reader that pages comes to an end.
    pub(super) fn list(self, prefix: &str, after: Option<&str>) -> Result<Payload> {
        let objects: Vec<Object> = self.read()?;
        if objects.len() > PAGE {
            return Err(self.wrong(format_args!("{} objects came, {PAGE} are the most", objects.len())));
        }
        let mut last = after;
        for Object { key, .. } in &objects {
            if !key.starts_with(prefix) {
                return Err(self.wrong(format_args!("{key:?} does not start with {prefix:?}")));
            }
            match last {
                Some(last) if key.as_str() <= last => {
                    return Err(self.wrong(format_args!("{key:?} does not come after {last:?} in byte order")));
                }
                _ => last = Some(key),
            }
        }
        Ok(Payload { value: self.reply.value, body: Vec::new() })
    }

    /// One outcome for each task, in order.
    pub(super) fn maintained(self, tasks: &[MaintenanceTask]) -> Result<Payload> {
        let outcomes: Vec<MaintenanceOutcome> = self.read()?;
        if !outcomes.iter().map(|outcome| outcome.task).eq(tasks.iter().copied()) {
            return Err(self.wrong("the tasks are not those that were asked for, in their order"));
        }
        Ok(Payload { value: self.reply.value, body: Vec::new() })
    }

    /// What a copy says: as many answers as there were queries.
    pub(super) fn inspected(mut self, queries: usize) -> Result<Payload> {
        if let Value::Object(fields) = &mut self.reply.value {
            fill(fields, [("rows", Value::Array(Vec::new())), ("answers", Value::Array(Vec::new()))]);
        }
        let facts: CopyFacts = self.read()?;
        if facts.answers.len() != queries {
            let came = facts.answers.len();
            return Err(self.wrong(format_args!("{came} answers came, {queries} queries were asked")));
        }
        Ok(Payload { value: self.reply.value, body: Vec::new() })
    }

    /// A copy in `dir`, begun at `began`.
    pub(super) fn snapshot(mut self, dir: &Path, began: Timestamp) -> Result<Payload> {
        if let Value::Object(fields) = &mut self.reply.value {
            // The size comes last: it is that of files that are known to be there.
            let size = fields.get("size_bytes").is_some_and(|size| !size.is_null());
            let time = Value::String(began.to_string());
            let details = Value::Object(Map::new());
            fill(fields, [("taken_at", time), ("details", details), ("size_bytes", Value::from(0))]);
            let snapshot: StoreSnapshot = self.read()?;
            let total = self.size_of(dir, &snapshot)?;
            if !size {
                self.reply.value["size_bytes"] = Value::from(total);
            }
        }
        self.value::<StoreSnapshot>()
    }

    /// The size of the files that a snapshot names.
    fn size_of(&self, dir: &Path, snapshot: &StoreSnapshot) -> Result<u64> {
        if snapshot.files.is_empty() {
            return Err(self.wrong("no file is named"));
        }
        let mut total = 0;
        for file in &snapshot.files {
            if !file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(self.wrong(format_args!("{file:?} is not a name below the folder")));
            }
            match dir.join(file).symlink_metadata() {
                Ok(meta) if meta.is_file() => total += meta.len(),
                Ok(_) => return Err(self.wrong(format_args!("{file:?} is not a plain file"))),
                Err(error) => return Err(self.wrong(format_args!("{file:?} cannot be looked at")).with_source(error)),
            }
        }
        Ok(total)
    }

    /// Plain data as a `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        if self.reply.bytes.is_some() || self.reply.object.is_some() {
            return Err(self.wrong(""));
        }
        serde_path_to_error::deserialize(&self.reply.value).map_err(|error| {
            let path = error.path().to_string();
            match path.as_str() {
                "." => self.wrong(error.inner()),
                _ => self.wrong(format_args!("{path}: {}", error.inner())),
            }
        })
    }

    /// The error of an answer that is not what the method answers.
    pub(super) fn wrong(&self, why: impl fmt::Display) -> Error {
        let (caller, method) = (self.caller, self.method);
        let came = match &self.reply {
            PluginReply { bytes: Some(bytes), .. } => format!("{} bytes", bytes.len()),
            PluginReply { object: Some(object), .. } => format!("an object of class {}", object.facts().class),
            PluginReply { value: Value::Null, .. } => "nothing".to_owned(),
            PluginReply { value, .. } => shortened(&value.to_string()),
        };
        let why = shortened(&why.to_string());
        let joint = if why.is_empty() { "" } else { ": " };
        Error::new(
            ErrorKind::Corrupt,
            format!("{} answered {came}, not {}{joint}{why}", caller.title(method), method.answer),
        )
        .with_hint(format!("correct {}", caller.place(method)))
        .with_context("plugin", caller.place(method))
    }
}

/// Puts `defaults` where there is nothing.
pub(super) fn fill(fields: &mut Map<String, Value>, defaults: impl IntoIterator<Item = (&'static str, Value)>) {
    for (name, value) in defaults {
        let field = fields.entry(name).or_insert(Value::Null);
        if field.is_null() {
            *field = value;
        }
    }
}

/// A text of a stranger, short enough for a message.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
