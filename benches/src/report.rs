//! The report: a Markdown table that can be pasted into `benches/README.md`.

use std::fmt;

use serde_json::Value;

use crate::contenders::{INTEGRITY, OURS, OURS_DATA, RESTIC, TAR};
use crate::program::Measure;
use crate::repository::{CHANGED, FIRST, ONE_FILE, RESTIC_BACKUP, RESTORE, UNCHANGED, VERIFY};

/// The runs of a contender.
type Runs = (&'static str, Vec<Measure>);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    service: Value,
    machine: Vec<String>,
    rounds: u32,
    /// Whether the page cache was emptied before each run.
    pub(crate) cold: bool,
    /// Who could not take part.
    pub(crate) missing: Vec<String>,
    jobs: Vec<(&'static str, Vec<Runs>)>,
    /// The writer's latencies.
    pub(crate) latencies: Option<Latencies>,
}

/// `(p99, max)` of the writer's commits in seconds, one of each for a round.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// Without a backup.
    pub(crate) alone: Vec<(f64, f64)>,
    /// While a backup ran.
    pub(crate) during: Vec<(f64, f64)>,
}

/// A promise, and whether it is kept.
struct Verdict {
    what: String,
    kept: bool,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(service: Value, machine: Vec<String>, rounds: u32) -> Self {
        Self { service, machine, rounds, cold: false, missing: Vec::new(), jobs: Vec::new(), latencies: None }
    }

    /// Adds a job with the runs of each contender.
    pub(crate) fn add(&mut self, job: &'static str, measured: Vec<Runs>) {
        self.jobs.push((job, measured));
    }

    fn seconds(&self, job: &str, contender: &str) -> Option<f64> {
        let (_, measured) = self.jobs.iter().find(|(name, _)| *name == job)?;
        let (_, runs) = measured.iter().find(|(name, _)| *name == contender)?;
        median(runs.iter().map(|run| run.seconds))
    }

    fn stored(&self, job: &str, contender: &str) -> Option<f64> {
        let (_, measured) = self.jobs.iter().find(|(name, _)| *name == job)?;
        let (_, runs) = measured.iter().find(|(name, _)| *name == contender)?;
        median(runs.iter().filter_map(|run| run.stored_bytes).map(|bytes| bytes as f64))
    }

