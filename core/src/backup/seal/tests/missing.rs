//! A target that has lost its repository, and snapshots of which some of the keys are missing.

use std::collections::HashSet;

use super::archives::{Scene, named};
use super::repository::{content, later, says};
use super::*;
use crate::backup::create::create;
use crate::backup::list::{blocking, find};
use crate::backup::nodes::Limits;
use crate::backup::restore::{self, RestoreJob, Site};
use crate::cancel::Scope;
use crate::error::ErrorKind;
use crate::testing::MemoryTarget;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_goes_to_a_target_that_has_lost_its_repository() {
    let (scene, second) = (Scene::new().await, MemoryTarget::default());
    let both = || vec![named("one", &scene.target), named("two", &second)];
    assert!(create(&later(1), scene.in_repository(both())).await.unwrap().is_healthy());
    second.clear();
    let report = create(&later(2), scene.in_repository(both())).await.unwrap();
    let error = report.targets[1].error.as_ref().unwrap();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("has no repository"), "{}", error.message);
    assert!(second.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_some_of_the_keys_what_they_open_is_salvaged_and_the_rest_is_named() {
    let mut scene = Scene::new().await;
    scene.database(300, 5);
    for number in 0..1500 {
        std::fs::write(scene.root().join(format!("old-{number:04}")), format!("content {number}")).unwrap();
    }
    let first = scene.back_up(1).await;
    let old = scene.rotate().await;
    std::fs::write(scene.root().join("new"), noise(50_000, 11)).unwrap();
    std::fs::write(scene.root().join("old-0007"), "changed").unwrap();
    scene.back_up(2).await;
    let (former, current) = (old.fingerprint(), scene.key.fingerprint());
    let open = async |keys: Keys, snapshot: &str, salvage: bool| {
        let copy = find(&Scope::default(), &scene.targets(), &keys, None, snapshot).await.unwrap().remove(0);
        copy.source(&Scope::default(), Limits::default().max_entries, salvage).await.map_err(Some)
    };

    // Without asking for it nothing changes, but for the way out that is named.
    let Err(Some(error)) = open(scene.holding(&[&scene.key]), "latest", false).await else { panic!("it was opened") };
    assert_eq!(error.kind(), ErrorKind::Denied);
    says(&error, &[former.as_str(), "--identity-file", "--salvage"]);
    // Of a snapshot whose names need the other key there is nothing to salvage.
    for (keys, snapshot, key) in [
        (scene.holding(&[&old]), "latest", &current),
        (scene.holding(&[&scene.key]), first.snapshot_id.as_str(), &former),
        (scene.sealed(), "latest", &current),
    ] {
        let Err(Some(error)) = open(keys, snapshot, true).await else { panic!("it was opened") };
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        says(&error, &[key.as_str()]);
    }

    let source = open(scene.holding(&[&scene.key]), "latest", true).await.map_err(|_| ()).unwrap();
    let state = scene.base.path().join("elsewhere");
    let (into, root) = (scene.base.path().join("into"), scene.root());
    let (plan, refused, report) = blocking(move || {
        let check = |_: &crate::backup::manifest::StoreRecord, _: &std::path::Path| {
            Ok(crate::store::IntegrityReport { ok: true, problems: Vec::new() })
        };
        let job = RestoreJob {
            site: Site { root, state, ..Site::default() },
            source: source.as_ref(),
            into: Some(into),
            paths: Vec::new(),
            threads: 2,
            limits: Limits::default(),
            salvage: true,
            check: &check,
        };
        let plan = restore::plan(&Scope::default(), &job)?;
        let careful = RestoreJob { salvage: false, ..job.clone() };
        let refused = restore::plan(&Scope::default(), &careful)?.blockers;
        Ok((plan.clone(), refused, restore::apply(&Scope::default(), &job, &plan)?))
    })
    .await
    .unwrap();
    // The plan says so before, and the report afterwards.
    let about: Vec<&String> = plan.warnings.iter().filter(|said| said.contains(former.as_str())).collect();
    assert!(!about.is_empty() && refused.iter().any(|said| said.contains(former.as_str())), "{plan:?}");
    let of_files = about.iter().find(|said| said.contains("is not at hand, which ")).unwrap();
    assert!(of_files.contains(former.as_str()) && of_files.contains("of the files need"), "{of_files}");
    let unnamed = report.lost.iter().find(|lost| !lost.message.contains(former.as_str()));
    // Which file a part of the tree named, nobody can say; the manifest knows the databases.
    assert!(unnamed.is_none_or(|lost| lost.message.contains("with a part of the list of files")), "{unnamed:?}");
    let lost: HashSet<String> =
        report.lost.iter().filter_map(|lost| lost.path.as_ref()).map(ToString::to_string).collect();
    let blocks: Vec<&String> =
        report.lost.iter().filter(|lost| lost.path.is_none()).map(|lost| &lost.message).collect();
    assert!(blocks.iter().all(|said| said.contains("entries are lost with the block")), "{blocks:?}");
    let into = scene.base.path().join("into");
    for name in ["new", "old-0007"] {
        assert_eq!(std::fs::read(into.join(name)).unwrap(), std::fs::read(scene.root().join(name)).unwrap());
        assert!(!lost.contains(name));
    }
    assert!(lost.contains("app.db"), "{lost:?}");
    // Nothing goes without a word: what is not there is named, or counted with the part of the tree that named it.
    let counted: usize = blocks.iter().map(|said| said.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    let restored = std::fs::read_dir(&into).unwrap().count();
    assert!(restored + lost.len() + counted >= 1500, "{restored} {} {counted}", lost.len());
    assert!(lost.iter().all(|name| !into.join(name).exists()));
    // With both nothing is lost.
    let both = scene.restored(scene.holding(&[&old, &scene.key]), "latest").await.unwrap();
    assert_eq!(content(both.path()), content(&scene.root()));
}
