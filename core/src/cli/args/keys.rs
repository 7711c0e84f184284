//! `backup keys …`: what may be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// Make the key; from then on every backup is encrypted
    #[command(after_help = "\
Examples:
  uplifted-ops backup keys init
  uplifted-ops backup keys init --identity-file /media/stick/backup-key.txt")]
    Init {
        #[command(flatten)]
        key: IdentityFile,
        /// Make one although a target holds keys that this host does not know
        #[arg(long)]
        anew: bool,
    },
    /// List the wrapped keys in the targets
    #[command(after_help = "Example:\n  uplifted-ops backup keys list")]
    List {
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
    /// Prove that an identity opens the newest backup
    #[command(after_help = "\
Exits 1 when it does not open the newest one of every target.

Example:
  uplifted-ops backup keys check --identity-file /media/stick/backup-key.txt")]
    Check {
        #[command(flatten)]
        key: IdentityFile,
        /// Only in this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
    /// Wrap the keys to the recipients that the settings name now
    #[command(after_help = "\
On a terminal it shows what will go and asks; elsewhere it demands --yes. The new ones are stored, read back and
proven first. It does not revoke: whoever kept an old wrapped key and can open it still can.

Examples:
  uplifted-ops backup keys rewrap --identity-file old.txt --proof-file new.txt --dry-run
  uplifted-ops backup keys rewrap --identity-file old.txt --proof-file new.txt --yes")]
    Rewrap {
        #[command(flatten)]
        key: IdentityFile,
        /// The variable with the passphrase that opens the present keys, as env:NAME
        #[arg(long, value_name = "env:NAME")]
        passphrase: Option<String>,
        /// The file with the secret half of a new recipient
        #[arg(long, value_name = "FILE")]
        proof_file: Option<PathBuf>,
        /// Remove the old although nobody proved that the new can be opened
        #[arg(long)]
        unproven: bool,
        /// Print what would be done, and change nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Start a new key for new backups; the old ones keep theirs
    #[command(after_help = "Example:\n  uplifted-ops backup keys rotate")]
    Rotate {
        #[command(flatten)]
        key: IdentityFile,
    },
    /// Restore what this host keeps of the keys, when it was lost or the host is new
    #[command(after_help = "Example:\n  uplifted-ops backup keys adopt --identity-file /media/stick/backup-key.txt")]
    Adopt {
        #[command(flatten)]
        key: IdentityFile,
        /// Read the wrapped keys from this target only
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
}

/// What opens encrypted backups.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct IdentityFile {
    /// The file with the secret key AGE-SECRET-KEY-1…, for encrypted backups
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) identity_file: Option<PathBuf>,
}
