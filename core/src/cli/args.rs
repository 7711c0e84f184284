//! What may be typed: the commands, their options, and the examples in `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(super) use self::backup::{BackupCommand, Snapshot};
pub(super) use self::continuous::ContinuousCommand;
pub(super) use self::keys::{IdentityFile, KeysCommand};
pub(super) use self::metrics::{
    GenerateCommand, GenerateOptions, HistoryOptions, MetricsCommand, MetricsFormat, MetricsOptions,
};
pub(super) use self::restore::{RestoreCommand, RestoreOptions, SwapOptions};

mod backup;
mod continuous;
mod keys;
mod metrics;
mod restore;

/// Operations built into a service: health, metrics, backup and restore.
#[derive(Debug, Parser)]
#[command(
    name = "uplifted-ops",
    version,
    about,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Exit status:
  0  done
  1  done, and something is not well: a critical check failed, a backup is partial, a verify found damage
  2  could not be done; the reason and the repair are on stderr

Examples:
  uplifted-ops --root /opt/uplifted init
  uplifted-ops --root /opt/uplifted backup create
  uplifted-ops --root /opt/uplifted restore apply latest --into /tmp/look
  uplifted-ops call health.check '{\"group\": \"ready\"}'"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct GlobalOptions {
    /// The service's root folder. The working directory, or the nearest folder above it with an ops.toml, when
    /// not given
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,

    /// The settings file. `ops.toml` in the root folder when not given
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Print the response as JSON on stdout, an error as {"error": {…}}
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Print no progress
    #[arg(long, short, global = true, conflicts_with = "progress")]
    pub(super) quiet: bool,

    /// Print progress on stderr even with --json
    #[arg(long, global = true)]
    pub(super) progress: bool,

    /// Answer from this process; do not ask the running service, as status, health and metrics do
    #[arg(long, global = true)]
    pub(super) local: bool,

    /// Override a setting, such as backup.level=9; may be given again. This process answers then, as with --local
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub(super) set: Vec<(String, String)>,

    /// Whether the request replaces the settings file, which may be broken then
    #[arg(skip)]
    pub(super) replaces_settings: bool,

    /// Whether the request tells what is wrong with the settings
    #[arg(skip)]
    pub(super) checks_settings: bool,
}

impl GlobalOptions {
    /// These options for a request: a broken `ops.toml` does not stand in the way of its own replacement, nor of hearing all that is
    /// wrong with it.
    pub(super) fn meant_for(self, operation: &str, request: &serde_json::Value) -> Self {
        Self {
            replaces_settings: operation == "config.init" && request["force"] == true,
            checks_settings: operation == "config.check",
            ..self
        }
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as backup.level=9".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look at the service folder and write an ops.toml for it
    #[command(after_help = "\
Never asks. An ops.toml that exists is left alone unless --force is given, which keeps it as ops.toml.old.

Examples:
  uplifted-ops --root /opt/uplifted init
  uplifted-ops --root /opt/uplifted init --print | less")]
    Init {
        /// Replace an ops.toml that exists, also one that is broken; it is kept as ops.toml.old
        #[arg(long)]
        force: bool,
        /// Print what would be written, and write nothing
        #[arg(long)]
        print: bool,
    },

    /// Show what is running and how it is set up
    #[command(after_help = "\
Asks the running service on ops.sock in its state folder; --local answers from this process.

Example:
  uplifted-ops --root /opt/uplifted status")]
    Status,

    /// Show or check the settings
    #[command(
        subcommand,
        after_help = "\
Examples:
  uplifted-ops config show
  uplifted-ops config check"
    )]
    Config(ConfigCommand),

    /// Run the health checks
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Exits 1 when a critical check fails. Asks the running service, where there is one; --local asks from this process.

