//! `backup.keys_*`: the keys of encrypted backups.

#[cfg(feature = "encryption")]
mod engine;
#[cfg(not(feature = "encryption"))]
#[path = "absent.rs"]
mod engine;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::manifest::RelPath;
use crate::backup::seal::Fingerprint;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{ErrorBody, Result};
use crate::ops::{Context, Effect, Lane, Operation, Place};

/// A wrapped key in a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredKey {
    /// The target that has it.
    pub target: String,
    /// Its key there: `keys/<fingerprint>-<n>.age`.
    pub key: String,
}

/// How a key comes to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InitRequest {
    /// The file with the secret half of a recipient, to prove at once that it opens the new key. Read where the request
    /// runs, and never recorded.
    pub identity_file: Option<RelPath>,
    /// Make a key although a target holds keys that this host does not know: another host's, or one that was lost.
    pub anew: bool,
}

/// A key that was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MadeResponse {
    /// The repository that the key is of: 32 hexadecimal digits.
    pub repository_id: String,
    /// The short name of the key.
    pub fingerprint: Fingerprint,
    /// Its public half; the secret one is in the wrapped keys alone.
    pub public_key: String,
    /// The wrapped keys.
    pub stored: Vec<StoredKey>,
    /// Who can open it. Empty when it is whoever knows the passphrase.
    pub recipients: Vec<String>,
    /// Whether an identity or the passphrase was seen to open it. Where not, `backup.keys_check` proves it.
    pub proven: bool,
}

/// `backup.keys_init`
#[derive(Debug)]
pub struct Init;

impl Operation for Init {
    const NAME: &'static str = "backup.keys_init";
    const SUMMARY: &'static str = "Make the key that backups are encrypted to, and keep only its public half here";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = InitRequest;
    type Response = MadeResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: InitRequest) -> Result<MadeResponse> {
        engine::init(&context, &scope, request).await
    }
}

/// Where to look.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// This target only. All of the settings when missing.
    pub target: Option<String>,
}

/// The keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ListResponse {
    /// The repository that this host's key is of. Nothing when it has none.
    pub repository_id: Option<String>,
    /// The key that backups are encrypted to. Nothing when there is none.
    pub current: Option<Fingerprint>,
    /// The wrapped keys in the targets.
    pub keys: Vec<ListedKey>,
    /// The targets that could not be asked, and wrapped keys that could not be read.
    pub failed: Vec<FailedKey>,
}

/// A wrapped key, and what is known of it without opening it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedKey {
    /// Where it is.
    #[serde(flatten)]
    pub stored: StoredKey,
    /// The short name of the key.
    pub fingerprint: Fingerprint,
    /// Whether this host encrypts to it, or did.
    pub status: KeyStatus,
    /// How many recipients open it. Nothing when it is whoever knows a passphrase.
    pub recipients: Option<u64>,
    /// When it was stored, by the target's clock.
    pub stored_at: Timestamp,
}

/// What a key is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Backups are encrypted to it.
    Current,
    /// Earlier backups are.
    Former,
    /// It is another host's, or this one lost its own.
    Unknown,
}

/// A target or a wrapped key that could not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedKey {
    /// The target.
    pub target: String,
    /// The wrapped key, when it is one.
    pub key: Option<String>,
    /// Why.
    pub error: ErrorBody,
}

/// `backup.keys_list`
#[derive(Debug)]
pub struct List;

impl Operation for List {
    const NAME: &'static str = "backup.keys_list";
    const SUMMARY: &'static str = "List the keys of encrypted backups, and where they are kept";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = ListRequest;
    type Response = ListResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: ListRequest) -> Result<ListResponse> {
        engine::list(&context, &scope, request).await
    }

    fn healthy(response: &ListResponse) -> bool {
        response.failed.is_empty()
    }
}

/// What to prove, and with what.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckRequest {
    /// The file with the secret half of a recipient. What the settings name when missing. Read where the request runs, and
    /// never recorded.
    pub identity_file: Option<RelPath>,
    /// This target only. All of the settings when missing.
    pub target: Option<String>,
}

/// What an identity opens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CheckResponse {
    /// Whether the newest encrypted snapshot of every target was opened.
    pub ok: bool,
    /// The keys that the identity opens, oldest first.
    pub opens: Vec<Fingerprint>,
    /// What was proven in each target.
    pub targets: Vec<CheckedTarget>,
}

