//! Buckets of several processes together: at the coarsest schema of them, with the widest zero bucket.
//!
//! Source: the specification of native histograms in the Prometheus documentation ("Zero bucket", "Exponential buckets").

use super::super::snapshot::NativeDistribution;
use super::label::{Label, SCHEMAS, coarser, upper};

/// What one process has counted, or several together.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::metrics) struct NativeSum {
    pub(in crate::metrics) distribution: NativeDistribution,
    pub(in crate::metrics) max_buckets: usize,
}

type Buckets = Vec<(i32, u64)>;

impl NativeSum {
    /// Nothing yet.
    pub(in crate::metrics) fn new(schema: i32, zero_threshold: f64, was_reset: bool, max_buckets: usize) -> Self {
        let distribution = NativeDistribution {
            schema,
            zero_threshold,
            zero_count: 0,
            positive: Buckets::new(),
            negative: Buckets::new(),
            sum: 0.0,
            was_reset,
        };
        Self { distribution, max_buckets }
    }

    /// Takes in what was counted in these buckets, in any order, of its own schema and of finer ones; several may lie in one.
    pub(in crate::metrics) fn fill(&mut self, buckets: impl Iterator<Item = (Label, u64)>) {
        let some: Vec<(Label, u64)> = buckets.filter(|(_, count)| *count > 0).collect();
        let coarsest = some.iter().map(|(label, _)| label.schema).min().unwrap_or(self.distribution.schema);
        self.coarsen_to(coarsest);
        for (label, count) in some {
            let at = label.at(self.distribution.schema);
            let side = if at.negative { &mut self.distribution.negative } else { &mut self.distribution.positive };
            side.push((at.index, count));
        }
        for side in [&mut self.distribution.positive, &mut self.distribution.negative] {
            side.sort_unstable_by_key(|(index, _)| *index);
            together(side);
        }
        self.limit();
    }

    /// Takes in what another process has counted.
    pub(in crate::metrics) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        self.max_buckets = self.max_buckets.max(other.max_buckets);
        // A bucket across the threshold makes it wider, which may reach a bucket of the other.
        while self.distribution.zero_threshold != other.distribution.zero_threshold {
            let widest = self.distribution.zero_threshold.max(other.distribution.zero_threshold);
            self.distribution.widen_zero(widest);
            other.distribution.widen_zero(widest);
        }
        self.coarsen_to(other.distribution.schema);
        other.coarsen_to(self.distribution.schema);
        let NativeDistribution { zero_count, positive, negative, sum, was_reset, .. } = other.distribution;
        let own = &mut self.distribution;
        own.zero_count = own.zero_count.wrapping_add(zero_count);
        own.sum += sum;
        own.was_reset |= was_reset;
        for (side, more) in [(&mut own.positive, positive), (&mut own.negative, negative)] {
            side.extend(more);
            // Two runs that are in order each.
            side.sort_by_key(|(index, _)| *index);
            together(side);
        }
        self.limit();
    }

    fn coarsen_to(&mut self, schema: i32) {
        while self.distribution.schema > schema {
            self.distribution.coarsen();
        }
    }

    /// Sees to it that there are no more buckets than there may be.
    fn limit(&mut self) {
        let own = &mut self.distribution;
        while own.positive.len() + own.negative.len() > self.max_buckets && own.schema > *SCHEMAS.start() {
            own.coarsen();
        }
    }
}

impl NativeDistribution {
    /// Makes each two buckets one.
    fn coarsen(&mut self) {
        self.schema -= 1;
        for side in [&mut self.positive, &mut self.negative] {
            side.iter_mut().for_each(|(index, _)| *index = coarser(*index));
            together(side);
        }
    }

    /// Lets the zero bucket reach to `threshold`, and further where a bucket that holds something would be cut in two.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        self.zero_threshold = threshold;
        let Self { schema, zero_threshold, zero_count, positive, negative, .. } = self;
        loop {
            let before = *zero_threshold;
            for side in [&mut *positive, &mut *negative] {
                let inside = side.iter().take_while(|(index, _)| upper(index - 1, *schema) < *zero_threshold).count();
                for (index, count) in side.drain(..inside) {
                    *zero_count = zero_count.wrapping_add(count);
                    *zero_threshold = zero_threshold.max(upper(index, *schema));
                }
            }
            if *zero_threshold == before {
                return;
            }
        }
    }
}

/// Makes neighbours of one index one.
fn together(buckets: &mut Buckets) {
    buckets.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 = kept.1.wrapping_add(later.1);
        }
        same
    });
}
