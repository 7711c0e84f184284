//! Archives and a repository in one target: one list, one way to find, show, restore, verify and delete.

use std::sync::Arc;

use super::read::varied;
use super::scene::{Scene, entry};
use crate::backup::archive::{ArchiveWriter, NodeHead, WriteOptions};
use crate::backup::checkers::Checkers;
use crate::backup::create::NamedTarget;
use crate::backup::delete::{apply_delete, plan_delete};
use crate::backup::fake_store;
use crate::backup::lease::LeaseTimes;
use crate::backup::list::{find, list, show};
use crate::backup::manifest::{Manifest, Node, RelPath};
use crate::backup::nodes::{ExtractOptions, Selection};
use crate::backup::repository::names;
use crate::backup::retention::Proofs;
use crate::backup::verify::{VerifyDepth, VerifyJob, verify};
use crate::cancel::Scope;
use crate::error::ErrorKind;
use crate::fs::Dir;
use crate::testing::random::Rng;

/// A target with an archive of one file and two snapshots in a repository.
fn both() -> (Scene, Vec<NamedTarget>) {
    let mut scene = Scene::new();
    let mut random = Rng::with_seed(11);
    let mut entries = varied(&mut scene, &mut random);
    scene.snapshot(&entries);
    entries.push(scene.file("new", b"new"));
    scene.snapshot(&entries);
    let bytes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&bytes);
    let sink = Box::new(move |block: &[u8]| {
        sink.lock().unwrap().extend_from_slice(block);
        Ok(())
    });
    let mut writer = ArchiveWriter::new(&Scope::default(), WriteOptions::default(), sink).unwrap();
    let like = entry("a", Node::Dir);
    let head = NodeHead {
        path: RelPath::new("a"),
        mode: 0o644,
        uid: like.uid,
        gid: like.gid,
        mtime: 0,
        mtime_nanos: 0,
        xattrs: Vec::new(),
    };
    writer.begin_file(head, 1, None).unwrap();
    writer.write(b"1").unwrap();
    writer.end_file(None).unwrap();
    let manifest = Manifest { time: "2026-02-01T00:00:00Z".parse().unwrap(), ..Manifest::of_nothing("aaaaaaaaaaaa") };
    writer.finish(manifest).unwrap();
    scene.put("uplifted_20260201T000000Z_aaaaaaaaaaaa.tar.zst", &bytes.lock().unwrap());
    let target = scene.target.clone();
    (scene, vec![("local".to_owned(), Arc::new(target))])
}

