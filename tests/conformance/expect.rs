//! What a case expects: patterns, of which `README.md` has the list.

use serde_json::Value;

/// Why `value` does not match `pattern`; `place` begins every reason.
pub fn mismatch(pattern: &Value, value: Option<&Value>, place: &str) -> Option<String> {
    let found = value.unwrap_or(&Value::Null);
    let differs = || Some(format!("{place}: {found} is not {pattern}"));
    match pattern {
        Value::String(text) if text.starts_with('<') && text.ends_with('>') => {
            if placeholder(text, found) {
                None
            } else {
                differs()
            }
        }
        Value::Object(fields) if fields.len() == 1 && fields.keys().all(|key| key.starts_with('<')) => {
            let (word, inner) = fields.iter().next()?;
            special(word, inner, found, place)
        }
        Value::Object(fields) if found.is_object() => {
            fields.iter().find_map(|(name, inner)| mismatch(inner, found.get(name), &format!("{place}.{name}")))
        }
        Value::Array(items) => match found.as_array() {
            Some(others) if others.len() == items.len() => items
                .iter()
                .zip(others)
                .enumerate()
                .find_map(|(index, (item, other))| mismatch(item, Some(other), &format!("{place}[{index}]"))),
            _ => differs(),
        },
        // 1.0 and 1 are one number to JavaScript.
        Value::Number(number) if found.as_f64() == number.as_f64() => None,
        exact if exact == found => None,
        _ => differs(),
    }
}

fn placeholder(word: &str, value: &Value) -> bool {
    let text = value.as_str();
    match word {
        "<any>" => true,
        "<text>" => text.is_some_and(|text| !text.is_empty()),
        "<id>" => text.is_some_and(|text| text.len() == 12 && text.chars().all(|c| "0123456789abcdef".contains(c))),
        "<time>" => {
            text.is_some_and(|text| text.ends_with('Z') && text.parse::<uplifted_ops::clock::Timestamp>().is_ok())
        }
        "<number>" => value.is_number(),
        "<integer>" => value.is_u64() || value.is_i64(),
        "<boolean>" => value.is_boolean(),
        other => panic!("nobody knows the placeholder {other}"),
    }
}

fn special(word: &str, inner: &Value, value: &Value, place: &str) -> Option<String> {
    let list = value.as_array();
    let reason = || Some(format!("{place}: {value} lacks {word} {inner}"));
    match word {
        "<some>" => match list {
            Some(items) if items.iter().any(|item| mismatch(inner, Some(item), place).is_none()) => None,
            _ => reason(),
        },
        "<each>" => match list {
            Some(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| mismatch(inner, Some(item), &format!("{place}[{index}]"))),
            None => reason(),
        },
        "<none>" => match list {
            Some(items) if items.iter().all(|item| mismatch(inner, Some(item), place).is_some()) => None,
            _ => reason(),
        },
        "<length>" => {
            if list.map(Vec::len) == inner.as_u64().map(|n| n as usize) {
                None
            } else {
                reason()
            }
        }
        "<contains>" => match (value.as_str(), inner.as_str()) {
            (Some(text), Some(part)) if text.contains(part) => None,
            _ => reason(),
        },
        "<integer>" => {
            if Some(value.to_string().as_str()) == inner.as_str() {
                None
            } else {
                reason()
            }
        }
        other => panic!("nobody knows the pattern {other}"),
    }
}

/// `{"<integer>": "…"}` in a request as the integer.
pub fn integers(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("<integer>").and_then(Value::as_str) {
            Some(digits) => serde_json::from_str(digits).unwrap(),
            None => fields.iter().map(|(name, value)| (name.clone(), integers(value))).collect(),
        },
        Value::Array(items) => items.iter().map(integers).collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(pattern: Value, value: Value) -> bool {
        mismatch(&pattern, Some(&value), "value").is_none()
    }

    #[test]
    fn patterns_match_what_they_say_and_nothing_else() {
        for (pattern, fits, fails) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), json!({"a": 2})),
            (json!({"a": null}), json!({}), json!({"a": 0})),
            (json!([1]), json!([1]), json!([1, 2])),
            (json!({}), json!({"a": 1}), json!([])),
            (json!("<id>"), json!("0123456789ab"), json!("0123456789aB")),
            (json!("<time>"), json!("2025-01-02T03:04:05.5Z"), json!("2025-01-02T03:04:05+01:00")),
            (json!("<text>"), json!("x"), json!("")),
            (json!({"<some>": 1}), json!([2, 1]), json!([2])),
            (json!({"<none>": 1}), json!([2]), json!([2, 1])),
            (json!({"<each>": "<text>"}), json!(["a"]), json!(["a", 1])),
            (json!({"<length>": 0}), json!([]), json!([1])),
            (json!({"<contains>": "b"}), json!("abc"), json!("ac")),
            (
                json!({"<integer>": "9007199254740993"}),
                json!(9_007_199_254_740_993_u64),
                json!(9_007_199_254_740_992_u64),
            ),
            (json!(true), json!(true), json!(1)),
        ] {
            assert!(matches(pattern.clone(), fits.clone()), "{pattern} {fits}");
            assert!(!matches(pattern.clone(), fails.clone()), "{pattern} {fails}");
        }
    }
}
