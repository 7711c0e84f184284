use super::*;
use crate::clock::{Clock, ManualClock};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

fn quick() -> LeaseTimes {
    LeaseTimes { ttl: Duration::from_secs(60), renew: Duration::from_millis(20), watch: Duration::from_millis(120) }
}

async fn acquire(target: &Arc<dyn BackupTarget>) -> Result<Lease> {
    Lease::acquire(&Scope::default(), "local", Arc::clone(target), "here", quick()).await
}

fn shared(target: &MemoryTarget) -> Arc<dyn BackupTarget> {
    Arc::new(target.clone())
}

/// Writes a lease as another process would have left it.
async fn leave(target: &MemoryTarget, generation: u64, change: impl FnOnce(&mut Record)) {
    let mut record = Record {
        owner: Owner {
            host: "elsewhere".into(),
            process: ProcessIdentity { boot_id: "another".into(), ..ProcessIdentity::current() },
            ..Owner::this_process("").unwrap()
        },
        renewed_at: Timestamp::UNIX_EPOCH,
        ttl_seconds: 60.0,
        released: false,
    };
    change(&mut record);
    let bytes = serde_json::to_vec(&record).unwrap();
    target.put(&Scope::default(), &key_of(generation), &bytes, false).await.unwrap();
}

#[tokio::test]
async fn a_held_lease_is_busy_and_names_its_holder() {
    let target = MemoryTarget::default();
    let held = acquire(&shared(&target)).await.unwrap();
    let error = acquire(&shared(&target)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains(&format!("process {} on here", std::process::id())), "{error}");
    held.confirm().await.unwrap();
    held.release().await.unwrap();
    let next = acquire(&shared(&target)).await.unwrap();
    // One object stays, however many generations there were.
    assert_eq!(target.keys(), ["locks/writer.00000002"]);
    next.release().await.unwrap();
}

