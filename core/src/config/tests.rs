//! The layers together: sources, errors, warnings, redaction. The rules of `.env` and of the environment
//! are cases in `tests/conformance/config/`, which other languages run as well.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::error::ErrorKind;

fn cases<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/config").join(file);
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct DotenvCase {
    name: String,
    given: DotenvGiven,
    expect: DotenvExpect,
}

#[derive(Deserialize)]
struct DotenvGiven {
    text: String,
    #[serde(default)]
    environment: Map<String, Value>,
}

#[derive(Deserialize)]
struct DotenvExpect {
    values: Map<String, Value>,
    malformed_lines: Vec<usize>,
}

#[test]
fn dotenv_cases() {
    let cases: Vec<DotenvCase> = cases("dotenv.json");
    assert!(cases.len() > 60);
    for DotenvCase { name, given, expect } in cases {
        let parsed = dotenv::parse(&given.text, |name| Some(given.environment.get(name)?.as_str()?.to_owned()));
        let values: Map<String, Value> =
            parsed.entries.iter().map(|entry| (entry.key.clone(), json!(entry.value))).collect();
        assert_eq!(values, expect.values, "{name}");
        assert_eq!(parsed.malformed_lines, expect.malformed_lines, "{name}");
    }
}

#[derive(Deserialize)]
struct LayerCase {
    name: String,
    given: LayerGiven,
    expect: LayerExpect,
}

#[derive(Deserialize)]
struct LayerGiven {
    environment: Vec<(String, String)>,
    dotenv: Option<String>,
    file: Option<String>,
}

#[derive(Deserialize)]
struct LayerExpect {
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    sources: Map<String, Value>,
    #[serde(default)]
    warnings: Vec<String>,
    error: Option<Vec<String>>,
}

#[test]
fn environment_cases() {
    let cases: Vec<LayerCase> = cases("environment.json");
    assert!(cases.len() > 140);
    for LayerCase { name, given, expect } in cases {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [(".env", &given.dotenv), ("ops.toml", &given.file)] {
            if let Some(text) = text {
                std::fs::write(folder.path().join(file), text).unwrap();
            }
        }
        let loaded = load(&LoadInput { environment: given.environment, ..LoadInput::new(folder.path()) });
        let config = match (loaded, expect.error) {
            (Ok(config), None) => config,
            (Err(error), Some(parts)) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
                assert!(error.hint().is_some(), "{name}: {error}");
                for part in parts {
                    assert!(error.message().contains(&part), "{name}: {part:?} is not in {error}");
                }
                continue;
            }
            (Ok(_), Some(_)) => panic!("{name}: no error"),
            (Err(error), None) => panic!("{name}: {error}"),
        };
        let settings = serde_json::to_value(&config.settings).unwrap();
        for (key, value) in expect.settings {
            let found = key.split('.').fold(&settings, |node, step| &node[step]);
            assert_eq!(*found, value, "{name}: {key}");
        }
        for (key, source) in expect.sources {
            assert_eq!(json!(config.source_of(&key)), source, "{name}: {key}");
        }
        let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(warnings.len(), expect.warnings.len(), "{name}: {warnings:?}");
        for (warning, part) in config.warnings.iter().zip(expect.warnings) {
            assert!(warning.message.contains(&part), "{name}: {part:?} is not in {warning:?}");
        }
    }
}
