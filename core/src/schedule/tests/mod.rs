//! The engine on a clock that the tests own, with operations that do as they are told. Nothing here sleeps.

mod leads;
mod misses;
mod reads;
mod runs;
mod scene;
