//! TLS of our own below `ureq`, whose settings know authorities and nothing else: a certificate that signs itself is trusted
//! where `ca_file` names that very one, see [`tls`](crate::tls).

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};

use crate::error::Result;
use crate::tls;

/// An agent with these settings that asks `host` over TLS, and trusts the authorities of the system and what is in `ca_file`,
/// which is read now.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn agent(
    settings: ureq::config::Config,
    host: ServerName<'static>,
    ca_file: Option<&Path>,
) -> Result<ureq::Agent> {
    let config = Arc::new(tls::client(true, ca_file)?);
    let connector = ().chain(TcpConnector::default()).chain(Secure { config, host });
    Ok(ureq::Agent::with_parts(settings, connector, DefaultResolver::default()))
}

/// Shakes hands over what is connected.
struct Secure {
    config: Arc<ClientConfig>,
    /// Redirects stay with the host.
    host: ServerName<'static>,
}

impl<In: Transport> Connector<In> for Secure {
    type Out = Secured;

    fn connect(&self, details: &ConnectionDetails<'_>, below: Option<In>) -> Result<Option<Secured>, ureq::Error> {
        let Some(below) = below else { return Ok(None) };
        let connection = ClientConnection::new(Arc::clone(&self.config), self.host.clone())?;
        let socket = TransportAdapter::new(below.boxed(), Arc::clone(&details.current_time));
        let mut stream = StreamOwned::new(connection, socket);
        stream.sock.set_timeout(details.timeout);
        stream.conn.complete_io(&mut stream.sock)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Secured { buffers, stream }))
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What is said over TLS.
struct Secured {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let read = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").finish_non_exhaustive()
    }
}
