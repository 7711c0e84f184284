//! `folder`: is a folder there, does it hold as many files as it should, and was one written lately.
//!
//! ```toml
//! [[check]]
//! name = "incoming"
//! kind = "folder"
//! path = "data/incoming"
//! min_files = 1                    # fail with fewer; each bound is off unless set
//! warn_files = 1000                # with more: a queue that nobody empties
//! fail_files = 10000
//! warn_bytes = "10GiB"             # of all files together
//! fail_bytes = "50GiB"
//! warn_newest_age_seconds = 90000  # since one of them was last written
//! fail_newest_age_seconds = 180000
//! warn_oldest_age_seconds = 3600   # since the one was last written that waits longest
//! ```
//!
//! It looks at the files in the folder itself, hidden ones and folders left out, and opens none. A folder of more than
//! 100,000 entries is not read further, and that is a warning, since nothing can be said of the rest.
//!
//! Source: readdir(3), stat(2).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::old;
use super::{Finding, age, bounds_in_order, level, worst};
use crate::cancel::{Cancel, Scope};
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "folder",
    summary: "A folder is there, with as many files as it should have, one of them young",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let mut settings: FolderSettings = context.settings(settings)?;
        settings.path = context.resolve(&settings.path);
        Ok(Arc::new(FolderCheck::new(settings)?))
    },
    detect: None,
};

/// More entries than this are not looked at.
const MAX_ENTRIES: usize = 100_000;

/// Settings of [`FolderCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FolderSettings {
    /// The folder.
    pub path: PathBuf,
    /// Fail when it holds fewer files.
    #[serde(default)]
    pub min_files: Option<u64>,
    /// Warn when it holds more files.
    #[serde(default)]
    pub warn_files: Option<u64>,
    /// Fail when it holds more files.
    #[serde(default)]
    pub fail_files: Option<u64>,
    /// Warn when its files are larger together.
    #[serde(default)]
    pub warn_bytes: Option<ByteSize>,
    /// Fail when its files are larger together.
    #[serde(default)]
    pub fail_bytes: Option<ByteSize>,
    /// Warn when no file was written for this long, in seconds.
    #[serde(default)]
    pub warn_newest_age_seconds: Option<f64>,
    /// Fail when no file was written for this long, in seconds.
    #[serde(default)]
    pub fail_newest_age_seconds: Option<f64>,
    /// Warn when some file was not written for this long, in seconds.
    #[serde(default)]
    pub warn_oldest_age_seconds: Option<f64>,
    /// Fail when some file was not written for this long, in seconds.
    #[serde(default)]
    pub fail_oldest_age_seconds: Option<f64>,
}

impl FolderSettings {
    /// Settings that ask for a folder to be there, and no more.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            min_files: None,
            warn_files: None,
            fail_files: None,
            warn_bytes: None,
            fail_bytes: None,
            warn_newest_age_seconds: None,
            fail_newest_age_seconds: None,
            warn_oldest_age_seconds: None,
            fail_oldest_age_seconds: None,
        }
    }
}

/// Looks at the files of a folder.
#[derive(Debug)]
pub struct FolderCheck {
    settings: FolderSettings,
    looking: Blocking,
}

impl FolderCheck {
    /// A check as the settings describe it, of an absolute path.
    ///
    /// # Errors
    /// When a bound is out of range, or one for failing comes before one for warning.
    pub fn new(settings: FolderSettings) -> Result<Self> {
        let ages = [
            [
                ("warn_newest_age_seconds", settings.warn_newest_age_seconds),
                ("fail_newest_age_seconds", settings.fail_newest_age_seconds),
            ],
            [
                ("warn_oldest_age_seconds", settings.warn_oldest_age_seconds),
                ("fail_oldest_age_seconds", settings.fail_oldest_age_seconds),
            ],
        ];
        for pair in ages {
            for (name, bound) in pair {
                bound.map(|bound| age(name, bound)).transpose()?;
            }
            bounds_in_order(pair)?;
        }
        let [min, warn, fail] =
            [settings.min_files, settings.warn_files, settings.fail_files].map(|bound| bound.map(|it| it as f64));
        bounds_in_order([("warn_files", warn), ("fail_files", fail)])?;
        bounds_in_order([("min_files", min), ("warn_files", warn)])?;
        bounds_in_order([("min_files", min), ("fail_files", fail)])?;
        let bytes = |bound: Option<ByteSize>| bound.map(|bound| bound.0 as f64);
        bounds_in_order([("warn_bytes", bytes(settings.warn_bytes)), ("fail_bytes", bytes(settings.fail_bytes))])?;
        Ok(Self { settings, looking: Blocking::default() })
    }

