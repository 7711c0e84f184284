//! A process that writes transfers until it is told to stop: the load of the live tests.

use clap::Parser;
use uplifted_example::{Failure, say, stop, writer};

#[derive(Parser)]
struct Load {
    #[command(flatten)]
    writer: writer::Options,
}

fn main() -> Result<(), Failure> {
    let stop = stop::flag(true)?;
    let report = writer::run(&Load::parse().writer, &stop)?;
    say!("{}", serde_json::to_string(&report)?)?;
    Ok(())
}
