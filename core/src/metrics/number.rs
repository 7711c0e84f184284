//! Numbers as text: the shortest that reads back as the same number.

/// Appends a number.
#[inline]
pub(super) fn push(out: &mut String, value: f64) {
    // A whole number of this size is exact as an integer; the bits tell -0 from 0.
    if value.abs() < 1e15 && value.trunc().to_bits() == value.to_bits() && value.to_bits() != (-0.0_f64).to_bits() {
        out.push_str(itoa::Buffer::new().format(value as i64));
    } else if value.is_finite() {
        push_float(out, value);
    } else {
        out.push_str(match value {
            f64::INFINITY => "+Inf",
            f64::NEG_INFINITY => "-Inf",
            _ => "NaN",
        });
    }
}

/// Appends a whole number, exact past 2^53 too.
#[inline]
pub(super) fn push_whole(out: &mut String, value: u64) {
    out.push_str(itoa::Buffer::new().format(value));
}

fn push_float(out: &mut String, value: f64) {
    if value == 0.0 {
        out.push_str("-0");
    } else {
        out.push_str(zmij::Buffer::new().format_finite(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = String::new();
        push(&mut out, value);
        out
    }

    #[test]
    fn numbers_are_short_and_read_back() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-12.0, "-12"),
            (0.1, "0.1"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1000000000000000.0"),
            (1e300, "1e+300"),
            (-1.5e-7, "-1.5e-7"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn every_float_reads_back_as_itself() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let value = f64::from_bits(random.u64(..));
            if value.is_finite() {
                let text = text(value);
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}, seed {seed}");
                assert!(text.len() < 25, "{text}");
            }
        }
    }
}
