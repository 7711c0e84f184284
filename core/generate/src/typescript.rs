//! Writes TypeScript: interfaces, their codecs, and the groups of methods. The runtime is `codec.ts`, by hand.

use std::collections::BTreeSet;

use serde_json::Value;
use uplifted_ops::ops::Effect;

use crate::ir::{Absent, Api, Field, Operation, Record, Shape, Type};
use crate::words::{Page, camel, pascal, sentence, wrapped};

/// The width that formatters are set to here.
const WIDTH: usize = 120;

/// The module of everything.
pub fn module(api: &Api) -> String {
    let mut page = Page::default();
    docs(
        &mut page,
        "The operations, what they are asked and what they answer.\n\n\
         Generated from the table of operations by `make generate`: do not edit. `codec.ts` says how times, file names \
         and large integers look in JavaScript.\n\n@module",
    );
    page.gap(1);
    let mut body = Page::default();
    write_body(&mut body, api);
    let body = body.finish();
    imports(&mut page, &body);
    page.line("export { WireError } from \"./codec.js\";");
    page.line("export type { Integer, IntegerInput, Json, JsonObject, Path, PathInput } from \"./codec.js\";");
    page.line(body);
    page.finish()
}

fn write_body(page: &mut Page, api: &Api) {
    for operation in &api.operations {
        interface(page, &operation.request, true);
    }
    for shape in &api.types {
        match shape {
            Shape::Record(record) => interface(page, record, false),
            Shape::Words(words) => {
                page.gap(1);
                docs(page, &sentence(&words.docs));
                page.line(format!("export type {} =", words.name));
                page.indented(2, |page| {
                    let last = words.words.len().saturating_sub(1);
                    for (index, (word, about)) in words.words.iter().enumerate() {
                        docs(page, &sentence(about));
                        page.line(format!("| {}{}", quoted(word), if index == last { ";" } else { "" }));
                    }
                });
            }
            Shape::Union(union) => {
                page.gap(1);
                docs(page, &sentence(&union.docs));
                let names: Vec<&str> = union.variants.iter().map(|(_, name)| name.as_str()).collect();
                page.line(format!("export type {} = {};", union.name, names.join(" | ")));
            }
        }
    }
    api.types.iter().for_each(|shape| codec_of(page, shape, api));
    api.operations.iter().for_each(|operation| record_codec(page, &operation.request, api, true));
    page.gap(1);
    for operation in &api.operations {
        let (request, response) = (codec_name(&operation.request.name), codec_name(&operation.response));
        let codec = format!("operation({}, {request}, {response})", quoted(&operation.name));
        page.line(format!("const {} = {codec};", camel(&operation.name)));
    }
    page.gap(1);
    docs(
        page,
        "How each operation crosses, by its name: for whoever speaks the wire, over HTTP or with the command line.",
    );
    page.line("export const operations = {");
    for operation in &api.operations {
        page.line(format!("  {}: {},", quoted(&operation.name), camel(&operation.name)));
    }
    page.line("} as const;");
    for (group, members) in api.groups() {
        class(page, group, &members);
    }
    owner(page, api);
}

/// Imports from `codec.ts` what `body` uses.
fn imports(page: &mut Page, body: &str) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words: BTreeSet<&str> = body.split(|c| !is_word(c)).collect();
    // A codec is called or named as one; the same word in prose does no harm to a type.
    let is_value = |name: &&str| {
        let calls = [format!("{name}("), format!("{name}<"), format!("codec: {name}"), format!("({name})")];
        calls.iter().any(|call| body.contains(call.as_str()))
    };
    let values: Vec<&str> = ["list", "map", "nullable", "operation", "path", "record", "time", "union"]
        .into_iter()
        .filter(is_value)
        .collect();
    page.line(format!("import {{ {} }} from \"./codec.js\";", values.join(", ")));
    page.line("import type { CallOptions } from \"./calls.js\";");
    page.line("import type {");
    let types = ["Codec", "Integer", "IntegerInput", "Json", "JsonObject", "OperationCodec", "Path", "PathInput"];
    types.iter().filter(|name| words.contains(**name)).for_each(|name| page.line(format!("  {name},")));
    page.line("} from \"./codec.js\";");
}

