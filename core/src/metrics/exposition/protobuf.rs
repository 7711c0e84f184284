//! Delimited messages of protobuf: each family a `MetricFamily`, its length before it.
//!
//! Source: `io/prometheus/client/metrics.proto` of prometheus/client_model, whose numbers of fields stand here; "Encoding" in
//! the documentation of Protocol Buffers.

use super::{Buckets, Escaping, Head, Labels, Writer};
use crate::metrics::family::label;
use crate::metrics::snapshot::{Exemplar, MetricKind, NativeDistribution};

/// The message of a page.
pub(super) const MESSAGE: &str = "io.prometheus.client.MetricFamily";

pub(super) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A page that is being written.
pub(in crate::metrics) struct Page<'a> {
    out: &'a mut Vec<u8>,
    escaping: Escaping,
    /// The message of a family, until its length is known. Its memory is used again.
    message: Vec<u8>,
}

/// A family that is being written.
pub(in crate::metrics) struct Fields {
    kind: MetricKind,
}

impl<'a> Page<'a> {
    /// Goes on behind what is in `out`.
    pub(super) fn new(out: &'a mut Vec<u8>, escaping: Escaping) -> Self {
        Self { out, escaping, message: Vec::new() }
    }

    /// The labels of a `Metric`.
    fn labels(&mut self, labels: Labels<'_>) {
        for (name, value) in labels.names.iter().zip(label::escaped_values(labels.text, labels.names)) {
            pair(&mut self.message, 1, &self.escaping.label(name), &value.value());
        }
    }
}

impl Writer for Page<'_> {
    type Family = Fields;

    fn begin(&mut self, head: Head<'_>) -> Fields {
        let Head { name, kind, help, unit, .. } = head;
        // As text has it: a counter is called as its sample is.
        let name = format!("{name}{}", if kind == MetricKind::Counter { "_total" } else { "" });
        self.message.clear();
        text(&mut self.message, 1, &self.escaping.name(&name));
        if !help.is_empty() {
            text(&mut self.message, 2, help);
        }
        let number = match kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge => 1,
            MetricKind::Histogram => 4,
        };
        whole(&mut self.message, 3, number);
        if let Some(unit) = unit {
            text(&mut self.message, 5, unit);
        }
        Fields { kind }
    }

    fn number(&mut self, family: &Fields, labels: Labels<'_>, value: f64, exemplar: Option<&Exemplar>) {
        let metric = open(&mut self.message, 4);
        self.labels(labels);
        let out = &mut self.message;
        let number = open(out, if family.kind == MetricKind::Counter { 3 } else { 2 });
        float(out, 1, value);
        if let Some(exemplar) = exemplar {
            write_exemplar(out, 2, exemplar);
        }
        close(out, number);
        close(out, metric);
    }

    fn histogram<C>(&mut self, _: &Fields, labels: Labels<'_>, buckets: Buckets<'_, C>)
    where
        C: Iterator<Item = u64>,
    {
        let Buckets { bounds, les, counts, sum, native, exemplars } = buckets;
        let counts: Vec<u64> = counts.collect();
        let count = counts.iter().fold(0_u64, |all, count| all.wrapping_add(*count));
        let metric = open(&mut self.message, 4);
        self.labels(labels);
        let out = &mut self.message;
        let histogram = open(out, 7);
        // The native buckets and the count agree by themselves. The others may be younger, and reset at other times.
        let (count, sum) = native.map_or((count, sum), |native| (native.count(), native.sum));
        whole(out, 1, count);
        float(out, 2, sum);
        if native.is_none_or(|native| !native.was_reset) {
            let mut cumulative = 0_u64;
            let uppers = bounds.iter().copied().chain([f64::INFINITY]);
            for (bucket, (upper, alone)) in uppers.zip(&counts).enumerate().take(les.len()) {
                cumulative = cumulative.wrapping_add(*alone);
                let message = open(out, 3);
                whole(out, 1, cumulative.min(count));
                float(out, 2, upper);
                if let Some(exemplar) = exemplars.get(bucket).and_then(Option::as_ref) {
                    write_exemplar(out, 3, exemplar);
                }
                close(out, message);
            }
        }
        if let Some(native) = native {
            write_native(out, native);
            exemplars.iter().flatten().for_each(|exemplar| write_exemplar(out, 16, exemplar));
        }
        close(out, histogram);
        close(out, metric);
    }

    fn end(&mut self, _: Fields) {
        varint(self.out, self.message.len() as u64);
        self.out.extend_from_slice(&self.message);
    }
}

