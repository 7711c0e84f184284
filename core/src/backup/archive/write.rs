//! Writing an archive.

use super::frame::{Frame, MAX_FRAME, MIN_FRAME};
use super::index::IndexBuilder;
use super::tail::{self, Summary};
use super::tar;
use crate::backup::frames::Packer;
use crate::backup::manifest::{Digest, Entry, FORMAT, Manifest, Node, RelPath, Xattr};
use crate::backup::nodes::{ContentHasher, END_LEN, check_entry, padded, parts_of, restored_len, stored_len};
use crate::backup::pool::Pool;
use crate::backup::target::MAX_BLOCK;
use crate::cancel::Scope;
use crate::error::{Error, Result};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// The zstd level, -7 to 22.
    pub level: i32,
    /// Threads that compress, at least 1. Each holds up to two frames.
    pub threads: usize,
    /// Uncompressed bytes of a frame, 1 KiB to 8 MiB; values outside are moved to the nearest end.
    pub frame_bytes: usize,
}

impl Default for WriteOptions {
    /// Level 3, two threads, frames of 4 MiB: larger ones save less than 1 % of space, smaller ones cost more.
    fn default() -> Self {
        Self { level: 3, threads: 2, frame_bytes: 4 << 20 }
    }
}

/// What every entry has.
#[derive(Debug, Clone)]
pub struct NodeHead {
    /// The name, relative to the root, without `.` and `..`.
    pub path: RelPath,
    /// Permission bits, with set-id and sticky bits: 0 to 0o7777.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nanos: u32,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

/// An entry without content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Special {
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink {
        /// What it points to, any bytes.
        target: RelPath,
    },
    /// A second name of a file that was added before.
    HardLink {
        /// The first name.
        target: RelPath,
    },
    /// A named pipe.
    Fifo,
}

/// What [`ArchiveWriter::finish`] wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The manifest as it is in the archive.
    pub manifest: Manifest,
    /// The length of the archive, in bytes.
    pub stored_bytes: u64,
    /// The BLAKE3 of the whole archive.
    pub blake3: [u8; 32],
}

/// Where the archive's bytes go: in order, at most [`MAX_BLOCK`] at a time.
type Sink = Box<dyn FnMut(&[u8]) -> Result<()> + Send>;

/// Writes an archive: entries in, the archive's bytes out to a sink.
///
/// The calling thread encodes and hashes; threads of the writer's own compress. The sink is called on the
/// calling thread. After an error nothing but dropping the writer makes sense: every call fails.
///
/// ```
/// use uplifted_ops::Scope;
/// use uplifted_ops::backup::archive::{ArchiveWriter, NodeHead, WriteOptions};
/// use uplifted_ops::backup::manifest::RelPath;
///
/// # fn main() -> uplifted_ops::Result<()> {
/// let sink = Box::new(|_bytes: &[u8]| Ok(()));
/// let mut writer = ArchiveWriter::new(&Scope::default(), WriteOptions::default(), sink)?;
/// let head = NodeHead {
///     path: RelPath::new("config/app.yaml"),
///     mode: 0o644, uid: 0, gid: 0, mtime: 1_700_000_000, mtime_nanos: 5, xattrs: Vec::new(),
/// };
/// writer.begin_file(head, 6, None)?;
/// writer.write(b"a: 1\n\n")?;
/// writer.end_file(None)?;
/// # Ok(())
/// # }
/// ```
pub struct ArchiveWriter {
    scope: Scope,
    out: Output,
    pool: Pool<Job, Job>,
    max_in_flight: u64,
    /// The frame being filled.
    filling: Vec<u8>,
    frame_bytes: usize,
    /// Buffers to use again.
    spare: Vec<Job>,
    index: IndexBuilder,
    open: Option<Open>,
    header: Vec<u8>,
    counts: Counts,
    failed: bool,
}

/// A frame on its way through the pool, and back.
#[derive(Default)]
struct Job {
    plain: Vec<u8>,
    packed: Vec<u8>,
    digest: Option<Digest>,
    failed: Option<Error>,
}

/// The file being written.
struct Open {
    entry: Entry,
    hasher: ContentHasher,
    /// Stored bytes still to come.
    left: u64,
}

#[derive(Default)]
struct Counts {
    files: u64,
    entries: u64,
    size_bytes: u64,
}

/// The sink, and what has passed it.
struct Output {
    sink: Sink,
    hasher: blake3::Hasher,
    stored: u64,
    frames: Vec<Frame>,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        for block in bytes.chunks(MAX_BLOCK) {
            (self.sink)(block)?;
        }
        self.hasher.update(bytes);
        self.stored += bytes.len() as u64;
        Ok(())
    }
}

