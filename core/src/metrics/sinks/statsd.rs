//! `statsd`: a StatsD server or a Datadog agent, over UDP or a Unix datagram socket.
//!
//! ```toml
//! [[sink]]
//! name = "agent"
//! kind = "statsd"
//! address = "127.0.0.1:8125"           # or "unix:///var/run/datadog/dsd.socket"
//! dialect = "dogstatsd"                # labels become tags; "statsd" puts their values into the name
//! prefix = "shop."
//! tags = { env = "production" }
//! ```
//!
//! | here | sent |
//! | --- | --- |
//! | counter | `requests:3\|c`: what it grew by since the last export |
//! | gauge | `plugins:12.5\|g`. StatsD reads a sign as a change, so a number below zero follows a zero there |
//! | histogram | three counters: `took.count`, `took.sum`, and `took.bucket` for each bucket alone, with its upper bound as the tag `upper_bound` |
//!
//! Nothing is sent for what did not grow. NaN and infinities, which the protocol lacks, are left out. Characters that the
//! protocol gives a meaning become `_`. Lines are packed into datagrams of at most `max_packet_bytes`.
//!
//! UDP loses what the network or a busy server drops, and nobody hears of it. Where the system tells that nobody listens, the
//! export fails, and the next one sends what grew meanwhile as well.
//!
//! A counter that somebody else keeps, such as those that the journal tells, did not begin with this process: what it stood
//! at in the first export is where its growth begins.
//!
//! Sources: "StatsD Metric Types" and "Metric types" in the documentation of etsy's and statsd/statsd's server (a gauge with
//! a sign; 1,432 bytes for Fast Ethernet, "Multi-Metric Packets"); "Datagram format" and "Sending large volumes of metrics" in
//! that of DogStatsD (tags; 8,192 bytes, the agent's `dogstatsd_buffer_size`).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::metrics::number;
use crate::metrics::{Distribution, Family, MetricKind, MetricsSink, MetricsSnapshot, Value};

mod socket;

use socket::{Address, Socket};

/// The kind, for the registry.
pub const KIND: Kind<dyn MetricsSink> = Kind {
    name: "statsd",
    summary: "A StatsD server or a Datadog agent, over UDP or a Unix datagram socket",
    placement: Placement::Host,
    build: |context, settings| {
        let settings: StatsdSettings = context.settings(settings)?;
        Ok(Arc::new(StatsdSink::new(&settings, |path| context.resolve(path))?))
    },
    detect: None,
};

/// The longest tag that a Datadog agent keeps ("Defining tags").
const MAX_TAG: usize = 200;

/// What a server understands beside names and numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Nothing: the values of labels become parts of the name.
    #[default]
    Statsd,
    /// Tags.
    Dogstatsd,
}

/// Settings of [`StatsdSink`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatsdSettings {
    /// Where the server listens: `127.0.0.1:8125`, also as `udp://127.0.0.1:8125`, or `unix:///var/run/datadog/dsd.socket`.
    pub address: String,
    /// What it understands: `statsd` or `dogstatsd`.
    #[serde(default)]
    pub dialect: Dialect,
    /// What every name begins with, such as `shop.`.
    #[serde(default)]
    pub prefix: String,
    /// Tags of every number, where the dialect has some.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The longest datagram. 1,432 for UDP and 8,192 for a Unix socket when unset.
    #[serde(default)]
    pub max_packet_bytes: Option<usize>,
}

impl StatsdSettings {
    /// Everything as it is by itself, but for the address.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            dialect: Dialect::default(),
            prefix: String::new(),
            tags: BTreeMap::new(),
            max_packet_bytes: None,
        }
    }
}

/// Sends numbers to a server.
#[derive(Debug)]
pub struct StatsdSink {
    address: Address,
    max_packet: usize,
    style: Style,
    sent: tokio::sync::Mutex<Sent>,
}

