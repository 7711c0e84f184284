//! Samples of one series in few bits: the change of the change of the time, and the XOR of the number with the one before.
//!
//! Source: Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", VLDB 2015, sections 4.1.1 and 4.1.2.
//! The paper counts seconds; we count hundredths, in which a timer's lateness still fits into few bits, so the sizes of
//! the time's codes are our own.

use std::sync::Arc;

use super::bits::{Bits, Reader};

/// How many samples a chunk holds: half an hour, one each 15 s. The past is given up by whole chunks.
pub(super) const CHUNK_SAMPLES: u16 = 120;

/// A moment, in hundredths of a second on the monotonic clock, and the bits of a number.
pub(super) type Point = (i64, u64);

/// How the change of the change of time is written: a prefix, its bits, and those of the number behind it. What fits none
/// takes all 64.
const TIME_CODES: [(u64, u8, u8); 3] = [(0b10, 2, 5), (0b110, 3, 10), (0b1110, 4, 20)];

/// A chunk that samples are added to.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    bits: Bits,
    count: u16,
    first: i64,
    state: State,
}

/// What the next sample is written, and read, against.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    time: i64,
    delta: i64,
    value: u64,
    leading: u8,
    /// Bits of the last XOR that were written; 0 before the first.
    meaning: u8,
}

/// A chunk that is full.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    bytes: Arc<[u8]>,
    count: u16,
    first: i64,
    last: i64,
}

impl Open {
    /// Adds a sample; the caller keeps the times ascending.
    pub(super) fn push(&mut self, (time, value): Point) {
        let state = &mut self.state;
        if self.count == 0 {
            self.first = time;
            self.bits.push(value, 64);
            *state = State { time, value, ..State::default() };
            self.count = 1;
            return;
        }
        let delta = time.wrapping_sub(state.time);
        push_time(&mut self.bits, delta.wrapping_sub(state.delta));
        let xor = value ^ state.value;
        if xor == 0 {
            self.bits.push(0, 1);
        } else {
            // Five bits say how many leading zeros there are.
            let leading = (xor.leading_zeros() as u8).min(31);
            let trailing = xor.trailing_zeros() as u8;
            let held_trailing = 64 - state.leading - state.meaning;
            if state.meaning > 0 && leading >= state.leading && trailing >= held_trailing {
                self.bits.push(0b10, 2);
                self.bits.push(xor >> held_trailing, state.meaning);
            } else {
                let meaning = 64 - leading - trailing;
                self.bits.push(0b11, 2);
                self.bits.push(u64::from(leading), 5);
                // 1 to 64 in six bits.
                self.bits.push(u64::from(meaning - 1), 6);
                self.bits.push(xor >> trailing, meaning);
                (state.leading, state.meaning) = (leading, meaning);
            }
        }
        (state.time, state.delta, state.value) = (time, delta, value);
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= CHUNK_SAMPLES
    }

    /// When the first sample is.
    pub(super) fn first(&self) -> Option<i64> {
        (self.count > 0).then_some(self.first)
    }

    /// The last sample.
    pub(super) fn last(&self) -> Option<Point> {
        (self.count > 0).then_some((self.state.time, self.state.value))
    }

    pub(super) fn len(&self) -> usize {
        self.count.into()
    }

    /// Bytes of memory on the heap.
    pub(super) fn heap(&self) -> usize {
        self.bits.capacity()
    }

    /// What it holds, as a chunk that stays as it is.
    pub(super) fn seal(&self) -> Sealed {
        Sealed { bytes: self.bits.bytes().into(), count: self.count, first: self.first, last: self.state.time }
    }
}

impl Sealed {
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    pub(super) fn first(&self) -> i64 {
        self.first
    }

    pub(super) fn len(&self) -> usize {
        self.count.into()
    }

    /// Bytes of memory on the heap.
    pub(super) fn heap(&self) -> usize {
        // Two counters of references stand before the bytes.
        self.bytes.len() + 16
    }

    /// The samples in their order.
    pub(super) fn points(&self) -> Points<'_> {
        Points { reader: Reader::new(&self.bytes), left: self.count, first: Some(self.first), state: State::default() }
    }
}

