//! From JSON schemas to the [`ir`](crate::ir).
//!
//! It understands what schemars writes for the types that operations use, and refuses the rest by name: a
//! guess would be wrong in two languages at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uplifted_ops::error::{Error, Result};
use uplifted_ops::ops::Effect;

use crate::ir::{Absent, Api, Field, Operation, Record, Shape, Type, Union, Words};
use crate::words::{pascal, without_links};

/// One operation as the table has it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// One line that says what it does.
    pub summary: String,
    /// What it does to the world.
    pub effect: Effect,
    /// The schema of the request, as it is read.
    pub request: Value,
    /// The schema of the response, as it is written.
    pub response: Value,
}

/// Reads the operations, and further types by the name that they get.
///
/// # Errors
/// [`InvalidInput`](uplifted_ops::ErrorKind::InvalidInput) for two shapes under one name, and for what the
/// languages have no words for: the message names the place, the hint the repair in Rust.
pub fn read(sources: &[Source], more: &[(&str, Value)]) -> Result<Api> {
    let mut reader = Reader::default();
    let mut operations = Vec::new();
    for source in sources {
        let prefix = pascal(&source.name);
        let (request, response) = (format!("{prefix}Request"), format!("{prefix}Response"));
        let asked = reader.root(&request, &source.request, &format!("the request of {}", source.name))?;
        let Shape::Record(asked) = asked else {
            return Err(unsupported(&format!("the request of {}", source.name), "is no struct with named fields"));
        };
        reader.origins.insert(request.clone(), source.name.clone());
        let answered = reader.root(&response, &source.response, &format!("the response of {}", source.name))?;
        reader.add(answered, &source.name)?;
        operations.push(Operation {
            name: source.name.clone(),
            summary: source.summary.clone(),
            effect: source.effect,
            request: asked,
            response,
        });
    }
    for (name, schema) in more {
        let shape = reader.root(name, schema, name)?;
        reader.add(shape, name)?;
    }
    if let Some(operation) = operations.iter().find(|operation| reader.has(&operation.request.name)) {
        return Err(twice(&operation.request.name, &operation.name, "a type within another operation"));
    }
    Ok(Api { operations, types: reader.types })
}

/// Names that mean something else in the generated modules.
const TAKEN: &[&str] = &[
    "Any",
    "Array",
    "AsyncOperations",
    "Buffer",
    "CallOptions",
    "Codec",
    "Date",
    "Error",
    "Integer",
    "Json",
    "Literal",
    "Map",
    "Object",
    "Operations",
    "OperationCodec",
    "Path",
    "Promise",
    "Readonly",
    "Record",
    "Response",
    "String",
];

#[derive(Default)]
struct Reader {
    /// What is done, each after what it names.
    types: Vec<Shape>,
    /// Where each name was met first.
    origins: BTreeMap<String, String>,
    /// The `$defs` of the schema that is being read, and the names in it that are under way.
    definitions: Map<String, Value>,
    under_way: Vec<String>,
}

impl Reader {
    fn root(&mut self, name: &str, schema: &Value, place: &str) -> Result<Shape> {
        self.definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        self.shape(name, schema, place)?.ok_or_else(|| unsupported(place, "is no struct and no enum"))
    }

    fn has(&self, name: &str) -> bool {
        self.types.iter().any(|shape| shape.name() == name)
    }

    /// Keeps a shape under its name.
    fn add(&mut self, shape: Shape, origin: &str) -> Result<()> {
        if TAKEN.contains(&shape.name()) {
            let name = shape.name();
            return Err(Error::invalid(format!(
                "{origin} has a type called {name}, which a language keeps for itself"
            ))
            .with_hint("give it another name with #[schemars(rename = \"…\")]"));
        }
        match self.types.iter().find(|known| known.name() == shape.name()) {
            Some(known) if *known == shape => Ok(()),
            Some(_) => {
                let first = self.origins.get(shape.name()).cloned().unwrap_or_default();
                Err(twice(shape.name(), &first, origin))
            }
            None => {
                self.origins.insert(shape.name().to_owned(), origin.to_owned());
                self.types.push(shape);
                Ok(())
            }
        }
    }

