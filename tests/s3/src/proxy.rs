//! A proxy that lets requests through, or does something to them.
//!
//! Plain bytes: it reads one request of HTTP/1.1 from a connection, asks the test what to do with it, and closes the
//! connection after the answer, so that every request is decided about.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy has read.
#[derive(Debug, Clone)]
pub struct Request {
    /// From 1.
    pub number: usize,
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// As they came, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `PUT`, `PUT part`, `POST begin`, `POST complete`, `DELETE parts`, `GET list`, …
    pub fn act(&self) -> String {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let what = match self.method.as_str() {
            "PUT" if query.contains("partNumber") => " part",
            "POST" if query.contains("uploadId") => " complete",
            "POST" if query.contains("uploads") => " begin",
            "DELETE" if query.contains("uploadId") => " parts",
            "GET" if query.contains("list-type") => " list",
            _ => "",
        };
        format!("{}{what}", self.method)
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Trick {
    /// Nothing.
    Pass,
    /// This answer instead, and the server sees nothing: status, body.
    Answer(u16, String),
    /// The server does it, and this is answered.
    DoneBut(u16, String),
    /// The connection is cut before the server sees anything.
    CutBefore,
    /// The server does it, and the connection is cut before a byte of the answer.
    CutAfter,
    /// The answer breaks off after so many bytes of its body.
    CutBody(usize),
    /// Silence until the client leaves. The server sees nothing.
    Silence,
    /// The server does it, and then there is silence.
    DoneThenSilence,
    /// So many bytes of the body at a time, with a pause between.
    Drip(usize, Duration),
    /// The answer has this header instead of its own, or the request, before it is sent on, when it begins with `>`.
    Header(&'static str, String),
}

impl Trick {
    /// An error as S3 writes it, the message with everything in it that a server could repeat.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Answer(status, xml(code, message))
    }
}

pub fn xml(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

type Decide = dyn Fn(&Request) -> Trick + Send + Sync;

/// A proxy that ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A proxy before `server` that asks `decide` about each request.
    pub async fn start(server: SocketAddr, decide: impl Fn(&Request) -> Trick + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let decide: Arc<Decide> = Arc::new(decide);
        let accepting = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    let Ok((client, _)) = listener.accept().await else { continue };
                    tokio::spawn(serve(client, server, Arc::clone(&seen), Arc::clone(&decide)));
                }
            }
        });
        Self { address, seen, accepting }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// What every request so far did.
    pub fn acts(&self) -> Vec<String> {
        self.seen().iter().map(Request::act).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, seen: Arc<Mutex<Vec<Request>>>, decide: Arc<Decide>) {
    let Some((head, mut request)) = read_request(&mut client).await else { return };
    {
        let mut seen = seen.lock().unwrap();
        request.number = seen.len() + 1;
        seen.push(request.clone());
    }
    let trick = decide(&request);
    match &trick {
        Trick::Answer(status, body) => return reply(client, *status, body).await,
        Trick::CutBefore => return,
        Trick::Silence => return until_gone(client).await,
        _ => {}
    }
    let (mut answer_head, body) = ask(server, &head, &request.body, &trick).await;
    match trick {
        Trick::DoneBut(status, body) => reply(client, status, &body).await,
        Trick::CutAfter => {}
        Trick::DoneThenSilence => until_gone(client).await,
        Trick::CutBody(kept) => {
            let _ = client.write_all(answer_head.as_bytes()).await;
            let _ = client.write_all(&body[..kept.min(body.len())]).await;
        }
        Trick::Drip(step, pause) => {
            let _ = client.write_all(answer_head.as_bytes()).await;
            for part in body.chunks(step) {
                if client.write_all(part).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Trick::Header(name, value) if !name.starts_with('>') => {
            let kept: Vec<&str> = answer_head
                .split("\r\n")
                .filter(|line| !line.to_ascii_lowercase().starts_with(&format!("{name}:")) && !line.is_empty())
                .collect();
            answer_head = format!("{}\r\n{name}: {value}\r\n\r\n", kept.join("\r\n"));
            let _ = client.write_all(answer_head.as_bytes()).await;
            let _ = client.write_all(&body).await;
        }
        _ => {
            let _ = client.write_all(answer_head.as_bytes()).await;
            let _ = client.write_all(&body).await;
        }
    }
}

async fn until_gone(mut client: TcpStream) {
    let mut rest = [0; 1024];
    while client.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

async fn reply(mut client: TcpStream, status: u16, body: &str) {
    let len = body.len();
    let text = format!("HTTP/1.1 {status} Told\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}");
    let _ = client.write_all(text.as_bytes()).await;
    let _ = client.shutdown().await;
}

/// The head as text, and the request.
async fn read_request(client: &mut TcpStream) -> Option<(String, Request)> {
    let (head, mut body) = read_head(client).await?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let len: usize =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, len)| len.parse().unwrap());
    while body.len() < len {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, Request { number: 0, method, target, headers, body }))
}

/// Everything up to the empty line, and what came with it.
async fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).ok()?, body));
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends a request on, and returns the head and the body of the answer.
async fn ask(server: SocketAddr, head: &str, body: &[u8], trick: &Trick) -> (String, Vec<u8>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let extra = match trick {
        Trick::Header(name, value) if name.starts_with('>') => format!("{}: {value}\r\n", &name[1..]),
        _ => String::new(),
    };
    let head = format!("{}\r\n{extra}connection: close\r\n\r\n", head.trim_end_matches("\r\n"));
    server.write_all(head.as_bytes()).await.unwrap();
    server.write_all(body).await.unwrap();
    let (answer, mut rest) = read_head(&mut server).await.unwrap();
    let _ = server.read_to_end(&mut rest).await;
    (answer, rest)
}
