//! Families and series as bytes: what one process says of its cells, and another reads. Everything that is read may be
//! anybody's bytes, so nothing is believed: what does not parse is `None`.

use super::super::mode::GaugeMode;
use super::super::names::Definition;
use super::super::native::{Label, NativeSum, SCHEMAS, is_index};
use super::super::snapshot::{MetricKind, NativeDistribution};

/// The most text that is believed of anything: names, help, labels.
const MAX_TEXT: usize = 1 << 20;

/// Bytes that are being written.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn small(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.small(text.len() as u32);
        self.0.extend(text.as_bytes());
        self
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) -> &mut Self {
        self.small(texts.len() as u32);
        texts.for_each(|text| {
            self.text(text);
        });
        self
    }
}

/// Bytes that are being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct In<'a>(pub(super) &'a [u8]);

impl<'a> In<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    pub(super) fn small(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = self.small()? as usize;
        if len > MAX_TEXT {
            return None;
        }
        std::str::from_utf8(self.bytes(len)?).ok()
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        let count = self.small()? as usize;
        // Each takes four bytes at least.
        if count > self.0.len() / 4 {
            return None;
        }
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }
}

/// What a family is, for those who sum it. Families are summed where they are of one [`identity`](FamilyFacts::identity).
#[derive(Debug, Clone, PartialEq)]
pub(in crate::metrics) struct FamilyFacts {
    pub(in crate::metrics) kind: MetricKind,
    pub(in crate::metrics) name: String,
    pub(in crate::metrics) unit: Option<String>,
    pub(in crate::metrics) labels: Vec<String>,
    pub(in crate::metrics) bounds: Vec<f64>,
    pub(in crate::metrics) mode: GaugeMode,
    pub(in crate::metrics) max_series: usize,
    pub(in crate::metrics) help: String,
    /// Whether there are others of its name, with other labels: then its unit is only something that is told.
    pub(in crate::metrics) is_mixed: bool,
    /// For how many milliseconds a series may stay as it is before it is taken out; 0 for ever.
    pub(in crate::metrics) expire_after: u64,
}

impl FamilyFacts {
    pub(in crate::metrics) fn of(definition: &Definition, kind: MetricKind) -> Self {
        let Definition { name, help, unit, labels, bounds, mode, .. } = definition.clone();
        let bounds = if kind == MetricKind::Histogram { bounds } else { Vec::new() };
        let expire_after = definition.expire_after.map_or(0, |idle| idle.as_millis().max(1) as u64);
        let max_series = definition.cap();
        Self { kind, name, unit, labels, bounds, mode, max_series, help, is_mixed: false, expire_after }
    }

    /// Whether both are parts of one family, whose series have other labels from one to another.
    pub(in crate::metrics) fn is_part_of(&self, other: &Self) -> bool {
        let Self { kind, name, bounds, is_mixed, .. } = self;
        *is_mixed && other.is_mixed && (kind, name, bounds) == (&other.kind, &other.name, &other.bounds)
    }

    /// Its kind, name, unit, labels and bounds.
    pub(in crate::metrics) fn identity(&self) -> Vec<u8> {
        let Self { kind, name, unit, labels, bounds, is_mixed, .. } = self;
        let unit = unit.as_ref().filter(|_| !is_mixed);
        let mut out = Out::default();
        let kind = match kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge => 1,
            MetricKind::Histogram => 2,
        };
        let kind = kind | u32::from(*is_mixed) << 8;
        out.small(kind).text(name).texts(unit.into_iter().map(String::as_str).collect::<Vec<_>>().into_iter());
        out.texts(labels.iter().map(String::as_str)).small(bounds.len() as u32);
        bounds.iter().for_each(|bound| {
            out.number(bound.to_bits());
        });
        out.0
    }

    pub(in crate::metrics) fn encode(&self) -> Vec<u8> {
        let mut out = Out(self.identity());
        let max_series = u32::try_from(self.max_series).unwrap_or(u32::MAX);
        out.small(self.mode.number().into()).small(max_series).text(&self.help);
        let told = self.unit.as_ref().filter(|_| self.is_mixed);
        out.texts(told.map(String::as_str).into_iter().collect::<Vec<_>>().into_iter()).number(self.expire_after);
        out.0
    }

    pub(super) fn decode(from: &mut In<'_>) -> Option<Self> {
        let (kind, is_mixed) = match from.small()? {
            number @ 0..0x100 => (number, false),
            number => (number ^ 0x100, true),
        };
        let kind = match kind {
            0 => MetricKind::Counter,
            1 => MetricKind::Gauge,
            2 => MetricKind::Histogram,
            _ => return None,
        };
        let (name, mut unit, labels) = (from.text()?.to_owned(), from.texts()?, from.texts()?);
        let count = from.small()? as usize;
        if count > from.0.len() / 8 || unit.len() > 1 {
            return None;
        }
        let bounds: Option<Vec<f64>> = (0..count).map(|_| from.number().map(f64::from_bits)).collect();
        let (mode, max_series) = (u8::try_from(from.small()?).ok()?, from.small()? as usize);
        let (mode, help) = (GaugeMode::of_number(mode)?, from.text()?.to_owned());
        unit.extend(from.texts()?);
        if unit.len() > 1 {
            return None;
        }
        let (unit, bounds, expire_after) = (unit.pop(), bounds?, from.number()?);
        Some(Self { kind, name, unit, labels, bounds, mode, max_series, help, is_mixed, expire_after })
    }
}

