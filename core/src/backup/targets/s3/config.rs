//! The settings of an S3 target, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::backup::decorate::RetryPolicy;
use crate::backup::target::check_key;
use crate::component::BuildContext;
use crate::error::{Error, Result};
use crate::value::{ByteSize, Secret};

/// The smallest part of a multipart upload but for the last, in bytes (Amazon S3 User Guide, "Multipart upload
/// limits").
const SMALLEST_PART: u64 = 5 << 20;
/// The largest part that is held in memory here, several at once.
const LARGEST_PART: u64 = 256 << 20;

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    #[serde(default)]
    allow_http: bool,
    profile: Option<String>,
    access_key_id: Option<Secret>,
    secret_access_key: Option<Secret>,
    session_token: Option<Secret>,
    ca_file: Option<PathBuf>,
    #[serde(default = "thirty")]
    timeout_seconds: f64,
    #[serde(default = "three_minutes")]
    retry_seconds: f64,
    #[serde(default = "eight_mebibytes")]
    part_size: ByteSize,
}

fn thirty() -> f64 {
    30.0
}

fn three_minutes() -> f64 {
    180.0
}

fn eight_mebibytes() -> ByteSize {
    ByteSize(8 << 20)
}

/// The settings of an S3 target.
#[derive(Clone)]
pub(super) struct Config {
    /// The target's name, for errors.
    pub(super) name: String,
    /// The service's root, where `env:NAME` finds the `.env`.
    pub(super) root: PathBuf,
    pub(super) bucket: String,
    /// Empty, or ends in `/`.
    pub(super) prefix: String,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) region: Option<String>,
    pub(super) path_style: bool,
    pub(super) profile: Option<String>,
    /// The keys of the settings, or references to them.
    pub(super) keys: Option<Keys>,
    pub(super) ca_file: Option<PathBuf>,
    /// How long the server may be silent.
    pub(super) timeout: Duration,
    pub(super) policy: RetryPolicy,
    pub(super) part_size: usize,
}

/// The access keys of the settings. Each may be `env:NAME`.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) id: Secret,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

/// Where the server is, when it is not Amazon's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Endpoint {
    pub(super) https: bool,
    /// `host` or `host:port`.
    pub(super) authority: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

impl Config {
    pub(super) fn read(context: &BuildContext, settings: &Map<String, Value>) -> Result<Self> {
        let written: Written = context.settings(settings)?;
        let name = &context.name;
        let of_target = |error: Error| error.while_doing(format!("target {name:?}"));
        let (bucket, prefix) = read_url(&written.url).map_err(of_target)?;
        let endpoint = written.endpoint.as_deref().map(read_endpoint).transpose().map_err(of_target)?;
        if endpoint.as_ref().is_some_and(|endpoint| !endpoint.https) && !written.allow_http {
            return Err(of_target(
                Error::invalid("endpoint is plain http, where everybody on the way reads and changes the backups")
                    .with_hint("use https; where nobody is on the way, set allow_http = true"),
            ));
        }
        let keys = match (written.access_key_id, written.secret_access_key, written.session_token) {
            (Some(id), Some(secret), token) => Some(Keys { id, secret, token }),
            (None, None, None) => None,
            _ => {
                return Err(of_target(
                    Error::invalid("access_key_id and secret_access_key belong together")
                        .with_hint("set both, or neither and let the environment or a profile have them"),
                ));
            }
        };
        let seconds = |key: &str, value: f64, zero_is_fine: bool| {
            let sensible = value.is_finite() && (value > 0.0 || (zero_is_fine && value == 0.0));
            let duration = sensible.then(|| Duration::try_from_secs_f64(value).ok()).flatten();
            duration.ok_or_else(|| {
                of_target(Error::invalid(format!("{key} is no duration: {value}")))
                    .with_hint("write seconds, a number above zero")
            })
        };
        let deadline = seconds("retry_seconds", written.retry_seconds, true)?;
        if !(SMALLEST_PART..=LARGEST_PART).contains(&written.part_size.0) {
            let said =
                format!("part_size is {}, S3 wants 5 MiB at least, and memory 256 MiB at most", written.part_size);
            return Err(of_target(Error::invalid(said).with_hint("leave part_size out, or write for one 16MiB")));
        }
        let policy = if deadline.is_zero() {
            RetryPolicy { retries: 0, ..RetryPolicy::default() }
        } else {
            RetryPolicy { deadline, ..RetryPolicy::default() }
        };
        Ok(Self {
            name: name.clone(),
            root: context.root.clone(),
            path_style: written.path_style.unwrap_or(endpoint.is_some() || bucket.contains('.')),
            bucket,
            prefix,
            endpoint,
            region: written.region,
            profile: written.profile,
            keys,
            ca_file: written.ca_file.map(|path| context.resolve(&path)),
            timeout: seconds("timeout_seconds", written.timeout_seconds, false)?,
            policy,
            part_size: written.part_size.0 as usize,
        })
    }

    /// Where it is, for people.
    pub(super) fn location(&self) -> String {
        let base = match &self.endpoint {
            Some(endpoint) => format!("{endpoint}/{}", self.bucket),
            None => format!("s3://{}", self.bucket),
        };
        format!("{base}/{}", self.prefix).trim_end_matches('/').to_owned()
    }
}

/// The bucket and the prefix of `s3://bucket/prefix`.
fn read_url(url: &str) -> Result<(String, String)> {
    // What was written may hold a password, so it is not repeated.
    let wrong = |what: &str| {
        Err(Error::invalid(format!("url {what}"))
            .with_hint("write url = \"s3://bucket/prefix\", and nothing else in it"))
    };
    let Some(rest) = url.strip_prefix("s3://") else { return wrong("does not begin with s3://") };
    if rest.contains(['@', '?', '#']) {
        return wrong("has more in it than a bucket and a prefix");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket_ok = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if !bucket_ok {
        return wrong("names no bucket: 3 to 63 letters, digits, dots and hyphens");
    }
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return Ok((bucket.to_owned(), String::new()));
    }
    check_key(prefix).map_err(|error| error.while_doing("the prefix in url"))?;
    Ok((bucket.to_owned(), format!("{prefix}/")))
}

/// `https://host:port`, and nothing after it.
fn read_endpoint(endpoint: &str) -> Result<Endpoint> {
    let (https, rest) = match (endpoint.strip_prefix("https://"), endpoint.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => {
            return Err(Error::invalid("endpoint begins with neither https:// nor http://")
                .with_hint("write endpoint = \"https://host:port\""));
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let parsed: Option<http::uri::Authority> = authority.parse().ok();
    match parsed.filter(|parsed| !parsed.host().is_empty() && !authority.contains('@')) {
        Some(_) => Ok(Endpoint { https, authority: authority.to_owned() }),
        None => Err(Error::invalid("endpoint is not just a host and a port").with_hint(
            "write endpoint = \"https://host:port\"; keys have settings of their own, the bucket is in url",
        )),
    }
}
