//! Runs the cases of `operations/`.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Error, Progress};

use super::expect::{integers, mismatch};
use super::given::{Scene, bytes};

/// The steps of a case; one without `steps` is a step itself.
pub fn steps(case: &Value) -> Vec<Value> {
    case["steps"].as_array().cloned().unwrap_or_else(|| vec![case.clone()])
}

pub fn run(case: &Value) -> Result<(), String> {
    let mut scene = Scene::new(&case["given"]);
    let mut ops = None;
    for (index, step) in steps(case).iter().enumerate() {
        let at = |why: String| format!("step {}: {why}", index + 1);
        if case.get("steps").is_some() {
            scene.add(&step["given"]);
        }
        if step["reopen"] == true {
            ops = None;
        }
        one(&mut scene, &mut ops, step).map_err(at)?;
    }
    Ok(())
}

fn one(scene: &mut Scene, ops: &mut Option<Ops>, step: &Value) -> Result<(), String> {
    let request = integers(&scene.filled(&step["call"]["request"]));
    let name = step["call"]["operation"].as_str().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let opened = match ops.take() {
        Some(ops) => Ok(ops),
        None => scene.ops(),
    };
    let answer = opened.and_then(|open| {
        let heard = Arc::clone(&events);
        let mut scope = open.scope();
        scope.progress = Progress::new(move |event| heard.lock().unwrap().push(json!(event)));
        let answer = open.blocking().call(scope, name, request);
        *ops = Some(open);
        answer
    });
    let expect = scene.filled(&step["expect"]);
    for part in expect.as_object().unwrap().keys() {
        assert!(
            ["response", "healthy", "error", "progress", "files", "rows"].contains(&part.as_str()),
            "expect {part}"
        );
    }
    match (&answer, expect.get("error")) {
        (Err(error), Some(pattern)) => told(mismatch(pattern, Some(&body(error)), "error"))?,
        (Err(error), None) => return Err(format!("failed: {}", body(error))),
        (Ok(answer), Some(_)) => return Err(format!("answered {}", answer.response)),
        (Ok(answer), None) => {
            told(expect.get("response").and_then(|it| mismatch(it, Some(&answer.response), "response")))?;
            let healthy = expect.get("healthy").unwrap_or(&Value::Bool(true));
            told(mismatch(healthy, Some(&answer.healthy.into()), "healthy"))?;
            for (name, pointer) in step["keep"].as_object().into_iter().flatten() {
                let kept = answer.response.pointer(pointer.as_str().unwrap()).and_then(Value::as_str);
                scene
                    .names
                    .insert(name.clone(), kept.ok_or_else(|| format!("nothing to keep at {pointer}"))?.to_owned());
            }
        }
    }
    let events = Value::Array(std::mem::take(&mut *events.lock().unwrap()));
    told(expect.get("progress").and_then(|pattern| mismatch(pattern, Some(&events), "progress")))?;
    for (name, content) in expect["files"].as_object().into_iter().flatten() {
        let found = fs::read(scene.path(name)).ok();
        if found != Some(content).filter(|content| !content.is_null()).map(bytes) {
            return Err(format!(
                "the file {name} holds {:?}",
                found.map(|found| String::from_utf8_lossy(&found).into_owned())
            ));
        }
    }
    for (name, query) in expect["rows"].as_object().into_iter().flatten() {
        let database = rusqlite::Connection::open(scene.path(name)).unwrap();
        let sql = query[0].as_str().unwrap();
        let found: Option<String> = database.query_row(sql, [], |row| row.get(0)).map_err(|error| error.to_string())?;
        told(mismatch(&query[1], Some(&json!(found)), name))?;
    }
    Ok(())
}

fn body(error: &Error) -> Value {
    json!(error.to_body())
}

fn told(reason: Option<String>) -> Result<(), String> {
    reason.map_or(Ok(()), Err)
}