/// Writes a TSDoc comment.
fn docs(page: &mut Page, text: &str) {
    let text = text.replace("*/", "*\\/");
    let lines = wrapped(&text, WIDTH - page.column() - 3);
    match &lines[..] {
        [] => {}
        [one] if one.chars().count() + page.column() + 7 <= WIDTH => page.line(format!("/** {one} */")),
        _ => {
            page.line("/**");
            lines.iter().for_each(|line| page.line(format!(" * {line}").trim_end()));
            page.line(" */");
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The type as TypeScript writes it; wider in a request.
fn written(ty: &Type, request: bool) -> String {
    match ty {
        Type::Text => "string".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Integer | Type::Float => "number".to_owned(),
        Type::WideInteger => if request { "IntegerInput" } else { "Integer" }.to_owned(),
        Type::Time => "Date".to_owned(),
        Type::Path => if request { "PathInput" } else { "Path" }.to_owned(),
        Type::Json => "Json".to_owned(),
        Type::Object => "JsonObject".to_owned(),
        Type::List(item) => {
            let item = written(item, request);
            let item = if item.contains(' ') { format!("({item})") } else { item };
            format!("{}{item}[]", if request { "readonly " } else { "" })
        }
        Type::Map(value) => {
            let map = format!("Record<string, {}>", written(value, request));
            if request { format!("Readonly<{map}>") } else { map }
        }
        Type::Nullable(inner) if **inner == Type::Json => "Json".to_owned(),
        Type::Nullable(inner) => format!("{} | null", written(inner, request)),
        Type::Named(name) => name.clone(),
    }
}

fn interface(page: &mut Page, record: &Record, request: bool) {
    page.gap(1);
    docs(page, &sentence(&record.docs));
    if record.fields.is_empty() && record.tag.is_none() {
        return page.line(format!("export type {} = Record<string, never>;", record.name));
    }
    page.line(format!("export interface {} {{", record.name));
    page.indented(2, |page| {
        if let Some((field, word)) = &record.tag {
            docs(page, "Which of the variants this is.");
            page.line(format!("{}: {};", camel(field), quoted(word)));
        }
        for field in &record.fields {
            let default = match &field.absent {
                Absent::Default(value) if request && !value.is_null() => format!("\n\n@defaultValue `{value}`"),
                _ => String::new(),
            };
            docs(page, &format!("{}{default}", sentence(&field.docs)));
            let optional = request && field.absent != Absent::Never;
            let (mark, undefined) = if optional { ("?", " | undefined") } else { ("", "") };
            page.line(format!("{}{mark}: {}{undefined};", camel(&field.name), written(&field.ty, request)));
        }
    });
    page.line("}");
}

fn codec_of(page: &mut Page, shape: &Shape, api: &Api) {
    match shape {
        Shape::Words(_) => {}
        Shape::Record(record) => record_codec(page, record, api, false),
        Shape::Union(union) => {
            page.gap(1);
            let (name, key) = (camel(&union.name), camel(&union.tag));
            page.line(format!(
                "const {name}Codec = union<{}>({}, {}, {{",
                union.name,
                quoted(&union.tag),
                quoted(&key)
            ));
            for (word, record) in &union.variants {
                // Told apart before they are used: each takes only its own.
                page.line(format!("  {}: {} as Codec<{}>,", quoted(word), codec_name(record), union.name));
            }
            page.line("});");
        }
    }
}

fn codec_name(name: &str) -> String {
    format!("{}Codec", camel(name))
}

fn record_codec(page: &mut Page, record: &Record, api: &Api, request: bool) {
    page.gap(1);
    // Progress comes beside the answer: whoever takes the events uses it.
    let export = if record.name == "Progress" { "/** How a report of progress crosses. */\nexport " } else { "" };
    let open = format!("{export}const {} = record<{1}>(\"{1}\", {{", codec_name(&record.name), record.name);
    if record.fields.is_empty() && record.tag.is_none() {
        return page.line(format!("{open}}});"));
    }
    page.line(open);
    page.indented(2, |page| {
        if let Some((field, _)) = &record.tag {
            page.line(format!("{}: {{ wire: {} }},", camel(field), quoted(field)));
        }
        for field in &record.fields {
            let mut parts = vec![format!("wire: {}", quoted(&field.name))];
            parts.extend(codec(&field.ty, api).map(|codec| format!("codec: {codec}")));
            if !request {
                parts.extend(absent(field));
            }
            page.line(format!("{}: {{ {} }},", camel(&field.name), parts.join(", ")));
        }
    });
    page.line("});");
}

fn absent(field: &Field) -> Option<String> {
    match &field.absent {
        Absent::Never => None,
        Absent::Default(value @ Value::Object(_)) => Some(format!("absent: () => ({value})")),
        Absent::Default(value) => Some(format!("absent: () => {value}")),
    }
}

/// How values of `ty` cross, unless it is as they are.
fn codec(ty: &Type, api: &Api) -> Option<String> {
    match ty {
        Type::Time => Some("time".to_owned()),
        Type::Path => Some("path".to_owned()),
        Type::List(item) => codec(item, api).map(|item| format!("list({item})")),
        Type::Map(value) => codec(value, api).map(|value| format!("map({value})")),
        Type::Nullable(inner) => codec(inner, api).map(|inner| format!("nullable({inner})")),
        Type::Named(name) => match api.shape(name) {
            Some(Shape::Words(_)) | None => None,
            Some(_) => Some(codec_name(name)),
        },
        _ => None,
    }
}

fn class(page: &mut Page, group: &str, members: &[&Operation]) {
    page.gap(1);
    docs(page, &format!("The operations `{group}.*`."));
    page.line(format!("export class {}Group {{", pascal(group)));
    page.indented(2, |page| {
        page.line("readonly #owner: Operations;");
        page.gap(1);
        docs(page, "Made by its owner.\n\n@internal");
        page.line("constructor(owner: Operations) {");
        page.line("  this.#owner = owner;");
        page.line("}");
        for operation in members {
            method(page, operation, "this.#owner");
        }
    });
    page.line("}");
}

fn owner(page: &mut Page, api: &Api) {
    page.gap(1);
    docs(page, "The front door to every operation; `Ops` is one.");
    page.line("export abstract class Operations {");
    page.indented(2, |page| {
        for (group, members) in api.groups() {
            let verbs: Vec<String> = members.iter().map(|member| format!("`{}`", camel(member.verb()))).collect();
            docs(page, &format!("The operations `{group}.*`: {}.", verbs.join(", ")));
            page.line(format!("readonly {}: {1}Group = new {1}Group(this);", camel(group), pascal(group)));
        }
        page.gap(1);
        docs(page, "Runs an operation.\n\n@internal");
        page.line("abstract _call<Request, Response>(");
        page.line("  name: string,\n  request: Request,\n  options: CallOptions | undefined,");
        page.line("  codec: OperationCodec<Request, Response>,");
        page.line("): Promise<Response>;");
        api.alone().for_each(|operation| method(page, operation, "this"));
    });
    page.line("}");
}

fn method(page: &mut Page, operation: &Operation, owner: &str) {
    let Record { name: request, fields, .. } = &operation.request;
    let effect = match operation.effect {
        Effect::Read => "Changes nothing.",
        Effect::Change => "Adds something.",
        Effect::Destroy => "Deletes or replaces something.",
    };
    page.gap(1);
    docs(
        page,
        &format!(
            "{} {effect}\n\n@param request - {}\n@param options - How to stop it, and who is told of its progress.\n\
             @throws OpsError - What could not be done, and the repair.",
            sentence(&operation.summary),
            sentence(&operation.request.docs),
        ),
    );
    let default = if fields.iter().any(|field| field.absent == Absent::Never) { "" } else { " = {}" };
    let name = camel(operation.verb());
    let response = &operation.response;
    page.line(format!("{name}(request: {request}{default}, options?: CallOptions): Promise<{response}> {{"));
    page.indented(2, |page| {
        let codec = camel(&operation.name);
        page.line(format!("return {owner}._call({}, request, options, {codec});", quoted(&operation.name)));
    });
    page.line("}");
}
