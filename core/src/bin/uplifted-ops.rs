//! The `uplifted-ops` command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    uplifted_ops::cli::main()
}
