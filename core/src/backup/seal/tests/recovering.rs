//! `recover.sh` on an encrypted repository: `sh`, `tar`, `zstd`, `age` and an identity, and none of our own code.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::archives::{Scene, bytes_of};
use super::*;
use crate::backup::repository::recover::tests::{comparable, run, shells};
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;

/// Puts the target into a folder, as the target `fs` has it.
async fn spread(scene: &Scene, into: &Path) {
    for key in scene.target.keys() {
        let path = into.join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes_of(&scene.target, &key).await).unwrap();
    }
}

/// Changes of a day.
fn live(scene: &Scene, day: u64) {
    let at = |name: &[u8]| scene.root().join(OsStr::from_bytes(name));
    scene.change(12, day);
    if day % 2 == 1 {
        scene.database(20, day);
    }
    std::fs::write(at(format!("logs/day {day}.log").as_bytes()), noise(3000, day)).unwrap();
    let mut big = std::fs::read(at(b"big")).unwrap();
    let middle = big.len() / 2;
    big.splice(middle..middle, noise(1000, day));
    std::fs::write(at(b"big"), big).unwrap();
    std::fs::rename(at(format!("logs/moved {}", day - 1).as_bytes()), at(format!("logs/moved {day}").as_bytes()))
        .unwrap();
    if day == 3 {
        std::fs::remove_file(at(b"odd/short")).unwrap();
    }
}