/// No cell.
pub(in crate::metrics) const NONE: u32 = u32::MAX;

/// Where a series is counted. Its first cell is the key of the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::metrics) struct SeriesFacts<'a> {
    /// The key of the family's record.
    pub(in crate::metrics) family: u32,
    /// Cells that lie side by side.
    pub(in crate::metrics) cells: u32,
    /// The float cell, or [`NONE`].
    pub(in crate::metrics) float: u32,
    /// The labels, as the page shows them.
    pub(in crate::metrics) text: &'a str,
}

impl<'a> SeriesFacts<'a> {
    pub(in crate::metrics) fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.small(self.family).small(self.cells).small(self.float).text(self.text);
        out.0
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut from = In(bytes);
        Some(Self { family: from.small()?, cells: from.small()?, float: from.small()?, text: from.text()? })
    }
}

/// What the native buckets of a series have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::metrics) struct NativeFacts {
    pub(in crate::metrics) schema: i32,
    pub(in crate::metrics) was_reset: bool,
    /// The cell of the zero bucket.
    pub(in crate::metrics) zero: u32,
    /// The float cell of the sum.
    pub(in crate::metrics) sum: u32,
    pub(in crate::metrics) max_buckets: usize,
    pub(in crate::metrics) zero_threshold: f64,
}

impl NativeFacts {
    pub(in crate::metrics) fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.native_head(self.schema, self.was_reset, self.max_buckets, self.zero_threshold);
        out.small(self.zero).small(self.sum);
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = In(bytes);
        let (schema, was_reset, max_buckets, zero_threshold) = from.native_head()?;
        Some(Self { schema, was_reset, zero: from.small()?, sum: from.small()?, max_buckets, zero_threshold })
    }
}

/// A native bucket of the series with this first cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::metrics) struct BucketFacts {
    pub(in crate::metrics) series: u32,
    pub(in crate::metrics) label: Label,
}

impl BucketFacts {
    pub(in crate::metrics) fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.small(self.series).small(self.label.pack());
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = In(bytes);
        Some(Self { series: from.small()?, label: Label::unpack(from.small()?)? })
    }
}

impl Out {
    fn native_head(&mut self, schema: i32, was_reset: bool, max_buckets: usize, zero_threshold: f64) -> &mut Self {
        let max_buckets = u32::try_from(max_buckets).unwrap_or(u32::MAX);
        self.small(schema as u32).small(was_reset.into()).small(max_buckets).number(zero_threshold.to_bits())
    }

    /// What the native buckets of a series hold.
    pub(super) fn native(&mut self, NativeSum { distribution, max_buckets }: &NativeSum) -> &mut Self {
        let NativeDistribution { schema, zero_threshold, zero_count, positive, negative, sum, was_reset } =
            distribution;
        self.native_head(*schema, *was_reset, *max_buckets, *zero_threshold);
        self.number(*zero_count).number(sum.to_bits());
        for side in [positive, negative] {
            self.small(side.len() as u32);
            side.iter().for_each(|(index, count)| {
                self.small(*index as u32).number(*count);
            });
        }
        self
    }
}