impl std::fmt::Debug for ArchiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveWriter")
            .field("entries", &self.counts.entries)
            .field("stored_bytes", &self.out.stored)
            .finish_non_exhaustive()
    }
}

impl ArchiveWriter {
    /// Starts an archive. `sink` gets its bytes in order, at most [`MAX_BLOCK`] at a time.
    pub fn new(scope: &Scope, options: WriteOptions, sink: Sink) -> Result<Self> {
        if !(-7..=22).contains(&options.level) {
            return Err(Error::invalid(format!("{} is not a compression level", options.level))
                .with_hint("use a zstd level from -7 to 22; 3 is a good one"));
        }
        let threads = options.threads.max(1);
        let frame_bytes = options.frame_bytes.clamp(MIN_FRAME, MAX_FRAME);
        let mut workers = Vec::new();
        for _ in 0..threads {
            let mut packer = Packer::new(options.level)?;
            workers.push(move |mut job: Job| {
                match packer.pack(&job.plain, &mut job.packed) {
                    Ok(()) => job.digest = Some(Digest::of(&job.packed)),
                    Err(error) => job.failed = Some(error),
                }
                job
            });
        }
        Ok(Self {
            scope: scope.clone(),
            out: Output { sink, hasher: blake3::Hasher::new(), stored: 0, frames: Vec::new() },
            pool: Pool::new(workers)?,
            // One waits for each that is being compressed, within reason.
            max_in_flight: threads as u64 + threads.min(2) as u64,
            filling: Vec::with_capacity(frame_bytes),
            frame_bytes,
            spare: Vec::new(),
            index: IndexBuilder::new()?,
            open: None,
            header: Vec::new(),
            counts: Counts::default(),
            failed: false,
        })
    }

