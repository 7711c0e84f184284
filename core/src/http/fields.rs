//! From a query to the fields of a request, each with the type that the operation's schema gives it.

use schemars::Schema;
use serde_json::{Map, Number, Value, json};

use crate::ops::similar;

use super::refusal::Refusal;
use super::target;

/// One field of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    name: String,
    shape: Shape,
    required: bool,
    description: String,
}

/// What a field takes, as far as a query can say it.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Text,
    Boolean,
    Integer,
    Number,
    /// A whole number, or text: a size.
    IntegerOrText,
    /// Several of the same name.
    List(Box<Shape>),
    /// What only JSON can say.
    Nested,
}

impl Shape {
    fn of(root: &Value, node: &Value) -> Self {
        let node = resolve(root, node);
        let types = types(node);
        let has = |name: &str| types.contains(&name);
        match () {
            () if has("integer") && has("string") => Self::IntegerOrText,
            () if has("string") => Self::Text,
            () if has("boolean") => Self::Boolean,
            () if has("integer") => Self::Integer,
            () if has("number") => Self::Number,
            () if has("array") => match Self::of(root, node.get("items").unwrap_or(&Value::Null)) {
                Self::List(_) | Self::Nested => Self::Nested,
                item => Self::List(Box::new(item)),
            },
            () if is_enumeration(root, node) => Self::Text,
            () => Self::Nested,
        }
    }

    /// What it takes, for people.
    fn expected(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::IntegerOrText => "a whole number or text",
            Self::List(_) => "several of the same name",
            Self::Nested => "JSON, in the body of a POST",
        }
    }

    /// `text` as JSON of this shape.
    fn read(&self, text: &str) -> Option<Value> {
        match self {
            Self::Text => Some(Value::from(text)),
            Self::Boolean => match text {
                "true" | "1" => Some(Value::Bool(true)),
                "false" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Integer => integer(text),
            // `inf` and `NaN` are numbers to Rust and none to JSON.
            Self::Number => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Self::IntegerOrText => Some(integer(text).unwrap_or_else(|| Value::from(text))),
            Self::List(_) | Self::Nested => None,
        }
    }
}

fn integer(text: &str) -> Option<Value> {
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
}

/// The fields that a request of this schema has, in the order of the schema.
pub(super) fn fields_of(schema: &Schema) -> Vec<Field> {
    let root = schema.as_value();
    let required = |name: &String| {
        let names = root.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let properties = root.get("properties").and_then(Value::as_object).into_iter().flatten();
    let fields = properties.map(|(name, node)| Field {
        name: name.clone(),
        shape: Shape::of(root, node),
        required: required(name),
        description: node.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
    });
    fields.collect()
}

impl Field {
    /// The field as the index shows it.
    pub(super) fn describe(&self) -> Value {
        let mut shown = json!({
            "name": self.name,
            "takes": self.shape.expected(),
            "required": self.required,
            "description": self.description,
        });
        if let Shape::List(item) = &self.shape {
            shown["takes"] = format!("{}, each {}", self.shape.expected(), item.expected()).into();
        }
        shown
    }
}

/// The request that a query stands for.
pub(super) fn read_query(fields: &[Field], query: &str) -> Result<Value, Refusal> {
    let pairs = target::pairs(query).ok_or_else(|| {
        Refusal::invalid("the query is not percent-encoded UTF-8", "encode it as encodeURIComponent does")
    })?;
    let mut request = Map::new();
    for (name, text) in pairs {
        let field = fields.iter().find(|field| field.name == name).ok_or_else(|| unknown(fields, &name))?;
        let misfit = |expected: &str| {
            Refusal::invalid(format!("{name} takes {expected}"), format!("correct {name} in the query"))
        };
        match &field.shape {
            Shape::Nested => {
                return Err(Refusal::invalid(
                    format!("{name} cannot be said in a query"),
                    "send the fields as a JSON object in the body of a POST",
                ));
            }
            Shape::List(item) => {
                let value = item.read(&text).ok_or_else(|| misfit(item.expected()))?;
                let list = request.entry(name).or_insert_with(|| json!([]));
                list.as_array_mut().into_iter().for_each(|list| list.push(value.clone()));
            }
            shape => {
                let value = shape.read(&text).ok_or_else(|| misfit(shape.expected()))?;
                // Two readers of one query could take different ones: neither is taken.
                if request.contains_key(&name) {
                    return Err(Refusal::invalid(format!("{name} is there twice"), format!("give {name} once")));
                }
                request.insert(name, value);
            }
        }
    }
    match fields.iter().find(|field| field.required && !request.contains_key(&field.name)) {
        Some(Field { name, .. }) => {
            Err(Refusal::invalid(format!("{name} is missing"), format!("add {name}=… to the query")))
        }
        None => Ok(Value::Object(request)),
    }
}

fn unknown(fields: &[Field], name: &str) -> Refusal {
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let hint = match (similar(name, names.iter().copied()), names.is_empty()) {
        (_, true) => "it takes no fields".to_owned(),
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, _) => format!("it takes: {}", names.join(", ")),
    };
    Refusal::invalid(format!("there is no field {:?}", super::route::cut(name)), hint)
}

