//! The series of a family in this process and in the others, side by side.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::shared::{MergedSeries, OtherFamily};
use super::super::slab::{self, Reader};
use super::super::snapshot::{Distribution, MetricKind, NativeDistribution, Value};
use super::label;
use super::series::Series;

/// A series: ours, that of others, or both.
pub(super) struct Joined<'a> {
    own: Option<&'a Series>,
    other: Option<MergedSeries<'a>>,
}

/// Ours, and those of others, in the order of the page.
pub(super) fn joined<'a>(
    own: &'a [Arc<Series>],
    others: Option<OtherFamily<'a>>,
) -> impl Iterator<Item = Joined<'a>> + use<'a> {
    let mut own = own.iter().map(|series| &**series).peekable();
    let mut others = others.into_iter().flat_map(OtherFamily::series).peekable();
    let all = std::iter::from_fn(move || next(&mut own, &mut others));
    // What nobody has changed for as long as it may stay is not shown.
    all.filter(|series| series.own.is_some() || series.other.is_some_and(|other| !other.is_idle()))
}

fn next<'a>(
    own: &mut Peekable<impl Iterator<Item = &'a Series>>,
    others: &mut Peekable<impl Iterator<Item = MergedSeries<'a>>>,
) -> Option<Joined<'a>> {
    let order = match (own.peek(), others.peek()) {
        (Some(own), Some(other)) => label::order(&own.text, other.text()),
        (None, None) => return None,
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
    };
    Some(Joined {
        own: if order.is_le() { own.next() } else { None },
        other: if order.is_ge() { others.next() } else { None },
    })
}

impl<'a> Joined<'a> {
    pub(super) fn text(&self) -> &'a str {
        match (self.own, self.other) {
            (Some(own), _) => &own.text,
            (None, Some(other)) => other.text(),
            (None, None) => "",
        }
    }

    /// The first cell of ours.
    pub(super) fn first(&self) -> Option<u32> {
        self.own.map(Series::first)
    }

    /// The native buckets, where all have some that have the series.
    pub(super) fn native_distribution(&self, reader: &Reader) -> Option<NativeDistribution> {
        let own = self.own.map(|own| own.native_sum(reader));
        let other = self.other.map(|other| other.native());
        let sum = match (own, other) {
            (Some(own), Some(other)) => {
                let mut sum = own?;
                sum.add(other?);
                sum
            }
            (own, other) => own.or_else(|| other.map(Option::<&_>::cloned))??,
        };
        Some(sum.distribution)
    }

    /// What a counter or gauge stands at.
    pub(super) fn number(&self, kind: MetricKind, reader: &Reader) -> f64 {
        match (self.own, &self.other) {
            (Some(own), None) => own.number(kind, reader),
            (None, other) => other.as_ref().map_or(0.0, MergedSeries::number),
            (Some(own), Some(other)) if kind == MetricKind::Gauge => {
                let set_at = own.set_at().map_or(0, |cell| slab::shared(cell).load(Ordering::Relaxed));
                other.with_gauge(own.number(kind, reader), set_at)
            }
            (Some(own), Some(other)) => own.number(kind, reader) + other.number(),
        }
    }

    /// How many observations lie in each bucket alone.
    pub(super) fn counts(&self, reader: &'a Reader) -> impl Iterator<Item = u64> + use<'a> {
        let others = self.other.map(|other| other.counts()).unwrap_or_default();
        let own = self.own.map(|own| own.counts(reader));
        let mut own = own.into_iter().flatten();
        let mut others = others.iter();
        std::iter::from_fn(move || match (own.next(), others.next()) {
            (None, None) => None,
            (own, other) => Some(own.unwrap_or(0).wrapping_add(other.copied().unwrap_or(0))),
        })
    }

    /// The sum of all observations.
    pub(super) fn sum(&self, reader: &Reader) -> f64 {
        self.own.map_or(0.0, |own| own.sum(reader)) + self.other.map_or(0.0, |other| other.float())
    }

    pub(super) fn value(&self, kind: MetricKind, bounds: &[f64], reader: &Reader) -> Value {
        match kind {
            MetricKind::Histogram => Value::Distribution(Distribution {
                bounds: bounds.to_vec(),
                counts: self.counts(reader).collect(),
                sum: self.sum(reader),
                native: self.native_distribution(reader),
            }),
            _ => Value::Number(self.number(kind, reader)),
        }
    }
}
