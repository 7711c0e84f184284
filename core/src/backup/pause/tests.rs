use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::*;

/// What was called, in order, and how each hook behaves.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<String>>, Notify);

impl Log {
    fn add(&self, what: String) {
        self.0.lock().unwrap().push(what);
        self.1.notify_waiters();
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until so many calls are logged.
    async fn wait(&self, count: usize) -> Vec<String> {
        let waiting = async {
            loop {
                let mut notified = std::pin::pin!(self.1.notified());
                notified.as_mut().enable();
                if self.all().len() >= count {
                    return;
                }
                notified.await;
            }
        };
        // The clock stands still while a hook runs, and jumps when nobody does anything.
        tokio::time::timeout(Duration::from_secs(1_000_000), waiting).await.expect("a call is missing");
        self.all()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Works,
    Fails,
    Panics,
    /// Blocks its thread until it is let go, whatever is cancelled.
    Hangs,
}

#[derive(Debug)]
struct Hook {
    name: &'static str,
    log: Arc<Log>,
    before: Way,
    after: Way,
    free: Arc<AtomicBool>,
}

impl Hook {
    fn go(&self, way: Way, what: &str) -> Result<()> {
        self.log.add(format!("{what} {}", self.name));
        match way {
            Way::Works => Ok(()),
            Way::Fails => Err(Error::new(ErrorKind::Unavailable, "it will not")),
            Way::Panics => panic!("as asked"),
            Way::Hangs => {
                while !self.free.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Ok(())
            }
        }
    }
}

#[async_trait]
impl PauseHook for Hook {
    async fn before(&self, _: &Scope) -> Result<()> {
        self.go(self.before, "before")
    }

    async fn after(&self, _: &Scope) -> Result<()> {
        self.go(self.after, "after")
    }
}

struct Scene {
    log: Arc<Log>,
    free: Arc<AtomicBool>,
    hooks: Vec<NamedHook>,
}

impl Scene {
    fn new(ways: &[(&'static str, Way, Way)]) -> Self {
        let (log, free) = (Arc::new(Log::default()), Arc::new(AtomicBool::new(false)));
        let hook = |&(name, before, after): &(&'static str, Way, Way)| {
            let hook = Hook { name, log: Arc::clone(&log), before, after, free: Arc::clone(&free) };
            (name.to_owned(), Arc::new(hook) as Arc<dyn PauseHook>)
        };
        let hooks = ways.iter().map(hook).collect();
        Self { log, free, hooks }
    }

    async fn begin(&self, scope: &Scope, seconds: f64) -> Result<Pausing> {
        let hooks = Hooks { hooks: self.hooks.clone(), deadline: Duration::from_secs_f64(seconds) };
        Pausing::begin(scope, hooks).await
    }
}

impl Drop for Scene {
    /// Whatever becomes of a test, no thread hangs on.
    fn drop(&mut self) {
        self.free.store(true, Ordering::SeqCst);
    }
}

/// The deadline. These tests own tokio's clock.
const LONG: f64 = 60.0;

async fn deadline() {
    tokio::time::advance(Duration::from_secs_f64(LONG + 1.0)).await;
}

#[tokio::test(start_paused = true)]
async fn hooks_pause_in_order_and_let_go_backwards() {
    let scene = Scene::new(&[("a", Way::Works, Way::Works), ("b", Way::Works, Way::Works)]);
    let pausing = scene.begin(&Scope::default(), LONG).await.unwrap();
    assert_eq!(scene.log.all(), ["before a", "before b"]);
    let report = pausing.end().await.unwrap();
    assert_eq!(scene.log.all(), ["before a", "before b", "after b", "after a"]);
    assert!(report.held && report.error.is_none() && report.from <= report.until);
}

#[tokio::test(start_paused = true)]
async fn whoever_began_is_let_go_whatever_fails() {
    for way in [Way::Fails, Way::Panics] {
        let scene = Scene::new(&[("a", Way::Works, Way::Works), ("b", way, Way::Works), ("c", way, way)]);
        let error = scene.begin(&Scope::default(), LONG).await.unwrap_err();
        assert!(error.kind() != ErrorKind::Cancelled, "{error}");
        assert_eq!(scene.log.all(), ["before a", "before b", "after b", "after a"]);
        // One that fails to let go is no reason to leave the other one paused.
        let scene = Scene::new(&[("a", Way::Works, Way::Works), ("b", Way::Works, way)]);
        let report = scene.begin(&Scope::default(), LONG).await.unwrap().end().await.unwrap();
        assert!(report.held && report.error.unwrap().contains("letting \"b\" write again"));
        assert_eq!(scene.log.all(), ["before a", "before b", "after b", "after a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_is_let_go_at_the_deadline_and_again_when_it_ends() {
    let (scene, scope) = (Scene::new(&[("a", Way::Hangs, Way::Works)]), Scope::default());
    let late = async {
        scene.log.wait(1).await;
        deadline().await;
    };
    let (begun, ()) = tokio::join!(scene.begin(&scope, LONG), late);
    assert_eq!(begun.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(scene.log.all(), ["before a", "after a"]);
    scene.free.store(true, Ordering::SeqCst);
    assert_eq!(scene.log.wait(3).await.last().unwrap(), "after a");

    let scene = Scene::new(&[("a", Way::Works, Way::Hangs), ("b", Way::Works, Way::Hangs)]);
    let pausing = scene.begin(&scope, LONG).await.unwrap();
    let late = async {
        for calls in [3, 4] {
            scene.log.wait(calls).await;
            deadline().await;
        }
    };
    let (report, ()) = tokio::join!(pausing.end(), late);
    assert!(report.unwrap().error.unwrap().contains("did not end within"));
    assert_eq!(scene.log.all(), ["before a", "before b", "after b", "after a"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_nobody_ends_ends_itself() {
    // At the deadline.
    let scene = Scene::new(&[("a", Way::Works, Way::Works)]);
    let pausing = scene.begin(&Scope::default(), LONG).await.unwrap();
    deadline().await;
    scene.log.wait(2).await;
    assert!(!pausing.end().await.unwrap().held);
    // When it is dropped.
    let scene = Scene::new(&[("a", Way::Works, Way::Works)]);
    drop(scene.begin(&Scope::default(), LONG).await.unwrap());
    scene.log.wait(2).await;
    // When the one who asks goes away while a hook is at it, or cancels.
    for cancels in [true, false] {
        let scene = Scene::new(&[("a", Way::Works, Way::Works), ("b", Way::Hangs, Way::Works)]);
        let scope = Scope::default();
        let mut begin = Box::pin(scene.begin(&scope, LONG));
        tokio::select! {
            _ = &mut begin => panic!("it hangs"),
            _ = scene.log.wait(2) => {}
        }
        if cancels {
            scope.cancel.cancel();
            assert_eq!(begin.await.unwrap_err().kind(), ErrorKind::Cancelled);
        } else {
            drop(begin);
        }
        assert_eq!(scene.log.wait(4).await, ["before a", "before b", "after b", "after a"]);
        scene.free.store(true, Ordering::SeqCst);
        assert_eq!(scene.log.wait(5).await.last().unwrap(), "after b");
    }
}
