//! `uplifted-ops backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{IdentityFile, KeysCommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BackupCommand {
    /// Make a backup, check its databases and read it back
    #[command(after_help = "\
Exits 1 when the backup is partial: what is missing is named.

Examples:
  uplifted-ops backup create
  uplifted-ops backup create --label before-upgrade --target local")]
    Create {
        /// What to call it
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        /// A word to find it by, and to keep it by; may be given again
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Only to this target; to every one when not given
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// How it is stored: archive, or repository
        #[arg(long, value_name = "NAME")]
        layout: Option<String>,
        /// Go on where a target has lost its repository, or has another one than before
        #[arg(long)]
        anew: bool,
    },
    /// List the backups
    #[command(after_help = "Example:\n  uplifted-ops backup list --target local")]
    List {
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Show what a backup says about itself
    #[command(after_help = "Example:\n  uplifted-ops backup show latest")]
    Show {
        #[command(flatten)]
        snapshot: Snapshot,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Check a backup: every byte, and the integrity of its databases
    #[command(after_help = "\
Exits 1 when anything is wrong. An encrypted backup is looked into with --identity-file; without one, its stored
bytes are compared with those that were read back when it was made, and the answer says `sealed`.

Examples:
  uplifted-ops backup verify latest
  uplifted-ops backup verify latest --identity-file /media/stick/backup-key.txt
  uplifted-ops backup verify 1f0c3a --depth data")]
    Verify {
        #[command(flatten)]
        snapshot: Snapshot,
        /// quick: the index and the sizes; data: every byte; full: the integrity of each database too
        #[arg(long, value_name = "DEPTH", default_value = "full", value_parser = ["quick", "data", "full"])]
        depth: String,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Rehearse a restore: restore into scratch, test the copy, say how long recovery takes
    #[command(after_help = "\
Touches neither the service nor the backup. Exits 1 when the backup does not stand every test.
Queries, migrations and a program of the service are settings: [backup.drill].
Where stores are followed the copy goes on to a moment behind the backup, and is compared with what was noted then.

Examples:
  uplifted-ops backup drill
  uplifted-ops backup drill --at 2026-07-01T14:32:10Z
  uplifted-ops backup drill 1f0c3a --into /tmp/look
  uplifted-ops backup drill --check rows --check queries")]
    Drill {
        /// The snapshot: its identifier, the beginning of it, or `latest`, which is meant when not given
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// Restore the copy in this target; when not given, in the one that waited longest for a drill
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Where stores are followed: the moment to go on to; a random one behind the backup when not given
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Beside restoring and integrity only these, may be given again; all that the settings have when not given
        #[arg(long = "check", value_name = "CHECK", value_parser = ["rows", "migrate", "queries", "command"])]
        checks: Vec<String>,
        /// Restore into this folder, which is empty or does not exist, and keep it
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Find the last backup for which a check still holds
    #[command(after_help = "\
Restores a few backups, newest first, each only as far as the check needs.

Examples:
  uplifted-ops backup bisect integrity
  uplifted-ops backup bisect query 'SELECT EXISTS (SELECT 1 FROM users)' --store main
  uplifted-ops backup bisect command")]
    Bisect {
        /// integrity of the database, a query that must hold, or the program backup.drill.command
        #[arg(value_name = "CHECK", value_parser = ["integrity", "query", "command"])]
        check: String,
        /// The query
        #[arg(value_name = "SQL", required_if_eq("check", "query"))]
        query: Option<String>,
        /// The database; the only one when not given
        #[arg(long, value_name = "NAME")]
        store: Option<String>,
        /// Only among the backups in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Read what is due of all backups: every stored byte within backup.verify_days
    #[command(after_help = "\
For a schedule: each run reads a share, and one that was missed is caught up.

Example:
  uplifted-ops backup sample --max-bytes 1000000000")]
    Sample {
        /// Only from this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Not more than about so many bytes
        #[arg(long, value_name = "N")]
        max_bytes: Option<u64>,
    },
    /// Copy a backup to another target
    #[command(after_help = "\
Every byte is verified before, and read back where it went. A copy keeps the layout: an archive lies as one beside the
repository of a target. To have it in there: `backup export ID --output FILE`, and `backup import FILE --layout repository`.

Examples:
  uplifted-ops backup copy latest --to offsite
  uplifted-ops backup copy 1f0c3a --from local --to offsite")]
    Copy {
        /// The snapshot: its identifier, the beginning of it, or `latest`
        #[arg(value_name = "ID")]
        id: String,
        /// The target that it goes to
        #[arg(long, value_name = "NAME")]
        to: String,
        /// The target that it comes from; the first that has a whole copy when missing
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Delete the backups that the policy backup.retention does not keep
    #[command(after_help = "\
Shows each backup with the rules that keep it. On a terminal it asks then; elsewhere it demands --yes.
Never deletes the last good backups: while fewer than min_verified are verified, it deletes nothing.
Exits 1 when it could not delete all that no rule keeps.

Examples:
  uplifted-ops backup retain --dry-run
  uplifted-ops backup retain --yes")]
    Retain {
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Print what would go and why, and delete nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Free what no backup of a repository needs
    #[command(after_help = "\
What nobody needs is condemned first, and deleted by a later call, backup.collect_grace_hours after that: backups
may go on meanwhile, from any machine. On a terminal it shows what will go and asks; elsewhere it demands --yes.

Examples:
  uplifted-ops backup collect --dry-run
  uplifted-ops backup collect --yes")]
    Collect {
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Print what would go and why, and change nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Go on although backups are missing that nobody removed: they are lost for good
        #[arg(long)]
        accept_missing: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Hold a backup: nothing deletes it before it is released
    #[command(after_help = "\
Everybody who uses the target sees the hold, and the reason.

Example:
  uplifted-ops backup hold 1f0c3a --reason incident-42")]
    Hold {
        #[command(flatten)]
        snapshot: Snapshot,
        /// Why, for whoever wants to delete it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who; the user and the machine when not given
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// End every hold of a backup
    #[command(after_help = "Example:\n  uplifted-ops backup release 1f0c3a")]
    Release {
        #[command(flatten)]
        snapshot: Snapshot,
    },
    /// Write a backup as a standard .tar.zst, in clear
    #[command(after_help = "\
The file is read back before it appears, and a file that exists is never replaced.

Example:
  uplifted-ops backup export latest --output /tmp/uplifted.tar.zst")]
    Export {
        #[command(flatten)]
        snapshot: Snapshot,
        /// The file to make
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Make a backup of an archive in a file: one of ours, or one that tar made
    #[command(after_help = "\
Databases in it are recognised and checked. Its time is that of the newest file in it.

Example:
  uplifted-ops backup import /backup/uplifted/uplifted_20260101_020000.tar.gz --layout repository")]
    Import {
        /// The file
        #[arg(value_name = "FILE")]
        path: PathBuf,
        /// What to call it
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        /// Only into this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// How it is stored: archive, or repository
        #[arg(long, value_name = "NAME")]
        layout: Option<String>,
    },
    /// Make, list, prove and change the keys that backups are encrypted to
    #[command(
        subcommand,
        after_help = "\
This host keeps the public half alone: it makes backups and cannot open one. Who can open them stands in ops.toml:
  [backup.encryption]
  recipients = [\"age1…\"]          # `age-keygen -o backup-key.txt` on another machine prints it

Examples:
  uplifted-ops backup keys init
  uplifted-ops backup keys check --identity-file /media/stick/backup-key.txt
  uplifted-ops backup keys rewrap --identity-file old.txt --proof-file new.txt
  uplifted-ops backup keys rotate"
    )]
    Keys(KeysCommand),
    /// Delete a backup
    #[command(after_help = "\
On a terminal it shows what will go and asks; elsewhere it demands --yes.

Examples:
  uplifted-ops backup delete 1f0c3a --dry-run
  uplifted-ops backup delete 1f0c3a --yes")]
    Delete {
        #[command(flatten)]
        snapshot: Snapshot,
        /// Print what would go, and delete nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Delete it even when it is the last good one
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which backup.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Snapshot {
    /// The snapshot: its identifier, the beginning of it, or `latest`
    #[arg(value_name = "ID")]
    pub(in crate::cli) id: String,
    /// Only in this target
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) target: Option<String>,
}
