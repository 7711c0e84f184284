//! `uplifted-ops restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::IdentityFile;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RestoreCommand {
    /// Show what a restore would do, and do nothing
    #[command(after_help = "\
The ID may be the path of an archive, such as the guide's uplifted_*.tar.gz.

Examples:
  uplifted-ops restore plan latest config .env
  uplifted-ops restore plan /backup/uplifted_20260101_020000.tar.gz")]
    Plan(RestoreOptions),
    /// Restore over the service, or beside it with --into
    #[command(after_help = "\
Over the service: on a terminal it shows the plan and asks; elsewhere it demands --yes.
What it replaces is kept, and `uplifted-ops restore undo` brings it back.

Examples:
  uplifted-ops restore apply latest --into /tmp/look
  uplifted-ops restore apply latest --yes
  uplifted-ops restore apply --at 14:32:10 --into /tmp/look
  uplifted-ops restore apply 1f0c3a --yes config .env
  uplifted-ops restore apply /backup/uplifted_20260101_020000.tar.gz --into /tmp/look")]
    Apply {
        #[command(flatten)]
        options: RestoreOptions,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Show which seconds can be gone back to, and which cannot, and why
    #[command(after_help = "\
Exits 1 when a target could not be asked.

Example:
  uplifted-ops restore points --store main")]
    Points {
        /// Only this database
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Restore a database of a server into a new one beside it
    #[command(after_help = "\
There must be no database of that name: none is ever replaced. What was restored is held against the backup: rows,
sequences, extensions, indexes. Exits 1 when it is not as the backup has it. `uplifted-ops restore swap` lets it take the
name of the live one.

Examples:
  uplifted-ops restore database latest shop_yesterday --store main
  uplifted-ops restore database shop_1432 --at 14:32:10
  uplifted-ops restore database shop_before --place before-upgrade")]
    Database {
        /// The beginning of a snapshot's ID, or `latest`, and the name of the new database; with --at or --place the name alone
        #[arg(value_names = ["ID", "NAME"], num_args = 1..=2, required = true)]
        names: Vec<String>,
        /// Only from this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Go back to this moment: a time today here (14:32:10), a local one (2026-11-22 14:32:10), one with its zone
        /// (2026-11-22T14:32:10Z), or an age (15m)
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Go back to this place in the server's log: an LSN, or a restore point (`pg_create_restore_point`). It is looked for
        /// behind the newest backup that is older than --at, if that is given too
        #[arg(long, value_name = "PLACE")]
        place: Option<String>,
        /// The store whose database it is; the only one of a server when not given
        #[arg(long, value_name = "STORE")]
        store: Option<String>,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Let a database that was restored beside the live one take its name
    #[command(after_help = "\
NAME is one that `uplifted-ops restore database` made. The live database is put aside under another name, with nobody let in;
the new one gets its owner, rights and settings. Who is connected is in the way, unless --drain ends these sessions. On a
terminal it shows the plan and asks; elsewhere it demands --yes.

Examples:
  uplifted-ops restore swap shop_yesterday --dry-run
  uplifted-ops restore swap shop_yesterday --drain --yes")]
    Swap {
        /// The database
        #[arg(value_name = "NAME")]
        database: String,
        #[command(flatten)]
        options: SwapOptions,
    },
    /// Take a swap of databases back
    #[command(after_help = "\
What was put aside gets its name back, and what had come in the one that it had. A swap that was interrupted is undone, too.

Examples:
  uplifted-ops restore swap-undo --dry-run
  uplifted-ops restore swap-undo --drain --yes")]
    SwapUndo {
        #[command(flatten)]
        options: SwapOptions,
    },
    /// Drop for good the database that a swap put aside
    #[command(after_help = "\
It cannot be undone, and neither can the swap afterwards.

Example:
  uplifted-ops restore swap-discard --store main")]
    SwapDiscard {
        #[command(flatten)]
        options: SwapOptions,
    },
    /// Put back what a restore replaced, or list what can be put back
    #[command(after_help = "\
With an ID it shows what comes back and asks on a terminal; elsewhere it demands --yes. What is there now can be brought
back in the same way.

Examples:
  uplifted-ops restore undo
  uplifted-ops restore undo 6423fb590e02
  uplifted-ops restore undo 6423fb590e02 --dry-run")]
    Undo {
        /// The identifier that `restore apply` printed; the list of them when not given
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// Say what would come back, and do nothing
        #[arg(long, requires = "id")]
        dry_run: bool,
        /// Do not ask
        #[arg(long, short, requires = "id")]
        yes: bool,
    },
    /// Remove for good what a restore replaced
    #[command(after_help = "\
Frees the room that it takes: `uplifted-ops restore undo ID` is not possible afterwards. On a terminal it shows what
will go and asks; elsewhere it demands --yes.

Examples:
  uplifted-ops restore undo
  uplifted-ops restore discard 6423fb590e02 --dry-run
  uplifted-ops restore discard 6423fb590e02 909678844d3d --yes")]
    Discard {
        /// The identifiers, as `restore undo` lists them
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        /// Print what would go, and remove nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SwapOptions {
    /// The store; the only one of a server when not given
    #[arg(long, value_name = "STORE")]
    pub(in crate::cli) store: Option<String>,
    /// End the sessions that are open
    #[arg(long)]
    pub(in crate::cli) drain: bool,
    /// How long ending them may take; 30 when not given
    #[arg(long, value_name = "SECONDS", requires = "drain")]
    pub(in crate::cli) drain_seconds: Option<f64>,
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(in crate::cli) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RestoreOptions {
    /// The beginning of a snapshot's ID, `latest`, or the path of an archive; left out with --at
    #[arg(value_name = "ID", required_unless_present = "at")]
    pub(in crate::cli) id: Option<String>,
    /// Only from this target
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) target: Option<String>,
    /// Go back to this moment: a time today here (14:32:10), a local one (2026-11-22 14:32:10), one with its zone
    /// (2026-11-22T14:32:10Z), or an age (15m). All names are then paths
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) at: Option<String>,
    /// Restore into this folder, which is empty or does not exist; the service is not touched
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) into: Option<PathBuf>,
    /// Restore what is intact of a damaged backup, or what the keys at hand open of it; the rest is named
    #[arg(long)]
    pub(in crate::cli) salvage: bool,
    #[command(flatten)]
    pub(in crate::cli) key: IdentityFile,
    /// Only these files and folders, relative to the root
    #[arg(value_name = "PATH")]
    pub(in crate::cli) paths: Vec<OsString>,
}
