//! Encrypted streams: written from one end to the other, read from anywhere.
//!
//! The bytes are those of age (<https://age-encryption.org/v1>): a header, a nonce, then chunks of 64 KiB, each
//! encrypted with ChaCha20-Poly1305 under its number and a flag that only the last one has (STREAM,
//! <https://eprint.iacr.org/2015/189>). So a chunk that is changed, moved, left out or added is found when it is
//! read, and what is read costs its own chunks and the header.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::AeadInPlace;

use super::header::{Header, MAX_HEADER, NotOpened, corrupt};
use super::identity::RepositoryIdentity;
use super::recipient::Recipient;
use super::{Sealed, Sink};
use crate::backup::blocks::{Blocks, read_exact};
use crate::backup::manifest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// Plain bytes of a chunk. All but the last have exactly as many.
pub(super) const CHUNK: u64 = 64 << 10;
const TAG: u64 = 16;
pub(super) const SEALED_CHUNK: u64 = CHUNK + TAG;
/// How much is read to find the header. It nearly always has less.
const FIRST_READ: u64 = 4096;

/// Encrypts a stream: plain bytes in, an age file out to a sink.
///
/// After an error nothing but dropping it makes sense. Dropped before [`Sealer::finish`], the file lacks its
/// last chunk and nobody takes it for a whole one.
pub struct Sealer {
    writer: age::stream::StreamWriter<Out>,
    failed: Failure,
    plain_bytes: u64,
}

impl Sealer {
    /// Starts an age file that each of `recipients` opens alone. Its header is written at once.
    ///
    /// # Errors
    /// What the sink says.
    pub fn new(recipients: &[&Recipient], sink: Sink) -> Result<Self> {
        let encryptor = age::Encryptor::with_recipients(recipients.iter().map(|recipient| &recipient.0 as _))
            .map_err(|error| Error::internal(format!("the stream cannot be encrypted: {error}")))?;
        let failed = Failure::default();
        let out = Out { sink, failed: Arc::clone(&failed), stored_bytes: 0, hasher: blake3::Hasher::new() };
        let writer = encryptor.wrap_output(out).map_err(|error| cause(&failed, &error))?;
        Ok(Self { writer, failed, plain_bytes: 0 })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What the sink says.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|error| cause(&self.failed, &error))?;
        self.plain_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(self) -> Result<Sealed> {
        let Self { writer, failed, plain_bytes } = self;
        let out = writer.finish().map_err(|error| cause(&failed, &error))?;
        let blake3 = Digest(*out.hasher.finalize().as_bytes());
        Ok(Sealed { stored_bytes: out.stored_bytes, blake3, plain_bytes })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("plain_bytes", &self.plain_bytes).finish_non_exhaustive()
    }
}

/// What the sink said, kept while `std::io::Error` passes through age.
type Failure = Arc<Mutex<Option<Error>>>;

fn cause(failed: &Failure, error: &std::io::Error) -> Error {
    let said = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    said.unwrap_or_else(|| Error::internal(format!("the stream could not be encrypted: {error}")))
}

/// The sink as age writes to it.
struct Out {
    sink: Sink,
    failed: Failure,
    stored_bytes: u64,
    hasher: blake3::Hasher,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.sink)(bytes).map_err(|error| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            std::io::Error::other("the sink failed")
        })?;
        self.hasher.update(bytes);
        self.stored_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An encrypted stream, open: its plain bytes by range, for several threads at once.
///
/// A range costs its chunks: at most 64 KiB more on either side. Reading it proves those chunks, their places and,
/// where it reaches the end, that nothing is missing there; [`Opener::prove_end`] proves the end alone.
pub struct Opener {
    blocks: Arc<dyn Blocks>,
    chunks: Chunks,
}

