//! Memory that cells lie in: pages of this process, or of a file that other processes read. And what the system
//! calls before and after a fork. The one place of this room with unsafe code.

#![allow(unsafe_code, reason = "mapping memory and hearing of forks have no safe form")]

use std::cell::RefCell;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::RwLockWriteGuard;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::fork;

/// Cells of a chunk: 4 KiB of them, a page of memory or of a file.
pub(in crate::metrics) const CELLS: usize = 512;

/// A plain array of cells, all zero at first. On cache lines of its own: chunks of two threads share none.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Chunk([AtomicU64; CELLS]);

impl Chunk {
    /// The cell called `id` of those that lie in this chunk.
    #[inline]
    pub(super) fn cell(&self, id: u32) -> &AtomicU64 {
        &self.0[id as usize % CELLS]
    }

    pub(super) fn cells(&self) -> &[AtomicU64; CELLS] {
        &self.0
    }
}

/// Chunks that lie side by side and never go away. What backs them may change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region(&'static [Chunk]);

impl Region {
    /// So many chunks of this process alone.
    pub(super) fn anonymous(chunks: usize) -> Self {
        match Self::map(chunks, None, None) {
            Ok(region) => region,
            // As an allocation that fails: nobody who counts could do anything about it.
            Err(_) => std::alloc::handle_alloc_error(std::alloc::Layout::new::<Chunk>()),
        }
    }

    /// So many chunks of a file, from `offset` on. The file must have room there, and must keep it: whoever touches a page
    /// that a file does not have any more is ended by SIGBUS.
    ///
    /// That is left to be so. A handler of the signal would be the host's business, memory that is only copied into the
    /// file now and then would lose counts with each SIGKILL, and only files in memory can be sealed. What is left is to
    /// let nobody do it by mistake: the file may only be read, by its owner alone.
    pub(super) fn of_file(file: &File, offset: u64, chunks: usize) -> io::Result<Self> {
        Self::map(chunks, Some((file, offset)), None)
    }

    /// Lets it be pages of this process again, all zero.
    pub(super) fn wipe(self) -> io::Result<()> {
        Self::map(self.0.len(), None, Some(self)).map(|_| ())
    }

    /// Lets it be pages of a file, as [`Region::of_file`] does. What it held is gone.
    pub(super) fn back_by(self, file: &File, offset: u64) -> io::Result<()> {
        Self::map(self.0.len(), Some((file, offset)), Some(self)).map(|_| ())
    }

    pub(super) fn chunks(self) -> &'static [Chunk] {
        self.0
    }

    fn map(chunks: usize, file: Option<(&File, u64)>, over: Option<Self>) -> io::Result<Self> {
        let len = chunks * size_of::<Chunk>();
        let (at, fixed) = match over {
            Some(region) => (region.0.as_ptr().cast_mut().cast::<c_void>(), MapFlags::FIXED),
            None => (ptr::null_mut(), MapFlags::empty()),
        };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: without FIXED, the system chooses memory that nobody has. With it, `at` and `len` are a region that an
        // earlier call made and that is never unmapped, so that nothing else is replaced; the references into it stay
        // good, for the memory is there at each moment, and any bits are cells.
        let mapped = unsafe {
            match file {
                Some((file, offset)) => mmap(at, len, access, MapFlags::SHARED | fixed, file, offset),
                None => mmap_anonymous(at, len, access, MapFlags::PRIVATE | fixed),
            }
        };
        let first = NonNull::new(mapped?.cast::<Chunk>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: `len` bytes lie there, page by page, and stay for ever. A page is more aligned than a chunk. Cells are
        // atomic, so that other threads, and other processes through the file, may write them at any time.
        Ok(Self(unsafe { std::slice::from_raw_parts(first.as_ptr(), chunks) }))
    }
}

/// Where a chunk can be.
#[derive(Debug, Default)]
pub(super) struct Slot(AtomicPtr<Chunk>);

impl Slot {
    #[inline]
    pub(super) fn get(&self) -> Option<&'static Chunk> {
        let chunk = self.0.load(Ordering::Acquire);
        // SAFETY: null, or what `set` was given: a reference for ever.
        unsafe { chunk.as_ref() }
    }

    pub(super) fn set(&self, chunk: Option<&'static Chunk>) {
        let chunk = chunk.map_or(ptr::null_mut(), |chunk| ptr::from_ref(chunk).cast_mut());
        self.0.store(chunk, Ordering::Release);
    }
}

/// What a thread that forks has of us.
type Held = (Option<RwLockWriteGuard<'static, ()>>, RwLockWriteGuard<'static, super::State>);

thread_local! {
    /// From before a fork to after it, on the thread that forks.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

extern "C" fn before_fork() {
    let held = fork::hold();
    let _ = HELD.try_with(|cell| cell.replace(Some(held)));
}

fn held() -> Option<Held> {
    HELD.try_with(RefCell::take).ok().flatten()
}

extern "C" fn after_fork_in_parent() {
    drop(held());
}

extern "C" fn after_fork_in_child() {
    if let Some((gate, mut state)) = held() {
        state.fork();
        drop((gate, state));
    }
}

/// Lets the system tell of forks. Once in a process.
pub(super) fn hear_of_forks() {
    // SAFETY: the three are functions for ever, and do not unwind: what they call does not panic. They run on the thread
    // that forks, in the child as its only thread.
    unsafe {
        libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child));
    }
}

extern "C" fn at_exit() {
    super::copy();
}

/// Copies what is not written through once more, when the process ends of its own will. Once in a process.
pub(super) fn copy_at_exit() {
    // SAFETY: a function for ever, which does not unwind and takes no lock that it would have to wait for long.
    unsafe {
        libc::atexit(at_exit);
    }
}