    fn judge(&self, seen: &Seen, now: f64) -> CheckOutcome {
        let (settings, path) = (&self.settings, &self.settings.path);
        let files = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64);
        let bytes = |bound: Option<ByteSize>| bound.map_or(f64::INFINITY, |bound| bound.0 as f64);
        let mut findings = Vec::new();
        let mut status = level(seen.files as f64, files(settings.warn_files), files(settings.fail_files));
        let mut message = format!("{path:?} has {} files", seen.files);
        if let Some(min) = settings.min_files.filter(|min| seen.files < *min) {
            status = CheckStatus::Fail;
            message.push_str(&format!(", fewer than {min}"));
        } else if status != CheckStatus::Pass {
            message.push_str(": find out who should take them away");
        }
        findings.push(Finding { status, message, observed: seen.files as f64, unit: "files" });
        if seen.cut {
            let message = format!("{path:?} has more than {MAX_ENTRIES} entries, and the rest was not looked at");
            let observed = MAX_ENTRIES as f64;
            findings.push(Finding { status: CheckStatus::Warn, message, observed, unit: "files" });
        }
        let status = level(seen.bytes as f64, bytes(settings.warn_bytes), bytes(settings.fail_bytes));
        if status != CheckStatus::Pass {
            let message = format!("the files in {path:?} have {}: remove what is not needed", ByteSize(seen.bytes));
            findings.push(Finding { status, message, observed: seen.bytes as f64, unit: "bytes" });
        }
        let ages = [
            ("newest", seen.newest, settings.warn_newest_age_seconds, settings.fail_newest_age_seconds),
            ("oldest", seen.oldest, settings.warn_oldest_age_seconds, settings.fail_oldest_age_seconds),
        ];
        for (which, written, warn, fail) in ages {
            if warn.is_none() && fail.is_none() {
                continue;
            }
            match written {
                Some(written) => {
                    findings.push(old(now - written, &format!("the {which} file in {path:?}"), warn, fail))
                }
                // Nobody waits in an empty folder; but nothing new came into it either.
                None if which == "newest" => {
                    let status = if fail.is_some() { CheckStatus::Fail } else { CheckStatus::Warn };
                    let message = format!("{path:?} has no file, so that none was written lately");
                    findings.push(Finding { status, message, observed: 0.0, unit: "files" });
                }
                None => {}
            }
        }
        worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Fail, format!("nothing is known of {path:?}")))
    }
}

/// What is known of a folder's files. Times are in seconds since the epoch.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    files: u64,
    bytes: u64,
    newest: Option<f64>,
    oldest: Option<f64>,
    cut: bool,
}

impl Seen {
    /// `None` when there is no such folder.
    fn look(path: &Path, cancel: &Cancel) -> Result<Option<Self>> {
        let cannot = |error| Error::io(format!("list {path:?}"), error);
        let entries = match std::fs::read_dir(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            entries => entries.map_err(cannot)?,
        };
        let mut seen = Self::default();
        for (at, entry) in entries.enumerate() {
            cancel.check()?;
            if at == MAX_ENTRIES {
                seen.cut = true;
                break;
            }
            let entry = entry.map_err(cannot)?;
            // Hidden ones are half written, or somebody's own.
            if entry.file_name().as_bytes().starts_with(b".") {
                continue;
            }
            let meta = match entry.metadata() {
                // It went away in between, which files may.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta.map_err(cannot)?,
            };
            if !meta.is_file() {
                continue;
            }
            let written = meta.mtime() as f64 + meta.mtime_nsec() as f64 / 1e9;
            seen.files += 1;
            seen.bytes += meta.len();
            seen.newest = Some(seen.newest.map_or(written, |newest| newest.max(written)));
            seen.oldest = Some(seen.oldest.map_or(written, |oldest| oldest.min(written)));
        }
        Ok(Some(seen))
    }
}

