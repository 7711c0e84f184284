//! Keeps secrets out of everything that is shown: output, errors, `Debug`.
//!
//! When in doubt it hides. A hidden port number annoys; a shown password is in a log for years.

use serde_json::{Map, Value};

use crate::value::Secret;

/// Whether the value of a key with this name is a secret: `password`, `api_key`, `accessToken`, `dsn`, ….
pub fn is_secret_key(key: &str) -> bool {
    const ANYWHERE: [&str; 9] =
        ["password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "accesskey", "privatekey"];
    // Whoever knows the address of a `ping_url` can speak for us.
    const WORDS: [&str; 11] =
        ["key", "keys", "pass", "pwd", "dsn", "auth", "authorization", "cookie", "cookies", "webhook", "ping"];
    let lower = key.to_ascii_lowercase();
    if ANYWHERE.iter().any(|word| lower.contains(word)) {
        return true;
    }
    let words = words(key);
    // The public half of a key pair is made to be shown.
    !words.iter().any(|word| word == "public") && words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// The words of `snake_case`, `kebab-case`, `dotted.names` and `camelCase`, in lower case.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last_was_lower = false;
    for c in key.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && last_was_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        last_was_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words
}

/// `value` as it may be shown under the name `key`, at any depth.
///
/// Truth values are left alone: none is a secret, and `clear_secrets = true` has to be readable. So is a
/// reference `env:NAME`, which is the way to keep the secret elsewhere.
pub fn value(key: &str, value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) if super::reference::name_in(text).is_some() => value.clone(),
        Value::Object(fields) => Value::Object(object(key, fields)),
        Value::Array(items) if is_secret_key(key) && items.is_empty() => value.clone(),
        _ if is_secret_key(key) => Value::String(Secret::MASK.to_owned()),
        Value::Number(_) => value.clone(),
        Value::String(shown) => Value::String(text(shown)),
        Value::Array(items) => Value::Array(list(key, items)),
    }
}

fn object(key: &str, fields: &Map<String, Value>) -> Map<String, Value> {
    // What lies below a secret's name is secret whatever it is called: `credentials = { id = … }`.
    let below_secret = is_secret_key(key);
    fields
        .iter()
        .map(|(name, field)| (name.clone(), self::value(if below_secret { key } else { name }, field)))
        .collect()
}

/// Items of a list. In an argument list, the word after `--password` is hidden.
fn list(key: &str, items: &[Value]) -> Vec<Value> {
    let mut hide_next = false;
    items
        .iter()
        .map(|item| {
            let hidden = std::mem::take(&mut hide_next);
            if let Value::String(word) = item {
                hide_next = word.starts_with('-') && !word.contains('=') && is_secret_key(word);
                if hidden {
                    return Value::String(Secret::MASK.to_owned());
                }
            }
            value(key, item)
        })
        .collect()
}

/// `text` with what stands before the `@` of addresses, and the values of `password=…`, `password = …` and
/// `Authorization: …`, replaced by `***`.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut previous_is_secret = false;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let name = word.trim_matches(['"', '\'', ',', '{']);
        // Nobody can say where a secret with spaces ends: `Authorization: Bearer x`, `password = "a b"`,
        // `password="a b"`. Everything after the name goes.
        let opens_secret = name.strip_suffix([':', '=']).is_some_and(|name| is_secret_key(name.trim_matches('"')))
            || (previous_is_secret && word.starts_with(['=', ':']));
        if opens_secret && !after.trim().is_empty() {
            shown.push_str(if word.starts_with(['=', ':']) { &word[..1] } else { word });
            shown.push(' ');
            shown.push_str(Secret::MASK);
            return shown;
        }
        let hidden = if is_age_identity(word) {
            Secret::MASK.to_owned()
        } else if previous_is_secret && word.len() > 1 && word.starts_with('=') {
            format!("={}", Secret::MASK)
        } else {
            assignments(&address(word))
        };
        shown.push_str(&hidden);
        let opened = word.split_once('=').and_then(|(name, value)| {
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            (is_secret_key(name) && !value[1..].contains(quote)).then_some(())
        });
        if opened.is_some() {
            return shown;
        }
        previous_is_secret = !word.is_empty() && is_secret_key(name);
        let separators = after.find(|c: char| !c.is_whitespace()).unwrap_or(after.len());
        shown.push_str(&after[..separators]);
        rest = &after[separators..];
    }
    shown
}

/// Whether a secret key of age is in the word, which a person took for its public half.
fn is_age_identity(word: &str) -> bool {
    word.to_ascii_uppercase().contains("AGE-SECRET-KEY-")
}

