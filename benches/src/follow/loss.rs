//! What a crash takes with it: everything that follows is killed under load, and the target is looked at.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use uplifted_example::Failure;

use super::at;
use super::followers::{Follower, Place, Who};
use super::writer::{self, Writer, now};
use crate::random::Random;

/// Transactions a second meanwhile.
const RATE: u32 = 500;

/// Kills each of them so often.
pub(super) fn run(place: &Place, kills: u32, report: &mut String) -> Result<(), Failure> {
    writeln!(
        report,
        "\n| killed {kills} times at {RATE} transactions a second | lost s, median | most s | lost transactions, most | again up to date after s, most |"
    )?;
    writeln!(report, "| --- | ---: | ---: | ---: | ---: |")?;
    for who in place.all().into_iter().filter(|who| *who != Who::Nobody) {
        place.fresh()?;
        writer::create(&place.database(), 20_000, 300)?;
        let mut follower = Follower::start(place, who)?;
        follower.settle(place)?;
        let writer = Writer::start(&place.database(), RATE, None)?;
        let mut random = Random::new(42);
        let (mut losses, mut behind) = (Vec::new(), Vec::new());
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(1500 + random.below(1500)));
            let killed = now();
            follower.kill()?;
            let until = newest(&follower, place)?;
            losses.push((until, killed));
            let started = now();
            follower = Follower::start(place, who)?;
            let began = Instant::now();
            while newest(&follower, place)? < started {
                if began.elapsed() > Duration::from_secs(60) {
                    return Err(format!("{who} does not go on after it was killed").into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            behind.push(now() - started);
        }
        drop(follower);
        let commits = writer.finish()?;
        let lost =
            |(until, killed): &(f64, f64)| commits.iter().filter(|it| it.at > *until && it.at <= *killed).count();
        let most = losses.iter().map(lost).max().unwrap_or(0);
        let mut seconds: Vec<f64> = losses.iter().map(|(until, killed)| (killed - until).max(0.0)).collect();
        seconds.sort_unstable_by(f64::total_cmp);
        behind.sort_unstable_by(f64::total_cmp);
        let (half, all, again) = (at(&seconds, 0.5), at(&seconds, 1.0), at(&behind, 1.0));
        writeln!(report, "| {who} | {half:.2} | {all:.2} | {most} | {again:.1} |")?;
    }
    Ok(())
}

/// Up to when the target has everything.
fn newest(follower: &Follower, place: &Place) -> Result<f64, Failure> {
    Ok(follower.stored(place)?.into_iter().map(|stored| stored.until).fold(0.0, f64::max))
}