/// The fields of a native histogram.
fn write_native(out: &mut Vec<u8>, native: &NativeDistribution) {
    key(out, 5, VARINT);
    varint(out, zigzag(i64::from(native.schema)));
    float(out, 6, native.zero_threshold);
    whole(out, 7, native.zero_count);
    sparse(out, 9, 10, &native.negative);
    sparse(out, 12, 13, &native.positive);
    // Without buckets and with a zero bucket of no width, this alone tells that it is native.
    if native.positive.is_empty() && native.negative.is_empty() {
        let span = open(out, 12);
        close(out, span);
    }
}

/// Populated buckets as spans of those that follow each other, and as differences from one to the next. A gap of one or two
/// costs less as empty buckets than as a span.
fn sparse(out: &mut Vec<u8>, spans: u32, deltas: u32, buckets: &[(i32, u64)]) {
    let mut runs: Vec<(i32, u32)> = Vec::new();
    let mut counts: Vec<u64> = Vec::with_capacity(buckets.len());
    // The index that follows the last one of the last span.
    let mut next = 0_i64;
    for (index, count) in buckets {
        let gap = i64::from(*index) - next;
        match runs.last_mut() {
            Some((_, length)) if (0..=2).contains(&gap) => {
                *length += gap as u32 + 1;
                counts.extend(std::iter::repeat_n(0, gap as usize));
            }
            // An index fits, and so does the distance of two.
            _ => runs.push((gap as i32, 1)),
        }
        counts.push(*count);
        next = i64::from(*index) + 1;
    }
    for (offset, length) in runs {
        let span = open(out, spans);
        key(out, 1, VARINT);
        varint(out, zigzag(i64::from(offset)));
        whole(out, 2, u64::from(length));
        close(out, span);
    }
    let mut before = 0_u64;
    for count in counts {
        key(out, deltas, VARINT);
        varint(out, zigzag(count.wrapping_sub(before) as i64));
        before = count;
    }
}

fn write_exemplar(out: &mut Vec<u8>, field: u32, exemplar: &Exemplar) {
    let message = open(out, field);
    exemplar.labels.iter().for_each(|(name, value)| pair(out, 1, name, value));
    float(out, 2, exemplar.value);
    let time = open(out, 3);
    let (seconds, nanos) = (exemplar.time.as_second(), exemplar.time.subsec_nanosecond());
    whole(out, 1, seconds as u64);
    whole(out, 2, nanos as u64);
    close(out, time);
    close(out, message);
}

/// A `LabelPair`.
fn pair(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    key(out, field, LENGTH);
    varint(out, (text_len(name) + text_len(value)) as u64);
    text(out, 1, name);
    text(out, 2, value);
}

/// How long a text is as a field below 16.
fn text_len(text: &str) -> usize {
    let bits = usize::BITS - (text.len() | 1).leading_zeros();
    1 + (bits as usize).div_ceil(7) + text.len()
}

const VARINT: u32 = 0;
const FIXED: u32 = 1;
const LENGTH: u32 = 2;

fn key(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn whole(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, VARINT);
    varint(out, value);
}

fn float(out: &mut Vec<u8>, field: u32, value: f64) {
    key(out, field, FIXED);
    out.extend_from_slice(&value.to_le_bytes());
}

fn text(out: &mut Vec<u8>, field: u32, value: &str) {
    key(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// Begins a message inside another; says where. There is one byte for its length, which is enough for most.
fn open(out: &mut Vec<u8>, field: u32) -> usize {
    key(out, field, LENGTH);
    out.push(0);
    out.len()
}

/// Ends the message that began at `start`.
fn close(out: &mut Vec<u8>, start: usize) {
    let mut length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    // The message makes room for the rest of its length.
    let more = (length.ilog2() / 7) as usize;
    out.resize(out.len() + more, 0);
    out.copy_within(start..start + length, start + more);
    for byte in &mut out[start - 1..start - 1 + more] {
        *byte = length as u8 | 0x80;
        length >>= 7;
    }
    out[start - 1 + more] = length as u8;
}
