//! `otlp`: an OpenTelemetry collector, over HTTP.
//!
//! ```toml
//! [[sink]]
//! name = "collector"
//! kind = "otlp"
//! endpoint = "http://127.0.0.1:4318"        # /v1/metrics is added where the address has no path
//! headers = { Authorization = "env:OTLP_TOKEN" }
//! resource = { "deployment.environment.name" = "production" }   # `service.name` is that of [service]
//! ```
//!
//! Numbers are sent as they stand (temporality cumulative), in the JSON encoding of OTLP, compressed with gzip. What a
//! collector refuses is not sent again: the next snapshot has the same counters. A collector that says that it took a part is
//! an error that tells how much it refused.
//!
//! Source: OTLP specification 1.x, "OTLP/HTTP" and "JSON Protobuf Encoding"; `opentelemetry/proto/metrics/v1`.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{Kind, Placement};
use crate::config::reference;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{MetricsSink, MetricsSnapshot, gzip};
use crate::value::Secret;

mod encode;

/// The kind, for the registry.
pub const KIND: Kind<dyn MetricsSink> = Kind {
    name: "otlp",
    summary: "An OpenTelemetry collector, over HTTP",
    placement: Placement::Host,
    build: |context, settings| {
        let mut settings: OtlpSettings = context.settings(settings)?;
        for value in settings.headers.values_mut() {
            let resolved = reference::resolve(value.reveal(), &context.root);
            *value = resolved.map_err(|error| error.with_context("field", "headers"))?;
        }
        if !context.service.is_empty() {
            settings.resource.entry(SERVICE_NAME.to_owned()).or_insert_with(|| context.service.clone());
        }
        Ok(Arc::new(OtlpSink::new(settings)?))
    },
    detect: None,
};

/// What the semantic conventions call the name of a service.
const SERVICE_NAME: &str = "service.name";
/// Where metrics go where the address says nothing else (OTLP/HTTP, "OTLP/HTTP Request").
const PATH: &str = "/v1/metrics";
/// More of an answer is not read.
const MAX_ANSWER: u64 = 64 << 10;

/// Settings of [`OtlpSink`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// The address of the collector, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Sent with each request. Write `"env:NAME"` for what is secret.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// What describes the service, by the names of the semantic conventions. `service.name` is that of `[service]` unless
    /// it is here; a sink without settings calls it `unknown_service`, as the specification has it.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// How long the collector may take, in seconds.
    #[serde(default = "ten")]
    pub timeout_seconds: f64,
}

fn ten() -> f64 {
    10.0
}

/// Sends numbers to a collector.
#[derive(Debug)]
pub struct OtlpSink {
    post: Arc<Post>,
    resource: BTreeMap<String, String>,
    /// When counting began: when this was made, as far as anybody knows.
    since: std::sync::OnceLock<u64>,
}

#[derive(Debug)]
struct Post {
    agent: ureq::Agent,
    uri: Uri,
    /// Without what may be secret.
    shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl OtlpSink {
    /// A sink as the settings describe it. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address, a header or the time is not one; [`ErrorKind::Unsupported`] for `https` without the feature `tls`.
    pub fn new(settings: OtlpSettings) -> Result<Self> {
        let OtlpSettings { endpoint, headers, mut resource, timeout_seconds } = settings;
        resource.entry(SERVICE_NAME.to_owned()).or_insert_with(|| "unknown_service".to_owned());
        let uri = address(&endpoint)?;
        let timeout = Duration::try_from_secs_f64(timeout_seconds).ok();
        let timeout =
            timeout.filter(|time| !time.is_zero() && *time <= Duration::from_secs(3600)).ok_or_else(|| {
                Error::invalid(format!("timeout_seconds is {timeout_seconds}"))
                    .with_context("field", "timeout_seconds")
                    .with_hint("set it to more than 0 and at most 3600")
            })?;
        let mut parsed = Vec::new();
        for (name, value) in &headers {
            // The value is a secret: the message must not hold it.
            let wrong = || {
                Error::invalid(format!("the header {name:?} or its value is not one of HTTP"))
                    .with_context("field", "headers")
            };
            let mut value = value.reveal().parse::<HeaderValue>().map_err(|_| wrong())?;
            value.set_sensitive(true);
            parsed.push((name.parse::<HeaderName>().map_err(|_| wrong())?, value));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("uplifted-ops/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let shown = format!("{}://{authority}{}", uri.scheme_str().unwrap_or("http"), uri.path());
        let post = Arc::new(Post { agent, uri, shown, headers: parsed });
        Ok(Self { post, resource, since: std::sync::OnceLock::new() })
    }
}

/// The address that numbers are sent to.
fn address(endpoint: &str) -> Result<Uri> {
    let wrong = |what: &str, hint: &str| {
        Err(Error::invalid(format!("the endpoint of the collector {what}"))
            .with_context("field", "endpoint")
            .with_hint(hint))
    };
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return wrong("is no address", "write endpoint = \"http://127.0.0.1:4318\"");
    };
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the collector's address needs TLS, which this build lacks",
            )
            .with_context("field", "endpoint")
            .with_hint("build with the feature `tls`, or name an http address"));
        }
        _ => return wrong("does not begin with http://", "write the scheme too"),
    }
    match uri.authority() {
        None => return wrong("names no host", "write endpoint = \"http://127.0.0.1:4318\""),
        Some(authority) if authority.as_str().contains('@') => {
            return wrong("holds credentials", "set them as a header, in `headers`");
        }
        Some(_) => {}
    }
    if uri.path().trim_matches('/').is_empty() {
        let mut parts = uri.into_parts();
        parts.path_and_query = PATH.parse().ok();
        return Uri::from_parts(parts).or_else(|_| wrong("is no address", "write the path too"));
    }
    Ok(uri)
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

