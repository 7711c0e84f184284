//! Entries as files: the rules that they must meet, where their bytes lie, and making them in a folder.
//!
//! Both layouts share this. A layout knows how a snapshot is stored and hands out pieces of content; here
//! they become files with their modes, owners, times and attributes, or are refused before one is written.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `roll` | the entries by number, in whatever form a layout holds them |
//! | `guard` | the rules for names, modes, sizes, and the limits |
//! | `layout`, `hash` | where the bytes of a sparse file lie, and the checksum over them |
//! | `scattered` | the same checksum over pieces in any order |
//! | `wanted` | what of a snapshot is asked for |
//! | `make`, `fill`, `place` | folders, content, links, and what a node gets at the end |
//! | `problem` | what can be wrong |

mod fill;
mod guard;
mod hash;
mod layout;
mod make;
mod place;
mod problem;
mod roll;
mod scattered;
mod wanted;

pub(in crate::backup) use fill::{Filler, Lost};
pub use guard::{Limits, MAX_PARTS};
pub(in crate::backup) use guard::{
    MAX_PROBLEMS, Order, check_entry, check_limits, compare, entry_fault, examine, is_below, totals,
};
pub(in crate::backup) use hash::ContentHasher;
pub use layout::fit_parts;
pub(in crate::backup) use layout::{BLOCK, END_LEN, padded, parts_of, restored_len, stored_len};
pub(in crate::backup) use make::make;
pub use make::{ExtractOptions, Extracted};
pub(in crate::backup) use place::OpenFiles;
pub use problem::{Problem, ProblemKind};
pub use roll::Roll;
pub(in crate::backup) use scattered::{Scattered, Stretch};
pub use wanted::Selection;
pub(in crate::backup) use wanted::{Chosen, Wanted};
