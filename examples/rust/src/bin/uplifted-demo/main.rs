//! The main job in front of your eyes: a service is backed up while it writes, the backup is verified,
//! restored beside, and compared with what is there.
//!
//! Everything is done through the `uplifted-ops` command line, as a person or a program would. The demo only
//! makes the scene, keeps the writer going and compares. Then the hosts in Rust, Python and Node run on the same folder,
//! and report the same. `--root FOLDER` does the main job with a folder of yours: the folder is only read, whatever is written
//! goes to a folder beside.

#![allow(clippy::disallowed_methods, reason = "the demo plays the person at the keyboard")]

mod compare;
mod equip;
mod host;
mod hosts;
mod load;
mod scene;
mod steps;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use uplifted_example::{Failure, say};

/// The main job of uplifted-ops in front of your eyes.
#[derive(Debug, Parser)]
#[command(name = "uplifted-demo", version)]
struct Options {
    /// Do it with this folder: it is only read
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Where the demo writes; a folder that survives a reboot, not one in memory
    #[arg(long, value_name = "FOLDER", default_value = "target/demo")]
    work: PathBuf,
    /// The command line to use; the one beside this program when not given
    #[arg(long, value_name = "FILE")]
    uplifted_ops: Option<PathBuf>,
    /// Transfers a second that the writer makes
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    rate: f64,
    /// Leave out the host in this language
    #[arg(long, value_name = "LANGUAGE", value_enum)]
    without: Vec<equip::Language>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match play(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = say!("\nThe demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn play(options: &Options) -> Result<(), Failure> {
    let beside = std::env::current_exe()?.with_file_name("uplifted-ops");
    let program = options.uplifted_ops.clone().unwrap_or(beside);
    if !program.is_file() {
        return Err(format!("there is no {}: build it, or name it with --uplifted-ops", program.display()).into());
    }
    let work = scene::fresh_work_folder(&options.work)?;
    match &options.root {
        None => {
            let root = steps::with_our_service(&program, &work, options.rate)?;
            hosts::side_by_side(&root, &work.join(scene::HOSTS), &options.without)?;
        }
        Some(root) => steps::with_your_folder(&program, &work, root)?,
    }
    Ok(say!("\nLook for yourself: {}", work.display())?)
}
