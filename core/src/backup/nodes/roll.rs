//! The entries of a snapshot by number.

use std::borrow::Cow;

use crate::backup::manifest::Entry;

/// The entries of a snapshot, in the order in which it stores them.
///
/// A layout may hold them in a form of its own and make an [`Entry`] when it is asked for one, so that a million of
/// them fit in memory.
pub trait Roll: Send + Sync {
    /// How many there are.
    fn len(&self) -> u32;

    /// Entry number `number`, which is less than [`Roll::len`].
    fn entry(&self, number: u32) -> Cow<'_, Entry>;

    /// The bytes of its path.
    fn path(&self, number: u32) -> Cow<'_, [u8]>;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl dyn Roll + '_ {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, Entry>> {
        (0..self.len()).map(|number| self.entry(number))
    }
}

impl Roll for Vec<Entry> {
    fn len(&self) -> u32 {
        // The guard refuses more.
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn entry(&self, number: u32) -> Cow<'_, Entry> {
        Cow::Borrowed(&self[number as usize])
    }

    fn path(&self, number: u32) -> Cow<'_, [u8]> {
        Cow::Borrowed(self[number as usize].path.as_bytes())
    }
}