/// Hides the user and password of `scheme://user:password@host` and of `user:password@host`.
///
/// People do not escape: the password may hold `@`, `/`, `?` and `#`. So everything up to the last `@` goes
/// when there is a colon before the host's first slash.
fn address(word: &str) -> String {
    let (scheme, rest) = match word.find("://") {
        Some(at) => word.split_at(at + 3),
        None => ("", word),
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..authority_end];
    let hidden_to = if authority.contains(':') {
        rest.rfind('@')
    } else if scheme.is_empty() {
        None
    } else {
        authority.rfind('@')
    };
    match hidden_to {
        Some(at) => format!("{scheme}{}{}", Secret::MASK, &rest[at..]),
        None => word.to_owned(),
    }
}

/// Hides the values of `password=…` between `&`, `;`, `,` and `?`.
fn assignments(word: &str) -> String {
    if !word.contains('=') {
        return word.to_owned();
    }
    word.split_inclusive(['&', ';', ',', '?'])
        .map(|part| {
            let (body, separator) = match part.char_indices().next_back() {
                Some((at, '&' | ';' | ',' | '?')) => part.split_at(at),
                _ => (part, ""),
            };
            match body.split_once('=') {
                Some((name, value)) if is_secret_key(name) && !value.is_empty() => {
                    format!("{name}={}{separator}", Secret::MASK)
                }
                _ => part.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_secrets() {
        for key in [
            "password",
            "db_password",
            "DB-PASSWD",
            "secret",
            "clientSecret",
            "api_key",
            "apiKey",
            "APIKEY",
            "aws.access_key_id",
            "token",
            "x-auth",
            "dsn",
            "SENTRY_DSN",
            "credentials",
            "Authorization",
            "keys",
            "ping_url",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["path", "keep_last", "keep_free_bytes", "monkey", "public_key", "author", "passing", "level"] {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn addresses_and_assignments() {
        for (shown, text) in [
            ("postgres://***@db:5432/x", "postgres://u:hunter2@db:5432/x"),
            ("postgres://***@db/x", "postgres://u:hun/ter#2?@db/x"),
            ("postgres://***@db/x", "postgres://u:hunter2@hunter2@db/x"),
            ("https://***@github.com/x", "https://hunter2@github.com/x"),
            ("redis://***@h/0", "redis://:hunter2@h/0"),
            ("***@tcp(h)/db", "root:hunter2@tcp(h)/db"),
            ("amqp://***@b", "amqp://u:hunter2@a,amqp://u:hunter2@b"),
            ("see https://***@h now", "see https://u:hunter2@h now"),
            ("https://h/?token=***&x=1", "https://h/?token=hunter2&x=1"),
            ("host=h password=*** user=u", "host=h password=hunter2 user=u"),
            ("Authorization: ***", "Authorization: Bearer hunter2"),
            ("{\"token\": ***", "{\"token\": \"hunter2\"}"),
            ("password = ***", "password = \"hunter2 hunter2\" # hunter2"),
            ("password =***", "password =hunter2"),
            ("password=***", "password=\"a hunter2\""),
            ("postgres://***@h", "postgres://u:hun\"ter2@h"),
            ("--api-key=***", "--api-key=hunter2"),
            ("http://127.0.0.1:7541/status", "http://127.0.0.1:7541/status"),
            ("data/uplifted.db", "data/uplifted.db"),
            ("wrapped to ***", "wrapped to AGE-SECRET-KEY-1HUNTER2"),
            ("***", "\"age-secret-key-1hunter2\","),
            ("a@b.example", "a@b.example"),
            ("", ""),
        ] {
            assert_eq!(super::text(text), shown, "{text}");
        }
    }

    #[test]
    fn values_at_any_depth() {
        let settings = json!({
            "url": "s3://u:hunter2@b/x", "secret_key": "hunter2", "password": "env:DB_PASSWORD", "pin_key": 2222,
            "headers": { "Authorization": "hunter2", "Accept": "*/*" }, "credentials": { "id": "hunter2", "n": [2222] },
            "argv": ["curl", "--password", "hunter2", "-H", "X-Token: hunter2", "x"], "clear_secrets": true,
        });
        let shown = value("", &settings);
        let text = shown.to_string();
        assert!(!text.contains("hunter2") && !text.contains("2222"), "{text}");
        assert_eq!(shown["password"], "env:DB_PASSWORD");
        assert_eq!(shown["clear_secrets"], true);
        assert_eq!(shown["argv"], json!(["curl", "--password", "***", "-H", "X-Token: ***", "x"]));
        assert_eq!(shown["headers"]["Accept"], "*/*");
    }
}
