//! Which bucket a number belongs to.

use std::sync::LazyLock;

/// The coarsest and the finest schema.
pub(in crate::metrics) const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// Added to an index so that it is positive: of the finest schema they go from -274,944 to 262,144.
const BIAS: i32 = 1 << 20;
const INDEX_BITS: u32 = 21;

/// A bucket: a schema, a side of zero, an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metrics) struct Label {
    pub(in crate::metrics) schema: i32,
    pub(in crate::metrics) negative: bool,
    pub(in crate::metrics) index: i32,
}

impl Label {
    /// That of a finite number which is not zero.
    #[inline]
    pub(super) fn of(value: f64, schema: i32) -> Self {
        Self { schema, negative: value < 0.0, index: index(value.abs(), schema) }
    }

    /// The bucket of a coarser schema, or of the same, in which it lies.
    pub(super) fn at(self, schema: i32) -> Self {
        let coarser = |index: i32, _| coarser(index);
        Self { schema, index: (schema..self.schema).fold(self.index, coarser), ..self }
    }

    /// As a number below 2^26.
    pub(in crate::metrics) fn pack(self) -> u32 {
        let Self { schema, negative, index } = self;
        let (schema, index) = ((schema - SCHEMAS.start()) as u32, (index + BIAS) as u32);
        schema << (INDEX_BITS + 1) | u32::from(negative) << INDEX_BITS | index
    }

    /// What [`Label::pack`] made. `None` for a number that it does not make.
    pub(in crate::metrics) fn unpack(packed: u32) -> Option<Self> {
        let schema = (packed >> (INDEX_BITS + 1)) as i32 + SCHEMAS.start();
        let index = (packed & ((1 << INDEX_BITS) - 1)) as i32 - BIAS;
        let label = Self { schema, negative: packed >> INDEX_BITS & 1 == 1, index };
        (SCHEMAS.contains(&schema) && is_index(index)).then_some(label)
    }
}

/// Whether it is small enough for an index.
pub(in crate::metrics) fn is_index(index: i32) -> bool {
    (-BIAS / 2..=BIAS / 2).contains(&index)
}

/// The index of the bucket of the next coarser schema: half of it, rounded up.
pub(super) fn coarser(index: i32) -> i32 {
    (index + 1) >> 1
}

/// The bounds of the buckets of the finest schema from a half to one, without the one: 2^(i/256) / 2.
static BOUNDS: LazyLock<[f64; 256]> = LazyLock::new(|| std::array::from_fn(|i| (i as f64 / 256.0).exp2() / 2.0));

/// The bucket of a finite number above zero.
pub(super) fn index(value: f64, schema: i32) -> i32 {
    let (fraction, exponent) = split(value);
    if schema > 0 {
        // Every so-many-th bound is one of this schema.
        let (each, len) = (256 >> schema, 1_usize << schema);
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = (low + high) / 2;
            match BOUNDS[middle * each] < fraction {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        return low as i32 + (exponent - 1) * len as i32;
    }
    // On a bound belongs below it.
    let upper = if fraction == 0.5 { exponent - 1 } else { exponent };
    let shift = -schema;
    (upper + (1 << shift) - 1) >> shift
}

/// The upper bound of a bucket; the largest number where that is beyond it.
pub(super) fn upper(index: i32, schema: i32) -> f64 {
    let bound = if schema > 0 {
        let len = 1 << schema;
        let power = f64::from(index.div_euclid(len)).exp2();
        // The bound is twice what the table has.
        BOUNDS[index.rem_euclid(len) as usize * (256 >> schema)] * 2.0 * power
    } else {
        (f64::from(index) * f64::from(1 << -schema)).exp2()
    };
    bound.min(f64::MAX)
}

/// A number above zero as a fraction of a half up to one, and the power of two that it is multiplied with (`frexp`).
fn split(value: f64) -> (f64, i32) {
    // What is not normal becomes so.
    let (value, less) = if value < f64::MIN_POSITIVE { (value * 2_f64.powi(64), 64) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1022 - less;
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent)
}
