//! References such as `env:NAME` to variables that nobody has set.

use serde_json::Value;

use super::super::load::Config;
use super::super::reference;
use super::super::settings::ListedComponent;
use super::{Finding, Severity};

/// References such as `env:NAME` to variables that neither `environment` nor `.env` has, but for the settings in `but_for`.
/// `severity` is how much is known of the environment: beside the service it may be another one.
pub fn unset_variables(
    config: &Config,
    environment: &[(String, String)],
    severity: Severity,
    but_for: &[&str],
) -> Vec<Finding> {
    let settings = &config.settings;
    let mut named: Vec<(String, String)> = Vec::new();
    for (key, text) in [
        ("backup.encryption.passphrase", &settings.backup.encryption.passphrase),
        ("http.token", &settings.http.token),
        ("http.write_token", &settings.http.write_token),
    ] {
        named.extend(text.iter().map(|text| (key.to_owned(), text.clone())));
    }
    for ListedComponent { list, name, settings, .. } in settings.components() {
        for (field, value) in settings {
            texts(value, &mut |text| named.push((format!("{list}.{name}.{field}"), text.to_owned())));
        }
    }
    let of_name = |name: &str| environment.iter().rev().find(|(known, _)| known == name);
    let mut found = Vec::new();
    for (key, text) in named.into_iter().filter(|(key, _)| !but_for.contains(&key.as_str())) {
        let resolved =
            reference::resolve_with(&text, &config.root, |name| of_name(name).map(|(_, value)| value.clone()));
        if let Err(error) = resolved {
            let (message, hint) = (error.message().to_owned(), error.hint().map(str::to_owned));
            found.push(Finding { severity, source: config.source_of(&key), key, message, hint });
        }
    }
    found
}

/// Every text inside a value.
fn texts(value: &Value, take: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, take)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, take)),
        _ => {}
    }
}
