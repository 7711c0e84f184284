//! Fits a value to the type of its setting, or says what was expected and what was found.
//!
//! No message holds the value: it may be a secret in the wrong place.

use serde_json::{Map, Number, Value};

use super::schema::{Fields, Leaf, LeafType};
use crate::value::ByteSize;

/// How strictly a layer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// `ops.toml` and code have types: text is not a number.
    Typed,
    /// `.env` and the environment have text only: the rules of pydantic's lax mode.
    Text,
}

/// What does not fit, and where inside the value (`[1].path`).
#[derive(Debug, PartialEq)]
pub(super) struct Misfit {
    pub(super) inside: Vec<String>,
    pub(super) message: String,
}

impl Misfit {
    fn new(message: impl Into<String>) -> Self {
        Self { inside: Vec::new(), message: message.into() }
    }

    fn within(mut self, step: &str) -> Self {
        self.inside.insert(0, step.to_owned());
        self
    }
}

/// `value` in the form that the setting's type is read from.
pub(super) fn fit(leaf: &Leaf, value: &Value, mode: Mode) -> Result<Value, Misfit> {
    if value.is_null() && leaf.optional {
        return Ok(Value::Null);
    }
    let lax = mode == Mode::Text;
    match (&leaf.kind, value) {
        (LeafType::Text, Value::String(_)) | (LeafType::Boolean, Value::Bool(_)) => Ok(value.clone()),
        (LeafType::Boolean, Value::String(text)) if lax => {
            boolean(text).map(Value::Bool).ok_or_else(|| wrong(leaf, value))
        }
        (LeafType::Boolean, Value::Number(number)) if lax => match number.as_f64() {
            Some(0.0) => Ok(Value::Bool(false)),
            Some(1.0) => Ok(Value::Bool(true)),
            _ => Err(wrong(leaf, value)),
        },
        (LeafType::Integer { min, max }, Value::Number(number)) => {
            integer_of(number, lax).map_or_else(|| Err(wrong(leaf, value)), |whole| within(whole, *min, *max))
        }
        (LeafType::Integer { min, max }, Value::String(text)) if lax => {
            integer(text).map_or_else(|| Err(wrong(leaf, value)), |whole| within(whole, *min, *max))
        }
        (LeafType::Number, Value::Number(_)) => Ok(value.clone()),
        (LeafType::Number, Value::String(text)) if lax => {
            number(text).and_then(Number::from_f64).map(Value::Number).ok_or_else(|| wrong(leaf, value))
        }
        (LeafType::Size, Value::Number(number)) => {
            integer_of(number, lax).map_or_else(|| Err(wrong(leaf, value)), |whole| within(whole, 0, u64::MAX.into()))
        }
        (LeafType::Size, Value::String(text)) => {
            text.parse::<ByteSize>().map(|size| Value::from(size.0)).map_err(|_| wrong(leaf, value))
        }
        (LeafType::TextList, Value::Array(items)) => {
            let text = Leaf { kind: LeafType::Text, optional: false };
            let fitted = items
                .iter()
                .enumerate()
                .map(|(index, item)| fit(&text, item, mode).map_err(|misfit| misfit.within(&index.to_string())));
            fitted.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        (LeafType::FreeTable, Value::Object(_)) => Ok(value.clone()),
        (LeafType::Components(fields), Value::Array(items)) => {
            let fitted = items
                .iter()
                .enumerate()
                .map(|(index, item)| component(fields, item, mode).map_err(|misfit| misfit.within(&index.to_string())));
            fitted.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        _ => Err(wrong(leaf, value)),
    }
}

/// One `[[store]]`, `[[target]]` or `[[check]]`: the common keys are ours, the rest is the kind's. One `[[job]]`: all
/// keys are ours.
fn component(fields: &Fields, item: &Value, mode: Mode) -> Result<Value, Misfit> {
    let Value::Object(given) = item else {
        return Err(Misfit::new(format!("expected a table, found {}", found(item))));
    };
    let mut fitted = Map::new();
    for (name, value) in given {
        let value = match fields.known.get(name) {
            Some(leaf) => fit(leaf, value, mode).map_err(|misfit| misfit.within(name))?,
            None if fields.closed => {
                let message = match fields.did_you_mean(name) {
                    Some(meant) => format!("there is no such key; did you mean `{meant}`?"),
                    None => "there is no such key".to_owned(),
                };
                return Err(Misfit::new(message).within(name));
            }
            None => value.clone(),
        };
        fitted.insert(name.clone(), value);
    }
    for (name, leaf) in &fields.known {
        match fitted.get(name) {
            None | Some(Value::Null) if !leaf.optional => return Err(Misfit::new(format!("it has no `{name}`"))),
            Some(Value::String(text)) if !leaf.optional && text.trim().is_empty() => {
                return Err(Misfit::new("it must not be empty").within(name));
            }
            // Absent and null are the same; the type's own default follows.
            Some(Value::Null) => drop(fitted.remove(name)),
            _ => {}
        }
    }
    Ok(Value::Object(fitted))
}

fn wrong(leaf: &Leaf, value: &Value) -> Misfit {
    Misfit::new(format!("expected {}, found {}", expected(&leaf.kind), found(value)))
}

fn within(whole: i128, min: i128, max: i128) -> Result<Value, Misfit> {
    let fits = (min..=max).contains(&whole);
    let number = i64::try_from(whole).map(Number::from).or_else(|_| u64::try_from(whole).map(Number::from));
    match number {
        Ok(number) if fits => Ok(Value::Number(number)),
        _ if min == 0 && whole < 0 => Err(Misfit::new("expected a whole number that is not negative")),
        _ => Err(Misfit::new(format!("expected a whole number from {min} to {max}"))),
    }
}

/// What the type takes, for messages.
pub(super) fn expected(kind: &LeafType) -> &'static str {
    match kind {
        LeafType::Text => "text",
        LeafType::Boolean => "true or false",
        LeafType::Integer { .. } => "a whole number",
        LeafType::Number => "a number",
        LeafType::Size => "a size such as 1048576 or \"64MiB\"",
        LeafType::TextList => "a list of text",
        LeafType::FreeTable => "a table",
        LeafType::Components(_) => "a list of tables",
    }
}

/// What a value is, for messages.
pub(super) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (null)",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(text) if text.is_empty() => "empty text",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

fn integer_of(number: &Number, lax: bool) -> Option<i128> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    if let Some(whole) = number.as_u64() {
        return Some(whole.into());
    }
    let value = number.as_f64().filter(|value| lax && value.fract() == 0.0 && value.abs() < 9e15)?;
    Some(value as i128)
}

