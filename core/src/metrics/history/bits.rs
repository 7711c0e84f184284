//! A string of bits, written at its end and read from its beginning.

/// Bits that are added to.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used, 1 to 8; 0 without bytes.
    used: u8,
}

impl Bits {
    /// Adds the lowest `count` bits of `value`, the highest of them first; at most 64.
    pub(super) fn push(&mut self, value: u64, count: u8) {
        let mut left = count;
        while left > 0 {
            if self.used == 0 || self.used == 8 {
                self.bytes.push(0);
                self.used = 0;
            }
            let take = left.min(8 - self.used);
            let part = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                // At most 8 bits, by `take`.
                *last |= (part as u8) << (8 - self.used - take);
            }
            self.used += take;
            left -= take;
        }
    }

    /// The bytes so far; the unused bits of the last are 0.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that it has.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Reads bits in their order.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 64; `None` past the end.
    pub(super) fn take(&mut self, count: u8) -> Option<u64> {
        let mut value = 0_u64;
        let mut left = usize::from(count);
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8)?;
            let free = 8 - self.at % 8;
            let take = left.min(free);
            let part = (u64::from(byte) >> (free - take)) & ((1 << take) - 1);
            // All 64 bits at once never come here: a byte gives at most 8.
            value = (value << take) | part;
            self.at += take;
            left -= take;
        }
        Some(value)
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn what_is_written_is_read() {
        let mut random = random::seeded("bits");
        for _ in 0..200 {
            let written: Vec<(u64, u8)> = (0..random.usize(1..200))
                .map(|_| {
                    let count = random.u8(1..=64);
                    (random.u64(..) & (u64::MAX >> (64 - count)), count)
                })
                .collect();
            let mut bits = Bits::default();
            written.iter().for_each(|(value, count)| bits.push(*value, *count));
            let all: usize = written.iter().map(|(_, count)| usize::from(*count)).sum();
            assert_eq!(bits.bytes().len(), all.div_ceil(8));
            let mut reader = Reader::new(bits.bytes());
            for (value, count) in written {
                assert_eq!(reader.take(count), Some(value));
            }
            assert!(reader.take(8).is_none());
        }
    }
}
