//! The public suites on objects that keep the contracts, and on some that do not.

use std::sync::Arc;

use serde_json::json;
use uplifted_ops::embed::{Contract, Plugin, PluginReply, suites};
use uplifted_ops::testing::{CaseOutcome, assert_all};
use uplifted_ops::{ErrorKind, Result};
use uplifted_ops_tests::plugins::{Memory, Object, answering, lines_scene, sink_scene, stuck};

use super::{HANG, no_hang};

async fn outcomes(contract: Contract, scene: Object) -> Result<Vec<CaseOutcome>> {
    no_hang(suites::run(contract, scene.shared(), HANG)).await
}

fn fresh(make: impl Fn() -> Arc<dyn Plugin> + Send + Sync + 'static) -> Object {
    Object::quick("Scene", "fresh", move |_| Ok(PluginReply::object(make())))
}

fn failed(outcomes: &[CaseOutcome]) -> Vec<&'static str> {
    outcomes.iter().filter(|outcome| outcome.failure.is_some()).map(|outcome| outcome.name).collect()
}

#[tokio::test]
async fn a_target_keeps_the_contract_in_either_spelling() {
    for camel in [false, true] {
        let scene = fresh(move || Memory::default().object(camel).shared());
        assert_all(&outcomes(Contract::Target, scene).await.unwrap());
    }
}

#[tokio::test]
async fn a_store_a_check_and_a_sink_keep_theirs() {
    assert_all(&outcomes(Contract::Store, lines_scene()).await.unwrap());
    assert_all(&outcomes(Contract::Sink, sink_scene()).await.unwrap());
    let scene = Object::quick("Scene", "fresh stuck watched", |call| {
        Ok(match call.method.name {
            "fresh" => PluginReply::object(answering(json!({"status": "pass", "message": "well"})).shared()),
            "stuck" => PluginReply::object(stuck("Stuck", "check").shared()),
            _ => PluginReply::json(json!(["/no/such/thing"])),
        })
    });
    // A watched path must be there.
    let found = outcomes(Contract::Check, scene).await.unwrap();
    assert_eq!(failed(&found), ["it_changes_nothing"]);
    let scene = Object::quick("Scene", "fresh stuck", |call| {
        Ok(PluginReply::object(match call.method.name {
            "fresh" => answering(json!({"status": "warn", "message": "look", "observed": 3, "unit": "rows"})).shared(),
            _ => stuck("Stuck", "check").shared(),
        }))
    });
    assert_all(&outcomes(Contract::Check, scene).await.unwrap());
}

#[test]
fn a_suite_runs_without_async() {
    let scene = fresh(|| Memory::default().object(false).shared()).shared();
    assert_all(&suites::run_blocking(Contract::Target, scene, HANG).unwrap());
}

/// An object that is [`Memory`] but for one method.
fn memory_but(name: &'static str, act: impl Fn(PluginReply) -> Result<PluginReply> + Send + Sync + 'static) -> Object {
    let act = Arc::new(act);
    fresh(move || {
        let (memory, act) = (Memory::default(), Arc::clone(&act));
        let capability = memory.object(false).facts.capability.unwrap();
        Object::quick("Broken", Memory::METHODS, move |call| {
            let named = call.method.name == name;
            let reply = memory.act(call, false)?;
            if named { act(reply) } else { Ok(reply) }
        })
        .capability(capability)
        .shared()
    })
}

#[tokio::test]
async fn a_broken_target_fails_the_clause_that_it_breaks() {
    let lies = memory_but("stat", |reply| Ok(if reply.value.is_null() { reply } else { PluginReply::json(1) }));
    let found = outcomes(Contract::Target, lies).await.unwrap();
    assert_eq!(failed(&found), ["stat_agrees_with_list"]);
    let said = found.iter().find_map(|outcome| outcome.failure.as_deref()).unwrap();
    assert!(said.contains("target \"target\".stat answered 1, not {key, size_bytes, modified_at}"), "{said}");
    // As JSON, for the runners of other languages.
    let json = serde_json::to_value(&found[0]).unwrap();
    assert_eq!(json["failure"], json!(null));
    assert!(json["name"].is_string() && json["clause"].is_string());

    let forgets = memory_but("delete", |_| Err(uplifted_ops::embed::Raised::new("TypeError", "forgot").into()));
    assert_eq!(failed(&outcomes(Contract::Target, forgets).await.unwrap()), ["deleting_is_final_and_repeatable"]);
}

#[tokio::test]
async fn a_scene_that_fails_is_an_error_and_no_verdict() {
    let error = outcomes(Contract::Store, fresh(|| unreachable!())).await.unwrap_err();
    assert_eq!(error.message(), "scene \"of the store suite\" (class Scene) has no methods open, commit, rows");
    assert_eq!(error.hint(), Some("add to class Scene: open(folder), commit(folder, rows), rows(folder)"));
    let raises =
        || Object::quick("Scene", "fresh", |_| Err(uplifted_ops::embed::Raised::new("KeyError", "'x'").into()));
    for contract in [Contract::Target, Contract::Check, Contract::Sink] {
        let error = outcomes(contract, raises()).await.unwrap_err();
        assert!(error.message().ends_with("fresh: KeyError: 'x'"), "{error}");
    }
    let error = outcomes(Contract::Check, fresh(|| stuck("Foo", "").shared())).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::InvalidInput, "check \"check\" (class Foo) has no method check")
    );
}
