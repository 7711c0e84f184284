//! The form that all records share: lines of words, one form for each record.
//!
//! A reader takes a record from anything that can be read, holds one line at a time, and believes nothing: a line
//! that is too long, an escape that nobody would write, a word out of place is damage, named with its line.

use std::io::{BufRead, Read};

use super::id::{IdKey, unhex_lower};
use crate::backup::manifest::Digest;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

/// The longest line, in bytes: an attribute of 64 KiB in hexadecimal, and room.
pub(crate) const MAX_LINE: usize = 256 << 10;

/// A kind of record: its word, and the greatest version that this code reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) word: &'static str,
    pub(crate) version: u32,
}

impl Kind {
    pub(crate) const fn new(word: &'static str) -> Self {
        Self { word, version: 1 }
    }
}

/// Writes a record.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    /// Starts a record with its first line.
    pub(crate) fn new(kind: Kind) -> Self {
        let mut record = Self { bytes: Vec::new() };
        record.line("uplifted-ops").text(kind.word).number(kind.version);
        record
    }

    /// Starts a line. Its fields follow; it ends by itself.
    pub(crate) fn line(&mut self, word: &str) -> LineWriter<'_> {
        debug_assert!(!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%'));
        self.bytes.extend_from_slice(word.as_bytes());
        LineWriter(&mut self.bytes)
    }

    /// How long it is so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends lines that were written before.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    /// Takes what was written so far; the record goes on.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Ends a record that is proven by the id of its blob.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Ends a record with its mac; returns the mac too.
    pub(crate) fn finish_with_mac(mut self, key: &IdKey) -> (Vec<u8>, Digest) {
        let mac = key.mac_of(&self.bytes);
        self.line(MAC).text(&hex(&mac.0));
        (self.bytes, mac)
    }
}

/// The word of the line that proves a record.
const MAC: &str = "mac";

/// The fields of a line. Ends the line when dropped.
#[derive(Debug)]
pub(crate) struct LineWriter<'a>(&'a mut Vec<u8>);

