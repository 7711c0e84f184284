//! The way to the server: every request passes here, and what goes wrong is noted in full.
//!
//! `object_store` makes the requests and signs them; it tells its callers only in part why one failed. So the client
//! below it notes the whole story for the task that waits, which is the one that makes the request: nothing is
//! spawned in between.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderValue, IF_NONE_MATCH};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

use super::fault::{Answer, Fault};
use super::tls;
use crate::error::{Error, ErrorKind, Result};

/// How long a connection may take, where nothing is known to be slow.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a metadata service may take, which is next door or not at all.
const NEXT_DOOR: Duration = Duration::from_secs(2);
/// The slowest connection that is worth waiting for, in bytes a second.
const SLOWEST: u64 = 32 << 10;
/// The longest body of an error that is read, in bytes.
const LONGEST_ERROR: usize = 64 << 10;

tokio::task_local! {
    static CALL: Call;
}

/// What is known about the call that this task makes.
#[derive(Debug, Clone, Default)]
struct Call {
    create_only: bool,
    fault: Arc<Mutex<Option<Fault>>>,
}

/// Notes why the call of this task fails.
pub(super) fn note(fault: Fault) {
    let _ = CALL.try_with(|call| *call.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault));
}

/// Makes one request of at most `bytes` either way, and gives it the time that they may take. With `create_only` an
/// upload is completed only where there is no object.
pub(super) async fn watched<T>(
    timeout: Duration,
    bytes: u64,
    create_only: bool,
    request: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Fault> {
    let call = Call { create_only, ..Call::default() };
    let noted = Arc::clone(&call.fault);
    // Silence ends sooner; this is for what comes, but would take for ever.
    let limit = timeout * 4 + Duration::from_secs(bytes / SLOWEST);
    let Ok(done) = tokio::time::timeout(limit, CALL.scope(call, request)).await else {
        return Err(Fault::Silent(limit));
    };
    let noted = noted.lock().unwrap_or_else(PoisonError::into_inner).take();
    done.map_err(|error| noted.unwrap_or_else(|| unnoted(&error, timeout)))
}

/// The fault of an error that did not come from a request as such: a body that broke off, an answer without sense.
fn unnoted(error: &object_store::Error, timeout: Duration) -> Fault {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            return broken(http, timeout);
        }
        next = cause.source();
    }
    Fault::Garbled(root(error))
}

fn broken(error: &HttpError, timeout: Duration) -> Fault {
    match error.kind() {
        HttpErrorKind::Timeout => Fault::Silent(timeout),
        _ => tls::fault(error).unwrap_or_else(|| Fault::Broken(root(error))),
    }
}

/// The innermost cause, in its own words: those around it repeat addresses and say nothing more.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_owned()
}

/// Makes the clients.
#[derive(Debug)]
pub(super) struct Connector {
    wire: Wire,
}

#[derive(Debug, Clone)]
struct Wire {
    client: reqwest::Client,
    /// For the services that give credentials to machines and containers.
    next_door: reqwest::Client,
    timeout: Duration,
}

impl Connector {
    /// Clients that are content with `timeout` of silence. With `https` they trust the authorities of the system, and
    /// those in `ca_file` (PEM).
    pub(super) fn new(https: bool, ca_file: Option<&Path>, timeout: Duration) -> Result<Self> {
        let tls = crate::tls::client(https, ca_file)?;
        let build = |connect: Duration, read: Duration, proxies: bool| {
            let builder = reqwest::Client::builder();
            if proxies { builder } else { builder.no_proxy() }
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(connect)
                .read_timeout(read)
                .user_agent(concat!("uplifted-ops/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| Error::internal(format!("no HTTP client can be made: {}", root(&error))))
        };
        let wire = Wire {
            client: build(CONNECT.min(timeout), timeout, true)?,
            next_door: build(NEXT_DOOR, NEXT_DOOR, false)?,
            timeout,
        };
        Ok(Self { wire })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.wire.clone()))
    }
}

/// What a success has in it. A web server, a proxy or a hotel's login page says 200 to everything, and the client
/// takes a page without objects for an empty list.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Anything,
    Tag,
    List,
}

impl Expected {
    fn of(request: &HttpRequest) -> Self {
        let is_list = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        match *request.method() {
            http::Method::GET if is_list => Self::List,
            http::Method::GET | http::Method::HEAD | http::Method::PUT => Self::Tag,
            _ => Self::Anything,
        }
    }

    async fn check(self, response: HttpResponse) -> Result<HttpResponse, HttpError> {
        match self {
            Self::Anything => Ok(response),
            Self::Tag if response.headers().contains_key(http::header::ETAG) => Ok(response),
            Self::Tag => Err(garbled("it has no ETag")),
            Self::List => {
                let (parts, body) = response.into_parts();
                let body = body.bytes().await?;
                let text = String::from_utf8_lossy(&body);
                match text.contains("<ListBucketResult") && text.trim_end().ends_with("</ListBucketResult>") {
                    true => Ok(HttpResponse::from_parts(parts, body.into())),
                    false => Err(garbled("it is no list of objects")),
                }
            }
        }
    }
}

fn garbled(why: &str) -> HttpError {
    note(Fault::Garbled(why.to_owned()));
    HttpError::new_boxed(HttpErrorKind::Unknown, why.into())
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Amazon's for machines, for containers, and for pods: link-local addresses, RFC 3927.
        let next_door = request.uri().host().is_some_and(|host| host.starts_with("169.254."));
        let completes = request.method() == http::Method::POST
            && request.uri().query().is_some_and(|query| query.contains("uploadId="));
        if completes && CALL.try_with(|call| call.create_only).unwrap_or(false) {
            // Not signed, as headers outside x-amz-* need not be (Signature Version 4).
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let expected = if next_door { Expected::Anything } else { Expected::of(&request) };
        let client = if next_door { &self.next_door } else { &self.client };
        let response = HttpService::call(client, request).await.inspect_err(|error| {
            note(match broken(error, self.timeout) {
                Fault::Silent(_) | Fault::Broken(_) if next_door => Fault::Ours(no_credentials()),
                fault => fault,
            });
        })?;
        if response.status().is_success() {
            return expected.check(response).await;
        }
        let (parts, body) = response.into_parts();
        let region = parts.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        // An error whose words break off is that error all the same.
        let body = body.bytes().await.unwrap_or_default();
        let shown = String::from_utf8_lossy(&body[..body.len().min(LONGEST_ERROR)]);
        let answer = Answer::read(parts.status.as_u16(), &shown, region);
        note(match tls::wants_tls(answer.status, &shown) {
            true => tls::plain_to_tls(),
            false => Fault::Answer(Answer { of_credentials: next_door, ..answer }),
        });
        Ok(HttpResponse::from_parts(parts, Bytes::new().into()))
    }
}

/// Nobody had credentials, and this is no machine that Amazon gives some to.
pub(super) fn no_credentials() -> Error {
    Error::new(
        ErrorKind::Denied,
        "no S3 credentials were found in the settings, the environment, a profile or the machine",
    )
    .with_hint("set access_key_id and secret_access_key to \"env:NAME\", or AWS_ACCESS_KEY_ID, or name a `profile`")
}