impl Opener {
    /// Opens the age file in `blocks` with one of `identities`: reads the header, and no chunk.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when none of them fits; [`ErrorKind::Corrupt`] when it is no age file, its header
    /// is damaged, or its length is none that an age file can have; what `blocks` says.
    pub fn new(blocks: Arc<dyn Blocks>, identities: &[&RepositoryIdentity]) -> Result<Self> {
        let total = blocks.len();
        let mut prefix = read_exact(&*blocks, 0..total.min(FIRST_READ))?;
        let header = loop {
            if let Some(header) = Header::in_prefix(&prefix)? {
                break header;
            }
            let have = prefix.len() as u64;
            if have >= total.min(MAX_HEADER) {
                return Err(corrupt("its header does not end"));
            }
            prefix.extend(read_exact(&*blocks, have..total.min(MAX_HEADER))?);
        };
        let cipher = unlock(&header, identities)?;
        let chunks = Chunks::new(cipher, header.len(), total)?;
        Ok(Self { blocks, chunks })
    }

    /// Proves the last chunk, and with it how long the stream is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the stream was cut; what the blocks say.
    pub fn prove_end(&self) -> Result<()> {
        let last = self.chunks.count - 1;
        let mut bytes = read_exact(&*self.blocks, self.chunks.stored(last..last + 1))?;
        self.chunks.open(last, &mut bytes).map(drop)
    }
}

impl Blocks for Opener {
    fn len(&self) -> u64 {
        self.chunks.plain_len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let end = range.end.min(self.chunks.plain_len);
        if range.start >= end {
            return Ok(Vec::new());
        }
        let first = range.start / CHUNK;
        let wanted = first..(end - 1) / CHUNK + 1;
        let mut bytes = read_exact(&*self.blocks, self.chunks.stored(wanted.clone()))?;
        // Opened where they are, and moved together over the tags.
        let mut filled = 0;
        for (number, from) in wanted.zip((0..bytes.len()).step_by(SEALED_CHUNK as usize)) {
            let to = bytes.len().min(from + SEALED_CHUNK as usize);
            let plain = self.chunks.open(number, &mut bytes[from..to])?;
            bytes.copy_within(from..from + plain, filled);
            filled += plain;
        }
        bytes.truncate((end - first * CHUNK) as usize);
        let before = (range.start - first * CHUNK) as usize;
        if before > 0 {
            bytes.drain(..before);
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("plain_len", &self.chunks.plain_len).finish_non_exhaustive()
    }
}

/// Reads an encrypted stream that comes from one end to the other, such as one that is read back: the age file's
/// bytes in, in any pieces, its plain bytes out.
pub struct Unsealer {
    identities: Vec<RepositoryIdentity>,
    /// The length of the whole file.
    total: u64,
    /// What came and was not opened yet.
    pending: Vec<u8>,
    /// Known once the header came.
    chunks: Option<Chunks>,
    next: u64,
}

impl Unsealer {
    /// Awaits an age file of `total` bytes that one of `identities` opens.
    pub fn new(identities: Vec<RepositoryIdentity>, total: u64) -> Self {
        Self { identities, total, pending: Vec::new(), chunks: None, next: 0 }
    }

    /// Takes the next bytes, and hands `plain` what they complete.
    ///
    /// # Errors
    /// As [`Opener::new`], and [`ErrorKind::Corrupt`] for a chunk that is damaged or out of place.
    pub fn push(&mut self, bytes: &[u8], mut plain: impl FnMut(&[u8])) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.chunks.is_none() {
            let Some(header) = Header::in_prefix(&self.pending)? else {
                if self.pending.len() as u64 > MAX_HEADER {
                    return Err(corrupt("its header does not end"));
                }
                return Ok(());
            };
            let all: Vec<&RepositoryIdentity> = self.identities.iter().collect();
            self.chunks = Some(Chunks::new(unlock(&header, &all)?, header.len(), self.total)?);
            self.pending.drain(..header.len() as usize);
        }
        let Some(chunks) = &self.chunks else { return Ok(()) };
        let mut done = 0;
        while self.next < chunks.count {
            let stored = chunks.stored(self.next..self.next + 1);
            let len = (stored.end - stored.start) as usize;
            let Some(chunk) = self.pending.get_mut(done..done + len) else { break };
            let opened = chunks.open(self.next, chunk)?;
            plain(&chunk[..opened]);
            done += len;
            self.next += 1;
        }
        self.pending.drain(..done);
        Ok(())
    }

