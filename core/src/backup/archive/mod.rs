//! The archive layout: one snapshot as one file, `….tar.zst`.
//!
//! The file is standard: independent zstd frames that together hold one tar stream, so `tar --zstd -xf`
//! restores it without us. Behind the frames lie an index (every entry, every frame, every checksum), stored
//! twice, and a footer; `tar` and `zstd` skip them. With the index a listing costs one small read, one file
//! costs only its own frames, and damage is found, named and worked around. `FORMAT.md`, in the folder above,
//! describes every byte.
//!
//! - [`ArchiveWriter`] turns entries and their data into blocks for a sink.
//! - [`Archive`] reads, verifies and extracts what [`Blocks`](super::blocks::Blocks) give it, which may be a local file or an
//!   object of a target.
//!
//! Everything is synchronous: it is called from blocking threads.

mod extract;
mod frame;
mod guard;
mod index;
mod locate;
mod read;
mod rebuild;
mod tail;
pub(in crate::backup) mod tar;
mod untar;
mod verify;
mod write;

#[cfg(test)]
mod tests;

pub use read::Archive;
pub use tail::Summary;
pub use write::{ArchiveWriter, NodeHead, Special, WriteOptions, Written};