#[async_trait]
impl HealthCheck for FolderCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (path, cancel) = (self.settings.path.clone(), scope.cancel.clone());
        let seen = self.looking.run(scope, move || Seen::look(&path, &cancel)).await?;
        Ok(match seen {
            None => CheckOutcome::new(CheckStatus::Fail, format!("there is no folder {:?}", self.settings.path)),
            Some(seen) => self.judge(&seen, scope.clock.now().as_duration().as_secs_f64()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckStatus::{Fail, Pass, Warn};

    fn verdict(settings: &FolderSettings, seen: &Seen) -> CheckStatus {
        FolderCheck::new(settings.clone()).unwrap().judge(seen, 1e9).status
    }

    #[test]
    fn files_bytes_and_ages_have_their_bounds() {
        let count = FolderSettings {
            min_files: Some(1),
            warn_files: Some(10),
            fail_files: Some(20),
            warn_bytes: Some(ByteSize(100)),
            fail_bytes: Some(ByteSize(200)),
            ..FolderSettings::new("/x")
        };
        for (files, bytes, status) in
            [(0, 0, Fail), (1, 1, Pass), (10, 100, Pass), (11, 1, Warn), (21, 1, Fail), (1, 101, Warn), (1, 201, Fail)]
        {
            let seen = Seen { files, bytes, ..Seen::default() };
            assert_eq!(verdict(&count, &seen), status, "{files} files, {bytes} bytes");
        }
        assert_eq!(verdict(&FolderSettings::new("/x"), &Seen { cut: true, ..Seen::default() }), Warn);
        let newest = FolderSettings {
            warn_newest_age_seconds: Some(10.0),
            fail_newest_age_seconds: Some(20.0),
            ..FolderSettings::new("/x")
        };
        let oldest = FolderSettings { warn_oldest_age_seconds: Some(10.0), ..FolderSettings::new("/x") };
        let seen = |newest: f64, oldest: f64| Seen {
            files: 2,
            newest: Some(1e9 - newest),
            oldest: Some(1e9 - oldest),
            ..Seen::default()
        };
        for (young, aged, by_newest, by_oldest) in
            [(1.0, 9.0, Pass, Pass), (9.0, 11.0, Pass, Warn), (11.0, 12.0, Warn, Warn), (21.0, 22.0, Fail, Warn)]
        {
            assert_eq!(verdict(&newest, &seen(young, aged)), by_newest, "{young} {aged}");
            assert_eq!(verdict(&oldest, &seen(young, aged)), by_oldest, "{young} {aged}");
        }
        assert_eq!(verdict(&newest, &Seen::default()), Fail);
        assert_eq!(verdict(&oldest, &Seen::default()), Pass);
    }

    #[tokio::test]
    async fn files_are_counted_and_the_rest_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", ".half"] {
            std::fs::write(folder.path().join(name), "1234").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let seen = Seen::look(folder.path(), &Cancel::new()).unwrap().unwrap();
        assert_eq!((seen.files, seen.bytes), (2, 8));
        assert!(seen.newest >= seen.oldest && seen.oldest.is_some());
        for missing in [folder.path().join("missing"), folder.path().join("a")] {
            let check = FolderCheck::new(FolderSettings::new(&missing)).unwrap();
            assert_eq!(check.check(&Scope::default()).await.unwrap().status, Fail);
        }
        let wrong = FolderSettings { warn_files: Some(9), fail_files: Some(8), ..FolderSettings::new("/x") };
        assert!(FolderCheck::new(wrong).is_err());
    }
}