    /// The type with a name that `schema` is, unless it is another word for a plain one.
    fn shape(&mut self, name: &str, schema: &Value, place: &str) -> Result<Option<Shape>> {
        let docs = docs_of(schema);
        if let Some(words) = words_of(schema) {
            return Ok(Some(Shape::Words(Words { name: name.to_owned(), docs, words })));
        }
        if let Some((tag, variants)) = variants_of(schema) {
            let mut names = Vec::new();
            for (word, variant) in variants {
                let record = self.record(&format!("{name}{}", pascal(&word)), variant, place, Some((&tag, &word)))?;
                names.push((word, record.name.clone()));
                self.add(Shape::Record(record), place)?;
            }
            return Ok(Some(Shape::Union(Union { name: name.to_owned(), docs, tag, variants: names })));
        }
        if is_record(schema) {
            return Ok(Some(Shape::Record(self.record(name, schema, place, None)?)));
        }
        Ok(None)
    }

    fn record(&mut self, name: &str, schema: &Value, place: &str, tag: Option<(&str, &str)>) -> Result<Record> {
        if let Some(word) = ["allOf", "anyOf", "oneOf"].iter().find(|word| schema.get(**word).is_some()) {
            return Err(unsupported(place, &format!("flattens an enum into a struct ({word})")));
        }
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: Vec<&str> = strings(schema.get("required")).collect();
        let optional = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
        let mut fields = Vec::new();
        // A schema sorts its properties; `required` is in the order of the struct.
        for field in required.iter().copied().chain(optional) {
            if tag.is_some_and(|(tag, _)| tag == field) {
                continue;
            }
            let place = format!("{place}, field {field}");
            check_name(field, &place)?;
            let property = properties.get(field).unwrap_or(&Value::Bool(true));
            let ty = self.ty(property, &place)?;
            let absent = match required.contains(&field) {
                true => Absent::Never,
                false => Absent::Default(default_of(property, &ty)),
            };
            // What has nothing to say when it is missing can be null.
            let ty = match (&absent, ty) {
                (Absent::Default(Value::Null), ty @ (Type::Nullable(_) | Type::Json)) => ty,
                (Absent::Default(Value::Null), ty) => Type::Nullable(Box::new(ty)),
                (_, ty) => ty,
            };
            fields.push(Field { name: field.to_owned(), docs: docs_of(property), ty, absent });
        }
        let tag = tag.map(|(field, word)| (field.to_owned(), word.to_owned()));
        Ok(Record { name: name.to_owned(), docs: docs_of(schema), tag, fields })
    }

    fn ty(&mut self, schema: &Value, place: &str) -> Result<Type> {
        match schema.get("format").and_then(Value::as_str) {
            Some("path") => return Ok(Type::Path),
            Some("date-time") => return Ok(nullable_if(schema, Type::Time)),
            _ => {}
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.named(target, place);
        }
        if let Some([inner]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.ty(inner, place);
        }
        for word in ["anyOf", "oneOf"] {
            let Some(options) = schema.get(word).and_then(Value::as_array) else { continue };
            let present: Vec<&Value> = options.iter().filter(|option| option["type"] != "null").collect();
            return match present[..] {
                [one] if options.len() == 2 => Ok(Type::Nullable(Box::new(self.ty(one, place)?))),
                _ => Err(unsupported(place, "is one of several types")),
            };
        }
        let ty = match plain_type(schema, place)? {
            None => return Ok(Type::Json),
            Some("boolean") => Type::Boolean,
            Some("number") => Type::Float,
            Some("integer") => match schema.get("format").and_then(Value::as_str) {
                Some("int8" | "uint8" | "int16" | "uint16" | "int32" | "uint32") => Type::Integer,
                _ => Type::WideInteger,
            },
            Some("string") if schema.get("enum").or(schema.get("const")).is_none() => Type::Text,
            Some("array") if schema.get("prefixItems").is_some() => {
                return Err(unsupported(place, "is a tuple"));
            }
            Some("array") => Type::List(Box::new(match schema.get("items") {
                Some(items) => self.ty(items, place)?,
                None => Type::Json,
            })),
            Some("object") if schema.get("properties").is_none() => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => Type::Map(Box::new(self.ty(values, place)?)),
                _ => Type::Object,
            },
            Some(other) => return Err(unsupported(place, &format!("has a type without a name ({other})"))),
        };
        Ok(nullable_if(schema, ty))
    }

    /// The type that `#/$defs/…` names.
    fn named(&mut self, target: &str, place: &str) -> Result<Type> {
        let name = target.strip_prefix("#/$defs/").unwrap_or(target);
        let schema = self.definitions.get(name).cloned();
        let schema = schema.ok_or_else(|| unsupported(place, &format!("refers to {target}, which is not there")))?;
        if schema["format"] == "path" {
            return Ok(Type::Path);
        }
        if self.under_way.iter().any(|known| known == name) {
            return Err(unsupported(place, &format!("is part of itself, through {name}")));
        }
        self.under_way.push(name.to_owned());
        let shape = self.shape(name, &schema, name);
        self.under_way.pop();
        match shape? {
            Some(shape) => {
                self.add(shape, place)?;
                Ok(Type::Named(name.to_owned()))
            }
            None => self.ty(&schema, place),
        }
    }
}

