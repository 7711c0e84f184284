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
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("a call is missing");
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

/// Past any machine's hiccup.
const LONG: f64 = 60.0;
const SHORT: f64 = 0.05;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_pause_in_order_and_let_go_backwards() {
    let scene = Scene::new(&[("a", Way::Works, Way::Works), ("b", Way::Works, Way::Works)]);
    let pausing = scene.begin(&Scope::default(), LONG).await.unwrap();
    assert_eq!(scene.log.all(), ["before a", "before b"]);
    let report = pausing.end().await.unwrap();
    assert_eq!(scene.log.all(), ["before a", "before b", "after b", "after a"]);
    assert!(report.held && report.error.is_none() && report.from <= report.until);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_hangs_is_let_go_at_the_deadline_and_again_when_it_ends() {
    let scene = Scene::new(&[("a", Way::Hangs, Way::Works)]);
    let error = scene.begin(&Scope::default(), SHORT).await.unwrap_err();
    assert_eq!(
        (error.kind(), scene.log.all()),
        (ErrorKind::Timeout, vec!["before a".to_owned(), "after a".to_owned()])
    );
    scene.free.store(true, Ordering::SeqCst);
    assert_eq!(scene.log.wait(3).await.last().unwrap(), "after a");

    let scene = Scene::new(&[("a", Way::Works, Way::Hangs), ("b", Way::Works, Way::Hangs)]);
    let report = scene.begin(&Scope::default(), SHORT).await.unwrap().end().await.unwrap();
    assert!(report.error.unwrap().contains("did not end within"));
    assert_eq!(scene.log.all().len(), 4, "{:?}", scene.log.all());
    scene.free.store(true, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_nobody_ends_ends_itself() {
    // At the deadline.
    let scene = Scene::new(&[("a", Way::Works, Way::Works)]);
    let pausing = scene.begin(&Scope::default(), SHORT).await.unwrap();
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
