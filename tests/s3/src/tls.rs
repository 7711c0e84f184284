//! A way to the server in TLS, with certificates that are made for the occasion.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Who signs certificates of servers.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows, and the key that it has for it.
#[derive(Debug)]
pub struct Shown {
    pub certificate: CertificateDer<'static>,
    /// The same for `ca_file`.
    pub pem: String,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "the authority at home");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, for `ca_file`.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names or addresses, from the first day of a year to that of another.
    pub fn signs(&self, names: &[&str], (from, to): (i32, i32)) -> Shown {
        let (params, key) = (params(names, (from, to)), KeyPair::generate().unwrap());
        Shown::new(&params.signed_by(&key, &self.0).unwrap(), &key)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Shown {
    /// A certificate that signs itself, as `openssl req -x509` makes one: it says that it may sign others.
    pub fn self_signed(names: &[&str], years: (i32, i32), is_ca: bool) -> Self {
        let (mut params, key) = (params(names, years), KeyPair::generate().unwrap());
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self::new(&params.self_signed(&key).unwrap(), &key)
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), key: key.serialize_der().into() }
    }
}

fn params(names: &[&str], (from, to): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

/// TLS in front of a server, until it is dropped. It passes on what it decrypts.
#[derive(Debug)]
pub struct TlsProxy {
    pub address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl TlsProxy {
    pub async fn start(server: SocketAddr, shown: &Shown) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(shown.key.clone_key());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Who does not trust us, or speaks no TLS, is the matter of the test.
                    let Ok(mut decrypted) = acceptor.accept(socket).await else { return };
                    let mut plain = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut decrypted, &mut plain).await;
                });
            }
        });
        Self { address, accepting }
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
