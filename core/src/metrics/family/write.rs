//! The series of a family on a page, straight from the cells.

use super::super::exposition::{Buckets, Head, Labels, Writer};
use super::super::names::Definition;
use super::super::shared::OtherFamily;
use super::super::slab::Reader;
use super::super::snapshot::{Exemplar, MetricKind};
use super::joined::joined;
use super::lines::Ordered;
use super::series::Shape;
use super::{BATCH, Inner};

impl Inner {
    /// Writes every series, straight from the cells.
    pub(super) fn write_to(&self, page: &mut impl Writer, others: Option<OtherFamily<'_>>) {
        let Definition { name, help, unit, is_plain, .. } = &self.definition;
        self.in_order(|all, reader| {
            if joined(all, others).next().is_none() {
                return;
            }
            let (kind, unit, is_plain) = (self.kind, unit.as_deref(), *is_plain);
            let family = page.begin(Head { name, kind, help, unit, is_plain });
            self.write_series(all, others, reader, page, &family);
            page.end(family);
        });
    }

    /// Writes these series, and those of others, into a family that was begun.
    pub(super) fn write_series<W: Writer>(
        &self,
        all: &mut Ordered,
        others: Option<OtherFamily<'_>>,
        reader: &Reader,
        page: &mut W,
        family: &W::Family,
    ) {
        let (names, kind) = (self.definition.labels.as_slice(), self.kind);
        let exemplars = self.shape.as_ref().and_then(|shape| shape.exemplars.read());
        let exemplars = |first: Option<u32>| -> &[Option<Exemplar>] {
            let held = exemplars.as_ref().zip(first).and_then(|(held, first)| held.get(&first));
            held.map_or(&[], Vec::as_slice)
        };
        if let Some(shape) = self.shape.as_deref().filter(|_| kind == MetricKind::Counter && others.is_none())
            && let Some(lines) = all.lines(shape)
        {
            let exemplar = |first| exemplars(Some(first)).first().and_then(Option::as_ref);
            return lines.write(names, reader, page, family, exemplar);
        }
        let all = &**all;
        match self.shape.as_deref().filter(|_| kind == MetricKind::Histogram) {
            // Series lie about in memory. What a batch needs is fetched at once, before any of it is written: loops
            // this short keep many fetches under way.
            None if others.is_none() => all.chunks(BATCH).for_each(|batch| {
                let series = batch.iter().fold(0, |all, series| all ^ series.first());
                let texts = batch.iter().fold(0, |all, series| all ^ series.text_ends());
                std::hint::black_box((series, texts));
                let mut values = [0.0; BATCH];
                for (value, series) in values.iter_mut().zip(batch) {
                    *value = series.number(kind, reader);
                }
                for (series, value) in batch.iter().zip(values) {
                    let exemplar = exemplars(Some(series.first())).first().and_then(Option::as_ref);
                    page.number(family, Labels { names, text: &series.text }, value, exemplar);
                }
            }),
            None => joined(all, others).for_each(|series| {
                let exemplar = exemplars(series.first()).first().and_then(Option::as_ref);
                page.number(family, Labels { names, text: series.text() }, series.number(kind, reader), exemplar);
            }),
            Some(Shape { bounds, les, .. }) => joined(all, others).for_each(|series| {
                // The native buckets come last, see there.
                let (counts, sum): (Vec<u64>, f64) = (series.counts(reader).collect(), series.sum(reader));
                let native = series.native_distribution(reader);
                let buckets = Buckets {
                    bounds,
                    les,
                    counts: counts.into_iter(),
                    sum,
                    native: native.as_ref(),
                    exemplars: exemplars(series.first()),
                };
                page.histogram(family, Labels { names, text: series.text() }, buckets);
            }),
        }
    }
}