/// `5`, `+5`, ` 5 `, `1_000`, `5.0`.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    without_underscores(whole)?.parse().ok()
}

fn number(text: &str) -> Option<f64> {
    // Infinity and NaN are numbers to pydantic; no setting of ours means anything with them.
    without_underscores(text.trim())?.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// `1_000` as `1000`; an underscore stands between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let misplaced = |(at, byte): (usize, &u8)| *byte == b'_' && !(digit(at.checked_sub(1)) && digit(Some(at + 1)));
    if bytes.iter().enumerate().any(misplaced) {
        return None;
    }
    Some(text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn typed_layers_do_not_guess() {
        let leaf = |kind| Leaf { kind, optional: false };
        let level = leaf(LeafType::Integer { min: -5, max: 19 });
        assert_eq!(fit(&level, &json!(5), Mode::Typed), Ok(json!(5)));
        for value in [json!("5"), json!(5.0), json!(true), json!(null), json!(20), json!([5])] {
            assert!(fit(&level, &value, Mode::Typed).is_err(), "{value}");
        }
        assert_eq!(fit(&leaf(LeafType::Size), &json!("1KiB"), Mode::Typed), Ok(json!(1024)));
        assert!(fit(&leaf(LeafType::Size), &json!(-1), Mode::Typed).is_err());
        assert!(fit(&leaf(LeafType::Text), &json!(5), Mode::Text).is_err());
        let misfit = fit(&leaf(LeafType::TextList), &json!(["a", 5]), Mode::Typed).unwrap_err();
        assert_eq!(misfit.inside, ["1"]);
    }

    #[test]
    fn no_message_holds_the_value() {
        for kind in [
            LeafType::Boolean,
            LeafType::Integer { min: 0, max: 9 },
            LeafType::Number,
            LeafType::Size,
            LeafType::TextList,
            LeafType::FreeTable,
            LeafType::Components(Fields { known: BTreeMap::new(), closed: false }),
        ] {
            for mode in [Mode::Typed, Mode::Text] {
                let leaf = Leaf { kind: kind.clone(), optional: false };
                let misfit = fit(&leaf, &json!("hunter2"), mode).unwrap_err();
                assert!(!misfit.message.contains("hunter2"), "{}", misfit.message);
            }
        }
    }
}