impl LineWriter<'_> {
    /// Any bytes.
    pub(crate) fn bytes(self, field: &[u8]) -> Self {
        self.0.push(b' ');
        if field.is_empty() {
            self.0.push(b'%');
        }
        for byte in field {
            if is_plain(*byte) {
                self.0.push(*byte);
            } else {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                self.0.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        self
    }

    /// Text.
    pub(crate) fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Whatever prints as something plain: a number, an id, a time.
    pub(crate) fn number(self, field: impl std::fmt::Display) -> Self {
        use std::io::Write as _;
        // Writing to memory does not fail.
        let _ = write!(self.0, " {field}");
        self
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        self.0.push(b'\n');
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%'
}

/// Reads a record line by line.
#[derive(Debug)]
pub(crate) struct RecordReader<R> {
    input: R,
    kind: Kind,
    line: Vec<u8>,
    number: u64,
    proof: Proof,
    ended: bool,
}

/// How a record is proven.
#[derive(Debug)]
enum Proof {
    /// By the id of its blob: it has no mac.
    Blob,
    /// By its mac, with this hasher over what was read.
    Mac(Box<blake3::Hasher>),
}

/// Reads a record that is in memory whole, and returns its mac. `take` gets each line, and takes all fields of it.
///
/// # Errors
/// Those of [`RecordReader::with_mac`] and of `take`.
pub(crate) fn read_with_mac(
    bytes: &[u8],
    kind: Kind,
    key: &IdKey,
    mut take: impl FnMut(&mut Fields<'_>) -> Result<()>,
) -> Result<Digest> {
    let mut reader = RecordReader::with_mac(bytes, kind, key)?;
    while let Some(mut fields) = reader.next()? {
        take(&mut fields)?;
        fields.end()?;
    }
    // What the mac proves is all but the mac's own line, which has a fixed length.
    let mac = bytes.len().checked_sub(65).and_then(|at| unhex_lower(&bytes[at..at + 64]));
    mac.map(Digest).ok_or_else(|| corrupt(kind, reader.number, "its mac is missing"))
}

impl<R: BufRead> RecordReader<R> {
    /// Starts a record that is proven already, by the id of its blob.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is no record of this kind, [`ErrorKind::Unsupported`] for a version that is
    /// too new, and those of reading.
    pub(crate) fn proven(input: R, kind: Kind) -> Result<Self> {
        Self::start(input, kind, Proof::Blob)
    }

    /// Starts a record that ends with its mac. What it says may be believed when [`RecordReader::next`] has
    /// returned `None`, and not before.
    pub(crate) fn with_mac(input: R, kind: Kind, key: &IdKey) -> Result<Self> {
        Self::start(input, kind, Proof::Mac(Box::new(key.mac())))
    }

    fn start(input: R, kind: Kind, proof: Proof) -> Result<Self> {
        let mut reader = Self { input, kind, line: Vec::new(), number: 0, proof, ended: false };
        if !reader.fill()? {
            return Err(corrupt(kind, 0, "it is empty"));
        }
        let first = Fields::of(&reader.line, kind, 1);
        let mut fields = first.map_err(|_| no_record(kind))?;
        let (product, word, version) = (fields.word(), fields.text(), fields.number::<u32>());
        match (product, word, version) {
            ("uplifted-ops", Ok(word), Ok(version @ 1..)) if word == kind.word => {
                if version > kind.version {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("the {} record has version {version}; this build reads up to {}", word, kind.version),
                    )
                    .with_hint("use the version of uplifted-ops that wrote it, or a newer one"));
                }
                fields.end()?;
            }
            _ => return Err(no_record(kind)),
        }
        reader.prove();
        Ok(reader)
    }

    /// The next line; `None` at the end of a record that is whole and genuine.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for whatever is not as it must be.
    pub(crate) fn next(&mut self) -> Result<Option<Fields<'_>>> {
        if self.ended {
            return Ok(None);
        }
        if !self.fill()? {
            self.ended = true;
            return match self.proof {
                Proof::Blob => Ok(None),
                Proof::Mac(_) => Err(corrupt(self.kind, self.number, "it ends before its mac")),
            };
        }
        if let Proof::Mac(hasher) = &mut self.proof {
            if let Some(mac) = self.line.strip_prefix(b"mac ") {
                self.ended = true;
                // The comparison of BLAKE3's hashes takes the same time whatever differs.
                let said = unhex_lower::<32>(mac).map(blake3::Hash::from_bytes);
                if said != Some(hasher.finalize()) {
                    return Err(corrupt(self.kind, self.number, "its mac is wrong: it is damaged, or not genuine"));
                }
                return if self.fill()? {
                    Err(corrupt(self.kind, self.number, "it goes on behind its mac"))
                } else {
                    Ok(None)
                };
            }
            hasher.update(&self.line).update(b"\n");
        }
        Fields::of(&self.line, self.kind, self.number).map(Some)
    }

    fn prove(&mut self) {
        if let Proof::Mac(hasher) = &mut self.proof {
            hasher.update(&self.line).update(b"\n");
        }
    }

    /// Reads a line without its end; says whether there was one.
    fn fill(&mut self) -> Result<bool> {
        self.line.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.line).map_err(read_error)?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        match self.line.pop() {
            Some(b'\n') => Ok(true),
            _ if read as u64 == limit => Err(corrupt(self.kind, self.number, "it has a line that is too long")),
            _ => Err(corrupt(self.kind, self.number, "its last line is cut off")),
        }
    }
}

/// Our own errors travel through `std::io` when a record is read from blobs.
fn read_error(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::io("read a record", error),
    }
}

/// The word and the fields of a line.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    word: &'a str,
    rest: Option<&'a [u8]>,
    kind: Kind,
    line: u64,
}

impl<'a> Fields<'a> {
    fn of(line: &'a [u8], kind: Kind, number: u64) -> Result<Self> {
        let end = line.iter().position(|byte| *byte == b' ');
        let (word, rest) = match end {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let plain = !word.is_empty() && word.iter().all(|byte| is_plain(*byte));
        match std::str::from_utf8(word) {
            Ok(word) if plain => Ok(Self { word, rest, kind, line: number }),
            _ => Err(corrupt(kind, number, "it does not begin with a word")),
        }
    }

    /// The first word.
    pub(crate) fn word(&self) -> &'a str {
        self.word
    }