/// What has been sent: where counters stood then, by the line that they are sent in.
#[derive(Debug, Default)]
struct Sent {
    stood: HashMap<String, Stood>,
    /// How many exports there were, failed ones too.
    exports: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stood {
    at: f64,
    /// The export that last saw it.
    seen: u64,
}

impl StatsdSink {
    /// A sink as the settings describe it; `resolve` makes the path of a socket absolute. Sends nothing yet.
    ///
    /// # Errors
    /// When the address is none, a tag could not be told from another, or no line fits into a datagram.
    pub fn new(settings: &StatsdSettings, resolve: impl Fn(&std::path::Path) -> std::path::PathBuf) -> Result<Self> {
        let StatsdSettings { address, dialect, prefix, tags, max_packet_bytes } = settings;
        let address = Address::parse(address, resolve)?;
        let max_packet = max_packet_bytes.unwrap_or(address.usual_packet());
        if !(512..=65_507).contains(&max_packet) {
            return Err(Error::invalid(format!("a datagram of {max_packet} bytes is too short or too long"))
                .with_context("field", "max_packet_bytes")
                .with_hint("use 512 to 65507; 1432 for a network, 8192 on this machine"));
        }
        if *dialect == Dialect::Statsd && !tags.is_empty() {
            return Err(Error::invalid("the dialect `statsd` has no tags")
                .with_context("field", "tags")
                .with_hint("set dialect = \"dogstatsd\" where the server knows tags, or write them into `prefix`"));
        }
        let mut always = String::new();
        for (name, value) in tags {
            push_tag(&mut always, name, value);
        }
        let style = Style { dialect: *dialect, prefix: prefix.clone(), always };
        Ok(Self { address, max_packet, style, sent: tokio::sync::Mutex::default() })
    }
}

#[async_trait]
impl MetricsSink for StatsdSink {
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()> {
        scope.cancel.check()?;
        let work = async {
            let mut sent = self.sent.lock().await;
            let mut batch = Batch::of(&self.style, &mut sent, snapshot);
            let mut socket = Socket::open(&self.address).await?;
            while let Some(packet) = batch.next_packet(self.max_packet) {
                socket.send(packet.as_bytes()).await?;
                batch.packet_is_sent(&mut sent);
            }
            sent.forget_unseen();
            Ok(())
        };
        tokio::select! {
            biased;
            done = work => done,
            () = scope.cancel.cancelled() => {
                Err(scope.cancel.check().err().unwrap_or_else(|| Error::internal("cancelled")))
            }
        }
    }
}

/// How a server wants names and labels.
#[derive(Debug)]
struct Style {
    dialect: Dialect,
    prefix: String,
    /// The tags of every number, as they are written.
    always: String,
}

/// A line to send, and where its counter stands then.
struct Line {
    text: String,
    /// The counter's key, and where it stands.
    counter: Option<(String, f64)>,
}

/// The lines of an export.
struct Batch {
    lines: std::vec::IntoIter<Line>,
    /// One that did not fit any more.
    next: Option<Line>,
    packet: String,
    /// The counters in the packet.
    counters: Vec<(String, f64)>,
    export: u64,
}

impl Batch {
    fn of(style: &Style, sent: &mut Sent, snapshot: &MetricsSnapshot) -> Self {
        sent.exports += 1;
        let mut lines = Lines { style, sent, lines: Vec::new() };
        snapshot.families.iter().for_each(|family| lines.family(family));
        let lines = lines.lines.into_iter();
        Self { lines, next: None, packet: String::new(), counters: Vec::new(), export: sent.exports }
    }

    /// The next datagram: as many lines as fit. One that is too long by itself goes alone, as far as the system takes it.
    fn next_packet(&mut self, max: usize) -> Option<&str> {
        self.packet.clear();
        while let Some(line) = self.next.take().or_else(|| self.lines.next()) {
            if !self.packet.is_empty() && self.packet.len() + 1 + line.text.len() > max {
                self.next = Some(line);
                break;
            }
            if !self.packet.is_empty() {
                self.packet.push('\n');
            }
            self.packet.push_str(&line.text);
            self.counters.extend(line.counter);
        }
        (!self.packet.is_empty()).then_some(&self.packet)
    }

    /// Remembers where the counters of the packet stood.
    fn packet_is_sent(&mut self, sent: &mut Sent) {
        for (key, at) in self.counters.drain(..) {
            sent.stood.insert(key, Stood { at, seen: self.export });
        }
    }
}

impl Sent {
    /// What is no longer there begins anew when it comes again.
    fn forget_unseen(&mut self) {
        let export = self.exports;
        self.stood.retain(|_, stood| stood.seen == export);
    }
}

/// The lines of a snapshot, as they are made.
struct Lines<'a> {
    style: &'a Style,
    sent: &'a mut Sent,
    lines: Vec<Line>,
}