    /// The promises of the project that these numbers can judge.
    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let ours = |job| self.seconds(job, OURS);
        let mut judge = |what: &str, found: Option<f64>, limit: Option<f64>| {
            if let (Some(found), Some(limit)) = (found, limit) {
                verdicts.push(Verdict {
                    what: format!("{what}: {found:.2} s of at most {limit:.2} s"),
                    kept: found <= limit,
                });
            }
        };
        let tar = self.seconds("backup", "tar \\| zstd -3 -T2");
        judge("backup within 1.4x of tar | zstd", ours("backup"), tar.map(|s| s * 1.4));
        let guide = self.seconds("backup", "guide's backup.sh");
        judge("backup 9x faster than the guide's script", ours("backup"), guide.map(|s| s / 9.0));
        let restic = self.seconds("verify", RESTIC);
        let data = self.seconds("verify", OURS_DATA);
        judge("every byte verified within restic / 3", data, restic.map(|restic| restic / 3.0));
        let integrity = self.seconds("verify", INTEGRITY);
        let both = restic.zip(integrity).map(|(restic, integrity)| restic / 3.0 + 1.5 * integrity);
        judge("full verify within restic / 3 + 1.5x integrity_check", ours("verify"), both);
        judge("restore within 0.9x of tar -xf", ours("restore"), self.seconds("restore", TAR).map(|s| s * 0.9));
        let restic = |job| self.seconds(job, RESTIC_BACKUP);
        judge("first backup 2x faster than restic", ours(FIRST), restic(FIRST).map(|s| s / 2.0));
        judge("backup after 1 % 5x faster than restic", ours(CHANGED), restic(CHANGED).map(|s| s / 5.0));
        judge("backup of 20,000 unchanged files", ours(UNCHANGED), Some(0.5));
        let check = self.seconds(VERIFY, RESTIC);
        judge(
            "repository, every byte verified 3x faster than restic",
            self.seconds(VERIFY, OURS_DATA),
            check.map(|s| s / 3.0),
        );
        let both = check.zip(integrity).map(|(restic, integrity)| restic / 3.0 + 1.5 * integrity);
        judge("repository, full verify within restic / 3 + 1.5x integrity_check", ours(VERIFY), both);
        judge("repository, restore 1.8x faster than restic", ours(RESTORE), restic(RESTORE).map(|s| s / 1.8));
        judge("one file restored", ours(ONE_FILE), Some(0.1));
        if let Some(stored) = self.stored(CHANGED, OURS) {
            let what = format!("stored after 1 %: {:.1} MB of at most 15 MB", stored / 1e6);
            verdicts.push(Verdict { what, kept: stored <= 15e6 });
        }
        let peaks = self.jobs.iter().flat_map(|(_, measured)| measured).filter(|(name, _)| name.starts_with(OURS));
        if let Some(peak) = peaks.flat_map(|(_, runs)| runs).map(|run| run.peak_bytes).max() {
            let what = format!("peak memory of host and worker: {:.1} MB of at most 100 MB", peak as f64 / 1e6);
            verdicts.push(Verdict { what, kept: peak <= 100_000_000 });
        }
        let during = self.latencies.as_ref().and_then(|l| median(l.during.iter().map(|(p99, _)| *p99)));
        if let Some(p99) = during {
            let what = format!("writer's p99 during a backup: {:.2} ms of at most 1 ms", p99 * 1e3);
            verdicts.push(Verdict { what, kept: p99 <= 1e-3 });
        }
        verdicts
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = uplifted_ops::clock::Clock::now(&uplifted_ops::clock::SystemClock);
        writeln!(f, "### {}\n", now.strftime("%Y-%m-%d"))?;
        for fact in &self.machine {
            writeln!(f, "- {fact}")?;
        }
        writeln!(f, "- service: {}", self.service)?;
        let cache = if self.cold { "page cache dropped before each run" } else { "page cache warm" };
        writeln!(f, "- median of {} runs, contenders by turns, {cache}", self.rounds)?;
        if !self.missing.is_empty() {
            writeln!(f, "- not installed, so not timed: {}", self.missing.join(", "))?;
        }
        writeln!(f, "\n| job | who | median s | min to max s | ratio to ours | peak MB | stored MB |")?;
        writeln!(f, "| --- | --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (job, measured) in &self.jobs {
            let ours = self.seconds(job, OURS);
            for (name, runs) in measured {
                let Some(middle) = median(runs.iter().map(|run| run.seconds)) else { continue };
                let low = runs.iter().map(|run| run.seconds).fold(f64::INFINITY, f64::min);
                let high = runs.iter().map(|run| run.seconds).fold(0.0, f64::max);
                let ratio = ours.map_or_else(String::new, |ours| format!("{:.2}", middle / ours));
                let peak = runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0) as f64 / 1e6;
                let stored = self.stored(job, name).map_or_else(String::new, |bytes| format!("{:.1}", bytes / 1e6));
                writeln!(
                    f,
                    "| {job} | {name} | {middle:.2} | {low:.2} to {high:.2} | {ratio} | {peak:.1} | {stored} |"
                )?;
            }
        }
        if let Some(latencies) = &self.latencies {
            writeln!(f, "\n| writer | p99 ms | max ms |\n| --- | ---: | ---: |")?;
            for (name, rounds) in [("alone", &latencies.alone), ("during our backup", &latencies.during)] {
                let p99 = median(rounds.iter().map(|(p99, _)| *p99)).unwrap_or(f64::NAN) * 1e3;
                let max = rounds.iter().map(|(_, max)| *max).fold(0.0, f64::max) * 1e3;
                writeln!(f, "| {name} | {p99:.2} | {max:.2} |")?;
            }
        }
        let verdicts = self.verdicts();
        if !verdicts.is_empty() {
            writeln!(f)?;
        }
        for verdict in verdicts {
            writeln!(f, "- {}: {}", if verdict.kept { "kept" } else { "**missed**" }, verdict.what)?;
        }
        Ok(())
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[odd / 2]),
        even => Some((sorted[even / 2 - 1] + sorted[even / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(seconds: &[f64]) -> Vec<Measure> {
        seconds.iter().map(|&seconds| Measure { seconds, peak_bytes: 90_000_000, stored_bytes: None }).collect()
    }

    #[test]
    fn promises_are_judged_by_medians() {
        let mut report = Report::new(Value::Null, Vec::new(), 3);
        report
            .add("backup", vec![(OURS, runs(&[13.0, 1.0, 14.0])), ("tar \\| zstd -3 -T2", runs(&[10.0, 10.0, 10.0]))]);
        report.add("restore", vec![(OURS, runs(&[9.5])), (TAR, runs(&[10.0]))]);
        let text = report.to_string();
        assert!(text.contains("| backup | uplifted-ops | 13.00 | 1.00 to 14.00 | 1.00 | 90.0 |  |"), "{text}");
        assert!(text.contains("- kept: backup within 1.4x of tar | zstd: 13.00 s of at most 14.00 s"), "{text}");
        assert!(text.contains("- **missed**: restore within 0.9x of tar -xf: 9.50 s of at most 9.00 s"), "{text}");
        assert!(text.contains("- kept: peak memory of host and worker: 90.0 MB"), "{text}");
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }
}
