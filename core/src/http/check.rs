//! What `config.check` says about the section `[http]`.

use std::net::SocketAddr;

use crate::config::{Config, Finding, Severity};
use crate::error::{Error, ErrorKind};
use crate::ops::Context;

use super::access::{Access, Guard};

/// The longest time that a client may be given, in seconds: a day.
pub(super) const MAX_SECONDS: f64 = 86_400.0;

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
    let mut found: Vec<Finding> = short.collect();
    let http = &context.settings.http;
    if http.max_connections == 0 {
        let message = "with 0 nobody would be served";
        found.push(finding(Severity::Error, "http.max_connections", message, Some("use 256, or 1 at the least")));
    }
    for (key, seconds) in [("http.header_seconds", http.header_seconds), ("http.idle_seconds", http.idle_seconds)] {
        if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
            let hint = format!("set it to more than 0 and at most {MAX_SECONDS}");
            found.push(finding(Severity::Error, key, "it is no time that a client may take", Some(&hint)));
        }
    }
    let listen = context.settings.metrics.listen.as_ref().and_then(|text| text.parse::<SocketAddr>().ok());
    if listen.is_some_and(|address| !address.ip().is_loopback())
        && access.token.is_none()
        && access.write_token.is_none()
    {
        let message = "who asks from another machine gets the probes and nothing else, for there is no token";
        let hint = "set http.token, and give it to Prometheus (authorization.credentials_file)";
        found.push(finding(Severity::Warning, "metrics.listen", message, Some(hint)));
    }
    found
}