fn begin(scene: &Scene) {
    let at = |name: &[u8]| scene.root().join(OsStr::from_bytes(name));
    for folder in ["logs", "odd", "odd/ with space "] {
        std::fs::create_dir(at(folder.as_bytes())).unwrap();
    }
    scene.database(1500, 1);
    std::fs::write(at(b"big"), noise(5 << 20, 4)).unwrap();
    std::fs::write(at(b"logs/moved 0"), noise(2_000_000, 5)).unwrap();
    for name in [
        &b"odd/it's \"quoted\""[..],
        b"odd/a\nline",
        b"odd/%25$HOME",
        b"odd/-rf",
        b"odd/\xff\xfe",
        b"odd/ with space /*",
    ] {
        std::fs::write(at(name), name).unwrap();
    }
    std::fs::write(at(b"odd/short"), b"soon gone").unwrap();
    std::fs::write(at(b"odd/empty"), b"").unwrap();
    for (name, mode) in [("odd/run.sh", 0o755), ("odd/private", 0o600), ("odd/none", 0o400)] {
        std::fs::write(at(name.as_bytes()), name).unwrap();
        std::fs::set_permissions(at(name.as_bytes()), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("../big", at(b"odd/link")).unwrap();
    std::fs::hard_link(at(b"odd/run.sh"), at(b"odd/same.sh")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_tools_and_age_restore_what_we_restore_before_and_after_a_rotation() {
    for name in ["age", "zstd", "dash", "busybox"] {
        drop(program(name));
    }
    let mut scene = Scene::new().await;
    begin(&scene);
    let mut made = vec![scene.back_up(1).await];
    let mut old = None;
    for day in 1..=5 {
        if day == 3 {
            old = Some(scene.rotate().await);
        }
        live(&scene, day);
        made.push(scene.back_up(1 + day as i64).await);
    }
    let old = old.unwrap();
    let keys = || {
        let mut ring = KeyRing::of_host(&scene.host);
        ring.add(old.clone()).unwrap();
        ring.add(scene.key.clone()).unwrap();
        Some(Arc::new(ring))
    };
    let place = tempfile::tempdir().unwrap();
    let repository = place.path().join("the repository");
    spread(&scene, &repository).await;
    let identity = place.path().join("an identity.txt");
    std::fs::write(&identity, scene.operator.reveal().as_bytes()).unwrap();
    let mut expected = Vec::new();
    for report in [&made[0], &made[2], &made[5]] {
        expected.push((report.snapshot_id.clone(), scene.restored(keys(), &report.snapshot_id).await.unwrap()));
    }
    let restore = |shell: &[&str], snapshot: &str, into: &Path, identity: &Path| {
        run(
            shell,
            &repository,
            &["restore", snapshot, into.to_str().unwrap(), "--identity", identity.to_str().unwrap()],
        )
    };
    for (number, shell) in shells().iter().enumerate() {
        for (snapshot, ours) in &expected {
            let into = place.path().join(format!("{number} {snapshot}"));
            let output = restore(shell, snapshot, &into, &identity);
            assert!(output.status.success(), "{shell:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(comparable(&into, shell), comparable(ours.path(), shell), "{shell:?} {snapshot}");
        }
    }
    assert_eq!(shells().len(), 3);

    // From elsewhere, with relative names.
    let output = Command::new("dash")
        .current_dir(place.path())
        .env("TMPDIR", ".")
        .args(["the repository/recover.sh", "restore", "latest", "relative", "--identity", "an identity.txt"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let newest = &expected[2].1;
    let sh = ["dash"];
    assert_eq!(comparable(&place.path().join("relative"), &sh), comparable(newest.path(), &sh));

    // A stranger's identity, and none: nothing is restored, and what is needed is named.
    let stranger = place.path().join("stranger.txt");
    std::fs::write(&stranger, RepositoryIdentity::generate().reveal().as_bytes()).unwrap();
    let fingerprint = scene.key.fingerprint().to_string();
    let into = place.path().join("nothing");
    let output = restore(&sh, "latest", &into, &stranger);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&fingerprint) && said.contains("--identity FILE"), "{said}");
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 0);
    let output = restore(&sh, "latest", &into, &place.path().join("nowhere"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no file that can be read"), "{output:?}");

    // The former key is lost: the snapshots that need it say so. By hand it is as good as wrapped.
    for entry in std::fs::read_dir(repository.join("keys")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with(old.fingerprint().as_str()) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let output = restore(&sh, &made[0].snapshot_id, &place.path().join("old"), &identity);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(old.fingerprint().as_str()), "{said}");
    let by_hand = place.path().join("unwrapped");
    std::fs::write(&by_hand, old.to_text().as_bytes()).unwrap();
    let into = place.path().join("by hand");
    let output = restore(&sh, &made[0].snapshot_id, &into, &by_hand);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(comparable(&into, &sh), comparable(expected[0].1.path(), &sh));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn age_asks_for_the_passphrase_that_the_keys_are_wrapped_to() {
    for name in ["age", "zstd", "script"] {
        drop(program(name));
    }
    let scene = Scene::new().await;
    scene.back_up(1).await;
    let wrapped: Vec<String> = scene.target.keys().into_iter().filter(|key| key.starts_with("keys/")).collect();
    let to = WrapTo::passphrase(&crate::value::Secret::new("correct horse battery staple".to_owned())).unwrap();
    scene.target.delete(&Scope::default(), &wrapped[0]).await.unwrap();
    let bytes = scene.key.wrap(&to).unwrap();
    scene.target.put(&Scope::default(), &wrapped[0], &bytes, true).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let repository = place.path().join("repository");
    spread(&scene, &repository).await;
    let ours = scene.restored(scene.opening(), "latest").await.unwrap();
    for (passphrase, opens) in [("correct horse battery staple\n", true), ("wrong\n", false)] {
        let into = place.path().join(format!("into {opens}"));
        let line = format!("sh '{}' restore latest '{}'", repository.join("recover.sh").display(), into.display());
        // A terminal of its own, on which age asks.
        let mut child = Command::new("timeout")
            .args(["60", "script", "-qec", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        use std::io::Write as _;
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(passphrase.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), opens, "{said}");
        match opens {
            true => assert_eq!(comparable(&into, &["sh"]), comparable(ours.path(), &["sh"])),
            false => assert!(said.contains(scene.key.fingerprint().as_str()), "{said}"),
        }
    }
}