    /// Whether there are more fields.
    pub(crate) fn more(&self) -> bool {
        self.rest.is_some()
    }

    /// The next field as it is written, escapes and all.
    fn raw(&mut self) -> Result<&'a [u8]> {
        let Some(rest) = self.rest else { return Err(self.wrong("it lacks a field")) };
        let (field, rest) = match rest.iter().position(|byte| *byte == b' ') {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        self.rest = rest;
        if field.is_empty() {
            return Err(self.wrong("it has two spaces, or one at its end"));
        }
        Ok(field)
    }

    /// Any bytes.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        let raw = self.raw()?;
        if raw == b"%" {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            if is_plain(*first) {
                bytes.push(*first);
                continue;
            }
            let digit = |byte: &u8| match byte {
                b'0'..=b'9' => Some(byte - b'0'),
                b'A'..=b'F' => Some(byte - b'A' + 10),
                _ => None,
            };
            let escaped = match rest {
                [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
                _ => None,
            };
            match escaped {
                // What needs no escape has none, so that each record has one form.
                Some(byte) if !is_plain(byte) => bytes.push(byte),
                _ => return Err(self.wrong("a field is not escaped as it must be")),
            }
            rest = &rest[2..];
        }
        Ok(bytes)
    }

    /// Text.
    pub(crate) fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?).map_err(|_| self.wrong("a field is not text"))
    }

    /// A decimal number without sign, or anything else whose `Display` and `FromStr` agree.
    pub(crate) fn number<T: std::str::FromStr + std::fmt::Display>(&mut self) -> Result<T> {
        let raw = self.raw()?;
        let text = std::str::from_utf8(raw).ok();
        // Its own printing must give the same text: no plus, no leading zeros.
        match text.and_then(|text| Some((text, text.parse::<T>().ok()?))) {
            Some((text, value)) if value.to_string() == text => Ok(value),
            _ => Err(self.wrong("a field is not the number that it must be")),
        }
    }

    /// A time, RFC 3339 in UTC.
    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        self.number().map_err(|_| self.wrong("a field is not a time in UTC"))
    }

    /// Lower-case hexadecimal of exactly `N` bytes.
    pub(crate) fn hex<const N: usize>(&mut self) -> Result<[u8; N]> {
        let raw = self.raw()?;
        unhex_lower(raw).ok_or_else(|| self.wrong("a field is not the id that it must be"))
    }

    /// Lower-case hexadecimal, or `None` for `-`.
    pub(crate) fn hex_or_none<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        let mut ahead = self.clone();
        if ahead.raw()? == b"-" {
            *self = ahead;
            return Ok(None);
        }
        self.hex().map(Some)
    }

    /// Lower-case hexadecimal of any length, as it is written; nothing at all is `%`.
    pub(crate) fn digits(&mut self) -> Result<&'a str> {
        let raw = self.raw()?;
        let raw = if raw == b"%" { b"" } else { raw };
        let plain = raw.len().is_multiple_of(2) && raw.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        std::str::from_utf8(raw).ok().filter(|_| plain).ok_or_else(|| self.wrong("a field is not hexadecimal"))
    }

    /// The field as it is written, for one with a form of its own.
    pub(crate) fn plain(&mut self) -> Result<&'a str> {
        let raw = self.raw()?;
        std::str::from_utf8(raw)
            .ok()
            .filter(|text| text.bytes().all(is_plain))
            .ok_or_else(|| self.wrong("a field is odd"))
    }

    /// There must be no more fields.
    pub(crate) fn end(&self) -> Result<()> {
        if self.more() { Err(self.wrong("it has more fields than it may have")) } else { Ok(()) }
    }

    /// Damage of this line.
    pub(crate) fn wrong(&self, what: &str) -> Error {
        corrupt(self.kind, self.line, what)
    }

    /// A line that nobody knows.
    pub(crate) fn unknown(&self) -> Error {
        self.wrong(&format!("it begins with {:?}, which version {} does not know", self.word, self.kind.version))
    }
}

fn corrupt(kind: Kind, line: u64, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the {} record is damaged at line {line}: {what}", kind.word))
}

