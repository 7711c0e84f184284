//! Reading an archive whose index is lost, from its beginning to the first damage.

use std::sync::Arc;

use super::frame::{Frame, MAX_FRAME};
use super::read::{Archive, Contents};
use super::tar;
use super::untar::{Parsed, parse};
use crate::backup::blocks::Blocks;
use crate::backup::frames::{Unpacker, next_frame};
use crate::backup::manifest::{Digest, Entry, FORMAT, Manifest, Node, Outcome, RelPath};
use crate::backup::nodes::{Problem, ProblemKind, check_entry, padded, restored_len, stored_len};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

impl Archive {
    /// Reads an archive without its index: frame after frame from the beginning, the tar stream in them, up
    /// to the first damage, which is in [`Archive::problems`].
    ///
    /// The entries that are there with all their content are found. Their BLAKE3 is unknown (empty): what
    /// proves their content is zstd's own checksum of each frame. The manifest is a stand-in. The archive can be
    /// extracted like any other, under the same rules.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when not even the first entry can be read.
    pub fn open_without_index(blocks: Arc<dyn Blocks>) -> Result<Self> {
        let mut reader = Reader::default();
        let stop = reader.read(blocks.as_ref())?;
        let mut problems = vec![Problem::of_snapshot(ProblemKind::DamagedIndex, "the index is lost")];
        // A member whose content is cut off is not restored, only named.
        let mut entries = reader.entries;
        if let Some(last) = entries.pop_if(|_| reader.skip > 0) {
            problems.push(Problem::of_entry(&last.path, ProblemKind::Truncated, "the archive ends inside the file"));
        }
        problems.extend(stop);
        if entries.is_empty() && problems.len() > 1 {
            let message = problems.last().map_or_else(String::new, |problem| problem.message.clone());
            return Err(Error::new(ErrorKind::Corrupt, format!("nothing can be read from the archive: {message}"))
                .with_hint("use another snapshot"));
        }
        let frames_end = reader.frames.last().map_or(0, Frame::end);
        let manifest = stand_in(&entries);
        let contents = Contents {
            blocks,
            entries: Arc::new(entries),
            frames: reader.frames,
            frames_end,
            missing: 0,
            indexed: false,
        };
        Ok(Self { contents: Arc::new(contents), manifest, footer: None, problems })
    }
}

/// A manifest that claims nothing.
fn stand_in(entries: &[Entry]) -> Manifest {
    Manifest {
        format: FORMAT,
        snapshot_id: String::new(),
        service: String::new(),
        service_version: None,
        host: String::new(),
        made_by: String::new(),
        label: None,
        time: Timestamp::UNIX_EPOCH,
        outcome: Outcome::Partial,
        includes: Vec::new(),
        excludes: Vec::new(),
        stores: Vec::new(),
        group: None,
        skipped: Vec::new(),
        files: entries.iter().filter(|entry| matches!(entry.node, Node::File { .. } | Node::HardLink { .. })).count()
            as u64,
        entries: entries.len() as u64,
        size_bytes: entries.iter().map(|entry| restored_len(&entry.node)).sum(),
        encrypted_to: None,
    }
}

/// Reads frames and the tar stream in them.
#[derive(Default)]
struct Reader {
    frames: Vec<Frame>,
    entries: Vec<Entry>,
    /// Bytes of the stream not understood yet: the beginning of a header.
    pending: Vec<u8>,
    /// How long `pending` must be at least to be understood.
    needed: usize,
    /// Where `pending` begins in the stream.
    at: u64,
    /// Content and padding of the last entry still to come.
    skip: u64,
    ended: bool,
}

impl Reader {
    /// Reads to the end of the stream, or to the damage, which it returns.
    fn read(&mut self, blocks: &dyn Blocks) -> Result<Option<Problem>> {
        let mut unpacker = Unpacker::new()?;
        let mut plain = Vec::new();
        let mut offset = 0;
        while !self.ended {
            let packed = match next_frame(blocks, offset, MAX_FRAME)? {
                Ok(packed) => packed,
                Err(message) => return Ok(Some(Problem::of_snapshot(ProblemKind::DamagedFrame, message))),
            };
            let (packed, plain_len) = packed;
            if let Err(error) = unpacker.unpack(&packed, plain_len, &mut plain) {
                let message = format!("the frame at byte {offset}: {}", error.message());
                return Ok(Some(Problem::of_snapshot(ProblemKind::DamagedFrame, message)));
            }
            self.frames.push(Frame {
                offset,
                length: packed.len() as u64,
                plain_offset: self.frames.last().map_or(0, Frame::plain_end),
                plain_length: plain.len() as u64,
                blake3: Digest::of(&packed),
            });
            offset += packed.len() as u64;
            if let Err(problem) = self.take(&plain) {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    /// Understands the next bytes of the stream.
    fn take(&mut self, mut plain: &[u8]) -> Result<(), Problem> {
        while !self.ended {
            let step = self.skip.min(plain.len() as u64);
            self.skip -= step;
            self.at += step;
            plain = &plain[step as usize..];
            if plain.is_empty() {
                break;
            }
            // Only a header that the last frame cut needs a copy, and that copy only what it lacks.
            let had = self.pending.len();
            let lacking = self.needed.saturating_sub(had).min(plain.len());
            let mut pending = std::mem::take(&mut self.pending);
            let bytes = if had == 0 {
                plain
            } else {
                pending.extend_from_slice(&plain[..lacking]);
                &pending
            };
            match parse(bytes).map_err(|why| foreign(why, &self.entries))? {
                Parsed::Need(needed) => {
                    self.needed = needed;
                    if had == 0 {
                        self.pending = plain.to_vec();
                        break;
                    }
                    plain = &plain[lacking..];
                    self.pending = pending;
                }
                Parsed::End => self.ended = true,
                Parsed::Member { entry, header } => {
                    self.member(*entry, &bytes[..header])?;
                    plain = &plain[header - had..];
                }
            }
        }
        Ok(())
    }

    /// Takes an entry, if it is exactly what the writer makes of it.
    fn member(&mut self, mut entry: Entry, header: &[u8]) -> Result<(), Problem> {
        entry.offset = self.at;
        check_entry(&entry)
            .map_err(|error| Problem::of_entry(&entry.path, ProblemKind::UnsafeName, error.message()))?;
        let mut encoded = Vec::new();
        if tar::encode(&entry, &mut encoded).is_err() || encoded != header {
            let message = "its tar header is not one that is ever written";
            return Err(Problem::of_entry(&entry.path, ProblemKind::HeaderMismatch, message));
        }
        self.skip = padded(stored_len(&entry.node));
        self.at += header.len() as u64;
        self.entries.push(entry);
        Ok(())
    }
}

fn foreign(why: &str, entries: &[Entry]) -> Problem {
    let after = entries.last().map_or_else(|| RelPath::new(""), |entry| entry.path.clone());
    Problem::of_snapshot(ProblemKind::HeaderMismatch, format!("behind {after:?}: {why}"))
}
