//! Encrypted archives from one end to the other: made, listed, verified, opened, damaged, recovered with plain tools.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::backup::archive::Archive;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, CreateReport, NamedTarget, create};
use crate::backup::delete::{apply_delete, plan_delete};
use crate::backup::fake_store::kinds;
use crate::backup::lease::LeaseTimes;
use crate::backup::list::{blocking, find, list, show};
use crate::backup::retention::Proofs;
use crate::backup::target::BackupTarget;
use crate::backup::verify::{VerifyDepth, VerifyJob, VerifyLevel, VerifyReport, verify};
use crate::cancel::Scope;
use crate::config::BackupSettings;
use crate::error::ErrorKind;
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// A service, a target that has its wrapped key, and both halves of that key.
pub(super) struct Scene {
    pub(super) base: tempfile::TempDir,
    pub(super) target: MemoryTarget,
    pub(super) key: RepositoryKey,
    pub(super) host: HostKeys,
    pub(super) operator: RepositoryIdentity,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with(MemoryTarget::default()).await
    }

    async fn with(target: MemoryTarget) -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join(".env"), "TOKEN=hunter2").unwrap();
        std::fs::write(root.join("big"), noise(700_000, 4)).unwrap();
        let (key, operator) = (key(), RepositoryIdentity::generate());
        let to = WrapTo::recipients(vec![operator.recipient()]).unwrap();
        let targets = [named("one", &target)];
        vault::store(&Scope::default(), &targets, &key, to, None).await.unwrap();
        let host = HostKeys::of(&key);
        Self { base, target, key, host, operator }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    /// What the host has.
    pub(super) fn sealed(&self) -> Keys {
        Some(Arc::new(KeyRing::of_host(&self.host)))
    }

    /// What the host and an operator have.
    pub(super) fn opening(&self) -> Keys {
        let mut ring = KeyRing::of_host(&self.host);
        ring.add(self.key.clone()).unwrap();
        Some(Arc::new(ring))
    }

    pub(super) fn targets(&self) -> Vec<NamedTarget> {
        vec![named("one", &self.target)]
    }

    pub(super) fn job(&self, targets: Vec<NamedTarget>) -> CreateJob {
        CreateJob {
            service: "app".into(),
            host: "here".into(),
            settings: BackupSettings { scratch_in_memory: true, ..BackupSettings::default() },
            targets,
            keys: self.sealed(),
            ..CreateJob::new(self.root(), self.root().join(".state"), kinds())
        }
    }

    async fn create(&self) -> CreateReport {
        create(&Scope::default(), self.job(self.targets())).await.unwrap()
    }

    pub(super) async fn verify(&self, keys: Keys, depth: VerifyDepth) -> Result<VerifyReport> {
        let job = VerifyJob {
            targets: self.targets(),
            service: Some("app".into()),
            snapshot: "latest".into(),
            depth,
            scratch: self.base.path().join("scratch"),
            scratch_in_memory: true,
            checkers: Checkers { kinds: kinds(), live: Vec::new() },
            threads: 1,
            keys,
            state: self.root().join(".state"),
        };
        verify(&Scope::default(), job).await
    }

    /// The objects that a backup put, without leases and keys.
    fn put(&self) -> Vec<String> {
        put_in(&self.target)
    }
}

pub(super) fn put_in(target: &MemoryTarget) -> Vec<String> {
    target.keys().into_iter().filter(|key| !key.starts_with("locks/") && !key.starts_with("keys/")).collect()
}

pub(super) fn named(name: &str, target: &MemoryTarget) -> NamedTarget {
    (name.to_owned(), Arc::new(target.clone()))
}

