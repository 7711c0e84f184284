//! Runs the cases of `config/environment.json` through `config.show`: what an embedding host sees of its settings.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::given::Scene;

pub fn run(case: &Value) -> Result<(), String> {
    let given = &case["given"];
    let pairs: Vec<(&str, &str)> = given["environment"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    // An operating system takes neither, and gives no order to two spellings of a name.
    let names: BTreeSet<String> = pairs.iter().map(|(name, _)| name.to_lowercase()).collect();
    let odd = |text: &str| text.contains('\0');
    if names.len() < pairs.len()
        || pairs.iter().any(|(name, value)| name.is_empty() || name.contains('=') || odd(name) || odd(value))
    {
        return Ok(());
    }
    let mut files = Map::new();
    for (field, file) in [("file", "ops.toml"), ("dotenv", ".env")] {
        files.extend(given.get(field).map(|text| (file.to_owned(), text.clone())));
    }
    let environment: Map<String, Value> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let scene = Scene::new(&json!({"files": files, "environment": environment}));
    let expect = &case["expect"];
    let shown = scene.ops().and_then(|ops| ops.blocking().call(ops.scope(), "config.show", json!({})));
    match (shown, expect["error"].as_array()) {
        (Ok(_), Some(_)) => Err("it was accepted".to_owned()),
        (Err(error), Some(parts)) => {
            let text = format!("{} {}", error.message(), error.hint().unwrap_or_default());
            let lacking = parts.iter().filter_map(Value::as_str).find(|part| !text.contains(part));
            lacking.map_or(Ok(()), |part| Err(format!("{text:?} does not say {part:?}")))
        }
        // The components of these cases are of kinds that no build has.
        (Err(error), None) if error.message().contains("kind") => Ok(()),
        (Err(error), None) => Err(error.to_string()),
        (Ok(answer), None) => {
            let shown = answer.response["settings"].as_array().cloned().unwrap_or_default();
            for (key, value) in expect["settings"].as_object().into_iter().flatten() {
                let Some(setting) = shown.iter().find(|setting| setting["key"] == *key) else { continue };
                if setting["value"] != *value && setting["value"] != "***" {
                    return Err(format!("{key} is {} and not {value}", setting["value"]));
                }
            }
            Ok(())
        }
    }
}
