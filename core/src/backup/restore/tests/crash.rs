//! Death at every write, sync and rename: after the next start the folder is wholly old or wholly new.

use std::collections::BTreeSet;

use super::scene::Files;
use super::*;
use crate::backup::restore::mounts::Mounts;
use crate::backup::restore::plan::plan_on;
use crate::error::Result;
use crate::fs::fault::crash;
use crate::fs::swap::without_flags;
use crate::testing::random;

const LIVE: &[(&str, &str)] = &[
    ("data/app.db", "live"),
    ("data/app.db-wal", "live log"),
    ("data/upload", "made since"),
    ("data/cache/a", "cached"),
    ("data/deep/cache/b", "cached"),
    (".env", "live"),
    ("junk/x", "made since"),
];

fn snapshot() -> Snapshot {
    Snapshot::of(&["."])
        .excluding(&["**/cache"])
        .file("data/app.db", "snapshot")
        .file(".env", "snapshot")
        .file("gone/y", "snapshot")
        .store("data/app.db")
}

/// How a case differs from a plain restore in place.
#[derive(Default)]
struct Case {
    paths: &'static [&'static str],
    mount: Option<&'static str>,
    into: Option<&'static str>,
    embedded: bool,
    /// The filesystem cannot exchange.
    plain_renames: bool,
    /// The restore is done, and its undo is what dies.
    undo: bool,
    /// What is done is given up, and that is what dies.
    discard: bool,
}

/// One scene of a case, ready for the part that dies.
struct Stage<'a> {
    case: &'a Case,
    scene: Scene,
    snapshot: Snapshot,
    undo_id: Option<String>,
}

impl<'a> Stage<'a> {
    fn set(case: &'a Case) -> Self {
        let mut stage = Self { case, scene: Scene::quick(LIVE), snapshot: snapshot(), undo_id: None };
        if case.undo || case.discard {
            stage.undo_id = stage.restore().unwrap();
        }
        stage
    }

    fn restore(&self) -> Result<Option<String>> {
        let scope = Scope::default();
        let mut job = self.scene.job(&self.snapshot);
        job.paths = self.case.paths.iter().map(PathBuf::from).collect();
        job.into = self.case.into.map(|into| self.scene.outside().join(into));
        let mount = self.case.mount.map(|mount| self.scene.root().join(mount));
        let mounts = Mounts::at(&mount.as_deref().into_iter().collect::<Vec<_>>());
        job.site.embedded = self.case.embedded;
        let plan = plan_on(&scope, &job, &mounts)?;
        apply(&scope, &job, &plan).map(|report| report.undo_id)
    }

    /// The part that dies.
    fn act(&self) -> Result<()> {
        let (scope, site) = (Scope::default(), self.scene.site());
        match &self.undo_id {
            None => {
                self.restore()?;
                if self.case.embedded { self.start() } else { Ok(()) }
            }
            Some(id) if self.case.discard => discard(&scope, &site, &plan_discard(&site, std::slice::from_ref(id))?),
            Some(id) => undo(&scope, &site, id).map(|_| ()),
        }
    }

    /// What the next process does first.
    fn start(&self) -> Result<()> {
        for recovered in recover(&Scope::default(), &self.scene.site())? {
            if let Some(error) = recovered.error {
                return Err(Error::from(error));
            }
        }
        Ok(())
    }

    fn files(&self) -> Files {
        self.case.into.map_or_else(
            || self.scene.files(),
            |into| {
                let into = self.scene.outside().join(into);
                if into.exists() { scene::files_below(&into) } else { Files::new() }
            },
        )
    }
}

