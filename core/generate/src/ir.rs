//! What the operations look like, without any language: between the schemas and the emitters.

use serde::Serialize;
use serde_json::Value;
use uplifted_ops::ops::Effect;

/// Everything that is generated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Api {
    /// The operations, in the order of the table.
    pub operations: Vec<Operation>,
    /// The types that they answer with, and those within: each after the types that it names.
    pub types: Vec<Shape>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    /// Its name: `backup.create`.
    pub name: String,
    /// One line that says what it does.
    pub summary: String,
    /// What it does to the world.
    pub effect: Effect,
    /// What it is asked: `BackupCreateRequest`.
    pub request: Record,
    /// The name of what it answers: `BackupCreateResponse`.
    pub response: String,
}

impl Operation {
    /// `backup` of `backup.create`; nothing for an operation that stands alone.
    pub fn group(&self) -> Option<&str> {
        self.name.split_once('.').map(|(group, _)| group)
    }

    /// `create` of `backup.create`.
    pub fn verb(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(_, verb)| verb)
    }
}

impl Api {
    /// The groups, each with its operations, in the order of the table.
    pub fn groups(&self) -> Vec<(&str, Vec<&Operation>)> {
        let mut groups: Vec<(&str, Vec<&Operation>)> = Vec::new();
        for operation in &self.operations {
            let Some(name) = operation.group() else { continue };
            match groups.iter_mut().find(|(group, _)| *group == name) {
                Some((_, members)) => members.push(operation),
                None => groups.push((name, vec![operation])),
            }
        }
        groups
    }

    /// The operations that stand alone.
    pub fn alone(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| operation.group().is_none())
    }

    /// The type called `name`.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.types.iter().find(|shape| shape.name() == name)
    }
}

/// A type with a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Named fields.
    Record(Record),
    /// One of some words.
    Words(Words),
    /// One of some records, told apart by a word in one of their fields.
    Union(Union),
}

impl Shape {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Record(record) => &record.name,
            Self::Words(words) => &words.name,
            Self::Union(union) => &union.name,
        }
    }
}

/// Named fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// The field that tells it from the other records of a union, and the word that it always holds.
    pub tag: Option<(String, String)>,
    /// Its fields, the required ones first.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Its name on the wire, in snake case.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub ty: Type,
    /// What it means when it is not there.
    pub absent: Absent,
}

/// What a missing field means.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// An error.
    Never,
    /// This value.
    Default(Value),
}

/// One of some words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Words {
    /// Its name.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// The words, each with what it says.
    pub words: Vec<(String, String)>,
}

/// One of some records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Union {
    /// Its name.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// The field that every record has, with a word of its own in it.
    pub tag: String,
    /// The words, each with the name of its record.
    pub variants: Vec<(String, String)>,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// Text.
    Text,
    /// True or false.
    Boolean,
    /// An integer that every language's common number holds.
    Integer,
    /// An integer of 64 bits, which JavaScript's number does not hold.
    WideInteger,
    /// A number.
    Float,
    /// RFC 3339 text.
    Time,
    /// A file name of any bytes: text, or an object with the bytes in hexadecimal.
    Path,
    /// Any JSON.
    Json,
    /// An object of any JSON, whose keys are data.
    Object,
    /// Several of one type.
    List(Box<Type>),
    /// One type by keys that are data.
    Map(Box<Type>),
    /// A type, or null.
    Nullable(Box<Type>),
    /// A type with a name.
    Named(String),
}
