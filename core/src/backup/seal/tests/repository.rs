//! Encrypted repositories: what a host without the identity knows, finds and refuses, and what nobody gets to see.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;

use super::archives::{Scene, bytes_of, named, put_in};
use super::*;
use crate::backup::blocks::Objects;
use crate::backup::collect::{CollectJob, collect};
use crate::backup::create::{CreateJob, CreateReport, NamedTarget, create};
use crate::backup::delete::{apply_delete, plan_delete};
use crate::backup::deposit::{Place, Seal, show};
use crate::backup::lease::LeaseTimes;
use crate::backup::list::{blocking, find, list};
use crate::backup::nodes::{ExtractOptions, Limits, Selection};
use crate::backup::repository::id::{BlobId, PackId};
use crate::backup::repository::index::{self, IndexLine, Lines};
use crate::backup::repository::names;
use crate::backup::repository::open::Repository;
use crate::backup::repository::tests::scene::tree_of;
use crate::backup::retention::Proofs;
use crate::backup::target::BackupTarget;
use crate::backup::verify::{VerifyDepth, VerifyLevel, VerifyReport};
use crate::cancel::Scope;
use crate::clock::ManualClock;
use crate::error::{Error, ErrorKind};
use crate::fs::Dir;
use crate::store::sqlite;
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// A scope whose clock is so many hours ahead, so that no file is too young to be believed.
pub(super) fn later(hours: i64) -> Scope {
    let clock = ManualClock::new(Timestamp::now() + jiff::SignedDuration::from_hours(hours));
    Scope { clock: Arc::new(clock), ..Scope::default() }
}

impl Scene {
    pub(super) fn in_repository(&self, targets: Vec<NamedTarget>) -> CreateJob {
        let mut job = self.job(targets);
        job.settings.layout = Some("repository".into());
        job.kinds.register(sqlite::KIND);
        job
    }

    pub(super) async fn back_up(&self, hours: i64) -> CreateReport {
        let report = create(&later(hours), self.in_repository(self.targets())).await.unwrap();
        assert!(report.is_healthy(), "{report:?}");
        report
    }

    /// Starts a new key, as `backup.keys rotate` does; the former one is returned.
    pub(super) async fn rotate(&mut self) -> RepositoryKey {
        let next = self.host.next_key(self.host.created + jiff::SignedDuration::from_secs(1));
        let to = WrapTo::recipients(vec![self.operator.recipient()]).unwrap();
        vault::store(&Scope::default(), &self.targets(), &next, to, None).await.unwrap();
        self.host = self.host.rotated_to(&next).unwrap();
        std::mem::replace(&mut self.key, next)
    }

    /// What somebody has who was given these keys and nothing else.
    pub(super) fn holding(&self, keys: &[&RepositoryKey]) -> Keys {
        let mut ring = KeyRing::of_host(&self.host);
        keys.iter().for_each(|key| ring.add((*key).clone()).unwrap());
        Some(Arc::new(ring))
    }

    /// Verifies the snapshot of a report.
    async fn verify_one(&self, keys: Keys, snapshot: &str, depth: VerifyDepth) -> Result<VerifyReport> {
        use crate::backup::verify::{VerifyJob, verify};
        let mut kinds = crate::backup::fake_store::kinds();
        kinds.register(sqlite::KIND);
        let job = VerifyJob {
            targets: self.targets(),
            service: None,
            snapshot: snapshot.to_owned(),
            depth,
            scratch: self.base.path().join("scratch"),
            scratch_in_memory: true,
            checkers: crate::backup::checkers::Checkers { kinds, live: Vec::new() },
            threads: 2,
            keys,
            state: self.root().join(".state"),
        };
        verify(&later(100), job).await
    }

    /// Our own restore of a snapshot.
    pub(super) async fn restored(&self, keys: Keys, snapshot: &str) -> Result<tempfile::TempDir> {
        restored(&self.targets(), keys, snapshot, Selection::All).await
    }

    fn objects(&self, prefix: &str) -> Vec<String> {
        put_in(&self.target).into_iter().filter(|key| key.starts_with(prefix)).collect()
    }

