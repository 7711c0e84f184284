//! A segment of a stream: increments of one database, and what proves that none is missing between them.
//!
//! The head says all but the changes themselves, so that a host without the key of an encrypted repository can tell the times
//! that it covers, go on behind it, and put several together: what follows the head is whole frames, each sealed for itself.

use super::id::{IdKey, RepositoryId, StreamId};
use super::lines::{Fields, Kind, RecordWriter, read_with_mac};
use crate::backup::manifest::Digest;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::{Continuity, Increment, Point};
use crate::value::hex;

/// Version 1 does not say since when an increment was looked for.
const KIND: Kind = Kind { word: "segment", version: 2 };

/// The longest head, in bytes.
pub(crate) const MAX_HEAD: u64 = 16 << 20;
/// The most that a frame holds before compression, in bytes.
pub(crate) const MAX_FRAME: u64 = 32 << 20;
/// The length of the last line of a head.
const MAC_LINE: usize = 4 + 64 + 1;

/// Which stream a segment is of, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The store's name.
    pub(crate) store: String,
    /// Its kind.
    pub(crate) kind: String,
    /// The machine that follows it.
    pub(crate) host: String,
    pub(crate) stream: StreamId,
    /// When the stream began, by the clock of that machine.
    pub(crate) begun: Timestamp,
    /// The number of its first part; a stream begins with 1.
    pub(crate) first: u64,
    /// That of its last: the same unless several were put together.
    pub(crate) last: u64,
}

/// What the head of a segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) repository: RepositoryId,
    pub(crate) place: Place,
    /// The mac of the segment before it; none where it is the first, or the one before it was not known.
    pub(crate) previous: Option<Digest>,
    /// What the segment behind it names, where that is not its own mac: that of the last of its parts.
    pub(crate) tail: Option<Digest>,
    /// Where it begins and ends, in the driver's words.
    pub(crate) from: String,
    pub(crate) to: String,
    /// The checksum of the last point in it or before it.
    pub(crate) checksum: Option<String>,
    /// Everything committed before this moment is in it or in those before it.
    pub(crate) until: Timestamp,
    /// What follows the head.
    pub(crate) frames: Vec<Frame>,
    /// What is in it, in order. Without any it says that nothing was committed.
    pub(crate) increments: Vec<Head>,
}

/// A frame behind the head: one zstd frame, sealed where the repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) stored_bytes: u64,
    pub(crate) plain_bytes: u64,
    /// The BLAKE3 of what is stored.
    pub(crate) digest: Digest,
    /// The fingerprint of the key that it is sealed with; none in clear.
    pub(crate) sealed_to: Option<String>,
}

/// An increment, but for its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) continuity: Continuity,
    pub(crate) until: Timestamp,
    /// See [`Increment::since`]; none in a segment of version 1.
    pub(crate) since: Option<Timestamp>,
    /// Bytes of its payload, which follow those of the one before it. None crosses a frame's end.
    pub(crate) len: u64,
    pub(crate) points: Vec<Point>,
}

impl Head {
    /// That of `increment`.
    pub(crate) fn of(increment: &Increment) -> Self {
        Self {
            from: increment.from.clone(),
            to: increment.to.clone(),
            continuity: increment.continuity.clone(),
            until: increment.until,
            since: Some(increment.since).filter(|since| *since > Timestamp::MIN),
            len: increment.payload.len() as u64,
            points: increment.points.clone(),
        }
    }

    /// The increment with its payload.
    pub(crate) fn with(self, payload: Vec<u8>) -> Increment {
        let Self { from, to, continuity, until, since, points, .. } = self;
        Increment { from, to, continuity, points, since: since.unwrap_or(Timestamp::MIN), until, payload }
    }
}

impl Segment {
    /// The head, and its mac.
    pub(crate) fn write(&self, key: &IdKey) -> (Vec<u8>, Digest) {
        let mut record = RecordWriter::new(KIND);
        let Place { store, kind, host, stream, begun, first, last } = &self.place;
        record.line("repository").number(self.repository);
        record.line("store").text(store).text(kind);
        record.line("host").text(host);
        record.line("stream").number(stream).number(begun);
        record.line("numbers").number(first).number(last);
        if let Some(previous) = &self.previous {
            record.line("previous").text(&hex(&previous.0));
        }
        if let Some(tail) = &self.tail {
            record.line("tail").text(&hex(&tail.0));
        }
        record.line("from").text(&self.from);
        with_checksum(record.line("to").text(&self.to), self.checksum.as_deref());
        record.line("until").number(self.until);
        for frame in &self.frames {
            record
                .line("frame")
                .number(frame.stored_bytes)
                .number(frame.plain_bytes)
                .text(&hex(&frame.digest.0))
                .text(frame.sealed_to.as_deref().unwrap_or(CLEAR));
        }
        for head in &self.increments {
            let line = record.line("increment").text(&head.from).text(&head.to).number(head.until).number(head.len);
            match head.since {
                Some(since) => drop(line.number(since)),
                None => drop(line),
            }
            match &head.continuity {
                Continuity::Continues => {}
                Continuity::Difference { reason } => drop(record.line("difference").text(reason)),
                Continuity::Begins { reason } => drop(record.line("begins").text(reason)),
            }
            for point in &head.points {
                let line = record.line("point").number(point.time).text(&point.position);
                with_checksum(line, point.checksum.as_deref());
            }
        }
        record.finish_with_mac(key)
    }