impl Lines<'_> {
    fn family(&mut self, family: &Family) {
        for series in &family.series {
            match &series.value {
                Value::Number(value) if family.kind == MetricKind::Counter => {
                    let (name, tags) = self.style.head(&family.name, "", &series.labels, None);
                    self.counter(name, tags, *value, family.counted_here);
                }
                Value::Number(value) => self.gauge(family, &series.labels, *value),
                Value::Distribution(Distribution { bounds, counts, sum, .. }) => {
                    let mut count = |suffix, bound, value| {
                        let (name, tags) = self.style.head(&family.name, suffix, &series.labels, bound);
                        self.counter(name, tags, value, family.counted_here);
                    };
                    let whole = counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
                    count(".count", None, whole as f64);
                    count(".sum", None, *sum);
                    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                    bounds.zip(counts).for_each(|(bound, number)| count(".bucket", Some(bound), *number as f64));
                }
            }
        }
    }

    /// `name:3|c|#tag:value`: what it grew by.
    fn counter(&mut self, name: String, tags: String, value: f64, counted_here: bool) {
        if !value.is_finite() {
            return;
        }
        let key = format!("{name}{tags}");
        let export = self.sent.exports;
        let before = match self.sent.stood.get_mut(&key) {
            Some(stood) => {
                stood.seen = export;
                stood.at
            }
            // What others keep began before us, unless it came while we looked.
            None if !counted_here && export == 1 => {
                self.sent.stood.insert(key, Stood { at: value, seen: export });
                return;
            }
            None => 0.0,
        };
        // A sum of numbers below zero goes down; any other that does was reset, and has grown by all of it.
        let grown = if value < before && !name.ends_with(".sum") { value } else { value - before };
        if grown == 0.0 {
            return;
        }
        let mut text = name;
        text.push(':');
        number::push(&mut text, grown);
        text.push_str("|c");
        text.push_str(&tags);
        self.lines.push(Line { text, counter: Some((key, value)) });
    }

    /// `name:12.5|g|#tag:value`.
    fn gauge(&mut self, family: &Family, labels: &[(String, String)], value: f64) {
        if !value.is_finite() {
            return;
        }
        let (name, tags) = self.style.head(&family.name, "", labels, None);
        let mut text = String::new();
        if value < 0.0 && self.style.dialect == Dialect::Statsd {
            // In one line with what follows: no other packet comes between.
            let _ = writeln!(text, "{name}:0|g");
        }
        text.push_str(&name);
        text.push(':');
        number::push(&mut text, value);
        text.push_str("|g");
        text.push_str(&tags);
        self.lines.push(Line { text, counter: None });
    }
}

impl Style {
    /// The name of a number, and its tags with what stands before them.
    fn head(&self, name: &str, suffix: &str, labels: &[(String, String)], bound: Option<f64>) -> (String, String) {
        let mut head = self.prefix.clone();
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
        head.extend(name.chars().map(plain));
        head.push_str(suffix);
        let bound = bound.map(|bound| {
            let mut text = String::new();
            number::push(&mut text, bound);
            text
        });
        let mut tags = String::new();
        match self.dialect {
            Dialect::Statsd => {
                let values = labels.iter().map(|(_, value)| value.as_str()).chain(bound.as_deref());
                for value in values {
                    head.push('.');
                    // A dot is a level of the name; nothing at all would be no level.
                    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
                    head.extend(value.chars().map(plain));
                    head.push_str(if value.is_empty() { "_" } else { "" });
                }
            }
            Dialect::Dogstatsd => {
                tags.push_str(&self.always);
                labels.iter().for_each(|(name, value)| push_tag(&mut tags, name, value));
                bound.iter().for_each(|bound| push_tag(&mut tags, "upper_bound", bound));
                if !tags.is_empty() {
                    tags.insert_str(0, "|#");
                }
            }
        }
        (head, tags)
    }
}

/// Appends `name:value`, behind a comma where there are tags already.
fn push_tag(tags: &mut String, name: &str, value: &str) {
    if !tags.is_empty() {
        tags.push(',');
    }
    let plain = |c: char| if c.is_control() || matches!(c, ',' | '|' | '#') { '_' } else { c };
    let text = name.chars().chain([':']).chain(value.chars());
    tags.extend(text.map(plain).take(MAX_TAG));
}

#[cfg(test)]
mod tests;