#[async_trait]
impl MetricsSink for OtlpSink {
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()> {
        scope.cancel.check()?;
        let now = nanos(scope.clock.now());
        let since = *self.since.get_or_init(|| now);
        // A clock that was set back: no point may be before the beginning.
        let occasion = encode::Occasion { resource: &self.resource, since, now: now.max(since) };
        let body = encode::request(occasion, snapshot)
            .map_err(|error| Error::internal(format!("a snapshot could not be written as JSON: {error}")))?;
        let post = Arc::clone(&self.post);
        // It ends with its timeout, whoever waits.
        let sending = tokio::task::spawn_blocking(move || post.send(&body));
        tokio::select! {
            biased;
            sent = sending => sent.unwrap_or_else(|error| Err(Error::internal(format!("sending did not end: {error}")))),
            () = scope.cancel.cancelled() => {
                Err(scope.cancel.check().err().unwrap_or_else(|| Error::internal("cancelled")))
            }
        }
    }
}

impl Post {
    fn send(&self, body: &[u8]) -> Result<()> {
        let unavailable = |why: String| {
            Error::new(ErrorKind::Unavailable, format!("the collector at {} {why}", self.shown))
                .with_hint("look at the collector; the next export has the same counters")
        };
        let packed = gzip(body)?;
        let mut request = self.agent.post(self.uri.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
        let mut response = request.send(&packed[..]).map_err(|error| {
            unavailable(match error {
                ureq::Error::Timeout(_) => "did not answer in time".to_owned(),
                ureq::Error::Io(error) => format!("does not answer: {error}"),
                ureq::Error::HostNotFound => "has a host that cannot be resolved".to_owned(),
                // Others may hold what is secret.
                _ => "does not answer in HTTP".to_owned(),
            })
        })?;
        let code = response.status().as_u16();
        let mut answer = Vec::new();
        // An answer that breaks off is as good as none: the status says what matters.
        let _ = response.body_mut().as_reader().take(MAX_ANSWER).read_to_end(&mut answer);
        match code {
            200..=299 => {}
            401 | 403 => {
                return Err(Error::new(ErrorKind::Denied, format!("the collector at {} answers {code}", self.shown))
                    .with_hint("look at the sink's `headers`"));
            }
            429 | 502..=504 => return Err(unavailable(format!("answers {code}"))),
            _ => {
                return Err(Error::new(ErrorKind::Refused, format!("the collector at {} answers {code}", self.shown))
                    .with_context("answer", brief(&answer))
                    .with_hint("look whether it takes metrics as OTLP over HTTP, in JSON"));
            }
        }
        let told: encode::Response = serde_json::from_slice(&answer).unwrap_or_default();
        match told.partial_success.rejected() {
            0 => Ok(()),
            rejected => Err(Error::new(
                ErrorKind::Refused,
                format!("the collector at {} refused {rejected} numbers", self.shown),
            )
            .with_context("answer", brief(told.partial_success.error_message.as_bytes()))
            .with_hint("look at what the collector says of them")),
        }
    }
}

/// The beginning of an answer, for people.
fn brief(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).chars().take(200).collect()
}

#[cfg(test)]
mod tests;