Examples:
  uplifted-ops health
  uplifted-ops health --group ready
  uplifted-ops health check --json
  uplifted-ops health --history --hours 24"
    )]
    Health {
        #[command(flatten)]
        check: HealthOptions,
        #[command(subcommand)]
        command: Option<HealthCommand>,
    },

    /// Print the service's metrics
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Asks the running service, where there is one; --local shows what this process can read.

Examples:
  uplifted-ops metrics
  uplifted-ops metrics render --format openmetrics
  uplifted-ops metrics history process_resident_memory_bytes"
    )]
    Metrics {
        #[command(flatten)]
        render: MetricsOptions,
        #[command(subcommand)]
        command: Option<MetricsCommand>,
    },

    /// Write the files with which Prometheus, its alerts and Grafana watch this service
    #[command(
        subcommand,
        after_help = "\
Without --write the file is printed, and nothing is written.

Examples:
  uplifted-ops generate prometheus
  uplifted-ops generate alerts --write /etc/prometheus
  uplifted-ops generate grafana --write ."
    )]
    Generate(GenerateCommand),

    /// Make, list, look into, verify, rehearse, copy, keep and delete backups
    #[command(
        subcommand,
        after_help = "\
Examples:
  uplifted-ops backup create --label before-upgrade
  uplifted-ops backup list
  uplifted-ops backup verify latest
  uplifted-ops backup drill
  uplifted-ops backup retain --dry-run
  uplifted-ops backup delete 1f0c3a --dry-run"
    )]
    Backup(BackupCommand),

    /// Bring files and databases back
    #[command(
        subcommand,
        after_help = "\
Examples:
  uplifted-ops restore plan latest
  uplifted-ops restore apply latest --into /tmp/look
  uplifted-ops restore apply 1f0c3a config .env
  uplifted-ops restore undo 6423fb590e02"
    )]
    Restore(RestoreCommand),

    /// Look at the databases
    #[command(
        subcommand,
        after_help = "\
Examples:
  uplifted-ops store stats
  uplifted-ops store verify --store main --depth quick"
    )]
    Store(StoreCommand),

    /// Follow databases, so that the service goes back to any second
    #[command(
        subcommand,
        after_help = "\
Examples:
  uplifted-ops continuous status
  uplifted-ops continuous start --store main"
    )]
    Continuous(ContinuousCommand),

    /// Show what runs by itself, or run one of it now
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Jobs run in the service that has uplifted-ops in it, in one of its processes.

Examples:
  uplifted-ops schedule
  uplifted-ops schedule run backup"
    )]
    Schedule {
        #[command(subcommand)]
        command: Option<ScheduleCommand>,
    },

    /// Show what was done
    #[command(after_help = "\
Examples:
  uplifted-ops journal
  uplifted-ops journal --operation backup.create --limit 5
  uplifted-ops journal --since 2026-11-01
  uplifted-ops journal --since 24h")]
    Journal {
        /// Only what happened since then: a time in UTC, a date, or an age such as 90m, 24h, 7d
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only this operation, such as backup.create
        #[arg(long, value_name = "NAME")]
        operation: Option<String>,
        /// At most this many records, the latest ones
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u64,
    },

    /// Run any operation: a JSON request in, a JSON response out
    #[command(after_help = "\
The response is one JSON object on stdout; an error is {\"error\": {…}} on stdout with exit status 2.
Never asks. `uplifted-ops schema` prints every operation with its request and response.

Examples:
  uplifted-ops call backup.create '{\"label\": \"before-upgrade\"}'
  echo '{\"group\": \"ready\"}' | uplifted-ops call health.check -")]
    Call {
        /// The operation, such as backup.create
        name: String,
        /// The request as JSON, or - to read it from stdin; {} when not given
        #[arg(allow_hyphen_values = true)]
        request: Option<String>,
    },

    /// Print the operations with the JSON schemas of their requests and responses
    #[command(after_help = "\
Examples:
  uplifted-ops schema
  uplifted-ops schema backup.create")]
    Schema {
        /// Only this operation
        name: Option<String>,
    },

    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  uplifted-ops completions bash > /etc/bash_completion.d/uplifted-ops
  uplifted-ops completions zsh > ~/.zfunc/_uplifted-ops
  uplifted-ops completions fish > ~/.config/fish/completions/uplifted-ops.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every setting with its value and where it comes from
    #[command(after_help = "Example:\n  uplifted-ops config show")]
    Show,
    /// Look for mistakes in the settings
    #[command(after_help = "Exits 1 when there are mistakes.\n\nExample:\n  uplifted-ops config check")]
    Check,
}

