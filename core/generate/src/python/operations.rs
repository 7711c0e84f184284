//! `_operations.py`: a method for each operation, waiting and async.

use serde_json::Value;
use uplifted_ops::ops::Effect;

use crate::ir::{Absent, Api, Field, Operation, Shape, Type};
use crate::words::{Page, pascal, sentence};

use super::{annotation, docstring, identifier, literal, needs_codec, quoted};

/// The module of all methods.
pub fn operations(api: &Api) -> String {
    let mut page = Page::default();
    docstring(
        &mut page,
        "The operations as methods: `ops.backup.create(...)`, and the same to be awaited.\n\n\
         `types` is imported when the first answer comes, not with this module. \
         Generated from the table of operations by `make generate`: do not edit.",
    );
    page.gap(1);
    let mut body = Page::default();
    write_body(&mut body, api);
    let body = body.finish();
    imports(&mut page, api, &body);
    page.gap(1);
    page.line(body);
    page.finish()
}

fn write_body(page: &mut Page, api: &Api) {
    for operation in &api.operations {
        let open = format!("{}: Response[{1}] = Response(", handle(&operation.name), operation.response);
        super::call(page, &open, &[quoted(&operation.response)]);
    }
    page.line("PROGRESS: Response[Progress] = Response(\"Progress\")");
    for asynchronous in [false, true] {
        for (group, members) in api.groups() {
            class(page, group, &members, asynchronous, api);
        }
        owner(page, api, asynchronous);
    }
}

fn imports(page: &mut Page, api: &Api, body: &str) {
    let used = |names: &[&'static str], how: &dyn Fn(&str) -> String| -> Vec<&'static str> {
        names.iter().copied().filter(|name| body.contains(&how(name))).collect()
    };
    page.line("from __future__ import annotations");
    page.gap(1);
    page.line("from typing import TYPE_CHECKING, Any, TypeVar");
    page.gap(1);
    let called = |name: &str| format!("{name}(");
    let passed = |name: &str| format!(", {name})");
    let mut runtime = vec!["Response"];
    let helpers = ["list_to_wire", "path_to_wire", "request", "time_to_wire", "to_wire"];
    runtime.extend(helpers.iter().filter(|name| {
        // `path_to_wire(` ends with `to_wire(`.
        let calls = [format!("={}", called(name)), format!(" else {}", called(name)), format!(" {}", called(name))];
        body.contains(&passed(name)) || calls.iter().any(|call| body.contains(call.as_str()))
    }));
    page.line(format!("from ._codec import {}", runtime.join(", ")));
    page.gap(1);
    page.line("if TYPE_CHECKING:");
    page.indented(4, |page| {
        page.line("import os");
        let abstracts = used(&["Callable", "Mapping", "Sequence"], &|name| format!("{name}["));
        page.line(format!("from collections.abc import {}", abstracts.join(", ")));
        page.line("from datetime import datetime");
        page.gap(1);
        page.line("from .types import (");
        let mut names: Vec<String> = api.operations.iter().map(|operation| operation.response.clone()).collect();
        let fields = api.operations.iter().flat_map(|operation| &operation.request.fields);
        fields.for_each(|field| named_in(&field.ty, &mut names));
        names.push("Progress".to_owned());
        names.sort_unstable();
        names.dedup();
        page.indented(4, |page| names.iter().for_each(|name| page.line(format!("{name},"))));
        page.line(")");
    });
    page.gap(1);
    page.line("T = TypeVar(\"T\")");
}

fn named_in(ty: &Type, names: &mut Vec<String>) {
    match ty {
        Type::List(inner) | Type::Map(inner) | Type::Nullable(inner) => named_in(inner, names),
        Type::Named(name) => names.push(name.clone()),
        _ => {}
    }
}

/// `restore.undo_list` as `_RESTORE_UNDO_LIST`.
fn handle(name: &str) -> String {
    format!("_{}", name.replace('.', "_").to_uppercase())
}

fn prefix(asynchronous: bool) -> &'static str {
    if asynchronous { "Async" } else { "" }
}

fn class(page: &mut Page, group: &str, members: &[&Operation], asynchronous: bool, api: &Api) {
    let prefix = prefix(asynchronous);
    page.gap(2);
    page.line(format!("class {prefix}{}Group:", pascal(group)));
    page.indented(4, |page| {
        let way = if asynchronous { ", to be awaited" } else { "" };
        page.line(format!("\"\"\"The operations `{group}.*`{way}.\"\"\""));
        page.gap(1);
        page.line("__slots__ = (\"_owner\",)");
        page.gap(1);
        page.line(format!("def __init__(self, owner: {prefix}Operations) -> None:"));
        page.indented(4, |page| page.line("self._owner = owner"));
        for operation in members {
            method(page, operation, "self._owner", asynchronous, api);
        }
    });
}

