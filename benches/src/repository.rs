//! The jobs of the repository layout: a first backup, one after a change, one after none, and what comes back.
//!
//! They work on a copy of the service, since a round changes it.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::{Connection, params};
use serde_json::json;
use uplifted_example::Failure;

use crate::contenders::{Contender, Job, OURS, OURS_DATA, Place, RESTIC, backup, ready, restic, restore, sync, verify};
use crate::program::{Measure, measure};
use crate::random::{Random, Words};

/// The names of the jobs.
pub(crate) const FIRST: &str = "first";
pub(crate) const CHANGED: &str = "after 1 %";
pub(crate) const UNCHANGED: &str = "unchanged";
pub(crate) const VERIFY: &str = "repository verify";
pub(crate) const RESTORE: &str = "repository restore";
pub(crate) const ONE_FILE: &str = "one file";
/// The peer of all but verify.
pub(crate) const RESTIC_BACKUP: &str = "restic";

/// The jobs in their order.
pub(crate) const JOBS: &[Job] = &[
    Job {
        name: FIRST,
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: forget_ours, run: |p| grown(p, &p.target(), backup) },
            Contender { name: RESTIC_BACKUP, needs: &["restic"], prepare: forget_restic, run: restic_backup },
        ],
    },
    Job {
        name: CHANGED,
        scene: change,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: |p| grown(p, &p.target(), backup) },
            Contender { name: RESTIC_BACKUP, needs: &["restic"], prepare: ready, run: restic_backup },
        ],
    },
    Job {
        name: UNCHANGED,
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: |p| grown(p, &p.target(), backup) },
            Contender { name: RESTIC_BACKUP, needs: &["restic"], prepare: ready, run: restic_backup },
        ],
    },
    Job {
        name: VERIFY,
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: |p| verify(p, "full") },
            Contender { name: OURS_DATA, needs: &[], prepare: ready, run: |p| verify(p, "data") },
            Contender {
                name: RESTIC,
                needs: &["restic"],
                prepare: ready,
                run: |p| measure(restic(p).args(["check", "--read-data"])),
            },
        ],
    },
    Job {
        name: RESTORE,
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: restore },
            Contender { name: RESTIC_BACKUP, needs: &["restic"], prepare: ready, run: restic_restore },
            Contender {
                name: "restic, sync -f",
                needs: &["restic"],
                prepare: ready,
                run: |place| Ok(restic_restore(place)? + sync(&place.work)?),
            },
        ],
    },
    Job {
        name: ONE_FILE,
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: one_file },
            Contender {
                name: RESTIC_BACKUP,
                needs: &["restic"],
                prepare: ready,
                run: |p| {
                    let file = p.service.join(A_FILE);
                    measure(
                        restic(p).args(["restore", "latest", "--target"]).arg(p.fresh()?).arg("--include").arg(file),
                    )
                },
            },
        ],
    },
];

/// One file of the service.
const A_FILE: &str = "plugins/plugin-000/src/module_0.py";

/// A copy of the service, with settings, state and target of its own.
pub(crate) fn place(archive: &Place) -> Result<Place, Failure> {
    let service = archive.at("changing");
    if !service.exists() {
        let made = archive.at("changing.part");
        measure(Command::new("cp").args(["-a", "--reflink=auto", "-T"]).arg(&archive.service).arg(&made))?;
        fs::rename(made, &service)?;
    }
    let place = Place { service, work: archive.work.clone(), ours: archive.ours.clone(), layout: "repository" };
    place.write_settings()?;
    Ok(place)
}

fn forget_ours(place: &Place) -> Result<(), Failure> {
    place.clear("state-repository")?;
    place.clear(&place.target()).map(drop)
}

fn forget_restic(place: &Place) -> Result<(), Failure> {
    place.clear("restic-cache")?;
    place.clear("restic-repository")?;
    measure(restic(place).arg("init")).map(drop)
}

fn restic_backup(place: &Place) -> Result<Measure, Failure> {
    grown(place, "restic-repository", |place| measure(restic(place).arg("backup").arg(&place.service)))
}

fn restic_restore(place: &Place) -> Result<Measure, Failure> {
    measure(restic(place).args(["restore", "latest", "--target"]).arg(place.fresh()?))
}

fn one_file(place: &Place) -> Result<Measure, Failure> {
    let request = json!({ "snapshot_id": "latest", "into": place.fresh()?, "paths": [A_FILE] });
    measure(&mut place.call("restore.apply", &request))
}

/// Runs it, and measures by how much `folder` grew.
fn grown(
    place: &Place,
    folder: &str,
    run: impl FnOnce(&Place) -> Result<Measure, Failure>,
) -> Result<Measure, Failure> {
    let before = size_of(&place.at(folder))?;
    let measured = run(place)?;
    Ok(Measure { stored_bytes: Some(size_of(&place.at(folder))?.saturating_sub(before)), ..measured })
}

fn size_of(path: &Path) -> Result<u64, Failure> {
    if !path.exists() {
        return Ok(0);
    }
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size_of(&entry?.path())?))
}

/// Changes the content of 1 % of the messages, chosen at random, the same number of bytes in each.
fn change(place: &Place) -> Result<(), Failure> {
    let connection = Connection::open(place.database())?;
    let count: i64 = connection.query_row("SELECT max(id) FROM message", [], |row| row.get(0))?;
    let marked: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let mut random = Random::new(7 + marked.unsigned_abs());
    // The vocabulary of the generator's usual seed.
    let words = Words::new(&mut Random::new(42));
    connection.execute_batch("BEGIN")?;
    {
        let mut read = connection.prepare("SELECT length(content) FROM message WHERE id = ?1")?;
        let mut update = connection.prepare("UPDATE message SET content = ?2 WHERE id = ?1")?;
        let mut content = String::new();
        for _ in 0..count / 100 {
            let id = 1 + i64::try_from(random.below(count.unsigned_abs()))?;
            let length: i64 = read.query_row(params![id], |row| row.get(0))?;
            let length = usize::try_from(length)?;
            content.clear();
            words.write(&mut random, length, &mut content);
            update.execute(params![id, &content[..length.min(content.len())]])?;
        }
    }
    connection.execute_batch("COMMIT")?;
    connection.pragma_update(None, "user_version", marked + 1)?;
    connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
    // A file that changed within the last two seconds is never trusted to be unchanged the next time: the service of a
    // backup at night rests for longer.
    std::thread::sleep(std::time::Duration::from_secs(4));
    Ok(())
}
