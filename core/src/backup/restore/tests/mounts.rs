//! Folders that cannot be renamed.

use super::*;
use crate::backup::manifest::RelPath;
use crate::backup::restore::mounts::Mounts;
use crate::backup::restore::plan::plan_on;

fn planned(scene: &Scene, snapshot: &Snapshot, mounts: &[&str]) -> RestorePlan {
    let points: Vec<PathBuf> = mounts.iter().map(|mount| scene.root().join(mount)).collect();
    let points: Vec<&Path> = points.iter().map(PathBuf::as_path).collect();
    plan_on(&Scope::default(), &scene.job(snapshot), &Mounts::at(&points)).unwrap()
}

#[test]
fn a_mount_is_swapped_by_content_from_a_hidden_folder_inside_it() {
    let (scene, snapshot) = service();
    let plan = planned(&scene, &snapshot, &["data"]);
    let units: Vec<_> = plan.units.iter().filter(|unit| unit.path.as_path().starts_with("data")).collect();
    let paths: Vec<_> = units.iter().map(|unit| unit.path.to_string()).collect();
    assert_eq!(paths, ["data/app.db", "data/app.db-wal", "data/cache", "data/deep", "data/upload"]);
    assert!(units.iter().all(|unit| unit.mount == Some(RelPath::new("data"))), "{units:?}");
    assert_eq!(plan.space.len(), 2);

    let data = scene.root().join("data");
    let node = crate::fs::identity(&data).unwrap();
    let report = apply(&Scope::default(), &scene.job(&snapshot), &plan).unwrap();
    assert_eq!(crate::fs::identity(&data).unwrap(), node);
    let mut expected = scene::listing(RESTORED);
    // The folder of what was left out is not in the snapshot, so it went, and what it held with it.
    expected.remove(Path::new("data/deep/cache/b"));
    assert_eq!(scene.files(), expected);
    assert!(report.warnings.iter().any(|warning| warning.contains("data/deep/cache")), "{:?}", report.warnings);
    undo(&Scope::default(), &scene.site(), &report.undo_id.unwrap()).unwrap();
    assert_eq!(scene.files()[Path::new("data/deep/cache/b")], "cached");
}

#[test]
fn a_folder_that_contains_a_mount_is_split_down_to_it() {
    let scene = Scene::new(&[("data/a", "live"), ("data/up/loads/x", "live"), ("data/up/y", "live")]);
    let snapshot = Snapshot::of(&["data"])
        .file("data/a", "snapshot")
        .file("data/up/loads/z", "snapshot")
        .file("data/up/y", "snapshot");
    let plan = planned(&scene, &snapshot, &["data/up/loads"]);
    let units: Vec<_> = plan.units.iter().map(|unit| (unit.path.to_string(), unit.mount.is_some())).collect();
    let expected = [("data/a", false), ("data/up/loads/x", true), ("data/up/loads/z", true), ("data/up/y", false)];
    assert_eq!(units, expected.map(|(path, staged)| (path.to_owned(), staged)));
    apply(&Scope::default(), &scene.job(&snapshot), &plan).unwrap();
    let expected = [("data/a", "snapshot"), ("data/up/loads/z", "snapshot"), ("data/up/y", "snapshot")];
    assert_eq!(scene.files(), scene::listing(&expected));
}

#[test]
fn a_mounted_file_blocks_and_an_unknown_mount_stays() {
    let (scene, snapshot) = service();
    let plan = planned(&scene, &snapshot, &["config/app.toml", "junk"]);
    assert_eq!(plan.blockers.len(), 1, "{plan:?}");
    assert!(plan.blockers[0].starts_with("config/app.toml is a mount point"), "{plan:?}");
    assert!(plan.warnings.iter().any(|warning| warning.starts_with("junk is left alone")), "{plan:?}");
    let error = apply(&Scope::default(), &scene.job(&snapshot), &plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn a_state_folder_inside_a_unit_stays_where_it_is() {
    let scene = Scene::new(&[("data/a", "live")]);
    let snapshot = Snapshot::of(&["."]).file("data/a", "snapshot");
    let mut job = scene.job(&snapshot);
    job.site.state = scene.root().join("data/state");
    scene.restore(&job).unwrap();
    scene.restore(&job).unwrap();
    assert_eq!(std::fs::read_to_string(scene.root().join("data/a")).unwrap(), "snapshot");
    assert_eq!(list_undo(&job.site).unwrap().len(), 2);
}

/// Runs this test binary again in mount namespaces of its own, where the tests below mount what they need.
#[cfg(target_os = "linux")]
#[test]
fn real_mounts() {
    const INNER: &str = "backup::restore::tests::mounts::inside_a_namespace";
    let own = std::env::current_exe().unwrap();
    let run = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(own)
        .args(["--exact", INNER, "--ignored", "--nocapture"])
        .output();
    match run {
        Ok(done) if String::from_utf8_lossy(&done.stderr).starts_with("unshare:") => {
            eprintln!("skipped: no mount namespace: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(done.status.success() && said.contains("1 passed"), "{said}");
        }
        Err(error) => eprintln!("skipped: unshare(1) does not start: {error}"),
    }
}

/// Mounts a filesystem in memory.
#[cfg(target_os = "linux")]
fn mount(point: &Path) {
    std::fs::create_dir_all(point).unwrap();
    let done = std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(point).status().unwrap();
    assert!(done.success());
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by real_mounts in a namespace of its own"]
fn inside_a_namespace() {
    let scene = Scene::new(&[("config/c", "live")]);
    mount(&scene.root().join("data"));
    scene.write("data/app.db", "live");
    scene.write("data/sub/x", "live");
    let snapshot = Snapshot::of(&["data", "config"])
        .file("data/app.db", "snapshot")
        .file("data/sub/y", "snapshot")
        .file("config/c", "snapshot")
        .store("data/app.db");
    let before = scene.files();
    let job = scene.job(&snapshot);
    let id = scene.restore(&job).unwrap().undo_id.unwrap();
    let after = scene::listing(&[("config/c", "snapshot"), ("data/app.db", "snapshot"), ("data/sub/y", "snapshot")]);
    assert_eq!(scene.files(), after);
    undo(&Scope::default(), &job.site, &id).unwrap();
    assert_eq!(scene.files(), before);

    // Into a mount point: it cannot be renamed, so it is filled from inside.
    let into = scene.outside().join("into");
    mount(&into);
    let into_job = RestoreJob { into: Some(into.clone()), ..job };
    assert_eq!(scene.restore(&into_job).unwrap().restored_files, 3);
    assert_eq!(scene::files_below(&into), after);
    assert!(
        scene.leftovers().iter().all(|left| left.starts_with(scene.root().join("data"))),
        "{:?}",
        scene.leftovers()
    );
}