    /// Ends it: everything came, the last chunk as well.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it did not, or when more came.
    pub fn finish(self) -> Result<()> {
        match self.chunks {
            Some(chunks) if self.next == chunks.count && self.pending.is_empty() => Ok(()),
            _ => Err(corrupt("it does not have the length that it should have")),
        }
    }
}

impl fmt::Debug for Unsealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsealer").field("total", &self.total).field("next", &self.next).finish_non_exhaustive()
    }
}

fn unlock(header: &Header, identities: &[&RepositoryIdentity]) -> Result<ChaCha20Poly1305> {
    let all: Vec<&dyn age::Identity> = identities.iter().map(|identity| &identity.0 as _).collect();
    header.unlock(&all).map_err(|error| match error {
        NotOpened::Damaged(why) => corrupt(&why),
        NotOpened::NoneFits => {
            let given: Vec<String> = identities.iter().map(|identity| identity.fingerprint().to_string()).collect();
            Error::invalid(format!("none of the keys at hand opens it: {}", given.join(", ")))
        }
    })
}

/// The chunks of a stream: where they are, and what opens them.
struct Chunks {
    cipher: ChaCha20Poly1305,
    /// Where the first begins in the file.
    start: u64,
    /// The length of the file.
    total: u64,
    /// At least one.
    count: u64,
    plain_len: u64,
}

impl Chunks {
    fn new(cipher: ChaCha20Poly1305, start: u64, total: u64) -> Result<Self> {
        let payload = total.saturating_sub(start);
        let count = payload.div_ceil(SEALED_CHUNK);
        // Only a stream of nothing has an empty last chunk.
        let last = payload - count.saturating_sub(1) * SEALED_CHUNK;
        if count == 0 || last < TAG || (last == TAG && count > 1) {
            return Err(corrupt(&format!("it ends early, at byte {total}")));
        }
        Ok(Self { cipher, start, total, count, plain_len: payload - count * TAG })
    }

    /// Where chunks are in the file.
    fn stored(&self, chunks: Range<u64>) -> Range<u64> {
        let at = |number: u64| (self.start + number * SEALED_CHUNK).min(self.total);
        at(chunks.start)..at(chunks.end)
    }

    /// Opens a chunk where it is, and says how many plain bytes it has.
    fn open(&self, number: u64, chunk: &mut [u8]) -> Result<usize> {
        let is_last = number + 1 == self.count;
        if let Some(len) = self.decrypt(number, is_last, chunk) {
            return Ok(len);
        }
        let Range { start, end } = self.stored(number..number + 1);
        let place = format!("chunk {} of {}, bytes {start} to {end}", number + 1, self.count);
        // A failed attempt leaves the chunk as it was, so the other flag can be tried: it tells what happened.
        let why = match (self.decrypt(number, !is_last, chunk).is_some(), is_last) {
            (true, true) => format!("it was cut after {place}: the stream goes on there"),
            (true, false) => format!("it ends with {place}: what follows was added"),
            (false, _) => format!("{place}, is damaged or out of place"),
        };
        Err(Error::new(ErrorKind::Corrupt, format!("the encrypted stream is not whole: {why}"))
            .with_hint("use another copy, and look at the disk that holds this one"))
    }

    fn decrypt(&self, number: u64, is_last: bool, chunk: &mut [u8]) -> Option<usize> {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        let (plain, tag) = chunk.split_at_mut_checked(chunk.len().checked_sub(TAG as usize)?)?;
        let tag = chacha20poly1305::Tag::from_slice(tag);
        self.cipher.decrypt_in_place_detached(&nonce.into(), &[], plain, tag).ok().map(|()| plain.len())
    }
}
