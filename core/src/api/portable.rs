//! `backup.export`, `backup.import`: snapshots as files that any `tar` reads, and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::create_job;
use super::keyring;
use super::snapshots::targets;
use crate::backup::archive::WriteOptions;
use crate::backup::export::{ExportJob, ExportReport, export};
use crate::backup::import::{ImportJob, ImportReport, import};
use crate::backup::layout::Layout;
use crate::backup::manifest::RelPath;
use crate::backup::nodes::Limits;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::ops::{Context, Effect, Lane, Operation, Place};

/// What to export, and where to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`.
    pub snapshot_id: String,
    /// The file to make, a standard `.tar.zst`. A file that exists is never replaced.
    pub output: RelPath,
    /// Read it from this target only.
    #[serde(default)]
    pub target: Option<String>,
    /// The operator's identity, when the snapshot is encrypted. The export is not.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

/// `backup.export`
#[derive(Debug)]
pub struct Export;

impl Operation for Export {
    const NAME: &'static str = "backup.export";
    const SUMMARY: &'static str = "Write a snapshot as a standard .tar.zst, read back before it appears";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = ExportRequest;
    type Response = ExportReport;

    async fn run(context: Arc<Context>, scope: Scope, request: ExportRequest) -> Result<ExportReport> {
        let settings = context.settings();
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let threads = match settings.backup.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(8),
            threads => threads,
        };
        let job = ExportJob {
            targets,
            keys,
            service: Some(settings.service.name.clone()),
            snapshot: request.snapshot_id,
            output: absolute(request.output.as_path())?,
            options: WriteOptions { threads, ..WriteOptions::default() },
        };
        export(&scope, job).await
    }
}

/// What to import.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The file: a `.tar.zst` of uplifted-ops, or a `.tar`, `.tar.gz` or `.tar.zst` that tar made.
    pub path: RelPath,
    /// Into this target only. All of the settings when missing.
    #[serde(default)]
    pub target: Option<String>,
    /// What to call it. The file's own label, or its name, when missing.
    #[serde(default)]
    pub label: Option<String>,
    /// How it is stored. What `backup.layout` says when missing, and else `archive`. With `backup.export` before it, this
    /// is how a snapshot changes from one layout to the other; it gets another identifier then.
    #[serde(default)]
    pub layout: Option<Layout>,
}

/// `backup.import`
#[derive(Debug)]
pub struct Import;

impl Operation for Import {
    const NAME: &'static str = "backup.import";
    const SUMMARY: &'static str = "Make a snapshot of an archive in a file, databases recognised and checked";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = ImportRequest;
    type Response = ImportReport;

    async fn run(context: Arc<Context>, scope: Scope, request: ImportRequest) -> Result<ImportReport> {
        let settings = context.settings();
        let limits = &settings.restore;
        let job = ImportJob {
            path: absolute(request.path.as_path())?,
            create: create_job(&context, &scope, request.target.as_deref(), request.layout, request.label, Vec::new())
                .await?,
            scratch: context.scratch(),
            scratch_in_memory: settings.backup.scratch_in_memory,
            limits: Limits {
                max_entries: limits.max_entries,
                max_bytes: limits.max_bytes.map_or(u64::MAX, |size| size.0),
                // A float saturates: any number is a bound.
                max_ratio: limits.max_ratio as u64,
            },
        };
        import(&scope, job).await
    }

    fn healthy(response: &ImportReport) -> bool {
        response.created.is_healthy()
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io(format!("find {path:?}"), error))
}