    pub(super) fn database(&self, rows: usize, seed: u64) {
        let mut connection = Connection::open(self.root().join("app.db")).unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)").unwrap();
        let transaction = connection.transaction().unwrap();
        for row in 0..rows as u64 {
            transaction.execute("INSERT INTO t (v) VALUES (?1)", [noise(400, seed * 10_007 + row)]).unwrap();
        }
        transaction.commit().unwrap();
    }

    /// Changes some rows in place.
    pub(super) fn change(&self, rows: usize, seed: u64) {
        let mut random = Rng::with_seed(seed);
        let mut connection = Connection::open(self.root().join("app.db")).unwrap();
        let most: i64 = connection.query_row("SELECT max(id) FROM t", [], |row| row.get(0)).unwrap();
        let transaction = connection.transaction().unwrap();
        for _ in 0..rows {
            let (id, value) = (random.i64(1..=most), random::bytes(&mut random, 400));
            transaction.execute("UPDATE t SET v = ?2 WHERE id = ?1", (id, value)).unwrap();
        }
        transaction.commit().unwrap();
    }
}

async fn restored(targets: &[NamedTarget], keys: Keys, snapshot: &str, what: Selection) -> Result<tempfile::TempDir> {
    let scope = Scope::default();
    let copy = find(&scope, targets, &keys, None, snapshot).await?.remove(0);
    let source = copy.source(&scope, Limits::default().max_entries, false).await?;
    blocking(move || {
        let into = tempfile::tempdir().unwrap();
        source.extract(&scope, &what, &Dir::open(into.path())?, &ExtractOptions::default())?;
        Ok(into)
    })
    .await
}

/// The bytes that a target has.
async fn stored(target: &MemoryTarget) -> u64 {
    let mut sum = 0;
    for key in put_in(target) {
        sum += bytes_of(target, &key).await.len() as u64;
    }
    sum
}

pub(super) fn content(folder: &std::path::Path) -> BTreeMap<Vec<u8>, String> {
    let mut tree = tree_of(folder);
    tree.retain(|name, _| !name.starts_with(b".state"));
    tree
}

