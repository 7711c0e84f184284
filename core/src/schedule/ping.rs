//! Telling somebody else how a run went: a dead man's switch notices also when nothing runs at all.
//!
//! The protocol is the one that such services share (healthchecks.io and its like): GET of the address after a
//! success; POST to the address with `/fail` at the end of its path after anything else, the reason in the body.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::value::Secret;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is waited between tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Tells the address, three times at most. `failure` is the reason, `None` after a success.
///
/// # Errors
/// Why the last try failed. No error holds the address.
pub(super) async fn tell(clock: &Arc<dyn Clock>, url: &Secret, failure: Option<String>) -> Result<()> {
    check(url.reveal())?;
    let mut pauses = PAUSES.into_iter();
    loop {
        let (url, failure) = (url.clone(), failure.clone());
        let told = tokio::task::spawn_blocking(move || once(&url, failure.as_deref()));
        let told = told.await.unwrap_or_else(|_| Err(Error::internal("telling the address panicked")));
        match (told, pauses.next()) {
            (Err(_), Some(pause)) => clock.sleep(pause).await,
            (told, _) => return told,
        }
    }
}

/// Whether this build can ask for the address.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it is none;
/// [`Unsupported`](crate::ErrorKind::Unsupported) for `https` without the feature `tls`.
pub(super) fn check(url: &str) -> Result<()> {
    let uri: Option<ureq::http::Uri> = url.parse().ok();
    match uri.as_ref().and_then(ureq::http::Uri::scheme_str) {
        Some("http") => Ok(()),
        Some("https") if cfg!(feature = "tls") => Ok(()),
        Some("https") => {
            Err(Error::new(crate::ErrorKind::Unsupported, "the address of ping_url needs TLS, which this build lacks")
                .with_hint("build with the feature `tls`, or name an http address"))
        }
        _ => Err(Error::invalid("ping_url is no address").with_hint("write it with its scheme, http:// or https://")),
    }
}

fn once(url: &Secret, failure: Option<&str>) -> Result<()> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).user_agent("uplifted-ops").build();
    let agent = ureq::Agent::new_with_config(config);
    let sent = match failure {
        None => agent.get(url.reveal()).call(),
        Some(reason) => agent.post(failing(url.reveal())).send(reason),
    };
    sent.map(drop).map_err(|error| {
        let why = match error {
            ureq::Error::StatusCode(code) => format!("it answers {code}"),
            ureq::Error::Timeout(_) => format!("it did not answer within {} s", PATIENCE.as_secs()),
            ureq::Error::Io(error) => error.to_string(),
            // Others may hold the address.
            _ => "it does not answer".to_owned(),
        };
        Error::new(crate::ErrorKind::Unavailable, format!("the address of ping_url could not be told: {why}"))
    })
}

/// The address with `/fail` at the end of its path.
fn failing(url: &str) -> String {
    let (path, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    format!("{}/fail{query}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_failure() {
        for (url, failed) in [
            ("http://h/ping/1", "http://h/ping/1/fail"),
            ("http://h/ping/1/", "http://h/ping/1/fail"),
            ("http://h/x?a=1/2", "http://h/x/fail?a=1/2"),
        ] {
            assert_eq!(failing(url), failed);
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused_and_not_repeated() {
        for url in ["", "h/x?s3cret", "ftp://s3cret", "http:s3cret"] {
            let error = check(url).unwrap_err();
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
        assert_eq!(check("https://h/x").is_ok(), cfg!(feature = "tls"));
    }
}