#[derive(Debug, Clone, Default, Args)]
pub(super) struct HealthOptions {
    /// Only the checks of this group, such as live or ready
    #[arg(long, value_name = "NAME")]
    pub(super) group: Option<String>,

    /// Tell how the checks were, by the journal: uptime, failures, the last changes. Asks none
    #[arg(long, conflicts_with = "group")]
    pub(super) history: bool,

    /// How many hours back, with --history. A week when left out
    #[arg(long, value_name = "HOURS", requires = "history")]
    pub(super) hours: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum HealthCommand {
    /// Run the health checks
    #[command(after_help = "Example:\n  uplifted-ops health check --group ready")]
    Check(HealthOptions),
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Show sizes and settings of the databases
    #[command(after_help = "Example:\n  uplifted-ops store stats")]
    Stats {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
    },
    /// Check the integrity of the databases, on copies
    #[command(after_help = "Exits 1 when one is damaged.\n\nExample:\n  uplifted-ops store verify --store main")]
    Verify {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
        /// quick: the structure; full: each index against its table too
        #[arg(long, value_name = "DEPTH", default_value = "full", value_parser = ["quick", "full"])]
        depth: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Show the jobs: when they run, how the last run went, who runs them
    #[command(after_help = "Example:\n  uplifted-ops schedule list")]
    List,
    /// Run the jobs when their times come, until it is stopped
    #[command(after_help = "\
For a service that has no uplifted-ops in it: let the service manager keep this running beside it. Of several, and
beside a service that has it, one runs the jobs.

Example:
  uplifted-ops --root /opt/uplifted schedule serve")]
    Serve,
    /// Run a job now, and after its success those that follow it
    #[command(after_help = "Exits 1 when it does not end well.\n\nExample:\n  uplifted-ops schedule run backup")]
    Run {
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_summary_and_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let name = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{name} says nothing about itself");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{name} has no example");
            for line in help.lines().filter(|line| line.starts_with("  uplifted-ops ")) {
                let words = line.trim().split('|').next().unwrap_or_default();
                let words = words.split('>').next().unwrap_or_default();
                if !words.contains('{') {
                    // What stands in quotes is one word.
                    let parts = words.split('\'').enumerate().flat_map(|(number, part)| match number % 2 {
                        0 => part.split_whitespace().collect(),
                        _ => vec![part],
                    });
                    let parsed = Cli::try_parse_from(parts);
                    assert!(parsed.is_ok(), "the example of {name} does not parse: {line}");
                }
            }
            for sub in command.get_subcommands() {
                walk(sub, &name);
            }
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn global_options_stand_on_either_side() {
        for words in ["--root /srv --set a.b=1=2 status", "status --root /srv --set a.b=1=2"] {
            let cli = Cli::try_parse_from(std::iter::once("uplifted-ops").chain(words.split(' '))).unwrap();
            assert_eq!(cli.global.root, Some(PathBuf::from("/srv")));
            assert_eq!(cli.global.set, [("a.b".to_owned(), "1=2".to_owned())]);
        }
    }

    #[test]
    fn misuse_exits_2() {
        for words in
            ["nonsense", "call", "--set x status", "--quiet --progress status", "health --group", "backup show"]
        {
            let error = Cli::try_parse_from(std::iter::once("uplifted-ops").chain(words.split(' '))).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
        }
    }
}
