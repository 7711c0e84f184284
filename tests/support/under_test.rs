//! The command line, built with fault points.

fn main() -> std::process::ExitCode {
    uplifted_ops::worker::run_if_worker();
    uplifted_ops::cli::main()
}
