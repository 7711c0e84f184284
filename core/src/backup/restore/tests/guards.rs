//! What a restore refuses, and what it does about the service.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::error::Error;
use crate::store::IntegrityReport;

/// A process that has a file open as its standard input.
struct Other(Child);

impl Other {
    fn holding(path: &Path) -> Self {
        let file = std::fs::File::open(path).unwrap();
        Self(Command::new("sleep").arg("600").stdin(Stdio::from(file)).spawn().unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_with_the_database_open_is_named_and_nothing_happens() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let job = scene.job(&snapshot);
    let other = Other::holding(&scene.root().join("data/app.db"));
    let plan = plan(&Scope::default(), &job).unwrap();
    assert_eq!((plan.holders[0].pid, plan.holders[0].program.as_str()), (other.0.id(), "sleep"));

    let error = apply(&Scope::default(), &job, &plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains(&format!("data/app.db by process {} (sleep)", other.0.id())), "{error}");
    assert!(error.hint().unwrap().contains("service.stop"), "{error:?}");
    assert_eq!(scene.files(), before);
    assert!(scene.leftovers().is_empty());

    // A path that leaves the database alone is not refused, nor is one whose holder is known.
    let mut single = job.clone();
    single.paths = vec![PathBuf::from("config")];
    scene.restore(&single).unwrap();
    let mut known = job.clone();
    known.site.ignore_pids = vec![other.0.id()];
    scene.restore(&known).unwrap();
}

#[test]
fn an_undo_is_refused_for_the_same_reason() {
    let (scene, snapshot) = service();
    let job = scene.job(&snapshot);
    let id = scene.restore(&job).unwrap().undo_id.unwrap();
    let after = scene.files();
    let other = Other::holding(&scene.root().join("data/app.db"));
    assert_eq!(undo(&Scope::default(), &job.site, &id).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(scene.files(), after);
    drop(other);
    undo(&Scope::default(), &job.site, &id).unwrap();
}

#[test]
fn the_service_is_stopped_swapped_started_and_asked() {
    let (scene, snapshot) = service();
    let other = Mutex::new(Some(Other::holding(&scene.root().join("data/app.db"))));
    let steps = Mutex::new(Vec::new());
    let note = |step: &'static str| {
        steps.lock().unwrap().push((step, scene.files()[Path::new("data/app.db")].clone()));
    };
    let stop = |_: &Scope| {
        note("stop");
        drop(other.lock().unwrap().take());
        Ok(())
    };
    let start = |_: &Scope| {
        note("start");
        Ok(())
    };
    let gate = |_: &Scope| {
        note("gate");
        Ok(true)
    };
    let mut job = scene.job(&snapshot);
    job.site.service = Service { stop: Some(&stop), start: Some(&start), gate: Some(&gate), ..job.site.service };
    let report = scene.restore(&job).unwrap();
    assert_eq!(report.service, ServiceReport { stopped: true, started: true, healthy: Some(true) });
    let expected = [("stop", "live"), ("start", "snapshot"), ("gate", "snapshot")];
    assert_eq!(*steps.lock().unwrap(), expected.map(|(step, content)| (step, content.to_owned())));
}

#[test]
fn a_service_that_does_not_get_well_gets_its_old_folder_back() {
    for fails_to_start in [false, true] {
        let (scene, snapshot) = service();
        let before = scene.files();
        let starts = Mutex::new(Vec::new());
        let stop = |_: &Scope| Ok(());
        let start = |_: &Scope| {
            let content = scene.files()[Path::new("data/app.db")].clone();
            let fails = fails_to_start && content == "snapshot";
            starts.lock().unwrap().push(content);
            // What it writes into a folder that was carried over is not lost when that one goes back.
            scene.write("data/cache/new", "cached");
            if fails { Err(Error::new(ErrorKind::Unavailable, "exit status 1")) } else { Ok(()) }
        };
        let gate = |_: &Scope| Ok(false);
        let mut job = scene.job(&snapshot);
        job.site.service = Service { stop: Some(&stop), start: Some(&start), gate: Some(&gate), ..job.site.service };
        let error = scene.restore(&job).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("taken back"), "{error}");
        assert_eq!(*starts.lock().unwrap(), ["snapshot", "live"]);
        let mut expected = before;
        expected.insert(PathBuf::from("data/cache/new"), "cached".to_owned());
        assert_eq!(scene.files(), expected);
        assert!(scene.leftovers().is_empty() && list_undo(&job.site).unwrap().is_empty());
    }
}

#[test]
fn a_database_that_stays_open_after_the_stop_ends_the_restore_and_the_service_runs_on() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let _other = Other::holding(&scene.root().join("data/app.db"));
    let started = AtomicBool::new(false);
    let stop = |_: &Scope| Ok(());
    let start = |_: &Scope| {
        started.store(true, Ordering::SeqCst);
        Ok(())
    };
    let mut job = scene.job(&snapshot);
    job.site.service = Service { stop: Some(&stop), start: Some(&start), ..job.site.service };
    assert_eq!(scene.restore(&job).unwrap_err().kind(), ErrorKind::Refused);
    assert!(started.load(Ordering::SeqCst));
    assert_eq!(scene.files(), before);
    assert!(scene.leftovers().is_empty());
}