fn job(targets: &[NamedTarget], snapshot: &str, depth: VerifyDepth) -> VerifyJob {
    VerifyJob {
        targets: targets.to_vec(),
        service: None,
        snapshot: snapshot.to_owned(),
        depth,
        scratch: std::env::temp_dir(),
        scratch_in_memory: true,
        checkers: Checkers { kinds: fake_store::kinds(), live: Vec::new() },
        threads: 2,
        keys: None,
        // No folder can be made there: nothing is noted.
        state: "/dev/null/state".into(),
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

#[test]
fn one_list_has_both() {
    let (_scene, targets) = both();
    let scope = Scope::default();
    let listing = run(list(&scope, &targets, &None, Some("uplifted")));
    let listing = listing.unwrap();
    assert!(listing.unreadable.is_empty() && listing.failed.is_empty(), "{listing:?}");
    let rows: Vec<(&str, &str)> =
        listing.snapshots.iter().map(|listed| (listed.snapshot_id.as_str(), listed.layout.as_str())).collect();
    assert_eq!(rows, [("020202020202", "repository"), ("010101010101", "repository"), ("aaaaaaaaaaaa", "archive")]);
    let shown = run(show(&scope, &targets, &None, None, "latest")).unwrap();
    assert_eq!((shown.manifest.snapshot_id.as_str(), shown.manifest.files), ("020202020202", 11));
}

#[test]
fn both_are_opened_restored_and_verified_in_one_way() {
    let (_scene, targets) = both();
    for (wanted, files) in [("0101", 10), ("latest", 11), ("aaaa", 1)] {
        let targets = targets.clone();
        run(async move {
            let scope = Scope::default();
            let copies = find(&scope, &targets, &None, None, wanted).await.unwrap();
            let source = copies[0].source(&scope, 1000, false).await.unwrap();
            assert_eq!(source.manifest().files, files);
            let extracted = tokio::task::spawn_blocking(move || {
                let folder = tempfile::tempdir().unwrap();
                let into = Dir::open(folder.path()).unwrap();
                source.extract(&Scope::default(), &Selection::All, &into, &ExtractOptions::default()).unwrap()
            });
            assert_eq!(extracted.await.unwrap().files, files);
            for depth in [VerifyDepth::Quick, VerifyDepth::Data, VerifyDepth::Full] {
                let report = verify(&scope, job(&targets, wanted, depth)).await.unwrap();
                assert!(report.ok && report.stored_bytes > 0, "{wanted}: {report:?}");
            }
        });
    }
}

#[test]
fn damage_is_in_the_report_and_too_many_entries_are_refused() {
    let (scene, targets) = both();
    let pack = scene.target.keys().into_iter().find(|key| key.starts_with(names::PACKS)).unwrap();
    scene.target.tamper(&pack, |bytes| bytes[1000] ^= 1);
    let report = run(verify(&Scope::default(), job(&targets, "latest", VerifyDepth::Full))).unwrap();
    assert!(!report.ok && report.problems.iter().any(|problem| problem.kind == "damaged_pack"), "{report:?}");
    run(async {
        let scope = Scope::default();
        let copies = find(&scope, &targets, &None, None, "aaaa").await.unwrap();
        assert!(
            copies[0].source(&scope, 0, false).await.is_ok(),
            "an archive's limit is looked at when it is extracted"
        );
        let copies = find(&scope, &targets, &None, None, "0101").await.unwrap();
        let Err(error) = copies[0].source(&scope, 3, false).await else { panic!("it was opened") };
        assert_eq!(error.kind(), ErrorKind::Refused);
    });
}

#[test]
fn a_deletion_is_recorded_and_no_chain_breaks() {
    let (scene, targets) = both();
    run(async {
        let scope = Scope::default();
        let plan = plan_delete(&scope, &targets, &None, None, "0101", &Proofs::default(), false).await.unwrap();
        assert_eq!(plan.refused, None);
        let before = scene.target.keys();
        apply_delete(&scope, &targets, &None, &plan, "here", LeaseTimes::default()).await.unwrap();
        let after = scene.target.keys();
        let gone: Vec<&String> = before.iter().filter(|key| !after.contains(key)).collect();
        assert_eq!(gone, ["snapshots/20260301T020000Z_010101010101"]);
        let new = after.iter().filter(|key| !before.contains(key) && !key.starts_with("locks/"));
        let new: Vec<&String> = new.collect();
        assert!(matches!(new[..], [record] if names::collect_of(record).is_some()), "{new:?}");
        let report = verify(&scope, job(&targets, "latest", VerifyDepth::Full)).await.unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!(find(&scope, &targets, &None, None, "0101").await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_damaged_header_is_listed_apart_found_by_its_name_and_can_be_deleted() {
    let (scene, targets) = both();
    let key = "snapshots/20260301T020000Z_010101010101";
    scene.target.tamper(key, |bytes| bytes[60] ^= 1);
    run(async {
        let scope = Scope::default();
        let listing = list(&scope, &targets, &None, None).await.unwrap();
        assert_eq!((listing.snapshots.len(), listing.unreadable.len()), (2, 1));
        assert_eq!(listing.unreadable[0].key, key);
        let report = verify(&scope, job(&targets, "010101010101", VerifyDepth::Quick)).await.unwrap();
        assert_eq!(report.problems[0].kind, "damaged_index");
        let plan = plan_delete(&scope, &targets, &None, None, "010101010101", &Proofs::default(), false).await.unwrap();
        apply_delete(&scope, &targets, &None, &plan, "here", LeaseTimes::default()).await.unwrap();
        let report = verify(&scope, job(&targets, "latest", VerifyDepth::Quick)).await.unwrap();
        assert!(report.ok, "the chain says whose mac it was: {report:?}");
    });
}

#[test]
fn what_a_repository_backs_up_is_no_archive_of_the_target() {
    let (scene, targets) = both();
    scene.put("elsewhere/uplifted_20260201T000000Z_bbbbbbbbbbbb.tar.zst", b"not ours");
    let listing = run(list(&Scope::default(), &targets, &None, None)).unwrap();
    assert_eq!((listing.snapshots.len(), listing.unreadable.len()), (3, 0));
}

#[test]
fn both_are_exported_as_standard_archives() {
    use crate::backup::archive::{Archive, WriteOptions};
    use crate::backup::blocks::FileBlocks;
    use crate::backup::export::{ExportJob, export};
    let (scene, targets) = both();
    let place = tempfile::tempdir().unwrap();
    for (wanted, files) in [("0101", 10), ("latest", 11), ("aaaa", 1)] {
        let output = place.path().join(format!("{wanted}.tar.zst"));
        let job = ExportJob {
            targets: targets.clone(),
            keys: None,
            service: None,
            snapshot: wanted.to_owned(),
            output: output.clone(),
            options: WriteOptions::default(),
        };
        let report = run(export(&Scope::default(), job.clone())).unwrap();
        assert_eq!((report.files, report.stored_bytes), (files, std::fs::metadata(&output).unwrap().len()));
        let archive = Archive::open(Arc::new(FileBlocks::open(&output).unwrap())).unwrap();
        assert_eq!(archive.manifest().snapshot_id, report.snapshot_id);
        let again = run(export(&Scope::default(), job)).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Refused);
        if wanted == "aaaa" {
            continue;
        }
        // What comes out of the archive is what comes out of the repository, by tar as well.
        let key = if wanted == "0101" {
            "snapshots/20260301T020000Z_010101010101"
        } else {
            "snapshots/20260301T030000Z_020202020202"
        };
        let (expected, made) = super::read::extract(&scene, key, Selection::All, ExtractOptions::default());
        made.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let into = Dir::open(folder.path()).unwrap();
        archive.extract(&Scope::default(), &Selection::All, &into, &ExtractOptions::default()).unwrap();
        let by_tar = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("tar")
            .args(["--zstd", "-xf"])
            .arg(&output)
            .arg("-C")
            .arg(by_tar.path())
            .status();
        assert!(status.unwrap().success());
        let without_times_of_unlisted = |root: &std::path::Path| {
            let tree = super::scene::tree_of(root);
            tree.into_iter()
                .filter(|(name, line)| !(name.starts_with(b"unlisted") && line.starts_with('4')))
                .collect::<Vec<_>>()
        };
        let expected = without_times_of_unlisted(expected.path());
        assert_eq!(without_times_of_unlisted(folder.path()), expected);
        assert_eq!(without_times_of_unlisted(by_tar.path()), expected);
    }
    // A damaged snapshot makes no file.
    let pack = scene.target.keys().into_iter().find(|key| key.starts_with(names::PACKS)).unwrap();
    scene.target.tamper(&pack, |bytes| bytes[1000] ^= 1);
    let output = place.path().join("damaged.tar.zst");
    let job = ExportJob {
        targets,
        keys: None,
        service: None,
        snapshot: "latest".to_owned(),
        output,
        options: WriteOptions::default(),
    };
    assert_eq!(run(export(&Scope::default(), job)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3);
}
