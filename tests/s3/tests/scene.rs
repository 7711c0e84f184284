//! What the tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::decorate::RetryPolicy;
use uplifted_ops::backup::targets::s3::S3Target;
use uplifted_ops::cancel::Scope;
use uplifted_ops::component::BuildContext;

/// No test takes longer than this.
pub const GUARD: Duration = Duration::from_secs(90);

pub fn scope() -> Scope {
    Scope::default()
}

pub fn context() -> BuildContext {
    BuildContext {
        name: "offsite".into(),
        root: "/nonexistent".into(),
        state: "/nonexistent/state".into(),
        service: "shop".into(),
    }
}

/// Waits that no test has to sit through.
pub fn quick(retries: u32) -> RetryPolicy {
    let wait = Duration::from_millis(5);
    RetryPolicy { retries, first_wait: wait, longest_wait: wait, deadline: Duration::from_secs(30) }
}

pub fn target(settings: Map<String, Value>) -> S3Target {
    S3Target::new(&context(), &settings).unwrap().with_policy(quick(4)).with_settle(Duration::from_millis(20))
}

/// A fresh prefix in the same bucket each time.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}/deep", NEXT.fetch_add(1, Ordering::SeqCst))
}

pub fn with(mut settings: Map<String, Value>, key: &str, value: impl Into<Value>) -> Map<String, Value> {
    settings.insert(key.to_owned(), value.into());
    settings
}

pub async fn keys(target: &dyn BackupTarget) -> Vec<String> {
    target.list(&scope(), "", None).await.unwrap().into_iter().map(|object| object.key).collect()
}

pub fn dynamic(target: S3Target) -> Arc<dyn BackupTarget> {
    Arc::new(target)
}