impl In<'_> {
    fn native_head(&mut self) -> Option<(i32, bool, usize, f64)> {
        let (schema, was_reset, max_buckets) = (self.small()? as i32, self.small()?, self.small()? as usize);
        let zero_threshold = f64::from_bits(self.number()?);
        let fits = SCHEMAS.contains(&schema) && (0.0..=f64::MAX).contains(&zero_threshold);
        fits.then_some((schema, was_reset == 1, max_buckets, zero_threshold))
    }

    pub(super) fn native(&mut self) -> Option<NativeSum> {
        let (schema, was_reset, max_buckets, zero_threshold) = self.native_head()?;
        let mut native = NativeSum::new(schema, zero_threshold, was_reset, max_buckets);
        let into = &mut native.distribution;
        (into.zero_count, into.sum) = (self.number()?, f64::from_bits(self.number()?));
        for side in [&mut into.positive, &mut into.negative] {
            let count = self.small()? as usize;
            if count > self.0.len() / 12 {
                return None;
            }
            for _ in 0..count {
                side.push((self.small()? as i32, self.number()?));
            }
            let is_in_order = side.is_sorted_by(|a, b| a.0 < b.0);
            if !is_in_order || !side.iter().all(|(index, _)| is_index(*index)) {
                return None;
            }
        }
        Some(native)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> FamilyFacts {
        let definition =
            Definition::new("took_seconds", "How long").unit("seconds").labels(&["a", "b"]).bounds(&[0.5, 1.0]);
        let definition = definition.mode(GaugeMode::Max).max_series(7).expire_after(std::time::Duration::from_secs(5));
        FamilyFacts::of(&definition, MetricKind::Histogram)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = facts().encode();
        let mut from = In(&bytes);
        assert_eq!(FamilyFacts::decode(&mut from), Some(facts()));
        assert!(from.0.is_empty() && bytes.starts_with(&facts().identity()));
        // The unit of one that is mixed may be told late: it is the same nevertheless.
        let mixed = FamilyFacts { is_mixed: true, ..facts() };
        assert_eq!(FamilyFacts::decode(&mut In(&mixed.encode())), Some(mixed.clone()));
        assert_eq!(mixed.identity(), FamilyFacts { unit: None, ..mixed.clone() }.identity());
        assert_ne!(mixed.identity(), facts().identity());
        let series = SeriesFacts { family: 3, cells: 12, float: NONE, text: "a=\"é\"" };
        assert_eq!(SeriesFacts::decode(&series.encode()), Some(series));
        let native =
            NativeFacts { schema: -4, was_reset: true, zero: 7, sum: 9, max_buckets: 160, zero_threshold: 0.25 };
        assert_eq!(NativeFacts::decode(&native.encode()), Some(native));
        for label in [(8, true, -274_944), (-4, false, 64), (0, false, 0)] {
            let label = Label { schema: label.0, negative: label.1, index: label.2 };
            let bucket = BucketFacts { series: 5, label };
            assert_eq!(BucketFacts::decode(&bucket.encode()), Some(bucket));
        }
    }

    fn native() -> NativeSum {
        let mut native = NativeSum::new(3, 0.5, false, 160);
        let label = |index, negative| Label { schema: 3, negative, index };
        native.fill([(label(7, true), 2), (label(9, false), 3), (label(-4, false), 1)].into_iter());
        native
    }

    #[test]
    fn native_buckets_are_refused_where_they_cannot_be() {
        let mut out = Out::default();
        out.native(&native());
        let good = out.0;
        assert_eq!(In(&good).native(), Some(native()));
        for len in 0..good.len() {
            assert_eq!(In(&good[..len]).native(), None, "{len}");
        }
        let at = |offset: usize, bytes: &[u8]| {
            let mut wrong = good.clone();
            wrong[offset..offset + bytes.len()].copy_from_slice(bytes);
            In(&wrong).native()
        };
        assert_eq!(at(0, &9_u32.to_ne_bytes()), None);
        assert_eq!(at(12, &f64::NAN.to_ne_bytes()), None);
        // Out of order, and out of range.
        assert_eq!(at(40, &10_u32.to_ne_bytes()), None);
        assert_eq!(at(40, &i32::MIN.to_ne_bytes()), None);
        assert_eq!(at(36, &u32::MAX.to_ne_bytes()), None);
    }

    #[test]
    fn any_bytes_are_refused_without_harm() {
        let bytes = facts().encode();
        for len in 0..bytes.len() {
            assert_eq!(FamilyFacts::decode(&mut In(&bytes[..len])), None, "{len}");
        }
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..10_000 {
            let mut wrong = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..wrong.len());
                wrong[at] = random.u8(..);
            }
            // Whatever it is, it is not larger than what it was read from.
            let read = FamilyFacts::decode(&mut In(&wrong));
            assert!(read.is_none_or(|read| read.encode().len() <= wrong.len()), "seed {seed}");
            let _ = SeriesFacts::decode(&wrong);
        }
    }
}
