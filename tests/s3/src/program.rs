//! The command line, built with the S3 target.

fn main() -> std::process::ExitCode {
    uplifted_ops::worker::run_if_worker();
    uplifted_ops::cli::main()
}