#[tokio::test]
async fn where_two_can_create_a_generation_the_one_who_was_written_over_learns_it() {
    for (target, overwritten) in
        [(MemoryTarget::default().without_put_if_absent(), true), (MemoryTarget::default(), false)]
    {
        let held = acquire(&shared(&target)).await.unwrap();
        held.confirm().await.unwrap();
        leave(&target, 1, |_| {}).await;
        match overwritten {
            true => assert_eq!(held.confirm().await.unwrap_err().kind(), ErrorKind::Busy),
            // Cannot happen there: the target let one create it.
            false => held.confirm().await.unwrap(),
        }
        held.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_lease_is_released() {
    let target = MemoryTarget::default();
    drop(acquire(&shared(&target)).await.unwrap());
    while acquire(&shared(&target)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_has_it_and_nobody_is_locked_out() {
    let target = shared(&MemoryTarget::default());
    let inside = Arc::new(std::sync::atomic::AtomicI32::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (target, inside) = (Arc::clone(&target), Arc::clone(&inside));
            tokio::spawn(async move {
                let mut turns = 0;
                while turns < 5 {
                    let Ok(lease) = acquire(&target).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lease");
                    tokio::task::yield_now().await;
                    lease.confirm().await.unwrap();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lease.release().await.unwrap();
                    turns += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_owner_on_this_machine_is_taken_over_at_once() {
    let target = MemoryTarget::default();
    let here = Owner::this_process("here").unwrap();
    let started = std::time::Instant::now();
    // The pid of a process that was here and is gone, and a pid that now belongs to another process.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let mine = &here.process;
    let gone = ProcessIdentity { pid, ..mine.clone() };
    let reused = ProcessIdentity { start_time: mine.start_time + 1, ..mine.clone() };
    for process in [gone, reused] {
        let owner = Owner { process, ..here.clone() };
        let generation = highest(&Scope::default(), &target).await.unwrap().map_or(0, |(highest, _)| highest) + 1;
        leave(&target, generation, |record| record.owner = owner).await;
        acquire(&shared(&target)).await.unwrap().release().await.unwrap();
    }
    assert!(started.elapsed() < quick().watch * 10);
    // A lease of this very process lives for as long as somebody here holds it.
    let token = HeldToken::of(&here);
    assert!(!here.is_provably_dead());
    drop(token);
    assert!(here.is_provably_dead());
    // From another container, or before another boot, nothing is provable.
    for stranger in [
        ProcessIdentity { pid_namespace: "pid:[1]".into(), start_time: 1, ..mine.clone() },
        ProcessIdentity { boot_id: "other".into(), start_time: 1, ..mine.clone() },
        // Systems that tell less: every machine looks like this one.
        ProcessIdentity { boot_id: String::new(), ..mine.clone() },
        ProcessIdentity { start_time: 0, ..mine.clone() },
    ] {
        let stranger = Owner { process: stranger, ..here.clone() };
        assert!(!stranger.is_provably_dead(), "{stranger:?}");
    }
}

#[tokio::test]
async fn a_lease_of_an_older_version_is_understood() {
    let target = MemoryTarget::default();
    let ProcessIdentity { boot_id, pid_namespace, .. } = ProcessIdentity::current();
    let old = serde_json::json!({
        "token": "ea36512f6133", "host": "db1", "pid": 4_194_999, "boot_id": boot_id, "pid_namespace": pid_namespace,
        "start_ticks": 42, "renewed_at": "2026-01-01T00:00:00Z", "ttl_seconds": 90.0, "released": false,
    });
    target.put(&Scope::default(), &key_of(1), old.to_string().as_bytes(), false).await.unwrap();
    let record = read_record(&Scope::default(), &target, &key_of(1)).await.unwrap().unwrap();
    assert_eq!((record.owner.process.pid, record.owner.process.start_time), (4_194_999, 42));
    // Its process is gone.
    acquire(&shared(&target)).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_owner_elsewhere_keeps_it_until_it_expires() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let target = MemoryTarget::default().with_clock(clock.clone());
    leave(&target, 7, |_| {}).await;
    clock.advance(Duration::from_secs(59));
    let error = acquire(&shared(&target)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("elsewhere") && error.message().contains("59 s"), "{error}");
    clock.advance(Duration::from_secs(2));
    let lease = acquire(&shared(&target)).await.unwrap();
    assert_eq!(target.keys(), ["locks/writer.00000008"]);
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_jumps_does_not_take_a_lease_from_its_holder() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let target = MemoryTarget::default().with_clock(clock.clone());
    let held = acquire(&shared(&target)).await.unwrap();
    for to in ["2036-01-01T00:00:00Z", "2016-01-01T00:00:00Z"] {
        clock.jump_to(to.parse().unwrap());
        assert_eq!(acquire(&shared(&target)).await.unwrap_err().kind(), ErrorKind::Busy, "{to}");
        held.confirm().await.unwrap();
    }
    held.release().await.unwrap();
    // One elsewhere is watched: it shows that it lives.
    leave(&target, 8, |_| {}).await;
    let alive = tokio::spawn({
        let target = target.clone();
        async move {
            for second in 1.. {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let now = Timestamp::from_second(second).unwrap();
                leave(&target, 8, |record| record.renewed_at = now).await;
            }
        }
    });
    for to in ["2036-01-01T00:00:00Z", "2016-01-01T00:00:00Z"] {
        clock.jump_to(to.parse().unwrap());
        let times = LeaseTimes { ttl: Duration::from_secs(1), watch: Duration::from_secs(5), ..quick() };
        leave(&target, 8, |_| {}).await;
        clock.jump_to("2026-01-01T00:00:00Z".parse().unwrap());
        let error = Lease::acquire(&Scope::default(), "local", shared(&target), "here", times).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{to}");
    }
    alive.abort();
    // A dead one that was written in what is now the future does not hold for ever.
    clock.jump_to("2036-01-01T00:00:00Z".parse().unwrap());
    leave(&target, 9, |_| {}).await;
    clock.jump_to("2016-01-01T00:00:00Z".parse().unwrap());
    acquire(&shared(&target)).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_could_not_be_given_back_holds_nobody_up() {
    let target = MemoryTarget::default();
    let stuck = Arc::new(AtomicBool::new(false));
    let rule = Arc::clone(&stuck);
    let full = FaultyTarget::new(Arc::new(target.clone()), move |call, _, _| {
        (call == Call::Put && rule.load(Ordering::SeqCst)).then_some(ErrorKind::NoSpace)
    });
    let lease = acquire(&(Arc::new(full) as Arc<dyn BackupTarget>)).await.unwrap();
    stuck.store(true, Ordering::SeqCst);
    lease.release().await.unwrap_err();
    while acquire(&shared(&target)).await.is_err() {
        // The renewal was told to stop; its last step may be under way.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_dead_reader_of_the_clock_left_goes() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let target = MemoryTarget::default().with_clock(clock.clone());
    target.put(&Scope::default(), "locks/clock.dead", b"", false).await.unwrap();
    clock.advance(Duration::from_secs(3600));
    target.put(&Scope::default(), "locks/clock.live", b"", false).await.unwrap();
    let lease = acquire(&shared(&target)).await.unwrap();
    assert_eq!(target.keys(), ["locks/clock.live", "locks/writer.00000001"]);
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_stalled_holder_learns_that_it_lost() {
    let target = MemoryTarget::default();
    let stalled = acquire(&shared(&target)).await.unwrap();
    leave(&target, 5, |_| {}).await;
    target.delete(&Scope::default(), &key_of(1)).await.unwrap();
    let error = stalled.confirm().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    // Releasing what was lost must not touch the new holder's lease.
    stalled.release().await.unwrap();
    let now = read_record(&Scope::default(), &target, &key_of(5)).await.unwrap().unwrap();
    assert!(!now.released && now.owner.host == "elsewhere");
    assert_eq!(target.keys(), [key_of(5)]);
}

#[tokio::test]
async fn a_slow_caller_cannot_take_a_generation_that_has_passed() {
    let target = MemoryTarget::default();
    leave(&target, 1, |record| record.released = true).await;
    // Between the slow caller's look and its write, two others came and went, and a third holds it.
    let (inner, meddled) = (target.clone(), AtomicBool::new(false));
    let slow = FaultyTarget::new(Arc::new(target.clone()), move |call, key, _| {
        if call == Call::Put && key == key_of(2) && !meddled.swap(true, Ordering::SeqCst) {
            futures_now(async {
                inner.delete(&Scope::default(), &key_of(1)).await.unwrap();
                leave(&inner, 3, |_| {}).await;
            });
        }
        None
    });
    let error = acquire(&(Arc::new(slow) as Arc<dyn BackupTarget>)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(target.keys(), ["locks/writer.00000003"]);
}

/// Runs a future that never really waits.
fn futures_now(future: impl Future<Output = ()>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(future).poll(&mut context).is_ready());
}

#[tokio::test]
async fn a_record_that_is_not_ours_expires_like_any_other() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let target = MemoryTarget::default().with_clock(clock.clone());
    target.put(&Scope::default(), &key_of(4), b"{ torn", false).await.unwrap();
    assert_eq!(acquire(&shared(&target)).await.unwrap_err().kind(), ErrorKind::Busy);
    clock.advance(Duration::from_secs(61));
    acquire(&shared(&target)).await.unwrap().release().await.unwrap();
    assert!(clock.now() > Timestamp::UNIX_EPOCH);
}

#[tokio::test]
async fn cancel_ends_the_watch() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let target = MemoryTarget::default().with_clock(clock.clone());
    leave(&target, 1, |_| {}).await;
    clock.advance(Duration::from_secs(3600));
    let scope = Scope::default();
    let times = LeaseTimes { watch: Duration::from_secs(3600), ..quick() };
    let waiting = Lease::acquire(&scope, "local", shared(&target), "here", times);
    let (result, ()) = tokio::join!(waiting, async {
        tokio::task::yield_now().await;
        scope.cancel.cancel();
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}
