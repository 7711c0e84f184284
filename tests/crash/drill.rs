//! `backup.drill` at many points: it destroys nothing, and what it leaves the next run removes. And a service that is
//! paused when the worker dies.

use std::sync::{Arc, Mutex};

use serde_json::json;
use uplifted_ops::backup::pause::PauseHook;
use uplifted_ops::ops::Ops;
use uplifted_ops::{Result, Scope};
use uplifted_ops_tests::scene::{Scene, trace};
use uplifted_ops_tests::tree::Tree;

use super::{PROGRAM, assert_no_litter, for_each};

/// How many of the points are tested, spread over all of them.
const POINTS: usize = 24;

#[test]
fn a_drill_that_dies_or_fails_destroys_nothing_and_the_next_one_cleans_up() {
    let scene = Scene::small(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    // In the service's folder, the state apart: that is where a drill works.
    let (service, target) = (Tree::of(&scene.root(), &[".uplifted-ops", "ops.toml"]), Tree::of(&scene.target(), &[]));
    let count = trace(&scene.copy(), "worker", "backup.drill", &json!({})).len();
    assert!(count > POINTS, "{count} points");
    let spread = (0..POINTS).map(|number| 1 + number * (count - 1) / (POINTS - 1));
    let plans: Vec<String> =
        spread.enumerate().map(|(n, at)| format!("worker:{}@{at}", ["kill", "enospc+"][n % 2])).collect();
    for_each(&plans, |plan| {
        let run = scene.copy();
        let answer = run.call_with("backup.drill", &json!({}), &[("UPLIFTED_OPS_FAULT", plan)]);
        let now = Tree::of(&run.root(), &[".uplifted-ops", "ops.toml"]);
        assert!(now == service, "{plan}: {:#?}", now.difference(&service));
        let now = Tree::of(&run.target(), &[]);
        assert!(now == target, "{plan}: {:#?}", now.difference(&target));
        // A point that passed in another order may have been none of this run.
        if answer.status != Some(0) {
            assert!(matches!(answer.status, Some(1 | 2)), "{plan}: {answer:?}");
        }
        assert_eq!(run.call("backup.drill", &json!({})).done()["ok"], true, "{plan}");
        assert_no_litter(&run, plan);
    });
}

/// Keeps count.
#[derive(Debug, Default)]
struct Counting(Mutex<Vec<&'static str>>);

#[async_trait::async_trait]
impl PauseHook for Counting {
    async fn before(&self, _: &Scope) -> Result<()> {
        self.0.lock().unwrap().push("before");
        Ok(())
    }

    async fn after(&self, _: &Scope) -> Result<()> {
        self.0.lock().unwrap().push("after");
        Ok(())
    }
}

#[test]
fn a_service_that_is_paused_goes_on_when_the_worker_dies() {
    let scene = Scene::small(PROGRAM);
    let plans: Vec<usize> = (1..=12).collect();
    let paused = Mutex::new(0);
    for_each(&plans, |at| {
        let run = scene.copy();
        let hook = Arc::new(Counting::default());
        let build = |fault: Option<String>| {
            Ops::builder()
                .root(run.root())
                .environment([])
                .worker_command([PROGRAM])
                .worker_environment("UPLIFTED_OPS_FAULT", fault.map(Into::into))
                .pause("service", Arc::clone(&hook) as Arc<dyn PauseHook>)
                .build()
                .unwrap()
        };
        let ops = build(Some(format!("worker:kill@{at}")));
        let made = ops.blocking().call(Scope::default(), "backup.create", json!({}));
        assert!(made.is_err(), "point {at} was not passed");
        // When the error is told, the service goes on already.
        let calls = std::mem::take(&mut *hook.0.lock().unwrap());
        assert!(calls.is_empty() || calls == ["before", "after"], "point {at}: {calls:?}");
        *paused.lock().unwrap() += usize::from(!calls.is_empty());
        let made = build(None).blocking().call(Scope::default(), "backup.create", json!({})).unwrap();
        assert_eq!(made.response["group"]["consistent"], true, "point {at}: {}", made.response);
    });
    assert!(*paused.lock().unwrap() > 0, "the worker never died in a pause");
}