/// Follows `$ref`, and takes the `null` out of a union.
fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(pointer) = node.get("$ref").and_then(Value::as_str) {
        return root.pointer(pointer.trim_start_matches('#')).map_or(node, |found| resolve(root, found));
    }
    let not_null = |choice: &&Value| choice.get("type").is_none_or(|name| name != "null");
    let choices = node.get("anyOf").or_else(|| node.get("allOf")).and_then(Value::as_array);
    match choices.map(|choices| choices.iter().filter(not_null).collect::<Vec<_>>()).as_deref() {
        Some([one]) => resolve(root, one),
        _ => node,
    }
}

fn types(node: &Value) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether `node` is a choice of words, each with a description of its own.
fn is_enumeration(root: &Value, node: &Value) -> bool {
    let choices = node.get("oneOf").and_then(Value::as_array);
    let word = |choice: &Value| types(resolve(root, choice)).contains(&"string");
    choices.is_some_and(|choices| !choices.is_empty() && choices.iter().all(word))
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::value::ByteSize;

    #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Everything {
        text: Option<String>,
        flag: bool,
        small: u8,
        large: Option<i64>,
        huge: u64,
        ratio: Option<f64>,
        size: Option<ByteSize>,
        words: Option<Vec<String>>,
        numbers: Vec<u32>,
        choice: Option<Choice>,
        plain: Plain,
        map: Option<std::collections::BTreeMap<String, String>>,
        lists: Vec<Vec<String>>,
    }

    #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        /// The first.
        #[default]
        First,
        /// The second.
        SecondOne,
    }

    #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Plain {
        #[default]
        A,
        B,
    }

    fn read(query: &str) -> Result<Value, String> {
        let fields = fields_of(&schemars::schema_for!(Everything));
        let message = |refusal: Refusal| {
            let body: Value = serde_json::from_slice(&refusal.into_response().body).unwrap();
            format!("{}; {}", body["error"]["message"].as_str().unwrap(), body["error"]["hint"].as_str().unwrap())
        };
        read_query(&fields, query).map_err(message)
    }

    #[test]
    fn a_query_gets_the_types_of_the_schema() {
        for (query, expected) in [
            ("", json!({})),
            ("text=5", json!({ "text": "5" })),
            ("text=", json!({ "text": "" })),
            ("text=a+b%26c", json!({ "text": "a b&c" })),
            ("flag=true&small=200", json!({ "flag": true, "small": 200 })),
            ("flag=0", json!({ "flag": false })),
            ("large=-9007199254740993", json!({ "large": -9_007_199_254_740_993_i64 })),
            ("huge=18446744073709551615", json!({ "huge": u64::MAX })),
            ("ratio=1e3", json!({ "ratio": 1000.0 })),
            ("size=64MiB", json!({ "size": "64MiB" })),
            ("size=64", json!({ "size": 64 })),
            ("words=a&words=b", json!({ "words": ["a", "b"] })),
            ("numbers=1&numbers=2", json!({ "numbers": [1, 2] })),
            ("choice=second_one&plain=b", json!({ "choice": "second_one", "plain": "b" })),
        ] {
            let value = read(query).unwrap();
            assert_eq!(value, expected, "{query}");
            let _: Everything = serde_json::from_value(value).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_is_said_by_name() {
        for (query, message) in [
            ("flag=yes", "flag takes true or false; correct flag in the query"),
            ("flag", "flag takes true or false; correct flag in the query"),
            ("small=x", "small takes a whole number; correct small in the query"),
            ("small=1.5", "small takes a whole number; correct small in the query"),
            ("huge=18446744073709551616", "huge takes a whole number; correct huge in the query"),
            ("ratio=NaN", "ratio takes a number; correct ratio in the query"),
            ("ratio=1e999", "ratio takes a number; correct ratio in the query"),
            ("numbers=1&numbers=x", "numbers takes a whole number; correct numbers in the query"),
            ("text=a&text=a", "text is there twice; give text once"),
            ("map=x", "map cannot be said in a query; send the fields as a JSON object in the body of a POST"),
            ("lists=x", "lists cannot be said in a query; send the fields as a JSON object in the body of a POST"),
            ("txet=x", "there is no field \"txet\"; did you mean text?"),
            ("__proto__=x", "there is no field \"__proto__\"; it takes: "),
            ("text=%ff", "the query is not percent-encoded UTF-8; encode it as encodeURIComponent does"),
        ] {
            let said = read(query).unwrap_err();
            assert!(said.starts_with(message), "{query}: {said}");
        }
        let none = read_query(&[], "a=1").unwrap_err().into_response();
        assert!(String::from_utf8(none.body).unwrap().contains("it takes no fields"));
    }

    /// Whatever an operation of the table that reads is asked, a query can ask it.
    #[test]
    fn every_field_of_every_reading_operation_can_be_asked_in_a_query() {
        for entry in crate::ops::operations().filter(|entry| entry.effect == crate::ops::Effect::Read) {
            for field in fields_of(&(entry.request_schema)()) {
                assert_ne!(field.shape, Shape::Nested, "{}: {}", entry.name, field.name);
                assert_ne!(field.description, "", "{}: {}", entry.name, field.name);
            }
        }
    }
}
