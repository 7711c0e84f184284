//! The contract of a swap: a database that was restored beside the live one takes its name.
//!
//! Stores whose databases have names on a server swap by renaming: the live database is put aside under another name, and stays
//! until it is discarded. Stores that are a file are swapped by `restore.apply`, which trades files.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwapAct {
    /// The database of this name, restored and verified before, becomes the live one.
    Apply {
        /// Its name.
        database: String,
    },
    /// The former live database becomes it again.
    Undo,
    /// The former live database is dropped for good.
    Discard,
}

/// How to do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapRequest {
    /// What to do.
    pub act: SwapAct,
    /// End the sessions that are open. Without it an open session is a reason to refuse.
    pub drain: bool,
    /// How long ending them may take.
    pub patience: Duration,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// What a swap did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwapReport {
    /// The name of the live database.
    pub live: String,
    /// The database that takes that name; nothing where one is dropped.
    pub comes_in: Option<String>,
    /// What the database is called afterwards that had the name; nothing where there was none.
    pub goes_out: Option<String>,
    /// The database that is dropped.
    pub dropped: Option<String>,
    /// Whether it was done.
    pub done: bool,
    /// Who was connected to one of them. These sessions are ended, or were.
    pub sessions: Vec<SwapSession>,
    /// What is in the way, each with the repair. With any nothing is done.
    pub obstacles: Vec<String>,
    /// What the database that comes in gets from the one that goes out: owner, rights, settings, comment.
    pub carried: Vec<String>,
    /// What to know of it.
    pub notes: Vec<String>,
}

/// Who is connected. Never what they ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwapSession {
    /// The database.
    pub database: String,
    /// What the program calls itself. Empty where we may not see it.
    pub application_name: String,
    /// The user. Empty for a process of the server's own.
    pub user: String,
    /// Where it comes from: an address, or `socket`. Empty where we may not see it.
    pub address: String,
    /// How many sessions there are of that kind.
    pub sessions: u64,
}