    /// Reads a head of `repository`, and its mac. `bytes` are exactly those of the head, see [`head_len`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is damaged, not genuine, of another repository, or says what cannot be;
    /// [`ErrorKind::Unsupported`] when it is too new.
    pub(crate) fn read(bytes: &[u8], repository: RepositoryId, key: &IdKey) -> Result<(Self, Digest)> {
        let mut draft = Draft::default();
        let mac = read_with_mac(bytes, KIND, key, |fields| draft.take(fields))?;
        let segment = draft.finish()?;
        if segment.repository != repository {
            return Err(corrupt(format!("it belongs to the repository {}", segment.repository)));
        }
        segment.check()?;
        Ok((segment, mac))
    }

    /// What the segment behind it names as the one before it.
    pub(crate) fn link(&self, mac: Digest) -> Digest {
        self.tail.unwrap_or(mac)
    }

    /// Bytes behind the head.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| frame.stored_bytes).sum()
    }

    /// The moments that can be gone back to in it, in order.
    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.increments.iter().flat_map(|head| &head.points)
    }

    /// The increments of each frame, with where their payloads lie in it.
    pub(crate) fn by_frame(&self) -> Vec<Vec<(Head, std::ops::Range<u64>)>> {
        let mut frames: Vec<Vec<(Head, std::ops::Range<u64>)>> = vec![Vec::new(); self.frames.len()];
        let (mut number, mut at) = (0, 0);
        for head in &self.increments {
            // One without a payload goes with the frame that is not full, or the last one.
            while number + 1 < self.frames.len() && at == self.frames[number].plain_bytes {
                (number, at) = (number + 1, 0);
            }
            if let Some(frame) = frames.get_mut(number) {
                frame.push((head.clone(), at..at + head.len));
            }
            at += head.len;
        }
        frames
    }

    /// What is true of every segment that is written as it should be: the mac proves who wrote it, not that he was right.
    fn check(&self) -> Result<()> {
        let Place { first, last, .. } = self.place;
        let wrong = |what: &str| Err(corrupt(what.to_owned()));
        if first == 0 || first > last {
            return wrong("its numbers are out of order");
        }
        if (first != last) != self.tail.is_some() {
            return wrong("it does not say how the segment behind it calls it");
        }
        if first == 1 && self.previous.is_some() {
            return wrong("it is the first, and names one before it");
        }
        if self.frames.iter().any(|frame| frame.plain_bytes == 0 || frame.plain_bytes > MAX_FRAME) {
            return wrong("it has a frame of a length that none has");
        }
        let (mut at, mut time, mut place) = (0_u64, Timestamp::MIN, &self.from);
        let ends: Vec<u64> = self
            .frames
            .iter()
            .scan(0_u64, |sum, frame| {
                *sum += frame.plain_bytes;
                Some(*sum)
            })
            .collect();
        for (number, head) in self.increments.iter().enumerate() {
            if head.from != *place && !matches!(head.continuity, Continuity::Begins { .. }) {
                return wrong("an increment does not begin where the one before it ends");
            }
            if matches!(head.continuity, Continuity::Begins { .. }) && (number > 0 || first != 1) {
                return wrong("a stream begins in its middle");
            }
            place = &head.to;
            let end = at.checked_add(head.len).filter(|end| *end <= ends.last().copied().unwrap_or(0));
            let Some(end) = end else { return wrong("its increments are longer than its frames") };
            let frame_end = ends.iter().copied().find(|end| *end > at);
            if head.len > 0 && frame_end.is_none_or(|frame_end| end > frame_end) {
                return wrong("an increment crosses the end of a frame");
            }
            at = end;
            for point in &head.points {
                if point.time < time {
                    return wrong("its points are out of order");
                }
                time = point.time;
            }
            if head.until > self.until {
                return wrong("an increment ends after it does");
            }
            if head.since.is_some_and(|since| since > head.until) {
                return wrong("an increment ends before it begins");
            }
        }
        if at != ends.last().copied().unwrap_or(0) {
            return wrong("its increments are shorter than its frames");
        }
        if *place != self.to {
            return wrong("it does not end where its last increment does");
        }
        if first == 1
            && !matches!(self.increments.first().map(|head| &head.continuity), Some(Continuity::Begins { .. }))
        {
            return wrong("it is the first of a stream, and does not say why that begins");
        }
        Ok(())
    }
}