fn owner(page: &mut Page, api: &Api, asynchronous: bool) {
    let prefix = prefix(asynchronous);
    page.gap(2);
    page.line(format!("class {prefix}Operations:"));
    page.indented(4, |page| {
        let (way, class) = if asynchronous { (", to be awaited", "AsyncOps") } else { ("", "Ops") };
        page.line(format!("\"\"\"The front door to every operation{way}; `{class}` is one.\"\"\""));
        page.gap(1);
        page.line("__slots__ = ()");
        page.gap(1);
        page.line(format!("{}def _call(", if asynchronous { "async " } else { "" }));
        page.indented(4, |page| {
            page.line("self,");
            page.line("name: str,");
            page.line("request: dict[str, Any],");
            page.line("response: Response[T],");
            page.line("on_progress: Callable[[Progress], object] | None,");
            page.line("timeout: float | None,");
        });
        page.line(") -> T:");
        page.indented(4, |page| page.line("raise NotImplementedError"));
        for (group, _) in api.groups() {
            page.gap(1);
            page.line("@property");
            page.line(format!("def {}(self) -> {prefix}{}Group:", identifier(group), pascal(group)));
            page.indented(4, |page| {
                page.line(format!("\"\"\"The operations `{group}.*`.\"\"\""));
                page.line(format!("return {prefix}{}Group(self)", pascal(group)));
            });
        }
        for operation in api.alone() {
            method(page, operation, "self", asynchronous, api);
        }
    });
}

fn method(page: &mut Page, operation: &Operation, owner: &str, asynchronous: bool, api: &Api) {
    let (def, wait) = if asynchronous { ("async def", "await ") } else { ("def", "") };
    page.gap(1);
    page.line(format!("{def} {}(", identifier(operation.verb())));
    page.indented(4, |page| {
        page.line("self,");
        page.line("*,");
        for field in &operation.request.fields {
            page.line(format!("{}: {},", identifier(&field.name), parameter(field)));
        }
        page.line("on_progress: Callable[[Progress], object] | None = None,");
        page.line("timeout: float | None = None,");
    });
    page.line(format!(") -> {}:", operation.response));
    page.indented(4, |page| {
        docs(page, operation, api);
        page.line(format!("return {wait}{owner}._call("));
        page.indented(4, |page| {
            page.line(format!("\"{}\",", operation.name));
            let shape = |name: &str| api.shape(name).cloned();
            let fields: Vec<String> = operation
                .request
                .fields
                .iter()
                .map(|field| {
                    let name = identifier(&field.name);
                    let value = encoded(&field.ty, &name, &shape);
                    match (&field.absent, value == name) {
                        (Absent::Default(Value::Null | Value::Array(_) | Value::Object(_)), false) => {
                            format!("{name}=None if {name} is None else {value},")
                        }
                        _ => format!("{name}={value},"),
                    }
                })
                .collect();
            let line = format!("request({}),", fields.join(" ").trim_end_matches(','));
            if page.column() + line.len() <= super::WIDTH {
                page.line(line);
            } else {
                page.line("request(");
                page.indented(4, |page| fields.iter().for_each(|field| page.line(field)));
                page.line("),");
            }
            page.line(format!("{},", handle(&operation.name)));
            page.line("on_progress,");
            page.line("timeout,");
        });
        page.line(")");
    });
}

fn parameter(field: &Field) -> String {
    let ty = annotation(&field.ty, true);
    match &field.absent {
        Absent::Never => ty,
        // A list in a signature is shared by all calls; the core puts the default in.
        Absent::Default(Value::Array(_) | Value::Object(_)) => format!("{ty} | None = None"),
        Absent::Default(value) => format!("{ty} = {}", literal(value)),
    }
}

/// The expression that makes a value fit for the wire.
fn encoded(ty: &Type, name: &str, shape: &impl Fn(&str) -> Option<Shape>) -> String {
    match ty {
        Type::Time => format!("time_to_wire({name})"),
        Type::Path => format!("path_to_wire({name})"),
        Type::Nullable(inner) => encoded(inner, name, shape),
        Type::List(item) => match &**item {
            Type::Path => format!("list_to_wire({name}, path_to_wire)"),
            Type::Time => format!("list_to_wire({name}, time_to_wire)"),
            item if needs_codec(item, shape) => format!("list_to_wire({name}, to_wire)"),
            _ => format!("list_to_wire({name})"),
        },
        Type::Named(_) if needs_codec(ty, shape) => format!("to_wire({name})"),
        _ => name.to_owned(),
    }
}

fn docs(page: &mut Page, operation: &Operation, api: &Api) {
    let effect = match operation.effect {
        Effect::Read => "Changes nothing.",
        Effect::Change => "Adds something.",
        Effect::Destroy => "Deletes or replaces something.",
    };
    let mut lines = format!("{}\n\n{effect}\n\nArgs:\n", sentence(&operation.summary));
    let mut argument = |name: &str, docs: &str| {
        let wrapped = crate::words::wrapped(&format!("{name}: {docs}"), super::WIDTH - page.column() - 8);
        for (index, line) in wrapped.iter().filter(|line| !line.is_empty()).enumerate() {
            lines.push_str(if index == 0 { "    " } else { "        " });
            lines.push_str(line);
            lines.push('\n');
        }
    };
    for field in &operation.request.fields {
        argument(&identifier(&field.name), &sentence(&field.docs));
    }
    argument("on_progress", "Called with each `Progress`. What it raises cancels the work.");
    argument("timeout", "Seconds after which the work is cancelled, with `TimedOutError`.");
    let answer = match api.shape(&operation.response) {
        Some(Shape::Record(record)) => sentence(&record.docs),
        _ => String::new(),
    };
    lines.push_str(&format!(
        "\nReturns:\n    {answer}\n\nRaises:\n    OpsError: What could not be done, and the repair.\n"
    ));
    docstring(page, lines.trim_end());
}