/// What was proven in a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedTarget {
    /// The target.
    pub target: String,
    /// The newest encrypted snapshot there. Nothing when there is none yet.
    pub snapshot_id: Option<String>,
    /// The key that it is encrypted to.
    pub encrypted_to: Option<Fingerprint>,
    /// Why it could not be opened; nothing when it was.
    pub error: Option<ErrorBody>,
}

/// `backup.keys_check`
#[derive(Debug)]
pub struct Check;

impl Operation for Check {
    const NAME: &'static str = "backup.keys_check";
    const SUMMARY: &'static str = "Prove that an identity opens the newest snapshot";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    // When it was last proven is worth knowing.
    const JOURNALLED: bool = true;
    type Request = CheckRequest;
    type Response = CheckResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: CheckRequest) -> Result<CheckResponse> {
        engine::check(&context, &scope, request).await
    }

    fn healthy(response: &CheckResponse) -> bool {
        response.ok
    }
}

/// How to wrap the keys anew.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewrapRequest {
    /// The file with the secret half of a present recipient. What the settings name when missing. Read where the request
    /// runs, and never recorded.
    pub identity_file: Option<RelPath>,
    /// The variable with the passphrase that opens the present keys, as `env:NAME`.
    pub passphrase: Option<String>,
    /// The file with the secret half of a new recipient, to prove that it opens what is stored before the old goes. Not
    /// needed when `identity_file` is that of a new recipient as well.
    pub proof_file: Option<RelPath>,
    /// Remove the old although nobody proved that the new can be opened.
    pub unproven: bool,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// What was wrapped anew, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RewrapResponse {
    /// The keys, once for each target.
    pub rewraps: Vec<Rewrap>,
    /// Wrapped keys that stay as they are, since the identity does not open them.
    pub untouched: Vec<StoredKey>,
    /// Who can open them now. Empty when it is whoever knows the passphrase.
    pub recipients: Vec<String>,
    /// Whether an identity or the passphrase was seen to open the new ones.
    pub proven: bool,
    /// Whether it was carried out.
    pub rewrapped: bool,
    /// What it does not do: whoever could open the backups before, and kept a copy of a wrapped key, still can.
    pub note: String,
}

/// A key that is wrapped anew in a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rewrap {
    /// The target.
    pub target: String,
    /// The short name of the key.
    pub fingerprint: Fingerprint,
    /// The new object. Nothing in a dry run.
    pub stored: Option<String>,
    /// The objects that it replaces: they are removed.
    pub replaces: Vec<String>,
}

/// `backup.keys_rewrap`
#[derive(Debug)]
pub struct RewrapKeys;

impl Operation for RewrapKeys {
    const NAME: &'static str = "backup.keys_rewrap";
    const SUMMARY: &'static str = "Wrap the keys to the recipients that the settings name now";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = RewrapRequest;
    type Response = RewrapResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: RewrapRequest) -> Result<RewrapResponse> {
        engine::rewrap(&context, &scope, request).await
    }
}

/// How the next key comes to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateRequest {
    /// The file with the secret half of a recipient, to prove at once that it opens the new key. Read where the request
    /// runs, and never recorded.
    pub identity_file: Option<RelPath>,
}

/// `backup.keys_rotate`
#[derive(Debug)]
pub struct Rotate;

impl Operation for Rotate {
    const NAME: &'static str = "backup.keys_rotate";
    const SUMMARY: &'static str = "Start a new key for new backups; the old ones keep theirs";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = RotateRequest;
    type Response = MadeResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: RotateRequest) -> Result<MadeResponse> {
        engine::rotate(&context, &scope, request).await
    }
}

/// What to restore the host's part of the keys with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdoptRequest {
    /// The file with the secret half of a recipient, or a key that was unwrapped by hand. What the settings name when
    /// missing. Read where the request runs, and never recorded.
    pub identity_file: Option<RelPath>,
    /// Read the wrapped keys from this target only.
    pub target: Option<String>,
}

/// What the host knows again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdoptResponse {
    /// The repository that the keys are of.
    pub repository_id: String,
    /// The key that backups are encrypted to from now on: the youngest.
    pub fingerprint: Fingerprint,
    /// The earlier ones, oldest first.
    pub former: Vec<Fingerprint>,
}

/// `backup.keys_adopt`
#[derive(Debug)]
pub struct Adopt;

impl Operation for Adopt {
    const NAME: &'static str = "backup.keys_adopt";
    const SUMMARY: &'static str = "Restore what this host keeps of the keys, when it was lost or the host is new";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = AdoptRequest;
    type Response = AdoptResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: AdoptRequest) -> Result<AdoptResponse> {
        engine::adopt(&context, &scope, request).await
    }
}