/// How a frame in clear is marked where a sealed one has the fingerprint of its key.
const CLEAR: &str = "clear";

fn with_checksum(line: super::lines::LineWriter<'_>, checksum: Option<&str>) {
    match checksum {
        Some(checksum) => drop(line.text(checksum)),
        None => drop(line),
    }
}

/// Where the head of a segment ends that begins with `bytes`; `None` when that does not have it whole.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    // No field holds a line's end, so the first line of that word is the last of the head.
    let mut at = 0;
    loop {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
        if end - at == MAC_LINE && bytes[at..].starts_with(b"mac ") {
            return Some(end);
        }
        at = end;
    }
}

/// A head on its way in.
#[derive(Default)]
struct Draft {
    repository: Option<RepositoryId>,
    store: Option<(String, String)>,
    host: Option<String>,
    stream: Option<(StreamId, Timestamp)>,
    numbers: Option<(u64, u64)>,
    previous: Option<Digest>,
    tail: Option<Digest>,
    from: Option<String>,
    to: Option<(String, Option<String>)>,
    until: Option<Timestamp>,
    frames: Vec<Frame>,
    increments: Vec<Head>,
    /// Whether the last increment said already how it continues.
    said: bool,
}

impl Draft {
    fn take(&mut self, fields: &mut Fields<'_>) -> Result<()> {
        let fresh = match fields.word() {
            "repository" => self.repository.replace(RepositoryId(fields.hex()?)).is_none(),
            "store" => self.store.replace((fields.text()?, fields.text()?)).is_none(),
            "host" => self.host.replace(fields.text()?).is_none(),
            "stream" => self.stream.replace((StreamId(fields.hex()?), fields.time()?)).is_none(),
            "numbers" => self.numbers.replace((fields.number()?, fields.number()?)).is_none(),
            "previous" => self.previous.replace(Digest(fields.hex()?)).is_none(),
            "tail" => self.tail.replace(Digest(fields.hex()?)).is_none(),
            "from" => self.from.replace(fields.text()?).is_none(),
            "to" => self.to.replace((fields.text()?, optional(fields)?)).is_none(),
            "until" => self.until.replace(fields.time()?).is_none(),
            "frame" => {
                self.frames.push(Frame {
                    // Small enough that no sum of them overflows.
                    stored_bytes: fields.number::<u32>()?.into(),
                    plain_bytes: fields.number::<u32>()?.into(),
                    digest: Digest(fields.hex()?),
                    sealed_to: Some(fields.text()?).filter(|text| text != CLEAR),
                });
                self.increments.is_empty()
            }
            "increment" => {
                self.said = false;
                self.increments.push(Head {
                    from: fields.text()?,
                    to: fields.text()?,
                    continuity: Continuity::Continues,
                    until: fields.time()?,
                    len: fields.number::<u32>()?.into(),
                    since: if fields.more() { Some(fields.time()?) } else { None },
                    points: Vec::new(),
                });
                true
            }
            word @ ("difference" | "begins") => {
                let reason = fields.text()?;
                let continuity = match word {
                    "begins" => Continuity::Begins { reason },
                    _ => Continuity::Difference { reason },
                };
                let fresh = !std::mem::replace(&mut self.said, true);
                self.increments.last_mut().is_some_and(|head| {
                    head.continuity = continuity;
                    fresh && head.points.is_empty()
                })
            }
            "point" => {
                let point = Point { time: fields.time()?, position: fields.text()?, checksum: optional(fields)? };
                self.increments.last_mut().is_some_and(|head| {
                    head.points.push(point);
                    true
                })
            }
            _ => return Err(fields.unknown()),
        };
        if fresh { Ok(()) } else { Err(fields.wrong("a line is there twice, or out of order")) }
    }

    fn finish(self) -> Result<Segment> {
        let missing = |what: &str| corrupt(format!("it does not say its {what}"));
        let (store, kind) = self.store.ok_or_else(|| missing("store"))?;
        let (stream, begun) = self.stream.ok_or_else(|| missing("stream"))?;
        let (first, last) = self.numbers.ok_or_else(|| missing("numbers"))?;
        let (to, checksum) = self.to.ok_or_else(|| missing("end"))?;
        let host = self.host.ok_or_else(|| missing("host"))?;
        Ok(Segment {
            repository: self.repository.ok_or_else(|| missing("repository"))?,
            place: Place { store, kind, host, stream, begun, first, last },
            previous: self.previous,
            tail: self.tail,
            from: self.from.ok_or_else(|| missing("beginning"))?,
            to,
            checksum,
            until: self.until.ok_or_else(|| missing("time"))?,
            frames: self.frames,
            increments: self.increments,
        })
    }
}

fn optional(fields: &mut Fields<'_>) -> Result<Option<String>> {
    if fields.more() { fields.text().map(Some) } else { Ok(None) }
}

pub(crate) fn corrupt(what: String) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a segment is damaged: {what}"))
}

#[cfg(test)]
pub(crate) mod tests;
