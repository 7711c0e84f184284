//! The server: `s3s` speaks the protocol and checks the signatures, `s3s-fs` keeps the objects in a folder.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, dto};
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

/// The folder as a bucket, with the conditions that it is to have. What is not here the target does not ask for.
#[derive(Debug)]
struct Store {
    inner: s3s_fs::FileSystem,
    conditions: Conditions,
}

/// Passes calls on as they are.
macro_rules! pass_on {
    ($($call:ident: $input:ident -> $output:ident),*) => {
        #[async_trait]
        impl S3 for Store {
            $(async fn $call(&self, request: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                self.inner.$call(request).await
            })*

            async fn put_object(
                &self,
                mut request: S3Request<dto::PutObjectInput>,
            ) -> S3Result<S3Response<dto::PutObjectOutput>> {
                if self.conditions == Conditions::Ignored {
                    request.input.if_none_match = None;
                }
                self.inner.put_object(request).await
            }

            async fn complete_multipart_upload(
                &self,
                mut request: S3Request<dto::CompleteMultipartUploadInput>,
            ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
                if self.conditions == Conditions::Ignored {
                    request.input.if_none_match = None;
                }
                self.inner.complete_multipart_upload(request).await
            }
        }
    };
}

pass_on! {
    get_object: GetObjectInput -> GetObjectOutput,
    head_object: HeadObjectInput -> HeadObjectOutput,
    delete_object: DeleteObjectInput -> DeleteObjectOutput,
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output,
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput,
    upload_part: UploadPartInput -> UploadPartOutput,
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput
}

impl Server {
    pub async fn start(conditions: Conditions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = folder.path().join(BUCKET);
        std::fs::create_dir(&bucket).unwrap();
        let service = {
            let mut builder =
                S3ServiceBuilder::new(Store { inner: s3s_fs::FileSystem::new(folder.path()).unwrap(), conditions });
            builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
            builder.build()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // s3s-fs looks whether there is an object and then writes one: a condition holds only where writers take turns.
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let root = folder.path().to_owned();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (service, turn, root) = (service.clone(), Arc::clone(&turn), root.clone());
                let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (service, turn) = (service.clone(), Arc::clone(&turn));
                    let file = root.join(request.uri().path().trim_start_matches('/'));
                    async move {
                        // A folder is no object, nor is what lies below a file; s3s-fs fails on both.
                        let reads = [http::Method::GET, http::Method::HEAD].contains(request.method());
                        if reads && request.uri().query().is_none() && !file.is_file() {
                            let body = s3s::Body::from(super::proxy::xml("NoSuchKey", "it is not there"));
                            return Ok(http::Response::builder().status(404).body(body).unwrap());
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