fn push_time(bits: &mut Bits, change: i64) {
    if change == 0 {
        return bits.push(0, 1);
    }
    for (prefix, len, size) in TIME_CODES {
        let half = 1_i64 << (size - 1);
        if (-half..half).contains(&change) {
            bits.push(prefix, len);
            // Two's complement in so many bits.
            return bits.push(change as u64 & ((1 << size) - 1), size);
        }
    }
    bits.push(0b1111, 4);
    bits.push(change as u64, 64);
}

fn take_time(reader: &mut Reader<'_>) -> Option<i64> {
    if !reader.bit()? {
        return Some(0);
    }
    for (_, _, size) in TIME_CODES {
        if !reader.bit()? {
            let raw = reader.take(size)?;
            // The sign is the highest of its bits.
            let shift = 64 - size;
            return Some(((raw << shift) as i64) >> shift);
        }
    }
    reader.take(64).map(|raw| raw as i64)
}

/// The samples of a chunk.
#[derive(Debug, Clone)]
pub(super) struct Points<'a> {
    reader: Reader<'a>,
    left: u16,
    first: Option<i64>,
    state: State,
}

impl Iterator for Points<'_> {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        self.left = self.left.checked_sub(1)?;
        let (reader, state) = (&mut self.reader, &mut self.state);
        if let Some(time) = self.first.take() {
            *state = State { time, value: reader.take(64)?, ..State::default() };
            return Some((state.time, state.value));
        }
        state.delta = state.delta.wrapping_add(take_time(reader)?);
        state.time = state.time.wrapping_add(state.delta);
        if reader.bit()? {
            if reader.bit()? {
                state.leading = reader.take(5)? as u8;
                state.meaning = reader.take(6)? as u8 + 1;
            }
            // Without an XOR before it, or with one of more than 64 bits, these are not bytes of ours.
            let trailing = 64_u8.checked_sub(state.leading + state.meaning).filter(|_| state.meaning > 0)?;
            state.value ^= reader.take(state.meaning)? << trailing;
        }
        Some((state.time, state.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    /// Numbers that are hard to keep.
    pub(crate) const HOSTILE: [f64; 14] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        f64::MAX,
        f64::MIN,
        9_007_199_254_740_993.0,
        1.0 / 3.0,
    ];

    fn back(points: &[Point]) -> Vec<Point> {
        let mut open = Open::default();
        points.iter().for_each(|point| open.push(*point));
        assert_eq!(open.last(), points.last().copied());
        open.seal().points().collect()
    }

    #[test]
    fn every_bit_of_every_number_and_time_comes_back() {
        let mut random = random::seeded("chunks");
        for _ in 0..500 {
            let mut time = random.i64(-1_000_000..1_000_000);
            let mut value = random.f64();
            let points: Vec<Point> = (0..random.u16(1..=CHUNK_SAMPLES))
                .map(|_| {
                    time += match random.u8(0..12) {
                        0 => 1,
                        1 => random.i64(1..100),
                        2 => random.i64(1..10_000_000),
                        3 => random.i64(1..1 << 40),
                        _ => 1500,
                    };
                    value = match random.u8(0..8) {
                        0 => *random.choice(&HOSTILE).unwrap(),
                        1 => f64::from_bits(random.u64(..)),
                        2 => random.f64() * 1e9,
                        3 => -value,
                        4 | 5 => value,
                        _ => value + 1.0,
                    };
                    (time, value.to_bits())
                })
                .collect();
            assert_eq!(back(&points), points);
        }
        assert_eq!(back(&[(i64::MIN, 0), (i64::MAX, 1), (0, u64::MAX)]), [(i64::MIN, 0), (i64::MAX, 1), (0, u64::MAX)]);
        assert_eq!(back(&[]), []);
    }

    #[test]
    fn a_number_that_stays_costs_two_bits() {
        let points: Vec<Point> = (0..i64::from(CHUNK_SAMPLES)).map(|n| (n * 1500, 42)).collect();
        let mut open = Open::default();
        points.iter().for_each(|point| open.push(*point));
        // The first number, the first change of time, and two bits for each of the others.
        assert!(open.bits.bytes().len() <= 8 + 3 + 30, "{}", open.bits.bytes().len());
        assert!(open.is_full());
    }

    #[test]
    fn bytes_of_somebody_else_end_early_and_never_panic() {
        let mut random = random::seeded("foreign chunks");
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..random.usize(0..64)).map(|_| random.u8(..)).collect();
            let sealed = Sealed { bytes: bytes.into(), count: u16::MAX, first: 0, last: 0 };
            assert!(sealed.points().count() < 600);
        }
    }
}
