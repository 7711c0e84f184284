//! The `uplifted-ops` command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    uplifted_ops::worker::run_if_worker();
    uplifted_ops::cli::main()
}
