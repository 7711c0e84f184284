//! The same folder, embedded three times: what the hosts in Rust, Python and Node report about it, side by side.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use uplifted_example::{Failure, ledger, say};
use uplifted_ops::value::ByteSize;

use crate::equip::Language;
use crate::host::Host;

/// Runs the hosts on `root`, all at the same time, and compares what they say. What they need is installed in `hosts`;
/// those in `without` are left out.
pub(crate) fn side_by_side(root: &Path, hosts: &Path, without: &[Language]) -> Result<(), Failure> {
    say!("\nThe same folder, embedded in three languages")?;
    let mut rust = Command::new(std::env::current_exe()?.with_file_name("uplifted-example"));
    rust.arg("serve");
    let mut commands = vec![("Rust", rust)];
    for (name, language) in [("Python", Language::Python), ("Node", Language::Node)] {
        if !without.contains(&language)
            && let Some(command) = language.equip(hosts)?
        {
            commands.push((name, command));
        }
    }
    let running = commands
        .iter_mut()
        .map(|(name, command)| Host::start(name, command, root))
        .collect::<Result<Vec<_>, Failure>>()?;
    for host in &running {
        say!("   {:<8} listens on http://{}", host.name, host.address)?;
    }
    say!(
        "   All run at once, and write into the one ledger. Each makes a backup through its own /api/v1/backup/create:"
    )?;
    for host in &running {
        let backup = host.post("/api/v1/backup/create", &json!({ "label": format!("by {}", host.name) }))?;
        if backup["outcome"] != "complete" {
            return Err(format!("the backup of the host in {} is {}", host.name, backup["outcome"]).into());
        }
        say!(
            "   {:<8} {} files, in {:.2} s",
            host.name,
            backup["files"],
            backup["duration_seconds"].as_f64().unwrap_or(0.0)
        )?;
    }
    say!("   Then each is asked what there is:")?;

    let names: String = running.iter().map(|host| format!("{:>8}", host.name)).collect();
    say!("\n   {:<56}{names}", "")?;
    let mut differences = 0;
    for (title, facts) in QUESTIONS {
        let told = running.iter().map(facts).collect::<Result<Vec<_>, Failure>>()?;
        say!("   {title}")?;
        for (fact, by) in folded(together(&told)) {
            let marks: String = by.iter().map(|by| if *by { "       ✓" } else { "       ✗" }).collect();
            differences += by.iter().filter(|by| !**by).count();
            say!("     {:<54}{marks}", shortened(&fact, 53))?;
        }
    }
    for host in running {
        let name = host.name;
        say!("{}   {name:<8} made {} transfers", if name == "Rust" { "\n" } else { "" }, host.stop()?)?;
    }
    let proof = ledger::verify(&root.join("data/uplifted.db"))?;
    if !proof.ok {
        return Err(format!("the ledger is wrong: {}", proof.problems.join("; ")).into());
    }
    say!(
        "   The ledger is sound after transfer {}: integrity_check ok, and every balance fits its entries",
        proof.transfers
    )?;
    if differences > 0 {
        return Err("the hosts do not report the same".into());
    }
    Ok(())
}

/// What a host is asked, as facts that are the same whoever is asked: without times, durations and process numbers.
type Facts = fn(&Host) -> Result<Vec<String>, Failure>;

const QUESTIONS: [(&str, Facts); 4] = [
    ("its own /api/v1/system/status", system_status),
    ("snapshots: /api/v1/backup/list", snapshots),
    ("health checks: /health", checks),
    ("metrics: /metrics", families),
];

fn system_status(host: &Host) -> Result<Vec<String>, Failure> {
    let status = host.get("/api/v1/system/status")?;
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    Ok(vec![
        format!("{} plugins, {} active", count("plugin_count"), count("active_plugin_count")),
        format!("{} tools, {} active", count("total_tools"), count("active_tools")),
        format!("tool server: {}", if status["mcp_available"] == true { "available" } else { "not available" }),
    ])
}

