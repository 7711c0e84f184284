//! A host at work, and how it is asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use uplifted_example::Failure;

/// Nothing that a host is asked takes this long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What allows the demo to write.
const WRITE_TOKEN: &str = "demo-0123456789abcdef";

/// A running host. It stops when this program ends, however it ends.
#[derive(Debug)]
pub(crate) struct Host {
    /// What it is written in.
    pub(crate) name: &'static str,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Host {
    /// Starts `command`, the host called `name`, on a service folder, and returns once it listens.
    pub(crate) fn start(name: &'static str, command: &mut Command, root: &Path) -> Result<Self, Failure> {
        let mut child = command
            .args(["--until-stdin-closes", "--rate", "100", "--listen", "127.0.0.1:0", "--tools", "127.0.0.1:0"])
            .arg("--root")
            .arg(root)
            .arg("--database")
            .arg(root.join("data/uplifted.db"))
            .env("UPLIFTED__HTTP__WRITE_TOKEN", WRITE_TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the host in {name} does not start: {error}"))?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let (sender, said) = mpsc::channel();
        // Read to its end, for a host that writes to a full pipe stops.
        std::thread::spawn(move || {
            for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()).map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut host = Self { name, address: SocketAddr::from(([127, 0, 0, 1], 0)), child, stdin };
        let mut heard = String::new();
        loop {
            let line =
                said.recv_timeout(PATIENCE).map_err(|_| format!("the host in {name} does not listen: {heard}"))?;
            let address = line.strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix("/status"));
            if let Some(address) = address {
                host.address = address.parse()?;
                host.wait_for_checks()?;
                return Ok(host);
            }
            heard.push_str(&line);
            heard.push('\n');
        }
    }

    /// Waits until it has begun: until its checks have passed once, it is not ready.
    fn wait_for_checks(&self) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.page("/startupz") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// `GET`, whose answer is 200 and JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.page(path)?)?)
    }

    /// `GET`, whose answer is 200 and text.
    pub(crate) fn page(&self, path: &str) -> Result<String, Failure> {
        self.ask(&format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address))
    }

    /// `POST` with the write token.
    pub(crate) fn post(&self, path: &str, request: &Value) -> Result<Value, Failure> {
        let body = request.to_string();
        let answer = self.ask(&format!(
            "POST {path} HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {WRITE_TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn ask(&self, request: &str) -> Result<String, Failure> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.write_all(request.as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let line = request.lines().next().unwrap_or_default();
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
            _ => Err(format!("the host in {} answers {line} with: {answer}", self.name).into()),
        }
    }

    /// Stops it. How many transfers it made.
    pub(crate) fn stop(mut self) -> Result<u64, Failure> {
        drop(self.stdin.take());
        let mut report = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut report)?;
        }
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("the host in {} ended with {status}", self.name).into());
        }
        Ok(serde_json::from_str::<Value>(&report)?["transactions"].as_u64().unwrap_or(0))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After `stop` it has ended, and both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
