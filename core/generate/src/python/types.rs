//! `types.py`: what operations answer with.

use crate::ir::{Absent, Api, Field, Record, Shape, Type};
use crate::words::{Page, sentence};

use super::{WIDTH, annotation, call, docstring, identifier, literal, needs_codec, quoted};

/// The module of all types.
pub fn types(api: &Api) -> String {
    let mut page = Page::default();
    docstring(
        &mut page,
        "What operations answer with: frozen dataclasses, and the words in them.\n\n\
         Times are `datetime` in UTC. File names are `str` as `os.fsdecode` makes them, so any name can be opened. \
         Generated from the table of operations by `make generate`: do not edit.",
    );
    page.gap(1);
    page.line("from __future__ import annotations");
    page.gap(1);
    page.line("from dataclasses import dataclass, field");
    page.line("from datetime import datetime");
    page.line("from typing import Any, Literal, TypeAlias");
    page.gap(1);
    page.line("from . import _codec");
    page.gap(1);
    exports(&mut page, api);
    let mut after_class = false;
    for shape in &api.types {
        // A class stands by itself.
        let is_class = matches!(shape, Shape::Record(_));
        page.gap(if is_class || after_class { 2 } else { 1 });
        after_class = is_class;
        match shape {
            Shape::Record(record) => dataclass(&mut page, record),
            Shape::Words(words) => {
                let options: Vec<String> = words.words.iter().map(|(word, _)| quoted(word)).collect();
                alias(&mut page, &words.name, "Literal[", &options, "]");
                let lines = words.words.iter().filter(|(_, docs)| !docs.is_empty());
                let lines: Vec<String> = lines.map(|(word, docs)| format!("- `{word}`: {docs}")).collect();
                let list = if lines.is_empty() { String::new() } else { format!("\n\n{}", lines.join("\n")) };
                docstring(&mut page, &format!("{}{list}", sentence(&words.docs)));
            }
            Shape::Union(union) => {
                let options = union.variants.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" | ");
                page.line(format!("{}: TypeAlias = {options}", union.name));
                docstring(&mut page, &sentence(&union.docs));
            }
        }
    }
    page.gap(2);
    codecs(&mut page, api);
    page.finish()
}

fn exports(page: &mut Page, api: &Api) {
    let mut names: Vec<&str> = api.types.iter().map(Shape::name).collect();
    names.sort_unstable();
    page.line("__all__ = [");
    page.indented(4, |page| names.iter().for_each(|name| page.line(format!("{},", quoted(name)))));
    page.line("]");
}

fn alias(page: &mut Page, name: &str, open: &str, options: &[String], close: &str) {
    let line = format!("{name}: TypeAlias = {open}{}{close}", options.join(", "));
    if line.len() <= WIDTH {
        return page.line(line);
    }
    page.line(format!("{name}: TypeAlias = {open}"));
    page.indented(4, |page| options.iter().for_each(|option| page.line(format!("{option},"))));
    page.line(close);
}

fn dataclass(page: &mut Page, record: &Record) {
    page.line("@dataclass(frozen=True, slots=True, kw_only=True)");
    page.line(format!("class {}:", record.name));
    page.indented(4, |page| {
        docstring(page, &sentence(&record.docs));
        if let Some((field, word)) = &record.tag {
            page.gap(1);
            page.line(format!("{}: Literal[{word}] = {word}", identifier(field), word = quoted(word)));
        }
        let (required, optional): (Vec<&Field>, Vec<&Field>) =
            record.fields.iter().partition(|field| default(field).is_none());
        for field in required.into_iter().chain(optional) {
            page.gap(1);
            let default = default(field).map(|value| format!(" = {value}")).unwrap_or_default();
            page.line(format!("{}: {}{default}", identifier(&field.name), annotation(&field.ty, false)));
            docstring(page, &sentence(&field.docs));
        }
    });
}

/// What stands behind the `=` of a field. What may be null need not be given, which helps whoever makes one in
/// a test.
fn default(field: &Field) -> Option<String> {
    match (&field.absent, &field.ty) {
        (Absent::Never, Type::Nullable(_)) => Some("None".to_owned()),
        (Absent::Never, _) => None,
        (Absent::Default(value), Type::List(_)) if *value == serde_json::json!([]) => {
            Some("field(default_factory=list)".to_owned())
        }
        (Absent::Default(value), Type::Map(_) | Type::Object) if *value == serde_json::json!({}) => {
            Some("field(default_factory=dict)".to_owned())
        }
        (Absent::Default(value), Type::List(_) | Type::Map(_) | Type::Object) => {
            Some(format!("field(default_factory=lambda: {})", literal(value)))
        }
        (Absent::Default(value), _) => Some(literal(value)),
    }
}

/// The codecs of the dataclasses, in an order in which each knows those that it needs.
fn codecs(page: &mut Page, api: &Api) {
    let shape = |name: &str| api.shape(name).cloned();
    for one in &api.types {
        match one {
            Shape::Words(_) => {}
            Shape::Union(union) => {
                let records =
                    union.variants.iter().map(|(word, name)| format!("{}={}", identifier(word), codec_name(name)));
                call(page, &format!("{} = _codec.Union(", codec_name(&union.name)), &{
                    let mut arguments = vec![quoted(&union.tag)];
                    arguments.extend(records);
                    arguments
                });
            }
            Shape::Record(record) => {
                let mut arguments = vec![record.name.clone()];
                for field in record.fields.iter().filter(|field| needs_codec(&field.ty, &shape)) {
                    arguments.push(format!("{}={}", identifier(&field.name), codec(&field.ty, &shape)));
                }
                // Nobody needs the name of a codec that only its class leads to.
                let needed = api.types.iter().any(|other| names(other, &record.name));
                let name = if needed { format!("{} = ", codec_name(&record.name)) } else { String::new() };
                call(page, &format!("{name}_codec.Record("), &arguments);
            }
        }
    }
}

/// Whether `shape` has the type `name` in it.
fn names(shape: &Shape, name: &str) -> bool {
    fn within(ty: &Type, name: &str) -> bool {
        match ty {
            Type::List(inner) | Type::Map(inner) | Type::Nullable(inner) => within(inner, name),
            Type::Named(named) => named == name,
            _ => false,
        }
    }
    match shape {
        Shape::Record(record) => record.fields.iter().any(|field| within(&field.ty, name)),
        Shape::Union(union) => union.variants.iter().any(|(_, record)| record == name),
        Shape::Words(_) => false,
    }
}

/// `StoreRecord` as `_STORE_RECORD`.
fn codec_name(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

fn codec(ty: &Type, shape: &impl Fn(&str) -> Option<Shape>) -> String {
    match ty {
        Type::Time => "_codec.TIME".to_owned(),
        Type::Path => "_codec.PATH".to_owned(),
        Type::List(item) => format!("_codec.ListOf({})", codec(item, shape)),
        Type::Map(value) => format!("_codec.MapOf({})", codec(value, shape)),
        Type::Nullable(inner) => codec(inner, shape),
        Type::Named(name) if needs_codec(ty, shape) => codec_name(name),
        _ => "_codec.Codec()".to_owned(),
    }
}
