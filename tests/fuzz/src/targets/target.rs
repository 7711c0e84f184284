//! What else lies in a target: the lease, holds.

use std::sync::Arc;
use std::time::Duration;

use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::lease::{Lease, LeaseTimes};
use uplifted_ops::backup::retention::holds;
use uplifted_ops::testing::MemoryTarget;
use uplifted_ops::testing::parsers::Form;
use uplifted_ops::{Result, Scope};

use super::{KIB, broken};
use crate::Target;

pub(super) const TARGETS: &[Target] = &[
    Target { name: "lease", read: lease, seeds: leases, floor: 512 * KIB, factor: 64, short: 300 },
    Target { name: "hold", read: hold, seeds: hold_seeds, floor: 512 * KIB, factor: 64, short: 500 },
];

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn leases() -> Vec<Vec<u8>> {
    let released = r#"{"token":"0123456789ab","host":"web-1","pid":4711,"start_time":123456,"boot_id":"b","pid_namespace":"pid:[4026531836]","renewed_at":"2026-03-01T02:00:00Z","ttl_seconds":90.0,"released":true}"#;
    let held = released.replace("true", "false").replace("90.0", "0.0");
    vec![format!("00000001\n{released}").into_bytes(), format!("00000007\n{held}").into_bytes()]
}

/// The first line is the generation, the rest is the record.
fn lease(input: &[u8]) -> Result<Form> {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let key = format!("locks/writer.{}", super::text(&input[..end])?);
    let record = input.get(end + 1..).unwrap_or_default();
    run(async {
        let (scope, target) = (Scope::default(), MemoryTarget::default());
        target.put(&scope, &key, record, false).await?;
        let times =
            LeaseTimes { ttl: Duration::ZERO, renew: Duration::from_secs(3600), watch: Duration::from_micros(10) };
        let lease = Lease::acquire(&scope, "local", Arc::new(target), "web-2", times).await?;
        lease.confirm().await?;
        lease.release().await?;
        Ok(Form::Read)
    })
}

fn hold_seeds() -> Vec<Vec<u8>> {
    vec![br#"{"by":"ann","at":"2026-03-01T02:00:00Z","reason":"audit"}"#.to_vec()]
}

/// Whatever lies there holds the snapshot.
fn hold(input: &[u8]) -> Result<Form> {
    run(async {
        let (scope, target) = (Scope::default(), MemoryTarget::default());
        target.put(&scope, "holds/cdcdcdcdcdcd.0123456789ab", input, false).await?;
        let held = holds::holds(&scope, &target).await?;
        match held.get("cdcdcdcdcdcd").map(Vec::len) {
            Some(1) => Ok(Form::Read),
            other => Err(broken(format!("{other:?} holds where there is one"))),
        }
    })
}