#[test]
fn a_damaged_database_is_found_before_anything_is_replaced_unless_salvaging() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let check = |_: &StoreRecord, path: &Path| {
        assert_eq!(std::fs::read_to_string(path).unwrap(), "snapshot");
        // An engine leaves traces: they are not restored.
        std::fs::write(path.with_file_name("app.db-shm"), "").unwrap();
        Ok(IntegrityReport { ok: false, problems: vec!["row 3 missing".to_owned()] })
    };
    let mut job = scene.job(&snapshot);
    job.check = &check;
    for into in [None, Some(scene.outside().join("out"))] {
        job.into = into;
        let error = scene.restore(&job).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("row 3 missing"), "{error}");
        assert_eq!(scene.files(), before);
        assert!(!scene.outside().join("out").exists() && scene.leftovers().is_empty());
    }
    job.salvage = true;
    let report = scene.restore(&job).unwrap();
    assert_eq!(report.lost[0].path.as_ref().unwrap().as_path(), Path::new("data/app.db"));
    assert!(!scene.outside().join("out/data/app.db-shm").exists());
}

#[test]
fn into_refuses_what_is_not_empty_and_the_state_folder() {
    let (scene, snapshot) = service();
    let mut job = scene.job(&snapshot);
    std::fs::write(scene.outside().join("file"), "").unwrap();
    std::fs::create_dir(scene.outside().join("full")).unwrap();
    std::fs::write(scene.outside().join("full/.hidden"), "").unwrap();
    for (into, kind) in [
        (scene.outside().join("full"), ErrorKind::Refused),
        (scene.outside().join("file"), ErrorKind::Refused),
        (scene.root(), ErrorKind::Refused),
        (scene.state().join("x"), ErrorKind::InvalidInput),
        (scene.outside().join("missing/../x"), ErrorKind::InvalidInput),
    ] {
        job.into = Some(into.clone());
        assert_eq!(plan(&Scope::default(), &job).unwrap_err().kind(), kind, "{into:?}");
    }
    // Filled between plan and apply.
    job.into = Some(scene.outside().join("late"));
    let made = plan(&Scope::default(), &job).unwrap();
    std::fs::create_dir(scene.outside().join("late")).unwrap();
    std::fs::write(scene.outside().join("late/x"), "").unwrap();
    assert_eq!(apply(&Scope::default(), &job, &made).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_folder_that_somebody_works_in_is_filled_and_not_replaced() {
    let (scene, snapshot) = service();
    let into = scene.outside().join("out");
    std::fs::create_dir(&into).unwrap();
    let _shell = Other(Command::new("sleep").arg("600").current_dir(&into).spawn().unwrap());
    let node = crate::fs::identity(&into).unwrap();
    let mut job = scene.job(&snapshot);
    job.into = Some(into.clone());
    scene.restore(&job).unwrap();
    assert_eq!(crate::fs::identity(&into).unwrap(), node);
    assert_eq!(scene::files_below(&into).len(), 6);
    assert!(scene.leftovers().is_empty());
}

#[test]
fn paths_that_are_nothing_or_lead_outside_are_refused() {
    let (scene, snapshot) = service();
    let mut job = scene.job(&snapshot);
    for (path, kind) in
        [("nothing", ErrorKind::NotFound), ("../x", ErrorKind::InvalidInput), ("/etc", ErrorKind::InvalidInput)]
    {
        job.paths = vec![PathBuf::from(path)];
        assert_eq!(scene.restore(&job).unwrap_err().kind(), kind, "{path}");
    }
}

#[test]
fn a_symlink_on_the_way_is_not_followed() {
    let (scene, snapshot) = service();
    let elsewhere = scene.outside().join("elsewhere");
    std::fs::rename(scene.root().join("data"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, scene.root().join("data")).unwrap();
    let mut job = scene.job(&snapshot);
    job.paths = vec![PathBuf::from("data/app.db")];
    let error = scene.restore(&job).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("data is not a folder now"), "{error}");

    // The symlink itself gives way to the snapshot's folder; what it led to stays.
    job.paths = vec![PathBuf::from("data")];
    scene.restore(&job).unwrap();
    assert_eq!(scene.files()[Path::new("data/app.db")], "snapshot");
    assert_eq!(std::fs::read_to_string(elsewhere.join("app.db")).unwrap(), "live");
}

#[test]
fn another_restore_under_way_is_busy_and_left_alone() {
    let (scene, snapshot) = service();
    let job = scene.job(&snapshot);
    let second = scene.job(&snapshot);
    let check = |_: &StoreRecord, _: &Path| {
        // The first one is staged now and its folder is locked.
        assert_eq!(scene.restore(&second).unwrap_err().kind(), ErrorKind::Busy);
        assert!(recover(&Scope::default(), &second.site).unwrap().is_empty());
        Ok(IntegrityReport { ok: true, problems: Vec::new() })
    };
    // Into a folder is another matter.
    let job = RestoreJob { check: &check, ..job };
    scene.restore(&job).unwrap();
    assert_eq!(scene.files(), scene::listing(RESTORED));
}

#[test]
fn a_cancel_before_the_swap_leaves_everything_as_it_was() {
    let (scene, snapshot) = service();
    let before = scene.files();
    for into in [None, Some(scene.outside().join("out"))] {
        let scope = Scope::default();
        let cancel = scope.cancel.clone();
        let check = move |_: &StoreRecord, _: &Path| {
            cancel.cancel();
            Ok(IntegrityReport { ok: true, problems: Vec::new() })
        };
        let job = RestoreJob { check: &check, into, ..scene.job(&snapshot) };
        let made = plan(&scope, &job).unwrap();
        assert_eq!(apply(&scope, &job, &made).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(scene.files(), before);
        assert!(scene.leftovers().is_empty());
    }
}

#[test]
fn a_cancel_during_the_swap_waits_it_out() {
    let (scene, snapshot) = service();
    let mut scope = Scope::default();
    let cancel = scope.cancel.clone();
    scope.progress = crate::cancel::Progress::new(move |event| {
        if event.uninterruptible {
            cancel.cancel();
        }
    });
    let job = scene.job(&snapshot);
    let made = plan(&scope, &job).unwrap();
    apply(&scope, &job, &made).unwrap();
    assert!(scope.cancel.is_cancelled());
    assert_eq!(scene.files(), scene::listing(RESTORED));
}

#[test]
fn a_protected_folder_never_moves() {
    let scene = Scene::new(&[("data/a", "live"), ("data/backups/one.tar.zst", "live")]);
    let snapshot = Snapshot::of(&["."]).file("data/a", "snapshot").file("data/backups/old", "snapshot");
    let mut job = scene.job(&snapshot);
    job.site.protect = vec![PathBuf::from("data/backups")];
    scene.restore(&job).unwrap();
    assert_eq!(scene.files(), scene::listing(&[("data/a", "snapshot"), ("data/backups/one.tar.zst", "live")]));
    job.paths = vec![PathBuf::from("data/backups")];
    assert_eq!(scene.restore(&job).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn too_little_room_is_said_before_anything_is_written() {
    let scene = Scene::new(&[("data/a", "live")]);
    let snapshot = Snapshot::of(&["."]).sized("data/a", 1 << 60);
    let job = scene.job(&snapshot);
    let error = scene.restore(&job).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(!scene.state().exists());
}

#[test]
fn what_is_ours_is_private() {
    let (scene, snapshot) = service();
    let mut job = scene.job(&snapshot);
    scene.restore(&job).unwrap();
    job.site.embedded = true;
    scene.restore(&job).unwrap();
    scene::assert_private(&scene.state());
}

#[test]
fn a_record_of_a_newer_version_is_left_alone_and_named() {
    let (scene, snapshot) = service();
    let mut job = scene.job(&snapshot);
    job.site.embedded = true;
    let id = scene.restore(&job).unwrap().undo_id.unwrap();
    let file = scene.state().join("restore").join(id).join("record.json");
    let text = std::fs::read_to_string(&file).unwrap().replace("\"format\": 1", "\"format\": 99");
    std::fs::write(&file, text).unwrap();
    let recovered = recover(&Scope::default(), &job.site).unwrap();
    assert_eq!(recovered[0].outcome, Outcome::Unfinished);
    assert_eq!(recovered[0].error.as_ref().unwrap().kind, ErrorKind::Unsupported);
    assert_eq!(scene.restore(&job).unwrap_err().kind(), ErrorKind::Unsupported);
}