pub(super) async fn bytes_of(target: &MemoryTarget, key: &str) -> Vec<u8> {
    target.get(&Scope::default(), key, 0..1 << 23).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_made_listed_verified_and_opened() {
    for target in [MemoryTarget::default(), MemoryTarget::default().without_read_back()] {
        let scene = Scene::with(target).await;
        let report = scene.create().await;
        let fingerprint = scene.key.fingerprint();
        assert_eq!(report.encrypted_to.as_ref(), Some(&fingerprint));
        assert!(report.key.ends_with(".tar.zst.age"));
        assert_eq!(scene.put(), [report.key.clone(), format!("{}.summary", report.key)]);
        let scope = Scope::default();

        // The host lists what it made, and cannot look into it.
        let listing = list(&scope, &scene.targets(), &scene.sealed(), Some("app")).await.unwrap();
        assert!(listing.unreadable.is_empty() && listing.failed.is_empty(), "{listing:?}");
        let listed = &listing.snapshots[0];
        assert_eq!((&listed.snapshot_id, listed.encrypted_to.as_ref()), (&report.snapshot_id, Some(&fingerprint)));
        assert_eq!((listed.files, listed.size_bytes), (report.files, report.size_bytes));
        assert_eq!(listed.stored_bytes, report.stored_bytes);
        let error = show(&scope, &scene.targets(), &scene.sealed(), None, "latest").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().contains(fingerprint.as_str()), "{error}");
        let shown = show(&scope, &scene.targets(), &scene.opening(), None, "latest").await.unwrap();
        assert_eq!(shown.manifest.encrypted_to.as_ref(), Some(&fingerprint));

        for depth in [VerifyDepth::Quick, VerifyDepth::Data, VerifyDepth::Full] {
            let sealed = scene.verify(scene.sealed(), depth).await.unwrap();
            assert_eq!((sealed.ok, sealed.level), (true, VerifyLevel::Sealed));
            let proven = scene.verify(scene.opening(), depth).await.unwrap();
            assert_eq!((proven.ok, proven.level), (true, VerifyLevel::Proven));
        }

        // Without the host's part nothing is said of it, but that it is there.
        let listing = list(&scope, &scene.targets(), &None, Some("app")).await.unwrap();
        assert_eq!(listing.unreadable[0].error.kind, ErrorKind::Denied);
        let error = find(&scope, &scene.targets(), &None, Some("app"), "latest").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint().unwrap().contains("keys adopt"), "{error}");
        let unwrapped: Keys = Some(Arc::new(KeyRing::of_unwrapped(vec![scene.key.clone()]).unwrap()));
        assert_eq!(find(&scope, &scene.targets(), &unwrapped, Some("app"), "latest").await.unwrap().len(), 1);

        let (targets, sealed, proofs) = (scene.targets(), scene.sealed(), Proofs::default());
        let plan = plan_delete(&scope, &targets, &sealed, None, "latest", &proofs, true).await.unwrap();
        apply_delete(&scope, &scene.targets(), &scene.sealed(), &plan, "here", LeaseTimes::default()).await.unwrap();
        assert_eq!(scene.put(), [] as [String; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_that_is_damaged_is_found_with_the_identity_and_without() {
    let scene = Scene::new().await;
    let report = scene.create().await;
    let whole = bytes_of(&scene.target, &report.key).await;
    for place in [0, 200, 500, whole.len() / 2, whole.len() - 1] {
        scene.target.tamper(&report.key, |bytes| bytes[place] ^= 1);
        let sealed = scene.verify(scene.sealed(), VerifyDepth::Data).await.unwrap();
        assert_eq!((sealed.ok, sealed.problems[0].kind.as_str()), (false, "damaged_archive"), "{place}");
        match scene.verify(scene.opening(), VerifyDepth::Full).await {
            Ok(proven) => assert!(!proven.ok, "{place}: {proven:?}"),
            // A stanza that nobody can open any more looks like that of another key.
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{place}: {error}"),
        }
        scene.target.tamper(&report.key, |bytes| bytes[place] ^= 1);
    }
    scene.target.tamper(&report.key, |bytes| bytes.truncate(whole.len() - 1));
    let sealed = scene.verify(scene.sealed(), VerifyDepth::Quick).await.unwrap();
    assert!(sealed.problems[0].message.contains("bytes, and had"), "{sealed:?}");
    scene.target.tamper(&report.key, |bytes| *bytes = whole.clone());

    // The summary: what is changed is not believed, and an identity does without.
    let beside = format!("{}.summary", report.key);
    let summary = bytes_of(&scene.target, &beside).await;
    let text = String::from_utf8(summary.clone()).unwrap();
    for changed in [
        text.replace("\"files\":", "\"files\":1"),
        text.replace(&report.key, "app_20990101T000000Z_0123456789ab.tar.zst.age"),
        text.replace("mac ", "mac 0"),
        text.replace("stored ", "stored 1"),
        format!("{text}mac 00\n"),
        text[..text.len() / 2].to_owned(),
        String::new(),
    ] {
        scene.target.tamper(&beside, |bytes| *bytes = changed.clone().into_bytes());
        let listing = list(&Scope::default(), &scene.targets(), &scene.sealed(), None).await.unwrap();
        assert_eq!(listing.unreadable[0].error.kind, ErrorKind::Corrupt, "{changed}");
        let sealed = scene.verify(scene.sealed(), VerifyDepth::Data).await;
        assert!(sealed.is_err() || !sealed.unwrap().ok, "{changed}");
        let listing = list(&Scope::default(), &scene.targets(), &scene.opening(), None).await.unwrap();
        assert_eq!(listing.snapshots[0].files, report.files, "{changed}");
    }
    let stranger = HostKeys::of(&key());
    scene.target.tamper(&beside, |bytes| *bytes = summary.clone());
    let ring: Keys = Some(Arc::new(KeyRing::of_host(&stranger)));
    let listing = list(&Scope::default(), &scene.targets(), &ring, None).await.unwrap();
    assert_eq!(listing.unreadable[0].error.kind, ErrorKind::Denied);
    scene.target.delete(&Scope::default(), &beside).await.unwrap();
    let listing = list(&Scope::default(), &scene.targets(), &scene.sealed(), None).await.unwrap();
    assert!(listing.unreadable[0].error.message.contains("is missing"), "{listing:?}");
    assert!(scene.verify(scene.opening(), VerifyDepth::Full).await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_does_not_keep_what_it_got_has_no_backup() {
    for target in [MemoryTarget::default(), MemoryTarget::default().without_read_back()] {
        let scene = Scene::with(target).await;
        for call in [Call::Put, Call::Upload, Call::Finish, Call::Get] {
            for nth in 1..=6 {
                let faulty = Arc::new(FaultyTarget::nth(Arc::new(scene.target.clone()), call, nth));
                let made = create(&Scope::default(), scene.job(vec![("one".to_owned(), faulty as _)])).await;
                let archives: Vec<String> = scene.put().into_iter().filter(|key| key.ends_with(".age")).collect();
                match made {
                    Err(_) => assert_eq!(archives, [] as [String; 0], "{call:?} {nth}"),
                    // So many calls are not made.
                    Ok(report) => {
                        assert_eq!(archives, std::slice::from_ref(&report.key), "{call:?} {nth}");
                        scene.target.delete(&Scope::default(), &report.key).await.unwrap();
                    }
                }
            }
        }
        // What the failed ones left beside their archives goes with the next backup.
        let report = scene.create().await;
        assert_eq!(scene.put(), [report.key.clone(), format!("{}.summary", report.key)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_the_wrapped_key_gets_it_or_gets_no_backup() {
    let scene = Scene::new().await;
    let later = MemoryTarget::default();
    let targets = vec![named("one", &scene.target), named("later", &later)];
    let report = create(&Scope::default(), scene.job(targets)).await.unwrap();
    assert!(report.targets.iter().all(|target| target.error.is_none()), "{report:?}");
    let wrapped = |target: &MemoryTarget| -> Vec<String> {
        target.keys().into_iter().filter(|key| key.starts_with("keys/")).collect()
    };
    assert_eq!(wrapped(&later), [format!("keys/{}-1.age", scene.key.fingerprint())]);
    assert_eq!(bytes_of(&later, &wrapped(&later)[0]).await, bytes_of(&scene.target, &wrapped(&later)[0]).await);

    let alone = MemoryTarget::default();
    let error = create(&Scope::default(), scene.job(vec![named("alone", &alone)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains(scene.key.fingerprint().as_str()), "{error}");
    assert_eq!(put_in(&alone), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapped_key_that_is_cut_is_as_good_as_none() {
    let (scene, scope) = (Scene::new().await, Scope::default());
    let key = format!("keys/{}-1.age", scene.key.fingerprint());
    let whole = bytes_of(&scene.target, &key).await;
    let cut = MemoryTarget::default();
    for len in [0, 60] {
        cut.put(&scope, &key, &whole[..len], false).await.unwrap();
        let error = create(&scope, scene.job(vec![named("cut", &cut)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{len}: {error}");
        assert_eq!(put_in(&cut), [] as [String; 0]);
    }
    // Another target has it whole.
    create(&scope, scene.job(vec![named("one", &scene.target), named("cut", &cut)])).await.unwrap();
    assert_eq!(bytes_of(&cut, &format!("keys/{}-2.age", scene.key.fingerprint())).await, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_in_clear_are_refused_until_the_settings_allow_them() {
    let scene = Scene::new().await;
    std::fs::write(scene.root().join("server.key"), "x").unwrap();
    for allowed in [None, Some(false)] {
        let mut job = CreateJob { keys: None, ..scene.job(scene.targets()) };
        job.settings.clear_secrets = allowed;
        let error = create(&Scope::default(), job).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().ends_with("hold secrets: .env, server.key"), "{error}");
        assert!(error.hint().unwrap().contains("clear_secrets = true"), "{error}");
        assert_eq!(scene.put(), [] as [String; 0]);
    }
    let mut job = CreateJob { keys: None, ..scene.job(scene.targets()) };
    job.settings.clear_secrets = Some(true);
    let report = create(&Scope::default(), job).await.unwrap();
    assert_eq!((report.encrypted_to, report.key.ends_with(".tar.zst")), (None, true));
    let mut job = CreateJob { keys: None, ..scene.job(scene.targets()) };
    job.settings.exclude = vec![".env".into(), "*.key".into()];
    create(&Scope::default(), job).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_tools_recover_it() {
    let scene = Scene::new().await;
    let report = scene.create().await;
    let archive = scene.base.path().join("archive.age");
    std::fs::write(&archive, bytes_of(&scene.target, &report.key).await).unwrap();
    let key_file = scene.base.path().join("key");
    std::fs::write(&key_file, scene.key.to_text().as_bytes()).unwrap();
    let into = scene.base.path().join("into");
    std::fs::create_dir(&into).unwrap();
    drop(program("age"));
    drop(program("zstd"));
    let line = "age -d -i \"$1\" \"$2\" | tar --zstd -xf - -C \"$3\"";
    let status = Command::new("sh")
        .args(["-ec", line, "sh"])
        .args([&key_file, &archive, &into])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert_eq!(std::fs::read(into.join(".env")).unwrap(), b"TOKEN=hunter2");
    assert_eq!(std::fs::read(into.join("big")).unwrap(), noise(700_000, 4));

    // Damage that is not ours to repair is age's to refuse.
    let mut cut = std::fs::OpenOptions::new().append(true).open(&archive).unwrap();
    cut.write_all(b"x").unwrap();
    let output = program("age").arg("-d").arg("-i").arg(&key_file).arg(&archive).output().unwrap();
    assert!(!output.status.success());
    assert!(Path::new(&archive).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_read_by_its_index_without_all_of_it() {
    let scene = Scene::new().await;
    std::fs::write(scene.root().join("big"), noise(6_000_000, 4)).unwrap();
    let report = scene.create().await;
    let stored = Bytes::new(bytes_of(&scene.target, &report.key).await);
    let keys = scene.opening().unwrap();
    let counted = Arc::clone(&stored);
    let entries =
        blocking(move || Ok(Archive::open(Arc::new(keys.open(counted, None)?))?.entries().len())).await.unwrap();
    assert_eq!(entries, 2);
    assert!(stored.taken() < 600_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_encrypted_with_the_same_keys_and_shares_content_without_opening_anything() {
    let scene = Scene::new().await;
    let in_repository = || {
        let mut job = scene.job(scene.targets());
        job.settings.layout = Some("repository".into());
        job
    };
    let first = create(&Scope::default(), in_repository()).await.unwrap();
    assert_eq!(first.encrypted_to, Some(scene.key.fingerprint()));
    let packs = || scene.put().into_iter().filter(|key| key.starts_with("packs/")).collect::<Vec<_>>();
    let stored = packs();
    assert!(!stored.is_empty() && stored.iter().all(|key| key.ends_with(".tar.zst.age")), "{stored:?}");
    let record = String::from_utf8(bytes_of(&scene.target, "repository").await).unwrap();
    assert!(record.contains(&scene.key.repository) && record.contains("encryption age"), "{record}");
    assert!(!record.contains(scene.key.id_key.to_hex().reveal()), "{record}");

    // Plain tools open the packs, and nothing of the service is in clear anywhere.
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, scene.key.to_text().as_bytes()).unwrap();
    drop(program("zstd"));
    for key in &stored {
        let pack = folder.path().join("pack");
        std::fs::write(&pack, bytes_of(&scene.target, key).await).unwrap();
        let line = "age -d -i \"$1\" \"$2\" | tar --zstd -t | head -1";
        let output = Command::new("sh").args(["-ec", line, "sh"]).args([&key_file, &pack]).output().unwrap();
        assert!(output.stdout.starts_with(b"blobs/"), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for key in scene.put() {
        let bytes = bytes_of(&scene.target, &key).await;
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{key}");
    }

    // What is there already is not stored again, though nobody here can open it; also when the caches are lost.
    let second = create(&Scope::default(), in_repository()).await.unwrap();
    assert!(second.stored_bytes < first.stored_bytes / 10, "{} of {}", second.stored_bytes, first.stored_bytes);
    std::fs::remove_dir_all(scene.root().join(".state")).unwrap();
    let third = create(&Scope::default(), in_repository()).await.unwrap();
    assert!(third.stored_bytes < first.stored_bytes / 10, "{} of {}", third.stored_bytes, first.stored_bytes);

    // Another host's key, and no key at all.
    let stranger: Keys = Some(Arc::new(KeyRing::of_host(&HostKeys::of(&key()))));
    for keys in [stranger, None] {
        let mut job = CreateJob { keys, ..in_repository() };
        job.settings.clear_secrets = Some(true);
        let error = create(&Scope::default(), job).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Denied | ErrorKind::Refused), "{:?} {error}", error.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_in_clear_stays_in_clear_or_gets_nothing() {
    let scene = Scene::new().await;
    let in_repository = |keys: Keys| {
        let mut job = CreateJob { keys, ..scene.job(scene.targets()) };
        job.settings.layout = Some("repository".into());
        job.settings.clear_secrets = Some(true);
        job
    };
    create(&Scope::default(), in_repository(None)).await.unwrap();
    let before = scene.put();
    let error = create(&Scope::default(), in_repository(scene.sealed())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hint().unwrap().contains("another folder"), "{error}");
    assert_eq!(scene.put(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_elsewhere_comes_with_what_opens_it_and_is_sampled_without() {
    use crate::backup::copy::{CopyJob, copy};
    use crate::backup::sample::{SampleJob, sample};

    let scene = Scene::new().await;
    let report = scene.create().await;
    let offsite = MemoryTarget::default();
    let job = CopyJob {
        from: scene.targets(),
        to: named("offsite", &offsite),
        service: Some("app".into()),
        snapshot: "latest".into(),
        host: "here".into(),
        lease: LeaseTimes::default(),
        threads: 1,
        keys: scene.sealed(),
        level: 3,
        state: scene.base.path().join("copying"),
    };
    let copied = copy(&Scope::default(), job).await.unwrap();
    assert!(copied.copied);
    assert_eq!(put_in(&offsite), [report.key.clone(), format!("{}.summary", report.key)]);
    assert!(offsite.keys().contains(&format!("keys/{}-1.age", scene.key.fingerprint())), "{:?}", offsite.keys());

    let sampled = |keys: Keys| SampleJob {
        targets: vec![named("offsite", &offsite)],
        days: 1.0,
        max_bytes: None,
        // All of it is due.
        reached: [("offsite".to_owned(), "2020-01-01T00:00:00Z".parse().unwrap())].into(),
        clean_since: Default::default(),
        state: scene.base.path().join("sampling"),
        keys,
    };
    let well = sample(&Scope::default(), sampled(scene.sealed())).await.unwrap();
    assert!(well.ok && well.failed.is_empty(), "{well:?}");
    assert_eq!((well.targets[0].objects, well.targets[0].read_bytes), (1, copied.stored_bytes));
    let unknown = sample(&Scope::default(), sampled(None)).await.unwrap();
    assert_eq!(unknown.failed[0].error.kind, ErrorKind::Denied, "{unknown:?}");
    offsite.tamper(&report.key, |bytes| bytes[5000] ^= 1);
    let damaged = sample(&Scope::default(), sampled(scene.sealed())).await.unwrap();
    assert_eq!(damaged.problems[0].kind, "damaged_archive", "{damaged:?}");
}
