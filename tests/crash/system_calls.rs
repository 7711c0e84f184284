//! The same below our own code: `strace` kills the host or the worker at a system call, or makes the call fail.
//! SQLite recovers, checkpoints and checks the copy by calls of its own, and the host's journal is a file too.
//!
//! A run is traced once; then it is repeated with a fault at each call that changes a file of the scene, or at
//! a sample of those where there are many. The seed is printed, and `UPLIFTED_OPS_SEED` sets it;
//! `UPLIFTED_OPS_CRASH_SAMPLE` is how many faults are tried for an operation in each process (80).
//!
//! Where nothing can be traced the tests fail, unless `UPLIFTED_OPS_NO_STRACE=1` allows to do without them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};
use uplifted_ops::testing::random;
use uplifted_ops_tests::scene::{Answered, Scene};
use uplifted_ops_tests::strace::{self, Call, Fault, Role};

use super::{backup, for_each, number, restore};

/// What fails at a call of this name. A plain `write` goes to pipes and counters as well, whose failure says
/// nothing of the disk: the fault points of `fs` make the writes to files fail.
fn faults(call: &str) -> &'static [Fault] {
    match call {
        "write" | "writev" | "openat" => &[Fault::Kill],
        "pwrite64" | "pwritev" | "ftruncate" | "fallocate" => {
            &[Fault::Kill, Fault::Error("EIO"), Fault::Error("ENOSPC"), Fault::Errors("ENOSPC")]
        }
        _ => &[Fault::Kill, Fault::Error("EIO"), Fault::Errors("EIO")],
    }
}

/// Whether the tests can run.
///
/// Panics when they cannot and must.
fn can_trace() -> bool {
    let Some(why) = strace::unavailable() else { return true };
    let said =
        format!("strace cannot trace a process here ({why}): `make setup` installs it, and ptrace must be allowed");
    assert!(std::env::var_os("UPLIFTED_OPS_NO_STRACE").is_some(), "{said}, or set UPLIFTED_OPS_NO_STRACE=1");
    eprintln!("skipped: {said}");
    false
}

/// Runs `operation` with a fault at the calls of `role`, and `check` after each. Returns the calls that were hit.
fn at_system_calls(
    scene: &Scene,
    role: Role,
    (operation, request): (&str, &Value),
    check: impl Fn(&Scene, &Answered, &str) + Sync,
) -> Vec<Call> {
    let sample = number("UPLIFTED_OPS_CRASH_SAMPLE").map_or(80, |count| usize::try_from(count).unwrap());

    let traced = scene.copy();
    let (answer, calls) = strace::call(&traced, role, None, operation, request);
    answer.done();
    let mut named = BTreeMap::new();
    for call in calls.iter().filter(|call| call.is_below(&traced.beside("")) && !call.only_opens()) {
        named.insert((&call.name, call.nth), call);
    }
    let mut plans: Vec<_> = named
        .keys()
        .flat_map(|(name, nth)| faults(name).iter().map(move |fault| (*fault, name.as_str(), *nth)))
        .collect();
    let all = plans.len();
    random::seeded(&format!("{operation} in the {role:?}")).shuffle(&mut plans);
    plans.truncate(sample);
    println!("{operation} in the {role:?}: {} of {all} faults", plans.len());

    let hit = Mutex::new(Vec::new());
    for_each(&plans, |(fault, name, nth)| {
        let plan = format!("{operation}, {role:?}, {fault:?} at {name} {nth}");
        let run = scene.copy();
        let (answer, calls) = strace::call(&run, role, Some((*fault, name, *nth)), operation, request);
        let reached = calls.into_iter().filter(|call| call.nth == *nth);
        hit.lock().unwrap().extend(reached.inspect(|call| println!("{plan}: {}", call.line)));
        check(&run, &answer, &plan);
    });
    let hit = hit.into_inner().unwrap();
    assert!(!hit.is_empty(), "{operation}: none of the calls was made again");
    hit
}

#[test]
fn a_backup_killed_or_failing_at_any_system_call_leaves_the_old_ones_whole() {
    if !can_trace() {
        return;
    }
    let before = backup::Before::new();
    let request = json!({});
    let mut hit = Vec::new();
    for role in [Role::Worker, Role::Host] {
        hit.extend(at_system_calls(&before.scene, role, ("backup.create", &request), |run, answer, plan| {
            before.check(run, answer, plan);
        }));
    }
    // The two that no fault point sees were met.
    for place in ["/scratch/run-", "/journal/"] {
        assert!(hit.iter().any(|call| call.line.contains(place)), "no call on {place} was hit");
    }
}

#[test]
fn a_restore_killed_or_failing_at_any_system_call_leaves_the_service_old_or_new() {
    if can_trace() {
        old_or_new(&restore::Before::apply());
    }
}

#[test]
fn an_undo_killed_or_failing_at_any_system_call_leaves_the_service_old_or_new() {
    if can_trace() {
        old_or_new(&restore::Before::undo());
    }
}

fn old_or_new(before: &restore::Before) {
    for role in [Role::Worker, Role::Host] {
        at_system_calls(&before.scene, role, (before.operation, &before.request), |run, answer, plan| {
            before.check(run, answer, plan);
        });
    }
}
