//! `uplifted-ops continuous`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ContinuousCommand {
    /// Show which databases are followed, and how far behind what is stored is
    #[command(after_help = "\
Exits 1 when one that is to be followed is not, or a backup is missing as its base.

Example:
  uplifted-ops continuous status")]
    Status {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
    },
    /// Follow databases from now on, whatever the settings say
    #[command(after_help = "\
A process of the service does it: from its next start on when none runs.

Example:
  uplifted-ops continuous start --store main")]
    Start {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
    },
    /// Follow them no longer; what is stored stays
    #[command(after_help = "Example:\n  uplifted-ops continuous stop --store main")]
    Stop {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
    },
    /// Put small segments together and remove what is too old
    #[command(after_help = "\
Whoever follows does it by himself, now and then.

Example:
  uplifted-ops continuous compact --dry-run")]
    Compact {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}
