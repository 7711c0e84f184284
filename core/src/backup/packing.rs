//! Numbers and bytes in little memory, for long lists that are held whole.

/// Appends numbers in seven bits a byte (LEB128), and bytes with their length before them.
pub(super) struct Packing<'a>(pub(super) &'a mut Vec<u8>);

impl Packing<'_> {
    pub(super) fn number(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Takes apart what [`Packing`] made.
pub(super) struct Unpacking<'a>(pub(super) &'a [u8]);

impl<'a> Unpacking<'a> {
    pub(super) fn number(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = self.number() as usize;
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }
}

/// A number whose sign is its last bit, so that small ones of either sign are short.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The number that [`zigzag`] was given.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_any_size_travels() {
        let mut bytes = Vec::new();
        let values = [0, 1, 127, 128, 1 << 32, u64::MAX];
        for value in values {
            Packing(&mut bytes).number(value);
        }
        let mut from = Unpacking(&bytes);
        assert_eq!(values.map(|_| from.number()), values);
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
