//! `http`: does an address answer as it should, and fast enough.
//!
//! ```toml
//! [[check]]
//! name = "api"
//! kind = "http"
//! url = "http://127.0.0.1:7541/api/v1/system/status"
//! status = "2xx"                   # the default; or 204, or ["2xx", 304]
//! contains = "running"             # text that the body must hold
//! json = { "/mcp_available" = true, "/active_plugin_count" = { min = 10 } }
//! headers = { Authorization = "Bearer …" }
//! timeout_seconds = 5              # the default, for the whole answer
//! warn_seconds = 1                 # warn when the answer takes longer; off unless set
//! redirects = 0                    # how many to follow, on the same host and port only
//! # of an https address (feature `tls`):
//! ca_file = "config/ca.pem"        # the authority of the certificate, trusted beside those of the system,
//!                                  # or a certificate that signs itself
//! warn_days = 21                   # warn when the certificate ends so soon; the defaults
//! fail_days = 7
//! ```
//!
//! A status outside `status` fails; a redirect is such a status unless it is followed. Proxies of the
//! environment are not used: the question is about the service, not about the proxy.
//!
//! Point it at what the service does, at `/status` or at `/livez`. An address that runs the checks (`/readyz`, `/health`) of the
//! same service would wait for this check: it answers 508 at once, and the check fails and says so.

#[cfg(feature = "tls")]
mod connector;
#[cfg(feature = "tls")]
mod secured;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::http::{HeaderName, HeaderValue, Uri};

use super::{one_week, seconds, three_weeks};
use crate::cancel::Scope;
use crate::clock::{Clock, Timestamp};
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck, own};
use crate::value::Secret;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "http",
    summary: "An address answers with the right status and body, fast enough",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let mut settings: HttpSettings = context.settings(settings)?;
        settings.ca_file = settings.ca_file.map(|path| context.resolve(&path));
        Ok(Arc::new(HttpCheck::new(settings)?.of_service(&context.state)))
    },
    detect: None,
};

/// More of a body is not read.
const MAX_BODY: u64 = 1 << 20;

/// Settings of [`HttpCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// The address, with its scheme. Credentials belong in `headers`.
    pub url: String,
    /// The status that is right: a number, a class such as `"2xx"`, or a list of them.
    #[serde(default)]
    pub status: StatusRule,
    /// Text that the body must hold, within its first MiB.
    #[serde(default)]
    pub contains: Option<String>,
    /// What the body's JSON must hold: a JSON pointer (RFC 6901), and the value there or its `min` and `max`.
    #[serde(default)]
    pub json: BTreeMap<String, Value>,
    /// Headers of the request. Their values are secret.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// How long the whole answer may take, in seconds.
    #[serde(default = "five")]
    pub timeout_seconds: f64,
    /// Warn when the answer takes longer than this, in seconds.
    #[serde(default)]
    pub warn_seconds: Option<f64>,
    /// How many redirects to follow, at most 10, on the same host and port only.
    #[serde(default)]
    pub redirects: u32,
    /// A file of authorities that are trusted beside those of the system, for `https`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Warn when a certificate of an `https` address ends within this many days.
    #[serde(default = "three_weeks")]
    pub warn_days: f64,
    /// Fail when it ends within this many days.
    #[serde(default = "one_week")]
    pub fail_days: f64,
}

fn five() -> f64 {
    5.0
}

impl HttpSettings {
    /// Settings that ask `url` for any status of 200 to 299.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            status: StatusRule::default(),
            contains: None,
            json: BTreeMap::new(),
            headers: BTreeMap::new(),
            timeout_seconds: five(),
            warn_seconds: None,
            redirects: 0,
            ca_file: None,
            warn_days: three_weeks(),
            fail_days: one_week(),
        }
    }
}

/// Which status codes are right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusRule {
    /// This one: `204`.
    Code(u16),
    /// One of this class, or this one: `"2xx"`, `"204"`.
    Class(String),
    /// One of these.
    Any(Vec<StatusRule>),
}

impl Default for StatusRule {
    fn default() -> Self {
        Self::Class("2xx".to_owned())
    }
}