/// A doc comment, without the newlines of its source.
fn docs_of(schema: &Value) -> String {
    without_links(schema.get("description").and_then(Value::as_str).unwrap_or_default())
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_record(schema: &Value) -> bool {
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    schema["type"] == "object" && (schema.get("properties").is_some() || closed)
}

/// The words of an enum without data. Neighbours without a comment share one `enum`.
fn words_of(schema: &Value) -> Option<Vec<(String, String)>> {
    if schema["type"] == "string" && schema.get("enum").is_some() {
        return Some(strings(schema.get("enum")).map(|word| (word.to_owned(), String::new())).collect());
    }
    let mut words = Vec::new();
    for option in schema.get("oneOf")?.as_array()? {
        match option.get("const").and_then(Value::as_str) {
            Some(word) => words.push((word.to_owned(), docs_of(option))),
            None if option["type"] == "string" && option.get("enum").is_some() => {
                words.extend(strings(option.get("enum")).map(|word| (word.to_owned(), String::new())));
            }
            None => return None,
        }
    }
    Some(words)
}

/// The tag of an internally tagged enum, and its variants by their words.
fn variants_of(schema: &Value) -> Option<(String, Vec<(String, &Value)>)> {
    let options = schema.get("oneOf")?.as_array()?;
    let first = options.first()?.get("properties")?.as_object()?;
    let (tag, _) = first.iter().find(|(_, property)| property.get("const").is_some())?;
    let word = |option: &Value| Some(option.get("properties")?.get(tag)?.get("const")?.as_str()?.to_owned());
    let variants = options.iter().map(|option| Some((word(option)?, option)));
    Some((tag.clone(), variants.collect::<Option<_>>()?))
}

/// What a missing field means: what serde puts there, else nothing.
fn default_of(property: &Value, ty: &Type) -> Value {
    match (property.get("default"), ty) {
        (Some(default), _) => default.clone(),
        // Left out because it is empty.
        (None, Type::List(_)) => Value::Array(Vec::new()),
        (None, Type::Map(_) | Type::Object) => Value::Object(Map::new()),
        (None, _) => Value::Null,
    }
}

/// The one type of `schema` beside null; `None` when it says nothing, which is any JSON.
fn plain_type<'a>(schema: &'a Value, place: &str) -> Result<Option<&'a str>> {
    match schema.get("type") {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(one)),
        Some(several) => {
            let types: Vec<&str> = strings(Some(several)).filter(|name| *name != "null").collect();
            match types[..] {
                [one] => Ok(Some(one)),
                _ => Err(unsupported(place, &format!("is one of several types ({})", types.join(", ")))),
            }
        }
    }
}

fn nullable_if(schema: &Value, ty: Type) -> Type {
    match strings(schema.get("type")).any(|name| name == "null") {
        true => Type::Nullable(Box::new(ty)),
        false => ty,
    }
}

/// Names cross into languages that change their case and back.
fn check_name(name: &str, place: &str) -> Result<()> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.ends_with('_')
        && !name.contains("__");
    if plain { Ok(()) } else { Err(unsupported(place, "has a name that is not plain snake_case")) }
}

fn unsupported(place: &str, what: &str) -> Error {
    Error::invalid(format!("{place} {what}, which the generator cannot write in every language")).with_hint(
        "use a struct, an enum without data or with #[serde(tag)], Option, Vec, a map, a time, RelPath, or plain values",
    )
}

fn twice(name: &str, first: &str, second: &str) -> Error {
    Error::invalid(format!("two shapes are called {name}: one in {first}, one in {second}"))
        .with_hint("give one of them another name with #[schemars(rename = \"…\")]")
}
