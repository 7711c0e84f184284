//! Following a database that other processes write to, and rolling copies of it forward.
//!
//! The follower is in this process, which therefore does nothing else with the database: writers are other processes
//! ([`super::child`]), and so is who takes the copies.

mod continuity;
mod cost;
mod forward;
mod load;

use std::collections::VecDeque;
use std::time::Duration;

use super::child::Child;
use super::*;
use crate::clock::Timestamp;
use crate::store::follow::{Continuity, Increment, Point, Resume};

const ENV: &str = "UPLIFTED_OPS_SQLITE_COPY";

/// As long as it takes to be sure that nothing comes: a few looks.
const QUIET: Duration = Duration::from_millis(350);
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A copy of the database taken by another process: its folder, and what [`StoreSnapshot::taken_at`] says.
fn copy(scene: &Scene, name: &str) -> (PathBuf, Timestamp) {
    let out = scene.out(name);
    let value = serde_json::json!([scene.folder.path(), out]).to_string();
    let output = super::child::again_in(module_path!(), "take_copy", ENV, &value).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let Some((_, taken_at)) = text.lines().find_map(|line| line.split_once("@@taken ")) else {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr))
    };
    (out, taken_at.parse().unwrap())
}

/// The process that takes a copy; without the variable, nothing.
#[tokio::test]
async fn take_copy() {
    let Ok(value) = std::env::var(ENV) else { return };
    let (root, out): (PathBuf, PathBuf) = serde_json::from_str(&value).unwrap();
    let context = BuildContext { name: "main".into(), state: root.join(".uplifted-ops"), root, service: "shop".into() };
    let settings = serde_json::json!({ "path": "data/app.db", "busy_timeout_seconds": 60, "keep_free_bytes": 0 });
    let store = SqliteStore::new(&context, context.settings(settings.as_object().unwrap()).unwrap()).unwrap();
    let taken = store.snapshot_to(&Scope::default(), &out).await.unwrap();
    println!("@@taken {}", taken.taken_at);
}

/// Everything that a follower handed over, in order.
#[derive(Default, Clone)]
struct Shelf(Vec<Increment>);

impl Shelf {
    /// Takes the next increment, checks that it goes on from the last, and says that it is stored.
    async fn take(&mut self, follower: &mut dyn Follower, patience: Duration) -> Option<Increment> {
        let increment = follower.next(&Scope::default(), patience).await.unwrap()?;
        assert!(increment.payload.len() <= crate::store::follow::MAX_PAYLOAD);
        if let Some(last) = self.0.last() {
            assert_eq!(increment.from, last.to);
            assert!(increment.to > last.to, "{} {}", increment.to, last.to);
        }
        follower.stored(&Scope::default(), &increment.to).await.unwrap();
        self.0.push(increment.clone());
        Some(increment)
    }

    /// Takes what there is until nothing comes any more.
    async fn drain(&mut self, follower: &mut dyn Follower) {
        while self.take(follower, QUIET).await.is_some() {}
    }

    /// Takes increments until one has a point, and returns it.
    async fn point(&mut self, follower: &mut dyn Follower) -> Point {
        loop {
            let increment = self.take(follower, PATIENCE).await.expect("an increment comes");
            if let Some(point) = increment.points.last() {
                return point.clone();
            }
        }
    }

    fn resume(&self) -> Option<Resume> {
        let Increment { to: position, until, .. } = self.0.last()?.clone();
        let checksum = self.0.iter().rev().find_map(|increment| increment.points.last())?.checksum.clone();
        Some(Resume { position, checksum, until })
    }

    fn points(&self) -> Vec<Point> {
        self.0.iter().flat_map(|increment| increment.points.clone()).collect()
    }

    /// The reasons for which something does not simply go on.
    fn breaks(&self) -> Vec<String> {
        self.0
            .iter()
            .filter_map(|increment| match &increment.continuity {
                Continuity::Continues => None,
                Continuity::Difference { reason } => Some(format!("difference: {reason}")),
                Continuity::Begins { reason } => Some(format!("begins: {reason}")),
            })
            .collect()
    }

    /// What is to be added to a copy.
    fn since(&self, taken_at: Timestamp) -> Stream {
        Stream(self.0.iter().skip_while(|increment| increment.until < taken_at).cloned().collect())
    }
}

struct Stream(VecDeque<Increment>);

#[async_trait]
impl Increments for Stream {
    async fn next(&mut self, _scope: &Scope) -> Result<Option<Increment>> {
        Ok(self.0.pop_front())
    }
}

impl Scene {
    async fn follow(&self, resume: Option<Resume>) -> Box<dyn Follower> {
        self.follow_with(resume, 64 << 20).await.unwrap()
    }

    async fn follow_with(&self, resume: Option<Resume>, log_limit_bytes: u64) -> Result<Box<dyn Follower>> {
        let cache = self.folder.path().join("cache");
        std::fs::create_dir_all(&cache).unwrap();
        self.store().follow(&Scope::default(), FollowRequest { resume, cache, log_limit_bytes }).await
    }

    /// Rolls a copy of `base` forward, and returns the file.
    async fn roll(&self, base: &(PathBuf, Timestamp), shelf: &Shelf, until: Until) -> Result<PathBuf> {
        let out = self.out(&format!("rolled-{}", crate::value::random_hex(8).unwrap()));
        let file = out.join("app.db");
        std::fs::copy(base.0.join("app.db"), &file).unwrap();
        let mut stream = shelf.since(base.1);
        let reached = self.store().roll_forward(&Scope::default(), &out, base.1, &mut stream, &until).await?;
        assert_eq!(reached.proven, Some(true));
        if let Until::Position(position) = until {
            assert_eq!(reached.point.position, position);
        }
        assert_eq!(names(&out), ["app.db"]);
        Ok(file)
    }
}

/// What `t` holds, in one line, as a child says it.
const STATE: &str =
    "SELECT count(*) || ' ' || total(id) || ' ' || total(length(text)) || ' ' || coalesce(max(text), '') FROM t";

/// The same of a file, which must be whole.
fn state_of(file: &Path) -> String {
    let db = Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let ok: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
    db.query_row(STATE, [], |row| row.get(0)).unwrap()
}
