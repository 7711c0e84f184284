//! One record, and the line that holds it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::MAX_RECORD_BYTES;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorBody, Result};

/// What was done, by whom, and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JournalRecord")]
pub struct Record {
    /// When the operation began, by the wall clock, which may jump: the journal's order is that of writing.
    pub time: Timestamp,
    /// The operation: `backup.create`.
    pub operation: String,
    /// How it ended.
    pub outcome: RecordOutcome,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// The process that asked for it.
    pub pid: u32,
    /// What was asked.
    #[serde(default)]
    pub request: Value,
    /// What was answered. Null when it failed.
    #[serde(default)]
    pub response: Value,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<ErrorBody>,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// It did what was asked.
    Done,
    /// It did what was asked, and the answer is a bad one: a partial backup, a failed check.
    Unhealthy,
    /// It did not.
    Failed,
}

/// What every line begins with. Inside JSON text a quote is escaped, so this stands nowhere else but at the
/// beginning of a record or of an object within one, which the checksum tells apart.
pub(super) const START: &[u8] = b"{\"sum\":\"";
const MIDDLE: &[u8] = b"\",\"record\":";
const SUM_LEN: usize = 16;

/// The line of a record, its line end included. What is written can be read back, whatever the record holds.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>> {
    let body = to_json(record)?;
    if body.len() <= MAX_RECORD_BYTES {
        let line = line_of(&body);
        // JSON has no NaN, and no reader follows a nesting of hundreds.
        if decode(&line[..line.len() - 1]).is_some() {
            return Ok(line);
        }
    }
    Ok(line_of(&to_json(&cut(record, body.len()))?))
}

fn line_of(body: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(body.len() + START.len() + SUM_LEN + MIDDLE.len() + 2);
    line.extend_from_slice(START);
    line.extend_from_slice(&sum(body));
    line.extend_from_slice(MIDDLE);
    line.extend_from_slice(body);
    line.extend_from_slice(b"}\n");
    line
}

/// The record in a line without its line end; `None` when the line is damaged.
pub(super) fn decode(line: &[u8]) -> Option<Record> {
    let rest = line.strip_prefix(START)?;
    let (found, rest) = rest.split_at_checked(SUM_LEN)?;
    let body = rest.strip_prefix(MIDDLE)?.strip_suffix(b"}")?;
    if found != sum(body) {
        return None;
    }
    // A line that is whole and that this version cannot read, from a later one, counts as damaged too:
    // the caller learns that something was there.
    serde_json::from_slice(body).ok()
}

fn sum(body: &[u8]) -> [u8; SUM_LEN] {
    let mut digits = [0; SUM_LEN];
    digits.copy_from_slice(&blake3::hash(body).to_hex().as_bytes()[..SUM_LEN]);
    digits
}

fn to_json(record: &Record) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|error| Error::internal(format!("a record is not JSON: {error}")))
}

/// The record with what makes it too large cut to a summary.
fn cut(record: &Record, size: usize) -> Record {
    let mut cut = record.clone();
    cut.operation = short(&record.operation);
    cut.response = summary(&record.response, size);
    cut.duration_seconds = if record.duration_seconds.is_finite() { record.duration_seconds } else { 0.0 };
    if serde_json::to_vec(&record.request).map_or(0, |json| json.len()) > MAX_RECORD_BYTES / 4
        || !matches!(&record.request, Value::Object(fields) if fields.values().all(small))
    {
        cut.request = summary(&record.request, size);
    }
    if let Some(error) = &mut cut.error {
        error.message = short(&error.message);
        error.hint = error.hint.as_deref().map(short);
        error.causes = error.causes.iter().take(8).map(|cause| short(cause)).collect();
        error.context = std::mem::take(&mut error.context)
            .into_iter()
            .take(32)
            .map(|(name, value)| (short(&name), short(&value)))
            .collect();
    }
    cut
}

/// The small fields of an object; the lists as their lengths; a note that says what happened.
fn summary(value: &Value, size: usize) -> Value {
    const FIELDS: usize = 64;
    let note = format!("the record took {size} bytes and was cut");
    let Value::Object(fields) = value else {
        return if small(value) { value.clone() } else { json!({ "cut": note }) };
    };
    let mut kept = Map::new();
    for (name, field) in fields.iter().filter(|(name, _)| name.len() <= 256).take(FIELDS) {
        let shown = match field {
            Value::Array(items) if !items.is_empty() => json!({ "cut_items": items.len() }),
            Value::Object(inner) if !inner.is_empty() => json!({ "cut_fields": inner.len() }),
            Value::String(text) => Value::String(short(text)),
            other => other.clone(),
        };
        kept.insert(name.clone(), shown);
    }
    kept.insert("cut".to_owned(), Value::String(note));
    Value::Object(kept)
}

fn small(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= 1024,
        Value::Array(_) | Value::Object(_) => false,
        _ => true,
    }
}

/// At most a kilobyte of `text`.
fn short(text: &str) -> String {
    const LEN: usize = 1024;
    if text.len() <= LEN {
        return text.to_owned();
    }
    let mut end = LEN;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