fn no_record(kind: Kind) -> Error {
    Error::new(ErrorKind::Corrupt, format!("this is no {} record of uplifted-ops", kind.word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::new("test");

    fn read(bytes: &[u8], mut each: impl FnMut(Fields<'_>) -> Result<()>) -> Result<()> {
        let mut reader = RecordReader::proven(bytes, KIND)?;
        while let Some(fields) = reader.next()? {
            each(fields)?;
        }
        Ok(())
    }

    #[test]
    fn every_byte_travels() {
        let all: Vec<u8> = (0..=255).collect();
        let mut record = RecordWriter::new(KIND);
        record.line("a").bytes(&all).bytes(b"").text("caf\u{e9} 100%").number(7);
        let bytes = record.finish();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with("uplifted-ops test 1\na %00%01"), "{text}");
        assert!(text.ends_with("%FE%FF % caf%C3%A9%20100%25 7\n"), "{text}");
        assert!(bytes.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n')));
        read(&bytes, |mut fields| {
            assert_eq!(fields.word(), "a");
            assert_eq!(fields.bytes()?, all);
            assert_eq!(fields.bytes()?, b"");
            assert_eq!(fields.text()?, "caf\u{e9} 100%");
            assert_eq!(fields.number::<u8>()?, 7);
            fields.end()
        })
        .unwrap();
    }

    #[test]
    fn one_record_has_one_form() {
        for line in ["a %4", "a %41", "a %0a", "a b%", "a  b", "a b ", "a \u{e9}", " a", "", "%41 b", "a %zz", "a b%%"]
        {
            let result = read(format!("uplifted-ops test 1\n{line}\n").as_bytes(), |mut fields| {
                while fields.more() {
                    fields.bytes()?;
                }
                Ok(())
            });
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt, "{line}");
        }
        for number in ["+1", "01", "-1", "1.0", "256", "%31", "0x1", "-0"] {
            let result =
                read(format!("uplifted-ops test 1\na {number}\n").as_bytes(), |mut f| f.number::<u8>().map(drop));
            assert!(result.unwrap_err().message().contains("at line 2"), "{number}");
        }
    }

    #[test]
    fn the_first_line_decides() {
        let kind = |bytes: &[u8]| read(bytes, |_| Ok(())).unwrap_err().kind();
        for wrong in ["", "\n", "x", "uplifted-ops test\n", "uplifted-ops other 1\n", "uplifted-ops test 1 2\n"] {
            assert_eq!(kind(wrong.as_bytes()), ErrorKind::Corrupt, "{wrong:?}");
        }
        let error = read(b"uplifted-ops test 2\nwhatever is new\n", |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.message(), "the test record has version 2; this build reads up to 1");
        assert!(error.hint().is_some());
        let long = [b"uplifted-ops test 1\n".to_vec(), vec![b'a'; MAX_LINE * 3]].concat();
        assert!(read(&long, |_| Ok(())).unwrap_err().message().contains("too long"));
        assert_eq!(kind(b"uplifted-ops test 1\na b"), ErrorKind::Corrupt);
    }

    #[test]
    fn whatever_is_changed_the_mac_tells() {
        let key = IdKey::new([3; 32]);
        let mut record = RecordWriter::new(KIND);
        record.line("a").text("one");
        record.line("b").number(2);
        let (bytes, mac) = record.finish_with_mac(&key);
        assert!(bytes.ends_with(format!("\nmac {}\n", hex(&mac.0)).as_bytes()));
        let check = |bytes: &[u8], key: &IdKey| -> Result<usize> {
            let mut reader = RecordReader::with_mac(bytes, KIND, key)?;
            let mut lines = 0;
            while reader.next()?.is_some() {
                lines += 1;
            }
            assert!(reader.next()?.is_none());
            Ok(lines)
        };
        assert_eq!(check(&bytes, &key).unwrap(), 2);
        assert!(check(&bytes, &IdKey::new([4; 32])).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(check(&changed, &key).is_err(), "byte {at}");
            assert!(check(&bytes[..at], &key).is_err(), "cut at {at}");
        }
        assert!(check(&[&bytes[..], b"a more\n"].concat(), &key).unwrap_err().message().contains("behind its mac"));
    }
}