impl StatusRule {
    /// Whether `code` is right; an error when the rule makes no sense.
    fn allows(&self, code: u16) -> Result<bool> {
        let wrong = |rule: &dyn std::fmt::Debug| {
            Err(Error::invalid(format!("status {rule:?} is not a status of HTTP"))
                .with_hint("write 200, \"2xx\", or a list of them"))
        };
        match self {
            Self::Code(right) if (100..=599).contains(right) => Ok(*right == code),
            Self::Code(right) => wrong(right),
            Self::Class(text) => match (text.as_bytes(), text.parse::<u16>()) {
                ([class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'], _) => Ok(code / 100 == u16::from(class - b'0')),
                (_, Ok(right)) => Self::Code(right).allows(code),
                _ => wrong(text),
            },
            Self::Any(rules) if rules.is_empty() => wrong(&"[]"),
            Self::Any(rules) => rules.iter().try_fold(false, |any, rule| Ok(rule.allows(code)? || any)),
        }
    }
}

/// Asks an address.
#[derive(Debug)]
pub struct HttpCheck {
    probe: Arc<Probe>,
    warn: Option<Duration>,
    asking: Blocking,
}

#[derive(Debug)]
struct Probe {
    settings: HttpSettings,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    agent: ureq::Agent,
    /// Of an address that is asked over TLS.
    #[cfg(feature = "tls")]
    secured: Option<secured::Secured>,
    /// Whose check it is, see [`own`].
    mark: Option<String>,
}

impl HttpCheck {
    /// A check as the settings describe it. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address, a status, a header or a pointer is not one; [`Unsupported`](ErrorKind::Unsupported) for
    /// `https` without the feature `tls`.
    pub fn new(settings: HttpSettings) -> Result<Self> {
        let uri = parse(&settings.url)?;
        settings.status.allows(200)?;
        if let Some(pointer) = settings.json.keys().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            return Err(Error::invalid(format!("{pointer:?} is not a JSON pointer"))
                .with_hint("write \"/active_plugins\" for the field of that name (RFC 6901)"));
        }
        if settings.redirects > 10 {
            return Err(
                Error::invalid(format!("redirects is {}", settings.redirects)).with_hint("set it to at most 10")
            );
        }
        let mut headers = Vec::new();
        for (name, value) in &settings.headers {
            // The value is a secret: the message must not hold it.
            let wrong = |_| Error::invalid(format!("the header {name:?} or its value is not one of HTTP"));
            let parsed_name = name.parse::<HeaderName>().map_err(|_| wrong(()))?;
            let mut parsed_value = value.reveal().parse::<HeaderValue>().map_err(|_| wrong(()))?;
            // Nor may the check itself show it.
            parsed_value.set_sensitive(true);
            headers.push((parsed_name, parsed_value));
        }
        let timeout = seconds("timeout_seconds", settings.timeout_seconds)?;
        let warn = settings.warn_seconds.map(|warn| seconds("warn_seconds", warn)).transpose()?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(concat!("uplifted-ops/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        #[cfg(feature = "tls")]
        let secured = secured::Secured::new(&uri, &settings)?;
        let probe = Probe {
            settings,
            uri,
            headers,
            timeout,
            agent,
            #[cfg(feature = "tls")]
            secured,
            mark: None,
        };
        let probe = Arc::new(probe);
        Ok(Self { probe, warn, asking: Blocking::default() })
    }

    /// The same as a check of the service with this state folder, which then knows its requests and does not wait for
    /// itself.
    #[must_use]
    pub fn of_service(mut self, state: &Path) -> Self {
        if let Some(probe) = Arc::get_mut(&mut self.probe) {
            probe.mark = Some(own::mark(state));
        }
        self
    }
}

#[async_trait]
impl HealthCheck for HttpCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (probe, clock) = (Arc::clone(&self.probe), Arc::clone(&scope.clock));
        let (found, certificate, taken) = self
            .asking
            .run(scope, move || {
                let certificate = probe.certificate(clock.now());
                if let Some(refused) = certificate.as_ref().filter(|outcome| outcome.status == CheckStatus::Fail) {
                    // Nothing is sent to whom nobody should trust.
                    return Ok((Err(format!("is not asked: {}", refused.message)), None, Duration::ZERO));
                }
                let start = clock.monotonic();
                let found = probe.ask(&*clock, start);
                Ok((found, certificate, clock.monotonic().saturating_sub(start)))
            })
            .await?;
        let url = shown(&self.probe.uri);
        let seconds = taken.as_secs_f64();
        let (status, message) = match found {
            Err(message) => (CheckStatus::Fail, format!("{url} {message}")),
            Ok(code) if self.warn.is_some_and(|warn| taken > warn) => {
                (CheckStatus::Warn, format!("{url} answers {code}, after {seconds:.3} s"))
            }
            Ok(code) => (CheckStatus::Pass, format!("{url} answers {code}")),
        };
        let (status, message) = match certificate.filter(|outcome| outcome.status == CheckStatus::Warn) {
            Some(ends) => (status.max(CheckStatus::Warn), format!("{message}; {}", ends.message)),
            None => (status, message),
        };
        Ok(CheckOutcome::new(status, message).observing(seconds, "seconds"))
    }
}

impl Probe {
    /// The verdict on the certificate of an address that is asked over TLS.
    #[cfg(feature = "tls")]
    fn certificate(&self, now: Timestamp) -> Option<CheckOutcome> {
        self.secured.as_ref().map(|secured| secured.judge(self.settings.ca_file.as_deref(), self.timeout, now))
    }