pub(super) fn says(error: &Error, words: &[&str]) {
    let hint = error.hint().unwrap_or_default();
    for word in words {
        assert!(error.message().contains(word) || hint.contains(word), "{word}: {error} ({hint})");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_any_object_is_found_without_the_identity() {
    let scene = Scene::new().await;
    scene.database(300, 1);
    let first = scene.back_up(1).await;
    scene.change(5, 2);
    let second = scene.back_up(2).await;
    for depth in [VerifyDepth::Quick, VerifyDepth::Data, VerifyDepth::Full] {
        let sealed = scene.verify_one(scene.sealed(), &second.snapshot_id, depth).await.unwrap();
        assert_eq!((sealed.ok, sealed.level), (true, VerifyLevel::Sealed), "{sealed:?}");
    }
    let proven = scene.verify_one(scene.opening(), &second.snapshot_id, VerifyDepth::Full).await.unwrap();
    assert_eq!((proven.ok, proven.level), (true, VerifyLevel::Proven), "{proven:?}");

    let mut found = 0;
    for key in ["packs/", "index/", "snapshots/"].iter().flat_map(|prefix| scene.objects(prefix)) {
        let len = bytes_of(&scene.target, &key).await.len();
        for place in [0, len / 3, len / 2, len - 1] {
            scene.target.tamper(&key, |bytes| bytes[place] ^= 1);
            let mut damaged = 0;
            for made in [&first, &second] {
                match scene.verify_one(scene.sealed(), &made.snapshot_id, VerifyDepth::Data).await {
                    Ok(report) => damaged += usize::from(!report.ok),
                    // Its own header: not even its name is certain.
                    Err(error) => panic!("{key} {place}: {error}"),
                }
            }
            assert!(damaged > 0, "{key}, byte {place} of {len}");
            found += 1;
            scene.target.tamper(&key, |bytes| bytes[place] ^= 1);
        }
    }
    assert!(found >= 24);
    // A lost index is a problem, and no loss to whoever has the identity.
    let lost = scene.objects("index/").remove(0);
    scene.target.delete(&Scope::default(), &lost).await.unwrap();
    let sealed = scene.verify_one(scene.sealed(), &second.snapshot_id, VerifyDepth::Quick).await.unwrap();
    assert!(!sealed.ok && sealed.problems[0].kind == "damaged_index", "{sealed:?}");
    assert_eq!(content(scene.restored(scene.opening(), "latest").await.unwrap().path()), content(&scene.root()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_wrote_is_decrypted_when_it_is_read_back() {
    let scene = Scene::new().await;
    let plain = noise(200_000, 9);
    let ours = Arc::new(KeyRing::of_host(&scene.host));
    // To the same key, but not to the throw-away one of the run that reads it back: to this run it is noise.
    let others = KeyRing::of_host(&scene.host);
    for target in [MemoryTarget::default(), MemoryTarget::default().without_read_back()] {
        for (bytes, opens) in [(sealed(&ours, &plain), true), (sealed(&others, &plain), false), (plain.clone(), false)]
        {
            let place = Place {
                name: "one".into(),
                target: Arc::new(target.clone()),
                key: "packs/x".into(),
                keys: Some(Arc::clone(&ours)),
            };
            let mut upload = target.upload(&Scope::default(), &place.key, None).await.unwrap();
            upload.write(&bytes).await.unwrap();
            let seal = Seal { stored_bytes: bytes.len() as u64, blake3: *blake3::hash(&bytes).as_bytes() };
            let shown = show(&Scope::default(), &place, upload, seal, async { Ok(()) }).await;
            assert_eq!(shown.is_ok(), opens, "{shown:?}");
            assert_eq!(target.keys(), if opens { vec!["packs/x"] } else { Vec::new() });
            if let Err(error) = shown {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
            target.delete(&Scope::default(), "packs/x").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lacks_a_key_is_told_which_and_how_to_give_it() {
    let mut scene = Scene::new().await;
    let first = scene.back_up(1).await;
    let old = scene.rotate().await;
    std::fs::write(scene.root().join("new"), noise(50_000, 11)).unwrap();
    let second = scene.back_up(2).await;
    let (former, current) = (old.fingerprint(), scene.key.fingerprint());
    assert_eq!((first.encrypted_to.as_ref(), second.encrypted_to.as_ref()), (Some(&former), Some(&current)));
    let listing = list(&Scope::default(), &scene.targets(), &scene.sealed(), None).await.unwrap();
    let keys: Vec<_> = listing.snapshots.iter().map(|listed| listed.encrypted_to.clone().unwrap()).collect();
    assert_eq!(keys, [current.clone(), former.clone()]);

    // None at all.
    let error = scene.restored(scene.sealed(), "latest").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    says(&error, &["not at hand", "--identity-file"]);
    let error = scene.restored(scene.sealed(), &first.snapshot_id).await.unwrap_err();
    says(&error, &[former.as_str()]);
    // One of the two: the second snapshot needs packs of both.
    let error = scene.restored(scene.holding(&[&scene.key]), "latest").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    says(&error, &[former.as_str(), "--identity-file"]);
    let error = scene.restored(scene.holding(&[&old]), "latest").await.unwrap_err();
    says(&error, &[current.as_str()]);
    assert!(scene.restored(scene.holding(&[&old]), &first.snapshot_id).await.is_ok());
    let level = scene.verify_one(scene.holding(&[&scene.key]), "latest", VerifyDepth::Full).await.unwrap().level;
    assert_eq!(level, VerifyLevel::Sealed, "what nobody looked into is not proven");
    let both = scene.restored(scene.holding(&[&old, &scene.key]), "latest").await.unwrap();
    assert_eq!(content(both.path()), content(&scene.root()));

    // Whether an identity opens the newest is proven, and not by its name.
    let proves = async |keys: Keys| {
        let copy = find(&Scope::default(), &scene.targets(), &keys, None, "latest").await.unwrap().remove(0);
        copy.prove_opens(&Scope::default()).await
    };
    proves(scene.holding(&[&old, &scene.key])).await.unwrap();
    says(&proves(scene.holding(&[&scene.key])).await.unwrap_err(), &[former.as_str()]);
    assert_eq!(proves(scene.sealed()).await.unwrap_err().kind(), ErrorKind::Denied);
    for key in scene.objects("packs/") {
        let whole = bytes_of(&scene.target, &key).await;
        scene.target.tamper(&key, |bytes| bytes.truncate(whole.len() / 2));
        let cut = proves(scene.holding(&[&old, &scene.key])).await;
        // One pack of each key is looked at, and those of the records.
        if let Err(error) = &cut {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error}");
        }
        let restored = scene.restored(scene.holding(&[&old, &scene.key]), "latest").await;
        assert!(restored.is_err(), "{key}");
        let first_is_whole = scene.restored(scene.holding(&[&old]), &first.snapshot_id).await.is_ok();
        let of_first = scene.verify_one(scene.sealed(), &first.snapshot_id, VerifyDepth::Quick).await.unwrap().ok;
        assert_eq!(first_is_whole, of_first, "{key}: what does not need it is restored");
        scene.target.tamper(&key, |bytes| *bytes = whole.clone());
    }

    // Another repository's keys.
    let stranger = key();
    let ring: Keys = Some(Arc::new(KeyRing::of_unwrapped(vec![stranger.clone()]).unwrap()));
    let error = scene.restored(ring, "latest").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    says(&error, &[&scene.host.repository, "--identity-file"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_identity_only_wholly_dead_packs_are_collected() {
    let scene = Scene::new().await;
    std::fs::write(scene.root().join("gone"), noise(90_000, 21)).unwrap();
    let first = scene.back_up(1).await;
    std::fs::remove_file(scene.root().join("gone")).unwrap();
    let second = scene.back_up(2).await;
    std::fs::write(scene.root().join("short"), noise(70_000, 22)).unwrap();
    let third = scene.back_up(3).await;
    std::fs::remove_file(scene.root().join("short")).unwrap();
    scene.back_up(4).await;
    let before: HashSet<String> = scene.objects("packs/").into_iter().collect();
    for gone in [&first, &third] {
        let (targets, keys, proofs) = (scene.targets(), scene.sealed(), Proofs::default());
        let plan = plan_delete(&later(5), &targets, &keys, None, &gone.snapshot_id, &proofs, true).await.unwrap();
        apply_delete(&later(5), &targets, &keys, &plan, "here", LeaseTimes::default()).await.unwrap();
    }
    let clock = Arc::new(ManualClock::new(Timestamp::now() + jiff::SignedDuration::from_hours(200)));
    let target = scene.target.clone().with_clock(clock.clone());
    let mut deleted = 0;
    for _ in 0..4 {
        clock.advance(std::time::Duration::from_secs(30 * 3600));
        let job = CollectJob {
            targets: vec![named("one", &target)],
            keys: Arc::new(scene.sealed()),
            state: scene.root().join(".state"),
            host: "here".into(),
            lease: LeaseTimes::default(),
            grace: crate::backup::repository::collecting::DEFAULT_GRACE,
            accept_missing: false,
            dry_run: false,
        };
        let scope = Scope { clock: clock.clone(), ..Scope::default() };
        let report = collect(&scope, &job).await.unwrap();
        assert!(report.is_healthy(), "{report:#?}");
        deleted += report.targets[0].deleted.len();
    }
    let after: HashSet<String> = scene.objects("packs/").into_iter().collect();
    // The third's own went; the first's has what the second needs, and stays whole.
    assert!(deleted > 0 && after.len() < before.len() && after.is_subset(&before), "{before:?} {after:?}");
    for id in [&second.snapshot_id, "latest"] {
        let proven = scene.verify_one(scene.opening(), id, VerifyDepth::Full).await.unwrap();
        assert_eq!((proven.ok, proven.level), (true, VerifyLevel::Proven), "{proven:?}");
    }
    assert_eq!(content(scene.restored(scene.opening(), "latest").await.unwrap().path()), content(&scene.root()));
}

/// The ids of all blobs of a repository, and the lengths of those that a file was cut into.
async fn blobs(target: &MemoryTarget, keys: Keys) -> (HashSet<BlobId>, Vec<u32>) {
    let target: Arc<dyn BackupTarget> = Arc::new(target.clone());
    let objects = Objects::new(&Scope::default(), target);
    blocking(move || {
        let repository = Repository::open(&objects, &keyring(&keys))?.unwrap();
        let (mut ids, mut lengths) = (HashSet::new(), Vec::new());
        for object in objects.list(names::INDEX)? {
            let pack: PackId = names::index_of(&object.key).unwrap();
            let bytes = objects.read(&object.key, 1 << 24)?;
            index::read(&bytes, repository.id, pack, &repository.key, Lines::Blobs, |line| {
                if let IndexLine::Blob(blob) = line {
                    ids.insert(blob.id);
                    lengths.push(blob.len);
                }
                Ok(())
            })?;
        }
        Ok((ids, lengths))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_repositories_of_the_same_data_share_no_id_and_no_boundary() {
    let mut seen: Vec<(HashSet<BlobId>, HashSet<u32>)> = Vec::new();
    for _ in 0..2 {
        let scene = Scene::new().await;
        std::fs::write(scene.root().join("big"), noise(12 << 20, 5)).unwrap();
        scene.back_up(1).await;
        let (ids, lengths) = blobs(&scene.target, scene.sealed()).await;
        let chunks: HashSet<u32> = lengths.into_iter().filter(|len| *len > 256 << 10).collect();
        assert!(ids.len() > 6 && chunks.len() > 4, "{chunks:?}");
        seen.push((ids, chunks));
    }
    assert!(seen[0].0.is_disjoint(&seen[1].0), "an id says what the content is");
    assert!(seen[0].1.is_disjoint(&seen[1].1), "a boundary says what the content is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_caches_cost_no_upload_though_nothing_can_be_decrypted() {
    let scene = Scene::new().await;
    scene.database(3000, 1);
    std::fs::write(scene.root().join("big"), noise(3 << 20, 5)).unwrap();
    scene.back_up(1).await;
    scene.change(10, 2);
    scene.back_up(2).await;
    let before = stored(&scene.target).await;
    scene.back_up(3).await;
    let unchanged = stored(&scene.target).await - before;
    std::fs::remove_dir_all(scene.root().join(".state/cache")).unwrap();
    let before = stored(&scene.target).await;
    scene.back_up(4).await;
    let lost = stored(&scene.target).await - before;
    assert!(lost < unchanged + 2000 && lost < 20_000, "{lost} bytes were stored again; with caches {unchanged}");
    // Also when something changed meanwhile: the changed pages, and not the database.
    scene.change(10, 3);
    std::fs::remove_dir_all(scene.root().join(".state/cache")).unwrap();
    let before = stored(&scene.target).await;
    scene.back_up(5).await;
    let changed = stored(&scene.target).await - before;
    assert!(changed < 120_000, "{changed}");
    assert_eq!(content(scene.restored(scene.opening(), "latest").await.unwrap().path()), content(&scene.root()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_targets_of_one_key_are_each_whole_also_when_one_missed_a_run() {
    let scene = Scene::new().await;
    scene.database(2000, 1);
    let second = MemoryTarget::default();
    let both = || vec![named("one", &scene.target), named("two", &second)];
    let made = create(&later(1), scene.in_repository(both())).await.unwrap();
    assert!(made.is_healthy(), "{made:?}");
    for (hour, down) in [(2, true), (3, false), (4, true), (5, true), (6, false)] {
        scene.change(8, hour as u64);
        std::fs::write(scene.root().join(format!("hour {hour}")), noise(20_000, hour as u64)).unwrap();
        let mut targets = both();
        if down {
            targets[1].1 = Arc::new(FaultyTarget::new(Arc::new(second.clone()), |call, _, _| {
                (call == Call::Upload).then_some(ErrorKind::Unavailable)
            }));
        }
        let made = create(&later(hour), scene.in_repository(targets)).await.unwrap();
        assert_eq!(made.targets[1].error.is_some(), down, "{made:?}");
    }
    for target in both() {
        let into = restored(std::slice::from_ref(&target), scene.opening(), "latest", Selection::All).await.unwrap();
        assert_eq!(content(into.path()), content(&scene.root()), "{}", target.0);
    }
    // Nothing was sent as a whole again.
    assert!(stored(&second).await < 2 * 1_800_000, "{}", stored(&second).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_put_back_to_an_older_state_is_noticed_and_a_forged_header_is_refused() {
    let scene = Scene::new().await;
    scene.back_up(1).await;
    let second = scene.back_up(2).await;
    assert!(scene.verify_one(scene.sealed(), "latest", VerifyDepth::Quick).await.unwrap().ok);
    // Forged: what a host of another key would write, under a name of its own.
    let header = String::from_utf8(bytes_of(&scene.target, &second.key).await).unwrap();
    let forged_id = "0123456789ab";
    let forged_key = second.key.replace(&second.snapshot_id, forged_id);
    let body = header.rsplit_once("mac ").unwrap().0.replace(&second.snapshot_id, forged_id);
    let stranger = crate::backup::repository::id::IdKey::new([9; 32]);
    let forged = format!("{body}mac {}\n", crate::value::hex(&stranger.mac_of(body.as_bytes()).0));
    scene.target.put(&Scope::default(), &forged_key, forged.as_bytes(), true).await.unwrap();
    let listing = list(&Scope::default(), &scene.targets(), &scene.sealed(), None).await.unwrap();
    assert_eq!((listing.snapshots.len(), listing.unreadable[0].error.kind), (2, ErrorKind::Corrupt), "{listing:?}");
    let report = scene.verify_one(scene.sealed(), forged_id, VerifyDepth::Quick).await.unwrap();
    assert!(!report.ok && report.problems[0].kind == "damaged_index", "{report:?}");
    assert_eq!(scene.restored(scene.opening(), forged_id).await.unwrap_err().kind(), ErrorKind::Corrupt);
    scene.target.delete(&Scope::default(), &forged_key).await.unwrap();
    let third = scene.back_up(3).await;
    let header = String::from_utf8(bytes_of(&scene.target, &third.key).await).unwrap();
    assert!(header.contains(&format!("\nprevious {} ", second.snapshot_id)), "{header}");

    // The newest is taken away.
    let newest = bytes_of(&scene.target, &third.key).await;
    scene.target.delete(&Scope::default(), &third.key).await.unwrap();
    let broken = |report: &VerifyReport| {
        let of = |problem: &&crate::backup::verify::FoundProblem| problem.kind == "broken_chain";
        report.problems.iter().find(of).map(|problem| problem.message.clone())
    };
    let report = scene.verify_one(scene.sealed(), "latest", VerifyDepth::Quick).await.unwrap();
    assert!(broken(&report).is_some_and(|message| message.contains(&third.snapshot_id)), "{report:?}");
    // The next one's chain says so for ever, on every host.
    let fourth = scene.back_up(4).await;
    std::fs::remove_dir_all(scene.root().join(".state/cache")).unwrap();
    let report = scene.verify_one(scene.sealed(), &fourth.snapshot_id, VerifyDepth::Quick).await.unwrap();
    assert!(broken(&report).is_some_and(|message| message.contains(&third.snapshot_id)), "{report:?}");
    // It is back: all is well.
    scene.target.put(&Scope::default(), &third.key, &newest, true).await.unwrap();
    assert!(scene.verify_one(scene.sealed(), "latest", VerifyDepth::Quick).await.unwrap().ok);

    // What was removed with a record is not missed.
    let fifth = scene.back_up(5).await;
    let (targets, keys, proofs) = (scene.targets(), scene.sealed(), Proofs::default());
    let plan = plan_delete(&later(6), &targets, &keys, None, &fifth.snapshot_id, &proofs, true).await.unwrap();
    apply_delete(&later(6), &targets, &keys, &plan, "here", LeaseTimes::default()).await.unwrap();
    assert!(scene.verify_one(scene.sealed(), "latest", VerifyDepth::Quick).await.unwrap().ok);
    scene.back_up(7).await;
    assert!(scene.verify_one(scene.sealed(), "latest", VerifyDepth::Quick).await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_prints_has_a_secret() {
    let scene = Scene::new().await;
    let operator = Operator::from_text(&scene.operator.reveal(), "here").unwrap();
    let passphrase = WrapTo::passphrase(&crate::value::Secret::new("correct horse battery".to_owned())).unwrap();
    let unwrapped = Operator::from_text(&scene.key.to_text(), "there").unwrap();
    let ring = scene.opening().unwrap();
    let sealer = ring.sealer(Box::new(|_| Ok(()))).unwrap();
    let unsealer = ring.unsealer(10);
    let said = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {operator:#?} {unwrapped:#?} {:?}",
        scene.key,
        scene.host,
        scene.operator,
        ring,
        passphrase,
        sealer,
        unsealer,
        scene.key.id_key,
        operator,
        unwrapped,
        crate::backup::repository::id::IdKey::new(*scene.key.id_key.reveal()),
    );
    let id_key = scene.key.id_key.reveal();
    let listed = format!("{:?}", id_key.to_vec());
    for secret in [
        scene.key.id_key.to_hex().reveal(),
        &scene.operator.reveal()[20..],
        &scene.key.identity.reveal()[20..],
        "horse",
        &listed[1..listed.len() - 1],
    ] {
        assert!(!said.to_lowercase().contains(&secret.to_lowercase()), "{said}");
    }
}
