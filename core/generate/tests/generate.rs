//! The generator on a small table of its own, and the check that the files in the repository are fresh.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests set up their own scenes")]

use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uplifted_ops::backup::manifest::RelPath;
use uplifted_ops::clock::Timestamp;
use uplifted_ops::ops::Effect;
use uplifted_ops_generate::ir::{Absent, Api, Shape, Type};
use uplifted_ops_generate::read::{Source, read};
use uplifted_ops_generate::{Output, markdown, outputs, python, stale, typescript, write};

/// Asks for "much", with a \ and a */ in its words.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct Request {
    /// The beginning; see [`Response`](Response).
    from: String,
    /// Ends with a quote: "x"
    #[serde(default)]
    class: Option<String>,
    /// How far.
    #[serde(default = "far")]
    import: u64,
    /// Where.
    #[serde(default)]
    paths: Vec<RelPath>,
    /// Since when.
    #[serde(default)]
    since: Option<Timestamp>,
}

fn far() -> u64 {
    7
}

/// What it answers.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Response {
    /// The parts.
    nodes: Vec<Node>,
    /// By name.
    by_name: std::collections::BTreeMap<String, Word>,
    /// Left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    /// What is inside.
    #[serde(flatten)]
    inner: Inner,
}

/// Flattened.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Inner {
    /// When.
    at: Option<Timestamp>,
}

/// A thing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "node", rename_all = "snake_case")]
enum Node {
    /// A file.
    File {
        /// Its name.
        path: RelPath,
    },
    /// A folder.
    Dir,
}

/// A word.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The first.
    One,
    Two,
}

fn source(name: &str, request: impl Into<Value>, response: impl Into<Value>) -> Source {
    let (request, response) = (request.into(), response.into());
    Source { name: name.into(), summary: "Do it".into(), effect: Effect::Change, request, response }
}

fn written<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().into()
}

fn artificial() -> Api {
    let asked: Value = schemars::schema_for!(Request).into();
    read(&[source("group.do_it", asked, written::<Response>())], &[]).unwrap()
}

fn record(properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": []})
}

#[test]
fn an_artificial_table_has_this_ir() {
    let api = serde_json::to_value(artificial()).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artificial.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&api).unwrap());
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(&kept, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), text, "UPDATE_SNAPSHOT=1 writes it again");
}

#[test]
fn defaults_and_nulls_are_what_serde_makes_of_them() {
    let api = artificial();
    let request = &api.operations[0].request;
    let field = |name: &str| request.fields.iter().find(|field| field.name == name).unwrap();
    assert_eq!(request.fields[0].name, "from", "required fields come first");
    assert_eq!(field("from").absent, Absent::Never);
    assert_eq!(field("import").absent, Absent::Default(json!(7)));
    assert_eq!(field("paths").absent, Absent::Default(json!([])));
    assert_eq!(field("since").ty, Type::Nullable(Box::new(Type::Time)));
    let Some(Shape::Record(response)) = api.shape("GroupDoItResponse") else { panic!("no response") };
    let field = |name: &str| response.fields.iter().find(|field| field.name == name).unwrap();
    assert_eq!(field("causes").absent, Absent::Default(json!([])));
    // Flattened, and always written.
    assert_eq!(field("at").absent, Absent::Never);
    assert_eq!(field("at").ty, Type::Nullable(Box::new(Type::Time)));
}

#[test]
fn python_keeps_its_own_words_and_quotes() {
    let api = artificial();
    let (types, operations) = (python::types(&api), python::operations(&api));
    for text in ["    from_: str,", "    class_: str | None = None,", "    import_: int = 7,", "from_=from_,"] {
        assert!(operations.contains(text), "{text}\n{operations}");
    }
    assert!(operations.contains("paths=None if paths is None else list_to_wire(paths, path_to_wire)"), "{operations}");
    assert!(operations.contains("since=None if since is None else time_to_wire(since)"), "{operations}");
    assert!(types.contains("    node: Literal[\"file\"] = \"file\"\n"), "{types}");
    assert!(types.contains("Node: TypeAlias = NodeFile | NodeDir\n"), "{types}");
    assert!(types.contains("_NODE = _codec.Union(\"node\", file=_NODE_FILE, dir=_NODE_DIR)\n"), "{types}");
    assert!(types.contains("    causes: list[str] = field(default_factory=list)\n"), "{types}");
}