fn snapshots(host: &Host) -> Result<Vec<String>, Failure> {
    let listed = host.get("/api/v1/backup/list")?;
    let facts = array(&listed, "snapshots").map(|snapshot| {
        let bytes = ByteSize(snapshot["size_bytes"].as_u64().unwrap_or(0));
        let [id, time, outcome, label] = ["snapshot_id", "time", "outcome", "label"].map(|name| text(snapshot, name));
        format!("{id} {outcome}, {bytes}, \"{label}\" {time}")
    });
    Ok(facts.collect())
}

fn checks(host: &Host) -> Result<Vec<String>, Failure> {
    let health = host.get("/health")?;
    let facts = array(&health, "checks").map(|check| match text(check, "status") {
        "pass" => format!("pass {}", text(check, "name")),
        // Numbers move between two questions.
        status => format!("{status} {}: {}", text(check, "name"), without_numbers(text(check, "message"))),
    });
    Ok(facts.collect())
}

fn without_numbers(text: &str) -> String {
    text.split(|c: char| c.is_ascii_digit()).filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("#")
}

/// Each family with its kind.
fn families(host: &Host) -> Result<Vec<String>, Failure> {
    let page = host.page("/metrics")?;
    Ok(page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect())
}

fn array<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Every fact once, in the order in which they are told first, and who tells it.
fn together(told: &[Vec<String>]) -> Vec<(String, Vec<bool>)> {
    let mut facts: Vec<&String> = Vec::new();
    for fact in told.iter().flatten() {
        if !facts.contains(&fact) {
            facts.push(fact);
        }
    }
    facts.into_iter().map(|fact| (fact.clone(), told.iter().map(|told| told.contains(fact)).collect())).collect()
}

/// What every host tells of metrics, in a line for each origin. What one of them lacks keeps a line of its own.
fn folded(facts: Vec<(String, Vec<bool>)>) -> Vec<(String, Vec<bool>)> {
    let origin_of = |fact: &str| ORIGINS.into_iter().find(|origin| fact.starts_with(origin));
    let (common, mut lines): (Vec<_>, Vec<_>) =
        facts.into_iter().partition(|(fact, by)| origin_of(fact).is_some() && by.iter().all(|by| *by));
    for origin in ORIGINS {
        let members: Vec<_> = common.iter().filter(|(fact, _)| origin_of(fact) == Some(origin)).collect();
        if let Some((_, by)) = members.first() {
            let families = if members.len() == 1 { "family" } else { "families" };
            lines.push((format!("{} {families} {origin}…", members.len()), by.clone()));
        }
    }
    lines
}

/// How the names of families begin: ours, the service's, those that every process has.
const ORIGINS: [&str; 3] = ["uplifted_ops_", "uplifted_", "process_"];

/// At most `length` characters.
fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_one_host_lacks_is_seen() {
        let told = [vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned(), "c".to_owned()]];
        let expected = [("a", [true, false]), ("b", [true, true]), ("c", [false, true])];
        let expected: Vec<_> = expected.iter().map(|(fact, by)| ((*fact).to_owned(), by.to_vec())).collect();
        assert_eq!(together(&told), expected);
    }

    #[test]
    fn numbers_are_no_difference() {
        assert_eq!(without_numbers("only 5.2 GiB of 10 free"), "only # GiB of # free");
        assert_eq!(without_numbers("switched off: weather"), "switched off: weather");
    }

    #[test]
    fn what_all_have_is_folded_and_what_one_lacks_is_not() {
        let facts = [
            ("uplifted_ops_x gauge", [true, true]),
            ("uplifted_ops_y gauge", [true, true]),
            ("uplifted_requests_total counter", [true, true]),
            ("process_threads gauge", [true, false]),
            ("pass disk", [true, true]),
        ];
        let folded = folded(facts.map(|(fact, by)| (fact.to_owned(), by.to_vec())).to_vec());
        let lines: Vec<&str> = folded.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(lines, ["process_threads gauge", "pass disk", "2 families uplifted_ops_…", "1 family uplifted_…"]);
        assert_eq!(folded[0].1, [true, false]);
    }

    #[test]
    fn long_facts_are_shortened_by_characters() {
        assert_eq!(shortened("grün", 4), "grün");
        assert_eq!(shortened("grüner", 4), "grü…");
    }
}
