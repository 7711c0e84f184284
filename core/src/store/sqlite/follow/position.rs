//! How places are written for those who store increments.
//!
//! `NUMBER.SALTS.FRAME.SUM`, hexadecimal: the number grows with every increment of a database, so that positions sort; the
//! others are a [`Place`] in its log. A part of a transaction that is not the last has `+PART` behind it, and the place where
//! the transaction begins: whoever goes on from there brings all of the transaction again.

use super::wal::Place;
use crate::error::{Error, Result};

/// A position, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) part: u32,
}

impl Position {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("{text:?} is no position in the log of a SQLite database"));
        let (text, part) = match text.split_once('+') {
            Some((text, part)) => (text, part.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let fields: Vec<u64> = text
            .split('.')
            .map(|field| u64::from_str_radix(field, 16))
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        let [number, salts, frame, sum] = fields[..] else { return Err(wrong()) };
        let frame = u32::try_from(frame).map_err(|_| wrong())?;
        Ok(Self { number, place: Place { salts: halves(salts), frame, sum: halves(sum) }, part })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { salts: [a, b], frame, sum: [c, d] } = self.place;
        write!(f, "{:012x}.{a:08x}{b:08x}.{frame:06x}.{c:08x}{d:08x}", self.number)?;
        if self.part > 0 { write!(f, "+{}", self.part) } else { Ok(()) }
    }
}

fn halves(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, (number & 0xffff_ffff) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written_and_sort() {
        let place = Place { salts: [1, u32::MAX], frame: 77, sum: [0, 9] };
        let texts: Vec<String> = [(1, 0), (2, 0), (2, 1), (300, 0)]
            .map(|(number, part)| {
                let position = Position { number, place, part };
                assert_eq!(Position::parse(&position.to_string()).unwrap(), position);
                position.to_string()
            })
            .into();
        assert!(texts.is_sorted(), "{texts:?}");
        for text in ["", "1.2.3", "1.2.3.4.5", "1.2.123456789.4", "1.2.3.x", "1.2.3.4+", "0/16B3748"] {
            assert!(Position::parse(text).is_err(), "{text}");
        }
    }
}
