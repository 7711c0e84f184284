//! The server: `s3s` speaks the protocol and checks the signatures, `s3s-fs` keeps the objects in a folder.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

/// The keys that the server knows.
pub const KEY_ID: &str = "AKIATESTTESTTESTTEST";
pub const SECRET: &str = "s3cr3t/s3cr3t+s3cr3t/s3cr3t+s3cr3t/s3cr3";
/// The bucket that it has.
pub const BUCKET: &str = "backups";

/// A server that ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    /// Where the bucket's objects are.
    pub bucket: PathBuf,
    _folder: tempfile::TempDir,
    accepting: tokio::task::JoinHandle<()>,
}

/// What the server is to be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conditions {
    /// `If-None-Match` works.
    Kept,
    /// It is ignored, as old servers do.
    Ignored,
}

impl Server {
    pub async fn start(conditions: Conditions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = folder.path().join(BUCKET);
        std::fs::create_dir(&bucket).unwrap();
        let service = {
            let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
            builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
            builder.build()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // s3s-fs looks whether there is an object and then writes one: a condition holds only where writers take turns.
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (service, turn) = (service.clone(), Arc::clone(&turn));
                let answer = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
                    let (service, turn) = (service.clone(), Arc::clone(&turn));
                    async move {
                        if conditions == Conditions::Ignored {
                            request.headers_mut().remove(http::header::IF_NONE_MATCH);
                        }
                        let writes = [http::Method::PUT, http::Method::POST].contains(request.method());
                        let _turn = if writes { Some(turn.lock().await) } else { None };
                        let answered = service.call(request.map(s3s::Body::from)).await;
                        Ok::<_, Infallible>(answered.unwrap_or_else(|_| {
                            http::Response::builder().status(500).body(s3s::Body::empty()).unwrap()
                        }))
                    }
                });
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(socket), answer).await;
                });
            }
        });
        Self { address, bucket, _folder: folder, accepting }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The settings of a target here.
    pub fn settings(&self, prefix: &str) -> serde_json::Map<String, serde_json::Value> {
        settings(&self.endpoint(), prefix)
    }
}

/// The settings of a target at `endpoint`.
pub fn settings(endpoint: &str, prefix: &str) -> serde_json::Map<String, serde_json::Value> {
    let settings = serde_json::json!({
        "url": format!("s3://{BUCKET}/{prefix}"),
        "endpoint": endpoint,
        "region": "us-east-1",
        "allow_http": true,
        "access_key_id": KEY_ID,
        "secret_access_key": SECRET,
    });
    settings.as_object().unwrap().clone()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
