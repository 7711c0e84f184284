//! The repository layout: many snapshots that share content, as immutable objects in a target.
//!
//! `FORMAT.md` beside this file fixes every byte. The floor of the room is the form of its records, each with a
//! module of its own that writes and reads it: [`identity`], [`header`], [`tree`], [`pages`].

// The readers and the writers that stand on this floor use all of it.
#![allow(dead_code, reason = "the floor of the room is laid before its walls")]

pub(crate) mod cache;
pub(crate) mod chunk;
pub(crate) mod collect;
pub(crate) mod collecting;
pub(crate) mod content;
pub(crate) mod deliver;
pub(crate) mod extract;
pub(crate) mod fetch;
pub(crate) mod header;
pub(crate) mod id;
pub(crate) mod identity;
pub(crate) mod index;
pub(crate) mod keyring;
mod limited;
pub(crate) mod lines;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod pack;
pub(crate) mod packs;
pub(crate) mod pages;
pub(crate) mod pieces;
pub(crate) mod prepare;
pub(crate) mod rebase;
pub(crate) mod recover;
pub(crate) mod removal;
pub(crate) mod roll;
pub(crate) mod sealing;
pub(crate) mod segment;
pub(crate) mod snapshot;
pub(crate) mod streams;
pub(crate) mod transfer;
pub(crate) mod tree;
pub(crate) mod verify;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod tests;