    /// An address over TLS was refused when the check was made.
    #[cfg(not(feature = "tls"))]
    fn certificate(&self, _: Timestamp) -> Option<CheckOutcome> {
        None
    }

    #[cfg(feature = "tls")]
    fn agent(&self) -> Result<ureq::Agent> {
        match &self.secured {
            Some(secured) => secured.agent(self.agent.config().clone(), self.settings.ca_file.as_deref()),
            None => Ok(self.agent.clone()),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn agent(&self) -> Result<ureq::Agent> {
        Ok(self.agent.clone())
    }

    /// The status code of an answer that is right, or what is wrong with it.
    fn ask(&self, clock: &dyn Clock, start: Duration) -> Result<u16, String> {
        let mut uri = self.uri.clone();
        let mut left = self.settings.redirects;
        // Whom to trust is read anew each time, as the certificate may be.
        let agent = self.agent().map_err(|error| error.to_string())?;
        loop {
            let time = self.timeout.saturating_sub(clock.monotonic().saturating_sub(start));
            let mut request = agent.get(uri.clone());
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            if let Some(mark) = &self.mark {
                request = request.header(own::HEADER, mark);
            }
            // A timeout of zero would mean none.
            let request = request.config().timeout_global(Some(time.max(Duration::from_millis(1)))).build();
            let mut response = request.call().map_err(|error| self.explain(&error))?;
            let code = response.status().as_u16();
            let location = response.headers().get("location").map(|location| location.to_str().map(str::to_owned));
            if let (301 | 302 | 303 | 307 | 308, Some(location)) = (code, location)
                && self.settings.redirects > 0
            {
                let location = location.map_err(|_| format!("answers {code} with a location that is not text"))?;
                let next = resolve(&uri, &location).map_err(|why| format!("redirects to {location:?}, {why}"))?;
                if left == 0 {
                    return Err(format!("redirects more than {} times", self.settings.redirects));
                }
                left -= 1;
                uri = next;
                continue;
            }
            if self.mark.is_some()
                && response.headers().get(own::HEADER).map(|it| it.as_bytes())
                    == self.mark.as_deref().map(str::as_bytes)
            {
                return Err("runs the checks of this service, of which this is one: ask /status or /livez".to_owned());
            }
            if !self.settings.status.allows(code).unwrap_or(false) {
                return Err(format!("answers {code}"));
            }
            self.judge_body(code, &mut response)?;
            return Ok(code);
        }
    }

    fn judge_body(&self, code: u16, response: &mut ureq::http::Response<ureq::Body>) -> Result<(), String> {
        if self.settings.contains.is_none() && self.settings.json.is_empty() {
            return Ok(());
        }
        let mut body = Vec::new();
        let reader = response.body_mut().as_reader();
        reader.take(MAX_BODY + 1).read_to_end(&mut body).map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                Some(ureq::Error::Timeout(_)) => self.too_late(),
                _ => format!("answers {code}, but the body breaks off: {error}"),
            }
        })?;
        let cut = body.len() as u64 > MAX_BODY;
        if let Some(text) = &self.settings.contains {
            let found = text.is_empty() || body.windows(text.len()).any(|window| window == text.as_bytes());
            if !found {
                let where_ = if cut { "the first MiB of the body" } else { "the body" };
                return Err(format!("answers {code}, but {text:?} is not in {where_}"));
            }
        }
        if self.settings.json.is_empty() {
            return Ok(());
        }
        if cut {
            return Err(format!("answers {code}, but the body is larger than 1 MiB"));
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| format!("answers {code}, but the body is not JSON: {error}"))?;
        for (pointer, rule) in &self.settings.json {
            let found = value.pointer(pointer);
            if !found.is_some_and(|found| holds(rule, found)) {
                let found = found.map_or("missing".to_owned(), brief);
                return Err(format!("answers {code}, but {pointer} is {found} and should be {}", brief(rule)));
            }
        }
        Ok(())
    }

