//! TLS as `sslmode` wants it, on the one trust of the product (`tls.rs`).

use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::place::{SslMode, Tls};
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{self, Identity};

/// What speaks TLS to one server.
pub(super) struct Connector {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// The TLS of these settings, for the server of that name; nothing where none is wanted.
    ///
    /// # Errors
    /// For a file that is not what it should be, and a name that no certificate can have.
    pub(super) fn new(settings: &Tls, host: &str) -> Result<Option<Self>> {
        let (identity, system) = match settings.mode {
            SslMode::Disable => return Ok(None),
            SslMode::Prefer | SslMode::Require => (Identity::Anybody, false),
            SslMode::VerifyCa => (Identity::Signed, settings.authorities.is_none()),
            SslMode::VerifyFull => (Identity::Named, settings.authorities.is_none()),
        };
        let authorities = settings.authorities.as_deref().filter(|_| identity != Identity::Anybody);
        let named = |error: Error| error.while_doing("sslrootcert of PostgreSQL");
        let mut config = match &settings.own {
            None => tls::client_that_asks_for(identity, system, authorities, None).map_err(named)?,
            Some((certificate, key)) => {
                let own = own(certificate, key)?;
                tls::client_that_asks_for(identity, system, authorities, Some(own)).map_err(named)?
            }
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::invalid(format!("{host:?} is no name that a certificate can have")).with_hint("correct the host")
        })?;
        Ok(Some(Self::of(config, name)))
    }

    fn of(config: ClientConfig, name: ServerName<'static>) -> Self {
        Self { connector: TlsConnector::from(Arc::new(config)), name }
    }
}

/// Our own certificate and its key.
fn own(certificate: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let cannot = |path: &Path, why: &dyn std::fmt::Display| {
        Error::invalid(format!("{path:?} cannot be used for TLS with PostgreSQL: {why}"))
            .with_hint("correct sslcert and sslkey: PEM, the key without a passphrase")
    };
    let meta = key.metadata().map_err(|error| Error::io(format!("look at sslkey {key:?}"), error))?;
    // As libpq has it: the owner alone, or root's with its group.
    let open = if meta.uid() == 0 { 0o137 } else { 0o177 };
    if meta.mode() & open != 0 {
        let mode = meta.mode() & 0o777;
        return Err(Error::new(ErrorKind::Refused, format!("others can read sslkey {key:?} (mode {mode:04o})"))
            .with_hint(format!("chmod 0600 {}", key.display())));
    }
    let chain =
        CertificateDer::pem_file_iter(certificate).and_then(|chain| chain.collect::<std::result::Result<_, _>>());
    let chain = chain.map_err(|error| cannot(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| cannot(key, &error))?;
    Ok((chain, key))
}

impl TlsConnect<TcpStream> for Connector {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Stream) })
    }
}

/// A connection with TLS.
pub(super) struct Stream(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
