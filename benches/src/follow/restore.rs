//! The way back: a large database and what was committed since, beside the plain restore of its snapshot.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use uplifted_example::Failure;
use uplifted_ops::clock::Timestamp;

use super::followers::{Follower, Place, Who};
use super::median;
use super::writer::{self, Writer, now};
use crate::machine;
use crate::program::measure;

/// The load between the snapshot and the moment: transactions a second, and seconds.
const LOAD: (u32, f64) = (2000, 60.0);
/// How often a segment is stored meanwhile: so often that there are as many as a day has after they were put together.
const SHIP_SECONDS: f64 = 0.05;

pub(super) fn run(place: &Place, megabytes: u64, rounds: u32, report: &mut String) -> Result<(), Failure> {
    place.fresh()?;
    let settings = fs::read_to_string(place.root().join("ops.toml"))?;
    fs::write(place.root().join("ops.toml"), format!("{settings}ship_seconds = {SHIP_SECONDS}\n"))?;
    writer::create(&place.database(), megabytes * 1000, 940)?;
    let mut follower = Follower::start(place, Who::Ours)?;
    follower.settle(place)?;
    Writer::start(&place.database(), LOAD.0, Some(LOAD.1))?.finish()?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let moment = follower.stored(place)?.iter().map(|stored| stored.until).fold(0.0, f64::max).min(now());
    let segments = follower.stored(place)?.len();
    drop(follower);
    let at = Timestamp::from_nanosecond((moment * 1e9) as i128 - 1_000_000)?.to_string();
    let into = place.work.join("restored");
    let restore = |how: &[&str]| -> Result<f64, Failure> {
        if into.exists() {
            fs::remove_dir_all(&into)?;
        }
        machine::drop_caches();
        let mut command = Command::new(&place.ours);
        command.arg("--root").arg(place.root()).args(["restore", "apply"]).args(how).arg("--into").arg(&into);
        Ok(measure(&mut command)?.seconds)
    };
    let (mut plain, mut gone_on) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.push(restore(&["latest"])?);
        gone_on.push(restore(&["--at", &at])?);
    }
    let (plain, gone_on) = (median(plain), median(gone_on));
    let size = fs::metadata(place.database())?.len() / 1_000_000;
    writeln!(
        report,
        "\n| restore of {size} MB, {segments} segments, {} transactions | s | ratio |",
        LOAD.0 as f64 * LOAD.1
    )?;
    writeln!(report, "| --- | ---: | ---: |\n| the snapshot | {plain:.2} | 1.00 |")?;
    writeln!(report, "| to the second | {gone_on:.2} | {:.2} |", gone_on / plain)?;
    Ok(())
}
