//! What counting costs in Python and in Node, beside their peers.
//!
//! Each contender and round is a process of its own, by turns: what a compiler learns of one must not slow another.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use uplifted_example::Failure;

/// A language, and who counts in it: ours first.
struct Host {
    language: &'static str,
    contenders: &'static [&'static str],
    script: &'static str,
}

const HOSTS: [Host; 2] = [
    Host {
        language: "Python",
        contenders: &[
            "uplifted-ops",
            "uplifted-ops, multi-process",
            "prometheus_client",
            "prometheus_client, multi-process",
        ],
        script: "metrics.py",
    },
    Host {
        language: "Node",
        contenders: &["uplifted-ops", "uplifted-ops, multi-process", "prom-client", "@prometheus-io/client"],
        script: "metrics.mjs",
    },
];

/// Nanoseconds of a round, by job.
type Times = BTreeMap<String, f64>;

/// Measures in the hosts that are installed in `folder`, as `make bench-metrics` does it, and appends rows to the table.
pub(super) fn run(report: &mut String, folder: &Path, rounds: usize) -> Result<(), Failure> {
    // What is started there has it as its folder.
    let folder = &std::path::absolute(folder)?;
    for host in HOSTS {
        let (program, at) = match host.language {
            "Python" => (folder.join("python/bin/python"), folder.to_owned()),
            _ => (PathBuf::from("node"), folder.join("node")),
        };
        let installed = if host.language == "Python" { program.exists() } else { at.join("node_modules").exists() };
        if !installed {
            eprintln!(
                "{} is left out: {} is not there; `make bench-metrics` makes it",
                host.language,
                folder.display()
            );
            continue;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings").join(host.script);
        let mut found: Vec<Vec<Times>> = vec![Vec::new(); host.contenders.len()];
        for round in 0..rounds {
            for turn in 0..host.contenders.len() {
                let who = (round + turn) % host.contenders.len();
                let mut command = Command::new(&program);
                command.arg(&script).arg(host.contenders[who]).current_dir(&at);
                match measure(&mut command) {
                    Ok(times) => found[who].push(times),
                    // A peer may not run on this version of the language.
                    Err(error) if who > 0 => eprintln!("{}: {error}", host.contenders[who]),
                    Err(error) => return Err(error),
                }
            }
        }
        rows(report, &host, &found)?;
    }
    Ok(())
}

fn measure(command: &mut Command) -> Result<Times, Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn rows(report: &mut String, host: &Host, found: &[Vec<Times>]) -> Result<(), Failure> {
    let jobs: Vec<&String> = found[0].first().into_iter().flat_map(BTreeMap::keys).collect();
    for job in jobs {
        let mut ours = f64::NAN;
        for (who, rounds) in host.contenders.iter().zip(found) {
            let mut times: Vec<f64> = rounds.iter().filter_map(|times| times.get(job).copied()).collect();
            times.sort_by(f64::total_cmp);
            let (Some(least), Some(most)) = (times.first(), times.last()) else { continue };
            let median = times[times.len() / 2];
            if ours.is_nan() {
                ours = median;
            }
            // A page takes milliseconds.
            let (scale, unit) = if ours < 1e5 { (1.0, "ns") } else { (1e-6, "ms") };
            let [shown, least, most] = [median, *least, *most].map(|time| time * scale);
            let (language, ratio) = (host.language, median / ours);
            writeln!(
                report,
                "| {language}: {job} | {who} | {shown:.1} {unit} | {least:.1} to {most:.1} | {ratio:.1} |"
            )?;
        }
    }
    Ok(())
}