#[test]
fn comments_cannot_be_closed_from_within() {
    let schema =
        json!({"description": "Ends */ here, \"\"\" there, C:\\new and \"q\"", "type": "object", "properties": {}});
    let api = read(&[source("a.b", schema.clone(), schema)], &[]).unwrap();
    let script = typescript::module(&api);
    assert!(script.contains("Ends *\\/ here"), "{script}");
    let types = python::types(&api);
    assert!(types.contains(r#""""Ends */ here, \"\"\" there, C:\\new and "q".""""#), "{types}");
}

#[test]
fn typescript_changes_the_case_of_fields_and_of_nothing_else() {
    let script = typescript::module(&artificial());
    for text in [
        "  from: string;\n",
        "  import?: IntegerInput | undefined;\n",
        "  byName: Record<string, Word>;\n",
        "  paths?: readonly PathInput[] | undefined;\n",
        "export type Node = NodeFile | NodeDir;\n",
        "  at: { wire: \"at\", codec: nullable(time) },\n",
        "  doIt(request: GroupDoItRequest, options?: CallOptions): Promise<GroupDoItResponse> {\n",
    ] {
        assert!(script.contains(text), "{text}\n{script}");
    }
}

#[test]
fn the_reference_names_every_operation_and_type() {
    let text = markdown::reference(&artificial());
    for part in
        ["## `group.do_it`", "| `import` | integer, default `7` | How far. |", "| `file` | [`NodeFile`](#nodefile) |"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn two_shapes_under_one_name_are_an_error_that_names_both() {
    let with = |ty: &str| {
        let mut schema = record(json!({"x": {"$ref": "#/$defs/Twin"}}));
        schema["$defs"] = json!({"Twin": record(json!({"y": {"type": ty}}))});
        schema
    };
    let same = [source("a.a", record(json!({})), with("string")), source("a.b", record(json!({})), with("string"))];
    read(&same, &[]).unwrap();
    let differing =
        [source("a.a", record(json!({})), with("string")), source("a.b", record(json!({})), with("boolean"))];
    let error = read(&differing, &[]).unwrap_err();
    assert!(error.message().starts_with("two shapes are called Twin"), "{error}");
    assert!(error.message().contains("a.a") && error.message().contains("a.b"), "{error}");
    assert!(error.hint().unwrap().contains("#[schemars(rename"), "{error:?}");
}

#[test]
fn what_no_language_has_a_word_for_is_refused_by_place() {
    for (property, says) in [
        (json!({"type": ["integer", "string"]}), "one of several types"),
        (json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}), "one of several types"),
        (json!({"type": "array", "prefixItems": [{"type": "integer"}]}), "is a tuple"),
        (json!({"$ref": "#/$defs/Missing"}), "which is not there"),
        (json!({"type": "object", "properties": {"a": {}}}), "a type without a name"),
    ] {
        let error = read(&[source("a.b", record(json!({"deep": property})), record(json!({})))], &[]).unwrap_err();
        assert!(
            error.message().contains("the request of a.b, field deep") && error.message().contains(says),
            "{error}"
        );
    }
    for name in ["camelCase", "trailing_", "with-dash"] {
        let error = read(&[source("a.b", record(json!({ name: {} })), record(json!({})))], &[]).unwrap_err();
        assert!(error.message().contains("snake_case"), "{error}");
    }
    let mut own = record(json!({"x": {"$ref": "#/$defs/Record"}}));
    own["$defs"] = json!({"Record": record(json!({}))});
    let error = read(&[source("a.b", record(json!({})), own)], &[]).unwrap_err();
    assert!(error.message().contains("called Record"), "{error}");
}

#[test]
fn a_type_that_contains_itself_is_refused() {
    let mut schema = record(json!({"x": {"$ref": "#/$defs/Tree"}}));
    schema["$defs"] =
        json!({"Tree": record(json!({"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}))});
    let error = read(&[source("a.b", record(json!({})), schema)], &[]).unwrap_err();
    assert!(error.message().contains("part of itself"), "{error}");
}

#[test]
fn stale_files_are_named_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [Output { path: "a/b.py", text: "x = 1\n".into() }, Output { path: "c.ts", text: "let x;\n".into() }];
    assert_eq!(stale(folder.path(), &outputs).len(), 2);
    assert_eq!(write(folder.path(), &outputs).unwrap().len(), 2);
    assert!(stale(folder.path(), &outputs).is_empty());
    std::fs::write(folder.path().join("c.ts"), "let y;\n").unwrap();
    assert_eq!(stale(folder.path(), &outputs), [Path::new("c.ts")]);
}

#[test]
fn the_generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let stale = stale(&root, &outputs().unwrap());
    assert!(stale.is_empty(), "stale: {stale:?}; run `make generate` and commit what it writes");
}
