//! Records that are longer than one blob should be: stored as pieces, and a list of them in their place.

use std::io::{self, Read};

use super::id::BlobId;
use super::lines::{Kind, RecordReader, RecordWriter};
use crate::error::{Error, ErrorKind, Result};

/// The largest record that is stored as one blob, and the length of a piece, in bytes.
pub(crate) const PIECE: usize = 1 << 20;
const KIND: Kind = Kind::new("pieces");
/// How the list of pieces begins, and no other record.
const MARK: &[u8] = b"uplifted-ops pieces ";

/// Takes a record's bytes in order and stores them through `store`, a piece at a time.
#[derive(Debug)]
pub(crate) struct PieceWriter<F> {
    store: F,
    pending: Vec<u8>,
    pieces: Vec<(BlobId, usize)>,
}

impl<F: FnMut(&[u8]) -> Result<BlobId>> PieceWriter<F> {
    pub(crate) fn new(store: F) -> Self {
        Self { store, pending: Vec::new(), pieces: Vec::new() }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            // Only what goes on is cut: a record of exactly one piece is a plain blob.
            if self.pending.len() == PIECE {
                self.flush()?;
            }
            let step = bytes.len().min(PIECE - self.pending.len());
            self.pending.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let id = (self.store)(&self.pending)?;
        self.pieces.push((id, self.pending.len()));
        self.pending.clear();
        Ok(())
    }

    /// Ends the record; returns the id of the blob that stands for it.
    pub(crate) fn finish(mut self) -> Result<BlobId> {
        self.flush()?;
        if let [(only, _)] = self.pieces[..] {
            return Ok(only);
        }
        let mut record = RecordWriter::new(KIND);
        for (id, len) in &self.pieces {
            record.line("piece").number(id).number(len);
        }
        (self.store)(&record.finish())
    }
}

/// Stores a record that is at hand.
pub(crate) fn store(record: &[u8], store: impl FnMut(&[u8]) -> Result<BlobId>) -> Result<BlobId> {
    let mut writer = PieceWriter::new(store);
    writer.push(record)?;
    writer.finish()
}

/// A record that is read a piece at a time through `fetch`, which returns a blob whose id it has checked.
/// Wrap it in a [`BufReader`](io::BufReader).
#[derive(Debug)]
pub(crate) struct PieceSource<F> {
    fetch: F,
    current: Vec<u8>,
    at: usize,
    /// What comes next, last first.
    rest: Vec<(BlobId, u64)>,
}

impl<F: FnMut(&BlobId) -> Result<Vec<u8>>> PieceSource<F> {
    /// Opens the record that `id` stands for.
    pub(crate) fn open(id: &BlobId, mut fetch: F) -> Result<Self> {
        let current = fetch(id)?;
        if !current.starts_with(MARK) {
            return Ok(Self { fetch, current, at: 0, rest: Vec::new() });
        }
        let mut rest = pieces_in(&current)?;
        rest.reverse();
        Ok(Self { fetch, current: Vec::new(), at: 0, rest })
    }

    /// All of it. Only for records that are small by their nature, or that are needed whole.
    pub(crate) fn read_whole(mut self) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        self.read_to_end(&mut whole).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::io("read a record", error),
        })?;
        Ok(whole)
    }
}

impl<F: FnMut(&BlobId) -> Result<Vec<u8>>> Read for PieceSource<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            let Some((id, len)) = self.rest.pop() else { return Ok(0) };
            self.current = (self.fetch)(&id).map_err(io::Error::other)?;
            self.at = 0;
            if self.current.len() as u64 != len {
                return Err(io::Error::other(wrong(&format!("the piece {id} does not have the length of the list"))));
            }
        }
        let step = out.len().min(self.current.len() - self.at);
        out[..step].copy_from_slice(&self.current[self.at..self.at + step]);
        self.at += step;
        Ok(step)
    }
}

/// Every blob that the record `id` consists of, `content` being that blob's content: itself, and its pieces.
pub(crate) fn blobs_of(id: BlobId, content: &[u8]) -> Result<Vec<BlobId>> {
    let mut blobs = vec![id];
    if content.starts_with(MARK) {
        blobs.extend(pieces_in(content)?.into_iter().map(|(piece, _)| piece));
    }
    Ok(blobs)
}

fn pieces_in(list: &[u8]) -> Result<Vec<(BlobId, u64)>> {
    let mut reader = RecordReader::proven(list, KIND)?;
    let mut pieces = Vec::new();
    while let Some(mut fields) = reader.next()? {
        if fields.word() != "piece" {
            return Err(fields.unknown());
        }
        let piece = (BlobId(fields.hex()?), fields.number::<u64>()?);
        fields.end()?;
        if piece.1 == 0 || piece.1 > PIECE as u64 {
            return Err(fields.wrong("a piece is empty or too long"));
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a record in pieces is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::backup::repository::id::IdKey;

    #[test]
    fn a_record_of_any_length_comes_back() {
        let key = IdKey::new([1; 32]);
        for (len, blobs) in [(0, 1), (1, 1), (PIECE, 1), (PIECE + 1, 3), (3 * PIECE, 4), (3 * PIECE + 5, 5)] {
            let record: Vec<u8> = (0..len).map(|at| (at / 7 % 251) as u8 ^ (at >> 16) as u8).collect();
            let mut stored = HashMap::new();
            let id = store(&record, |bytes| {
                let id = key.blob_id(bytes);
                stored.insert(id, bytes.to_vec());
                Ok(id)
            })
            .unwrap();
            assert_eq!(stored.len(), blobs, "{len}");
            assert_eq!(blobs_of(id, &stored[&id]).unwrap().len(), blobs);
            let back = PieceSource::open(&id, |id| Ok(stored[id].clone())).unwrap().read_whole().unwrap();
            assert!(back == record, "{len}");
            if blobs > 1 {
                let short = |id: &BlobId| Ok(stored[id][..stored[id].len().min(PIECE - 1)].to_vec());
                let error = PieceSource::open(&id, short).unwrap().read_whole().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn the_error_of_a_piece_comes_through() {
        let list = b"uplifted-ops pieces 1\npiece 00000000000000000000000000000000 5\n";
        let fetch = |id: &BlobId| match id.0 {
            [1, ..] => Ok(list.to_vec()),
            _ => Err(Error::new(ErrorKind::NotFound, "no such blob")),
        };
        let error = PieceSource::open(&BlobId([1; 16]), fetch).unwrap().read_whole().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "no such blob"));
        for wrong in ["piece 0 5\n", "piece 00000000000000000000000000000000 0\n", "other\n"] {
            let list = format!("uplifted-ops pieces 1\n{wrong}").into_bytes();
            assert!(PieceSource::open(&BlobId([1; 16]), |_| Ok(list.clone())).is_err(), "{wrong}");
        }
    }
}
