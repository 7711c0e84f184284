//! The same through a real archive.

use super::*;

#[test]
fn an_archive_is_restored_in_place_and_undone() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let archive = snapshot.pack();
    let job = scene.job(&archive);
    let report = scene.restore(&job).unwrap();
    assert_eq!(scene.files(), scene::listing(RESTORED));
    assert_eq!(report.restored_files, 6);
    undo(&Scope::default(), &job.site, &report.undo_id.unwrap()).unwrap();
    assert_eq!(scene.files(), before);
}

#[test]
fn single_paths_of_an_archive() {
    use std::os::unix::fs::PermissionsExt;
    let (scene, snapshot) = service();
    let archive = snapshot.dir("new", 0o710).file("new/deep/z", "snapshot").pack();
    let mut job = scene.job(&archive);
    job.paths = vec![PathBuf::from("new/deep/z"), PathBuf::from("config/app.toml")];
    let mut expected = scene.files();
    assert_eq!(scene.restore(&job).unwrap().restored_files, 2);
    expected.insert(PathBuf::from("new/deep/z"), "snapshot".to_owned());
    expected.insert(PathBuf::from("config/app.toml"), "snapshot".to_owned());
    assert_eq!(scene.files(), expected);
    // A folder that comes in only for something below it is dressed as the snapshot says.
    assert_eq!(scene.root().join("new").metadata().unwrap().permissions().mode() & 0o7777, 0o710);

    job.into = Some(scene.outside().join("out"));
    scene.restore(&job).unwrap();
    let expected = [("config/app.toml", "snapshot"), ("new/deep/z", "snapshot")];
    assert_eq!(scene::files_below(&scene.outside().join("out")), scene::listing(&expected));
}

#[test]
fn an_archive_past_the_limits_is_refused_and_leaves_nothing() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let archive = snapshot.pack();
    let mut job = scene.job(&archive);
    job.limits.max_entries = 3;
    for into in [None, Some(scene.outside().join("out"))] {
        job.into = into;
        assert_eq!(scene.restore(&job).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(scene.files(), before);
        assert!(scene.leftovers().is_empty() && !scene.outside().join("out").exists());
    }
}