    fn explain(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(_) => self.too_late(),
            ureq::Error::HostNotFound => "has a host that cannot be resolved".to_owned(),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                "does not answer: connection refused".to_owned()
            }
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => self.too_late(),
            ureq::Error::Io(error) => format!("does not answer: {error}"),
            ureq::Error::Protocol(error) => format!("does not answer in HTTP: {error}"),
            error => format!("does not answer: {error}"),
        }
    }

    fn too_late(&self) -> String {
        format!("did not answer within {} s", self.timeout.as_secs_f64())
    }
}

fn parse(url: &str) -> Result<Uri> {
    let wrong = |what: &str| Err(Error::invalid(format!("the url of an http check {what}")));
    let Ok(uri) = url.parse::<Uri>() else {
        return wrong("is not one").map_err(|error| error.with_hint("write url = \"http://127.0.0.1:7541/status\""));
    };
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} needs TLS, which this build lacks", shown(&uri)),
            )
            .with_hint("name the service's own http address, or build with the feature `tls`"));
        }
        _ => return wrong("does not begin with http://").map_err(|error| error.with_hint("write the scheme too")),
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            wrong("holds credentials").map_err(|error| error.with_hint("set them as a header, in `headers`"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        _ => wrong("names no host"),
    }
}

/// The address without its query, which may hold secrets.
fn shown(uri: &Uri) -> String {
    format!("{}://{}{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |a| a.as_str()), uri.path())
}

/// Where a redirect leads, when it stays with the same scheme, host and port.
fn resolve(from: &Uri, location: &str) -> Result<Uri, &'static str> {
    let own = from.scheme_str().unwrap_or("http");
    let base = || format!("{own}://{}", from.authority().map_or("", |authority| authority.as_str()));
    // A scheme, and not the `next=http://…` of a query.
    let scheme =
        location.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    let text = if scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{own}:{location}")
    } else if location.starts_with('/') {
        format!("{}{location}", base())
    } else {
        let folder = from.path().rfind('/').map_or("/", |slash| &from.path()[..=slash]);
        format!("{}{folder}{location}", base())
    };
    let next: Uri = text.parse().map_err(|_| "which is not an address")?;
    let origin = |uri: &Uri| {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        (uri.scheme_str().map(str::to_owned), host, uri.port_u16().unwrap_or(port))
    };
    if origin(&next) == origin(from) { Ok(next) } else { Err("another service, which is not followed") }
}

/// Whether a value is as the rule says: within `min` and `max`, or equal. Numbers are equal by value.
fn holds(rule: &Value, found: &Value) -> bool {
    if let Some((min, max)) = bounds(rule) {
        return found.as_f64().is_some_and(|found| found >= min && found <= max);
    }
    match (rule.as_f64(), found.as_f64()) {
        (Some(rule), Some(found)) => rule == found,
        _ => rule == found,
    }
}

fn bounds(rule: &Value) -> Option<(f64, f64)> {
    let map = rule.as_object().filter(|map| !map.is_empty())?;
    let known = map.iter().all(|(key, value)| matches!(key.as_str(), "min" | "max") && value.is_number());
    let bound = |key, default| map.get(key).and_then(Value::as_f64).unwrap_or(default);
    known.then(|| (bound("min", f64::NEG_INFINITY), bound("max", f64::INFINITY)))
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain(['…']).collect() }
}

#[cfg(test)]
mod tests;
