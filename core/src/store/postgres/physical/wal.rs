//! Words for places in the log: LSNs, the files that they are in, and positions that name the server, too.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A place in the log of a server: a byte of it since its beginning. Prints as PostgreSQL does: `0/3000060`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lsn(pub(super) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let odd = || Error::new(ErrorKind::Corrupt, format!("{text:?} is no place in a log of PostgreSQL"));
        let (high, low) = text.split_once('/').ok_or_else(odd)?;
        let part = |text: &str| u32::from_str_radix(text, 16).map_err(|_| odd());
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

impl Lsn {
    /// The first byte of the segment that this is in.
    pub(super) fn segment(self, size: u64) -> Self {
        Self(self.0 - self.0 % size)
    }
}

/// The name of the file with that byte.
pub(super) fn file_name(timeline: u32, at: Lsn, segment: u64) -> String {
    let number = at.0 / segment;
    let per_id = 0x1_0000_0000 / segment;
    format!("{timeline:08X}{:08X}{:08X}", number / per_id, number % per_id)
}

/// A place in the log of one server on one timeline. Prints as `SYSTEM:TIMELINE:LSN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) system: String,
    pub(super) timeline: u32,
    pub(super) lsn: Lsn,
}

impl Position {
    /// Why the log of a server that is on `timeline` does not go on from here; nothing where it may.
    pub(super) fn is_left_for(&self, system: &str, timeline: u32) -> Option<String> {
        if self.system != system {
            return Some(format!("the log before was of server {}, this is server {system}", self.system));
        }
        (self.timeline != timeline).then(|| {
            format!("the server went from timeline {} to {timeline}: it was promoted or restored", self.timeline)
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.system, self.timeline, self.lsn)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let odd =
            || Error::new(ErrorKind::Corrupt, format!("{text:?} is no position in the log of a PostgreSQL server"));
        let mut parts = text.splitn(3, ':');
        let (Some(system), Some(timeline), Some(lsn)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(odd());
        };
        Ok(Self { system: system.to_owned(), timeline: timeline.parse().map_err(|_| odd())?, lsn: lsn.parse()? })
    }
}

/// What a payload begins with.
const MAGIC: &[u8; 8] = b"UPGWAL1\n";
/// Its size with what follows: the size of a segment, the major version.
pub(super) const HEAD: usize = 8 + 8 + 4;

/// A piece of the log as an increment carries it. Where it begins and ends is said by the increment.
pub(super) fn payload(segment: u64, version: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEAD + bytes.len());
    payload.extend_from_slice(MAGIC);
    payload.extend_from_slice(&segment.to_le_bytes());
    payload.extend_from_slice(&version.to_le_bytes());
    payload.extend_from_slice(bytes);
    payload
}

/// The size of a segment, the major version, and the piece.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a payload that is none.
pub(super) fn piece(payload: &[u8]) -> Result<(u64, u32, &[u8])> {
    let odd =
        || Error::new(ErrorKind::Corrupt, "an increment holds no log of PostgreSQL").with_hint("use another copy");
    let rest = payload.strip_prefix(MAGIC).ok_or_else(odd)?;
    let (segment, rest) = rest.split_first_chunk::<8>().ok_or_else(odd)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(odd)?;
    let segment = u64::from_le_bytes(*segment);
    if !segment.is_power_of_two() || !(1 << 20..=1 << 30).contains(&segment) {
        return Err(odd());
    }
    Ok((segment, u32::from_le_bytes(*version), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_the_server_writes_them() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!((lsn.0, lsn.to_string().as_str()), (0x16_B374_D848, "16/B374D848"));
        assert_eq!(file_name(1, lsn, 16 << 20), "0000000100000016000000B3");
        assert_eq!(file_name(2, Lsn(0x1_0010_0000), 1 << 20), "000000020000000100000001");
        assert_eq!(lsn.segment(16 << 20).to_string(), "16/B3000000");
        let position: Position = "7412:3:16/B374D848".parse().unwrap();
        assert_eq!((position.timeline, position.to_string().as_str()), (3, "7412:3:16/B374D848"));
        for odd in ["", "1:2", "1:x:0/1", "1:1:0", "1:1:0/x"] {
            assert_eq!(odd.parse::<Position>().unwrap_err().kind(), ErrorKind::Corrupt, "{odd}");
        }
        assert_eq!(piece(&payload(1 << 20, 15, b"x")).unwrap(), (1 << 20, 15, &b"x"[..]));
        assert!(piece(b"UPGWAL1\n123").is_err() && piece(&payload(77, 15, b"x")).is_err());
    }
}
