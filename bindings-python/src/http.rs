//! Requests of ASGI and WSGI servers. What they mean is in `uplifted_ops::http`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use uplifted_ops::http::{self, Request, Response, parse_peer};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Cancel, Result, Scope};

use crate::call::{self, Call};
use crate::errors::OrRaise;
use crate::python::PythonThread;

/// Answers requests with the operations of one `Ops`.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Responder {
    ops: Ops,
    responder: http::Responder,
    python: PythonThread,
}

/// Status, reason, headers, body.
type Answer<'py> = (u16, &'static str, Vec<(&'static str, String)>, Bound<'py, PyBytes>);

impl Responder {
    pub(crate) fn new(ops: Ops, python: PythonThread) -> Result<Self> {
        Ok(Self { responder: http::Responder::new(&ops)?, ops, python })
    }
}

#[pymethods]
impl Responder {
    /// Answers a request, and waits for the answer.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of a request")]
    fn respond<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        path: &str,
        query: &[u8],
        mount: &str,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
        peer: Option<&str>,
    ) -> PyResult<Answer<'py>> {
        let request = request(method, path, query, mount, headers, body, peer);
        let response = call::wait(py, self.responder.respond(self.ops.scope(), request), || Ok(()))?;
        Ok(answer(py, response))
    }

    /// Begins to answer a request; `listener.respond(status, reason, headers, body)` is called on the Python thread.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of a request")]
    fn start(
        &self,
        py: Python<'_>,
        method: &str,
        path: &str,
        query: &[u8],
        mount: &str,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
        peer: Option<&str>,
        listener: Py<PyAny>,
    ) -> PyResult<Call> {
        let cancel = Cancel::new();
        let scope = Scope { cancel: cancel.clone(), ..self.ops.scope() };
        let work = self.responder.respond(scope, request(method, path, query, mount, headers, body, peer));
        let mut told = Told { python: self.python.clone(), listener: Some(listener) };
        self.ops.spawn(async move { told.with(work.await) }).or_raise(py)?;
        Ok(Call { cancel })
    }
}

/// Tells the listener a response exactly once, also when the `Ops` was closed and its threads dropped the work.
struct Told {
    python: PythonThread,
    listener: Option<Py<PyAny>>,
}

impl Told {
    fn with(&mut self, response: Response) {
        let Some(listener) = self.listener.take() else { return };
        self.python.post(move |py| listener.call_method1(py, "respond", answer(py, response)).map(drop));
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let headers = vec![("content-length", "0".to_owned()), ("cache-control", "no-store".to_owned())];
        self.with(Response { status: 503, headers, body: Vec::new() });
    }
}

fn request(
    method: &str,
    path: &str,
    query: &[u8],
    mount: &str,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    peer: Option<&str>,
) -> Request {
    let mut request = Request::new(method, path);
    request.query = query.iter().copied().map(char::from).collect();
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body = body;
    request.peer = peer.and_then(parse_peer);
    request.mounted_at(mount)
}

fn answer(py: Python<'_>, response: Response) -> Answer<'_> {
    let reason = response.reason();
    (response.status, reason, response.headers, PyBytes::new(py, &response.body))
}