/// Dies at each point in turn, and once more at a point of the recovery that `again` picks.
fn die_everywhere(case: &Case, mut again: impl FnMut() -> Option<u64>) {
    without_flags::set(case.plain_renames);
    let whole = Stage::set(case);
    let old = whole.files();
    whole.act().unwrap();
    let new = whole.files();
    assert!(case.discard || old != new, "the case changes nothing");
    let mut seen = BTreeSet::new();
    for point in 0.. {
        let stage = Stage::set(case);
        let guard = crash::after(point);
        let ended = stage.act();
        let died = guard.happened();
        drop(guard);
        if let Some(second) = again().filter(|_| died) {
            let guard = crash::after(second);
            let _ = stage.start();
            drop(guard);
        }
        stage.start().unwrap();
        let files = stage.files();
        assert!(files == old || files == new, "half at point {point}: {files:#?}");
        seen.insert(files == new);
        let areas = list_undo(&stage.scene.site()).unwrap();
        // An undo area on another filesystem stays there, as long as there is something to undo.
        let kept = usize::from(case.mount.is_some() && !areas.is_empty());
        assert_eq!(stage.scene.leftovers().len(), kept, "point {point}: {:?}", stage.scene.leftovers());
        // Starting again changes nothing.
        assert!(recover(&Scope::default(), &stage.scene.site()).unwrap().is_empty());
        assert_eq!(stage.files(), files);
        // What is new can be undone; an undo that came to nothing can be asked for again.
        if case.into.is_none() && !case.discard {
            assert_eq!(areas.len(), usize::from(files == new || case.undo), "point {point}: {areas:?}");
            if let Some(area) = areas.first() {
                undo(&Scope::default(), &stage.scene.site(), &area.undo_id).unwrap();
                assert_eq!(stage.files(), if files == old { new.clone() } else { old.clone() }, "point {point}");
            }
        }
        if !died {
            ended.unwrap();
            without_flags::set(false);
            assert_eq!(files, new);
            assert!(seen.len() == 2 || case.discard, "both outcomes are seen");
            assert!(point > 5, "only {point} points");
            return;
        }
    }
}

fn once(case: Case) {
    die_everywhere(&case, || None);
}

#[test]
fn a_restore_in_place() {
    once(Case::default());
}

#[test]
fn where_the_filesystem_cannot_exchange() {
    once(Case { plain_renames: true, ..Case::default() });
    once(Case { plain_renames: true, undo: true, ..Case::default() });
}

#[test]
fn single_files_and_a_folder_that_is_missing() {
    let paths = &["data/app.db", "gone/y", ".env"];
    once(Case { paths, ..Case::default() });
    once(Case { paths, undo: true, ..Case::default() });
}

#[test]
fn a_mount_swapped_by_content() {
    once(Case { mount: Some("data"), ..Case::default() });
    once(Case { mount: Some("data"), undo: true, ..Case::default() });
    once(Case { mount: Some("data"), discard: true, ..Case::default() });
}

#[test]
fn an_undo() {
    once(Case { undo: true, ..Case::default() });
}

#[test]
fn a_discard() {
    once(Case { discard: true, ..Case::default() });
}

#[test]
fn a_restore_that_waits_for_the_next_start() {
    once(Case { embedded: true, ..Case::default() });
}

#[test]
fn into_a_folder() {
    once(Case { into: Some("out"), ..Case::default() });
    once(Case { into: Some("out"), plain_renames: true, ..Case::default() });
}

/// One call fails and the process lives on: what can be taken back is, at once.
#[test]
fn a_call_that_fails() {
    for case in [
        Case::default(),
        Case { plain_renames: true, ..Case::default() },
        Case { undo: true, ..Case::default() },
        Case { into: Some("out"), ..Case::default() },
    ] {
        without_flags::set(case.plain_renames);
        let old = Stage::set(&case).files();
        let mut taken_back = 0;
        for point in 0.. {
            let stage = Stage::set(&case);
            let guard = crash::once_after(point);
            let ended = stage.act();
            let failed = guard.happened();
            drop(guard);
            match &ended {
                Err(error) if error.message().contains("was taken back") => {
                    taken_back += 1;
                    assert_eq!(stage.files(), old, "point {point}");
                    assert!(stage.scene.leftovers().is_empty(), "point {point}: {:?}", stage.scene.leftovers());
                }
                // Past the swap, when only tidying up is left, or before it.
                Err(_) => {}
                Ok(()) => assert_ne!(stage.files(), old, "point {point}"),
            }
            let files = stage.files();
            stage.start().unwrap();
            assert_eq!(stage.files(), files, "what was left did not wait for the next start: point {point}");
            assert!(stage.scene.leftovers().is_empty(), "point {point}: {:?}", stage.scene.leftovers());
            if !failed {
                break;
            }
        }
        without_flags::set(false);
        assert!(taken_back > 8, "{taken_back} points");
    }
}

/// Dies twice: in the act, and again at a random point of the recovery.
#[test]
fn a_recovery_that_dies_as_well() {
    let mut random = random::seeded("a_recovery_that_dies_as_well");
    let mut pick = || Some(random.u64(..30));
    die_everywhere(&Case::default(), &mut pick);
    die_everywhere(&Case { undo: true, ..Case::default() }, &mut pick);
    die_everywhere(&Case { mount: Some("data"), plain_renames: true, ..Case::default() }, &mut pick);
    die_everywhere(&Case { into: Some("out"), ..Case::default() }, &mut pick);
    die_everywhere(&Case { embedded: true, ..Case::default() }, &mut pick);
}