    /// Adds an entry without content.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a name or a value that no restore would
    /// accept; what the sink says; [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    pub fn add(&mut self, head: NodeHead, node: Special) -> Result<()> {
        self.guarded(|writer| {
            let node = match node {
                Special::Dir => Node::Dir,
                Special::Symlink { target } => Node::Symlink { target },
                Special::HardLink { target } => {
                    writer.counts.files += 1;
                    Node::HardLink { target }
                }
                Special::Fifo => Node::Fifo,
            };
            let entry = writer.begin(head, node)?;
            writer.record(&entry)
        })
    }

    /// Begins a regular file of `size` bytes. `data` lists the parts of a sparse file that hold data, as
    /// `(offset, length)` and as [`fit_parts`](crate::backup::nodes::fit_parts) makes them; `None` when all of it does.
    pub fn begin_file(&mut self, head: NodeHead, size: u64, data: Option<Vec<(u64, u64)>>) -> Result<()> {
        self.guarded(|writer| {
            let whole = data.as_deref().is_some_and(|parts| parts == [(0, size)] || size == 0);
            let data = data.filter(|_| !whole);
            let node = Node::File { size, blake3: None, data, valid_size: None };
            let left = stored_len(&node);
            let entry = writer.begin(head, node)?;
            writer.open = Some(Open { entry, hasher: ContentHasher::default(), left });
            Ok(())
        })
    }

    /// Takes the file's next bytes: those of its data parts, and no more than were announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.guarded(|writer| {
            let Some(open) = &mut writer.open else {
                return Err(Error::internal("bytes were written to an archive without a file"));
            };
            let Some(left) = open.left.checked_sub(bytes.len() as u64) else {
                return Err(Error::internal(format!("more was written to {:?} than announced", open.entry.path)));
            };
            open.left = left;
            open.hasher.update(parts_of(&open.entry.node), u64::MAX, bytes, &writer.scope.cancel)?;
            writer.push(bytes)
        })
    }

    /// Ends the file.
    ///
    /// `valid_size` is the length of what there was to read, when the source became shorter than announced:
    /// the member is filled with zeros, and a restore makes a file of `valid_size` bytes. It is at least where
    /// the written bytes reach and at most the announced size.
    pub fn end_file(&mut self, valid_size: Option<u64>) -> Result<()> {
        self.guarded(|writer| {
            let Some(mut open) = writer.open.take() else {
                return Err(Error::internal("a file was ended that was not begun"));
            };
            let path = open.entry.path.clone();
            let Node::File { size, blake3, valid_size: valid, .. } = &mut open.entry.node else {
                return Err(Error::internal("only files are begun"));
            };
            *valid = valid_size.filter(|len| len < size);
            let len = valid.unwrap_or(*size);
            if valid.is_none() && open.left > 0 {
                return Err(Error::internal(format!("{} bytes of {path:?} were not written", open.left)));
            }
            if open.hasher.reached() > len {
                return Err(Error::internal(format!("more of {path:?} was written than it is said to have")));
            }
            *blake3 = Some(open.hasher.finish(len, &writer.scope.cancel)?);
            let stored = stored_len(&open.entry.node);
            writer.push_zeros(open.left + padded(stored) - stored)?;
            writer.counts.files += 1;
            writer.counts.size_bytes += restored_len(&open.entry.node);
            writer.record(&open.entry)
        })
    }

    /// Ends the archive: the rest of the stream, the index twice, the summary, the footer. The manifest's
    /// counts are filled in.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<Written> {
        self.guarded(|writer| {
            if let Some(open) = &writer.open {
                return Err(Error::internal(format!("{:?} was not ended", open.entry.path)));
            }
            writer.push_zeros(END_LEN)?;
            writer.dispatch()?;
            while writer.pool.in_flight() > 0 {
                writer.collect()?;
            }
            Ok(())
        })?;
        let Self { mut out, index, counts, .. } = self;
        manifest.format = FORMAT;
        manifest.files = counts.files;
        manifest.entries = counts.entries;
        manifest.size_bytes = counts.size_bytes;
        let index = index.finish(&out.frames, &manifest)?;
        for part in tail::build(&index, &Summary::from(&manifest), out.stored)? {
            out.push(&part)?;
        }
        Ok(Written { manifest, stored_bytes: out.stored, blake3: *out.hasher.finalize().as_bytes() })
    }

    /// Runs a step; after one that failed there is no other.
    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.failed {
            return Err(Error::internal("an archive was written to after an error"));
        }
        let done = step(self);
        self.failed = done.is_err();
        done
    }

    /// Writes the header of the next entry.
    fn begin(&mut self, head: NodeHead, node: Node) -> Result<Entry> {
        self.scope.cancel.check()?;
        if let Some(open) = &self.open {
            return Err(Error::internal(format!("{:?} was not ended", open.entry.path)));
        }
        let NodeHead { path, mode, uid, gid, mtime, mtime_nanos, xattrs } = head;
        let offset = self.plain_position();
        let entry = Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, offset };
        check_entry(&entry)?;
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        tar::encode(&entry, &mut header)?;
        self.push(&header)?;
        self.header = header;
        Ok(entry)
    }

    fn record(&mut self, entry: &Entry) -> Result<()> {
        self.counts.entries += 1;
        self.index.entry(entry)
    }

    /// How much of the tar stream is written.
    fn plain_position(&self) -> u64 {
        let dispatched = self.out.frames.len() as u64 + self.pool.in_flight();
        // Every frame but the last is full, and the last is dispatched by `finish`.
        dispatched * self.frame_bytes as u64 + self.filling.len() as u64
    }

    /// Appends to the tar stream.
    fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let step = bytes.len().min(self.frame_bytes - self.filling.len());
            self.filling.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if self.filling.len() == self.frame_bytes {
                self.dispatch()?;
            }
        }
        Ok(())
    }

    fn push_zeros(&mut self, mut len: u64) -> Result<()> {
        while len > 0 {
            let step = len.min((self.frame_bytes - self.filling.len()) as u64);
            self.filling.resize(self.filling.len() + step as usize, 0);
            len -= step;
            if self.filling.len() == self.frame_bytes {
                self.dispatch()?;
            }
        }
        Ok(())
    }

    /// Gives the frame being filled to the pool, and takes a finished one when enough are under way.
    fn dispatch(&mut self) -> Result<()> {
        self.scope.cancel.check()?;
        if self.filling.is_empty() {
            return Ok(());
        }
        while self.pool.in_flight() >= self.max_in_flight {
            self.collect()?;
        }
        let mut job = self.spare.pop().unwrap_or_default();
        job.plain.clear();
        job.plain.reserve_exact(self.frame_bytes);
        std::mem::swap(&mut job.plain, &mut self.filling);
        self.pool.submit(job)
    }

    /// Takes the oldest finished frame and hands it to the sink.
    fn collect(&mut self) -> Result<()> {
        let mut job = self.pool.next()?;
        if let Some(error) = job.failed.take() {
            return Err(error);
        }
        let Some(blake3) = job.digest.take() else {
            return Err(Error::internal("a frame came back without its digest"));
        };
        self.out.frames.push(Frame {
            offset: self.out.stored,
            length: job.packed.len() as u64,
            plain_offset: self.out.frames.last().map_or(0, Frame::plain_end),
            plain_length: job.plain.len() as u64,
            blake3,
        });
        self.out.push(&job.packed)?;
        self.spare.push(job);
        Ok(())
    }
}
