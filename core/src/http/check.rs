//! What `config.check` says about the section `[http]`.

use crate::config::{Config, Finding, Severity};
use crate::error::{Error, ErrorKind};
use crate::ops::Context;

use super::access::{Access, Guard};

/// Shorter tokens can be guessed: 16 hexadecimal digits are 64 bits.
const ENOUGH: usize = 16;

/// The mistakes that would stop [`Responder::new`](super::Responder::new), and tokens that are too short.
pub(crate) fn findings(context: &Context, config: &Config) -> Vec<Finding> {
    let finding = |severity, key: &str, message: &str, hint: Option<&str>| Finding {
        severity,
        key: key.to_owned(),
        message: message.to_owned(),
        hint: hint.map(str::to_owned),
        source: config.source_of(key),
    };
    let mistake = |error: &Error| {
        let key = error.context().iter().find(|(name, _)| name == "setting").map_or("http", |(_, key)| key.as_str());
        vec![finding(Severity::Error, key, error.message(), error.hint())]
    };
    let access = match Access::from_settings(context) {
        Ok(access) => access,
        // Variables that are not set are named with all others, see `unset_variables`.
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => return mistake(&error),
    };
    if let Err(error) = Guard::new(&access) {
        return mistake(&error);
    }
    let tokens = [("http.token", &access.token), ("http.write_token", &access.write_token)];
    let short = tokens.iter().filter(|(_, token)| token.as_ref().is_some_and(|token| token.reveal().len() < ENOUGH));
    let short = short.map(|(key, _)| {
        let message = format!("the token has fewer than {ENOUGH} characters and can be guessed");
        finding(Severity::Warning, key, &message, Some("make one with `openssl rand -hex 32`"))
    });
    short.collect()
}
