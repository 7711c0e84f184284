//! The public suite, on servers of both sorts.

use std::sync::Arc;

use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::decorate::{Prefix, Retry, Throttle};
use uplifted_ops::testing::{assert_all, target as suite};
use uplifted_s3_tests::Server;
use uplifted_s3_tests::server::Conditions;

use crate::scene::{GUARD, dynamic, fresh_prefix, keys, quick, scope, target, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_conditions_passes() {
    let server = Server::start(Conditions::Kept).await;
    let fresh = || dynamic(target(server.settings(&fresh_prefix())));
    assert_all(&tokio::time::timeout(GUARD, suite::run(fresh)).await.unwrap());
    let probed = fresh().probe(&scope()).await.unwrap();
    assert!(probed.put_if_absent && !probed.read_before_finish && probed.folder.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_conditions_is_found_out_and_passes_in_one_process() {
    let server = Server::start(Conditions::Ignored).await;
    let fresh = || dynamic(target(server.settings(&fresh_prefix())));
    assert_all(&tokio::time::timeout(GUARD, suite::run(fresh)).await.unwrap());
    let target = fresh();
    assert!(!target.probe(&scope()).await.unwrap().put_if_absent);
    assert!(!target.capability().put_if_absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decorated_it_passes() {
    let server = Server::start(Conditions::Kept).await;
    let fresh = || {
        let retried = Arc::new(Retry::new(dynamic(target(server.settings(&fresh_prefix()))), quick(2)));
        let throttled = Arc::new(Throttle::new(retried, Some(1 << 40), Some(1 << 40)));
        Arc::new(Prefix::new(throttled, "below").unwrap()) as Arc<dyn BackupTarget>
    };
    assert_all(&tokio::time::timeout(GUARD, suite::run(fresh)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_the_bucket_is_not_assumed_before_it_is_asked() {
    let server = Server::start(Conditions::Kept).await;
    let target = target(server.settings("p"));
    assert!(!target.capability().put_if_absent);
    assert!(target.put(&scope(), "k", b"x", true).await.unwrap());
    assert!(target.capability().put_if_absent);
    // The object that it is asked with is seen by nobody.
    assert_eq!(keys(&target).await, ["k"]);
    assert!(server.bucket.join("p/.create-if-absent").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_many_parts_is_whole_and_replaces_nothing() {
    for conditions in [Conditions::Kept, Conditions::Ignored] {
        let server = Server::start(conditions).await;
        let target = target(with(server.settings("p"), "part_size", 5 << 20));
        let write = async |key: &str, seed: u8| {
            let mut upload = target.upload(&scope(), key, None).await.unwrap();
            let mut all = Vec::new();
            for number in 0..14_u8 {
                let block = vec![number ^ seed; (1 << 20) + usize::from(number)];
                upload.write(&block).await.unwrap();
                all.extend(block);
            }
            (upload, all)
        };
        let (upload, all) = write("big", 0).await;
        assert!(keys(&target).await.is_empty());
        upload.finish().await.unwrap();
        let mut have = Vec::new();
        while have.len() < all.len() {
            let at = have.len() as u64;
            have.extend(target.get(&scope(), "big", at..at + (4 << 20)).await.unwrap());
        }
        assert!(have == all, "the object is not what was written");

        let (late, _) = write("big", 1).await;
        let error = late.finish().await.unwrap_err();
        assert_eq!(error.kind(), uplifted_ops::ErrorKind::Refused);
        assert_eq!(target.get(&scope(), "big", 0..4).await.unwrap(), [0; 4]);

        // Two at once: one wins where the server arranges it.
        let ((first, _), (second, _)) = (write("race", 2).await, write("race", 3).await);
        let finished: (uplifted_ops::Result<()>, uplifted_ops::Result<()>) =
            tokio::join!(first.finish(), second.finish());
        if conditions == Conditions::Kept {
            assert_eq!(u8::from(finished.0.is_ok()) + u8::from(finished.1.is_ok()), 1, "{finished:?}");
        }
        let (gone, _) = write("gone", 4).await;
        gone.abort().await.unwrap();
        assert_eq!(keys(&target).await, ["big", "race"]);
    }
}
