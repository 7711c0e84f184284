//! The rules that an archive's index must meet besides those for its entries: frames and members follow each
//! other without a gap, and the counts agree.

use super::frame::{Frame, MAX_FRAME};
use super::tar;
use crate::backup::manifest::{Entry, Manifest};
use crate::backup::nodes::{
    END_LEN, Limits, MAX_PROBLEMS, Order, Problem, ProblemKind, check_limits, examine, padded, stored_len, totals,
};
use crate::error::Result;

/// An index under examination.
pub(super) struct Suspect<'a> {
    pub(super) entries: &'a Vec<Entry>,
    pub(super) frames: &'a [Frame],
    /// `None` when the index is lost and was rebuilt from the stream: then there are no checksums and no counts
    /// to hold against it, and the stream may end anywhere.
    pub(super) manifest: Option<&'a Manifest>,
    /// Where the frames end in the file, as written.
    pub(super) frames_end: u64,
    /// The archive's length.
    pub(super) stored: u64,
}

impl Suspect<'_> {
    /// Every violation (at most 1,000), and the order of the names, which means something only without one.
    pub(super) fn examine(&self, limits: Option<&Limits>) -> (Vec<Problem>, Order) {
        let mut problems = Vec::new();
        // Later rules calculate with what earlier ones have proven.
        self.sizes(limits, &mut problems);
        let mut order = Order::new();
        if problems.is_empty() {
            (problems, order) = examine(self.entries, self.manifest.is_some());
        }
        if problems.is_empty() {
            self.offsets(&mut problems);
            self.totals(limits, &mut problems);
        }
        problems.truncate(MAX_PROBLEMS);
        (problems, order)
    }

    /// The order of the names, or the error for the first violation.
    pub(super) fn refuse(&self, limits: Option<&Limits>) -> Result<Order> {
        let (problems, order) = self.examine(limits);
        match problems.into_iter().next() {
            Some(problem) => Err(problem.into_error()),
            None => Ok(order),
        }
    }

    fn sizes(&self, limits: Option<&Limits>, problems: &mut Vec<Problem>) {
        let limits = limits.copied().unwrap_or(Limits { max_entries: u64::MAX, ..Limits::default() });
        check_limits(&limits, self.entries.len() as u64, 0, self.stored, problems);
        let mut end = (0, 0);
        for (number, frame) in self.frames.iter().enumerate() {
            let size_ok = (1..=MAX_FRAME as u64).contains(&frame.plain_length) && frame.length > 0;
            if !size_ok || (frame.offset, frame.plain_offset) != end || frame.offset.checked_add(frame.length).is_none()
            {
                problems.push(inconsistent(format!("frame {number} does not follow the one before it")));
                return;
            }
            // At most u32::MAX frames of 8 MiB are in memory: the sum cannot overflow.
            end = (frame.end(), frame.plain_end());
        }
        if end.0 != self.frames_end {
            problems.push(inconsistent(format!("the frames end at byte {}, not at {}", end.0, self.frames_end)));
        }
    }

    /// Every entry begins where the one before it ends, and the stream ends behind the last.
    fn offsets(&self, problems: &mut Vec<Problem>) {
        let mut at = 0_u64;
        let mut header = Vec::new();
        for entry in self.entries {
            if entry.offset != at {
                let message = format!("it begins at byte {} of the stream, not at {at}", entry.offset);
                problems.push(Problem::of_entry(&entry.path, ProblemKind::Inconsistent, message));
                return;
            }
            header.clear();
            let end = match tar::encode(entry, &mut header) {
                // Stored lengths fit i64 and headers fit memory, so only the running sum can overflow.
                Ok(()) => at.checked_add(header.len() as u64 + padded(stored_len(&entry.node))),
                Err(error) => {
                    problems.push(Problem::of_entry(&entry.path, ProblemKind::BadEntry, error.message()));
                    return;
                }
            };
            match end {
                Some(end) => at = end,
                None => {
                    problems.push(Problem::of_entry(&entry.path, ProblemKind::Inconsistent, "the stream is too long"));
                    return;
                }
            }
        }
        let end = self.frames.last().map_or(0, Frame::plain_end);
        let fits = if self.manifest.is_some() { at.checked_add(END_LEN) == Some(end) } else { at <= end };
        if !fits {
            problems.push(inconsistent(format!("the entries end at byte {at} of the stream, the frames at {end}")));
        }
    }

    fn totals(&self, limits: Option<&Limits>, problems: &mut Vec<Problem>) {
        let counted = totals(self.entries);
        if let Some(manifest) = self.manifest
            && counted.map(|sum| (sum.files, sum.entries, sum.bytes))
                != Some((manifest.files, manifest.entries, manifest.size_bytes))
        {
            problems.push(inconsistent("the manifest's counts are not those of the entries"));
        }
        let Some(limits) = limits else { return };
        let bytes = counted.map_or(u64::MAX, |sum| sum.stored);
        check_limits(limits, self.entries.len() as u64, bytes, self.stored, problems);
    }
}

fn inconsistent(message: impl Into<String>) -> Problem {
    Problem::of_snapshot(ProblemKind::Inconsistent, message)
}
