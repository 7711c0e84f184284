//! The `uplifted-ops` command line.

fn main() {}
