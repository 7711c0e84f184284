//! Backups of a service that stands still for a moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::super::super::pause::{Hold, Hooks, PauseHook, PauseReport, Pauser};
use super::*;

/// A service that can be paused: writes while it is not, and says what was asked of it.
#[derive(Debug, Default)]
struct Service {
    calls: Mutex<Vec<&'static str>>,
    /// `before` fails.
    refuses: bool,
    /// `after` fails.
    sticks: bool,
}

#[async_trait]
impl PauseHook for Service {
    async fn before(&self, _: &Scope) -> Result<()> {
        self.calls.lock().unwrap().push("before");
        if self.refuses { Err(Error::new(ErrorKind::Unavailable, "not now")) } else { Ok(()) }
    }

    async fn after(&self, _: &Scope) -> Result<()> {
        self.calls.lock().unwrap().push("after");
        if self.sticks { Err(Error::new(ErrorKind::Unavailable, "stuck")) } else { Ok(()) }
    }
}

fn paused(scene: &Scene, service: &Arc<Service>, deadline: Duration) -> CreateJob {
    let hooks = vec![("service".to_owned(), Arc::clone(service) as Arc<dyn PauseHook>)];
    CreateJob { pause: Some(Arc::new(Hooks { hooks, deadline })), ..scene.job() }
}

const LONG: Duration = Duration::from_secs(60);

fn scene() -> Scene {
    Scene::new(&[("a.db", &content("a")), ("b.db", &content("b")), ("file", b"one"), ("other", b"two")])
}

fn group(report: &CreateReport) -> &ConsistencyGroup {
    report.group.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_writes_in_a_pause_is_of_one_moment() {
    let (scene, service) = (scene(), Arc::new(Service::default()));
    let report = create(&Scope::default(), paused(&scene, &service, LONG)).await.unwrap();
    let group = group(&report);
    assert!(group.consistent && group.asked && report.is_healthy(), "{group:?}");
    let pause = group.pause.as_ref().unwrap();
    assert!(pause.held && pause.from <= group.files_from && group.files_from <= pause.until);
    assert_eq!(*service.calls.lock().unwrap(), ["before", "after"]);
    // The snapshot says so itself.
    assert_eq!(scene.archive().await.manifest().group.as_ref(), Some(group));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pause_nothing_is_promised_and_nothing_is_wrong() {
    let report = scene().create().await.unwrap();
    let group = group(&report);
    assert!(!group.asked && !group.consistent && group.message.is_none() && report.is_healthy());
    assert!(group.files_from <= group.files_until);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_after_the_pause_is_told() {
    let (scene, service) = (scene(), Arc::new(Service::default()));
    let root = scene.root();
    let hook: Hook = Arc::new(move |moment, path| {
        if matches!(moment, files::Moment::Open) && path == Path::new("other") {
            std::fs::write(root.join("other"), b"written later").unwrap();
        }
        Ok(())
    });
    let report = create_with(&Scope::default(), paused(&scene, &service, LONG), Some(hook)).await.unwrap();
    // All of the file is there, and it is of another moment.
    assert_eq!(report.outcome, Outcome::Complete);
    let group = group(&report);
    assert!(!group.consistent && !report.is_healthy(), "{group:?}");
    assert_eq!(group.message.as_deref(), Some("1 files were written after the pause, among them other"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_will_not_stand_still_is_backed_up_all_the_same() {
    let scene = scene();
    for (service, said, calls) in [
        (Service { refuses: true, ..Service::default() }, "was not paused", 2),
        (Service { sticks: true, ..Service::default() }, "may still be paused", 2),
    ] {
        let service = Arc::new(service);
        let report = create(&Scope::default(), paused(&scene, &service, LONG)).await.unwrap();
        assert_eq!(report.outcome, Outcome::Complete);
        assert!(!report.is_healthy() && group(&report).message.as_ref().unwrap().contains(said), "{report:?}");
        assert_eq!(service.calls.lock().unwrap().len(), calls);
    }
}

/// A pause whose deadline is over before it is ended.
#[derive(Debug)]
struct Short;

#[async_trait]
impl Pauser for Short {
    async fn begin(&self, _: &Scope) -> Result<Box<dyn Hold>> {
        Ok(Box::new(Short))
    }
}

#[async_trait]
impl Hold for Short {
    async fn end(self: Box<Self>) -> Result<PauseReport> {
        let now = crate::clock::Timestamp::now();
        Ok(PauseReport { from: now, until: now, held: false, error: None })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_was_too_short_is_told() {
    let scene = scene();
    let job = CreateJob { pause: Some(Arc::new(Short)), ..scene.job() };
    let report = create(&Scope::default(), job).await.unwrap();
    assert!(!report.is_healthy());
    assert!(group(&report).message.as_ref().unwrap().contains("deadline"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_backup_lets_the_service_go_on() {
    let scene = scene();
    let wait = async |service: &Service| {
        let over = async {
            while service.calls.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), over).await.expect("the service stays paused");
        // A cancel may come while `after` runs: then it runs once more.
        let calls = service.calls.lock().unwrap().clone();
        assert!(calls[0] == "before" && calls[1..].iter().all(|call| *call == "after"), "{calls:?}");
    };
    // No room.
    let service = Arc::new(Service::default());
    let full: Vec<NamedTarget> = vec![("full".into(), Arc::new(MemoryTarget::default().with_free_bytes(0)))];
    let job = CreateJob { targets: full, ..paused(&scene, &service, LONG) };
    assert_eq!(create(&Scope::default(), job).await.unwrap_err().kind(), ErrorKind::NoSpace);
    wait(&service).await;
    // A cancel, at any stage.
    let stages = AtomicUsize::new(0);
    for stage in ["pausing the service", "copying database a.db", "storing files", "storing database a.db"] {
        let service = Arc::new(Service::default());
        let mut scope = Scope::default();
        let cancel = scope.cancel.clone();
        scope.progress = Progress::new(move |event| {
            if event.stage == stage {
                cancel.cancel();
            }
        });
        let ended = create(&scope, paused(&scene, &service, LONG)).await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled, "{stage}");
        stages.fetch_add(1, Ordering::SeqCst);
        if !service.calls.lock().unwrap().is_empty() {
            wait(&service).await;
        }
    }
    assert_eq!(stages.into_inner(), 4);
    // A future that is dropped.
    let service = Arc::new(Service::default());
    let scope = Scope::default();
    let mut create = Box::pin(create(&scope, paused(&scene, &service, LONG)));
    let begun = async {
        while service.calls.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut create => {}
        () = begun => drop(create),
    }
    wait(&service).await;
}
