//! Thousands of clients at once, and clients that take their time.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream as Stream;
use tokio::time::timeout;

use super::*;
use crate::Scope;
use crate::error::Result;
use crate::ops::{Context, Effect, Entry, Operation, Place};
use crate::worker::Setup;

/// As long as a page of 100,000 series.
const LONG: usize = 7 << 20;

struct Long;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Text {
    text: String,
}

impl Operation for Long {
    const NAME: &'static str = "test.long";
    const SUMMARY: &'static str = "Says a lot";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = Nothing;
    type Response = Text;

    async fn run(_: Arc<Context>, _: Scope, _: Nothing) -> Result<Text> {
        Ok(Text { text: "x".repeat(LONG) })
    }
}

/// As long as the page of a small service. The real one is that of the whole process, and so of all tests in it.
const PAGE: usize = 20 << 10;

struct Page;

impl Operation for Page {
    const NAME: &'static str = "test.page";
    const SUMMARY: &'static str = "Says as much as a page does";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = Nothing;
    type Response = Text;

    async fn run(_: Arc<Context>, _: Scope, _: Nothing) -> Result<Text> {
        Ok(Text { text: "x".repeat(PAGE) })
    }
}

static OPERATIONS: &[Entry] = &[Entry::of::<Long>(), Entry::of::<Page>()];

/// Descriptors for so many connections, both ends of which are in this process; how many there may be.
fn room_for(wanted: u64) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Other tests of this process want theirs at the same time: without one left, a listener gives up somebody's.
    let most = limit.maximum.unwrap_or(1 << 20).min(1 << 16);
    if limit.current.is_some_and(|current| current < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }).unwrap();
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(wanted.min(limit.saturating_sub(1_000) / 2)).unwrap()
}

async fn send(address: SocketAddr, request: &str) -> Stream {
    let mut stream = timeout(PATIENCE, Stream::connect(address)).await.unwrap().unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Asks, and reads all that comes.
async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream =
        send(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it hangs").unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn two_thousand_scrapers_at_once_are_all_answered() {
    let count = room_for(2_000);
    let scene = Scene::with(|builder| {
        // On a machine with other things to do it takes its time until all are there.
        builder
            .setup(Setup { operations: OPERATIONS, ..Setup::default() })
            .setting("http.max_connections", 4_000)
            .setting("http.header_seconds", 300)
            .setting("http.send_seconds", 300)
    });
    let address = scene.address();
    let all = Arc::new(tokio::sync::Barrier::new(count));
    let scrapers: Vec<_> = (0..count)
        .map(|number| {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                // All are there before the first asks.
                let mut stream = send(address, "GET /api/v1/test/page HTTP/1.1\r\nHost: localhost\r\n").await;
                timeout(PATIENCE, all.wait()).await.unwrap();
                stream.write_all(b"Connection: close\r\n\r\n").await.unwrap();
                let mut said = Vec::new();
                timeout(PATIENCE * 2, stream.read_to_end(&mut said)).await.expect("it hangs").unwrap();
                let said = String::from_utf8(said).unwrap();
                assert!(said.starts_with("HTTP/1.1 200") && said.len() > PAGE, "{number}: {said:.200}");
            })
        })
        .collect();
    for scraper in scrapers {
        scraper.await.unwrap();
    }
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn half_open_connections_take_no_place_from_those_who_ask() {
    let count = room_for(1_500);
    let scene = Scene::new();
    let address = scene.address();
    let mut half = Vec::new();
    for number in 0..count {
        // Some say nothing, some begin and go on no further; the listener keeps as many as it is to.
        let said = if number % 2 == 0 { "" } else { "GET /metrics HTTP/1.1\r\nHo" };
        half.push(timeout(PATIENCE, Stream::connect(address)).await.unwrap().unwrap());
        let _ = half[number].write_all(said.as_bytes()).await;
        if number % 100 == 0 {
            assert!(fetch(address, "/metrics").await.starts_with("HTTP/1.1 200"), "after {number}");
        }
    }
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_takes_a_long_answer_too_slowly_is_hung_up_on_and_others_are_not() {
    let scene = Scene::with(|builder| {
        let builder = builder.setup(Setup { operations: OPERATIONS, ..Setup::default() });
        builder.setting("http.send_seconds", 4)
    });
    let address = scene.address();
    let ask = "GET /api/v1/test/long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let slow: Vec<_> = (0..24)
        .map(|number| {
            tokio::spawn(async move {
                let mut stream = send(address, ask).await;
                let mut block = vec![0; 8 * 1024];
                let mut taken = 0;
                let took = async {
                    // Some read nothing, some a little: neither gets to the end.
                    while let Ok(count @ 1..) =
                        stream.read(&mut block[..if number % 2 == 0 { 1 } else { 8 * 1024 }]).await
                    {
                        taken += count;
                        tokio::time::sleep(Duration::from_millis(if number % 2 == 0 { 1000 } else { 20 })).await;
                    }
                };
                // A reader of a byte a second learns of it long after: what the kernel holds comes first.
                let hung_up = timeout(PATIENCE, took).await.is_ok() || number % 2 == 0;
                (hung_up, taken)
            })
        })
        .collect();
    // Meanwhile those who are quick have what they want.
    for _ in 0..10 {
        assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let long = fetch(address, "/api/v1/test/long").await;
        assert!(long.starts_with("HTTP/1.1 200") && long.len() > LONG, "{}", long.len());
    }
    let until = Instant::now() + PATIENCE;
    // The listener holds none of them any more, which is seen from the descriptors that lead to it.
    while connections_of(address) > 0 {
        assert!(Instant::now() < until, "{} are still served", connections_of(address));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (number, one) in slow.into_iter().enumerate().filter(|(number, _)| number % 2 == 1) {
        let (hung_up, taken) = one.await.unwrap();
        assert!(hung_up && taken < LONG, "{number}: {taken}");
    }
}

/// How many connections the listener at `address` has open: those in the state ESTABLISHED (proc_net_tcp(5)) of its end.
fn connections_of(address: SocketAddr) -> usize {
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = |line: &&str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        fields.len() > 3 && fields[1].ends_with(&port) && fields[3] == "01"
    };
    table.lines().skip(1).filter(established).count()
}
