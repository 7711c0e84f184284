//! Of several, one leads. What other processes do about it is in the tests of the whole.

use super::scene::{Process, Scene, nightly, no_hang};
use crate::clock::Clock;
use crate::schedule::{Leadership, Role};

#[tokio::test]
async fn one_of_two_leads_and_the_other_takes_over() {
    let scene = Scene::new("2026-03-10T01:59:00Z", nightly("ok"));
    let first = scene.start().await;
    let second = Process::start(scene.state.path(), &scene.jobs, &scene.host);
    no_hang(scene.clock.sleepers(2)).await;
    assert_eq!((first.standing.get().0, second.standing.get().0), (Role::Leader, Role::Follower));
    let leader = Leadership::record(&scene.folder()).unwrap().unwrap();
    assert_eq!(leader.owner.pid, std::process::id());
    for _ in 0..6 {
        scene.clock.advance(std::time::Duration::from_secs(20));
        no_hang(scene.clock.sleepers(2)).await;
    }
    scene.ran(&first, 1).await;
    first.stop().await;
    assert_eq!(Leadership::record(&scene.folder()).unwrap(), None, "who goes takes the record along");
    scene.pass(10).await;
    assert_eq!(second.standing.get().0, Role::Leader);
    scene.until("2026-03-11T02:00:00Z").await;
    scene.ran(&second, 2).await;
    second.stop().await;
    assert_eq!(scene.runs().len(), 2);
}

#[tokio::test]
async fn whoever_removes_the_state_takes_the_lead_away() {
    let scene = Scene::new("2026-03-10T01:00:00Z", nightly("ok"));
    let process = scene.start().await;
    std::fs::remove_dir_all(scene.folder().path()).unwrap();
    assert!(Leadership::try_take(&scene.folder(), scene.clock.now()).is_ok());
    scene.until("2026-03-10T02:00:00Z").await;
    scene.ran(&process, 1).await;
    assert_eq!(process.standing.get().0, Role::Leader, "it has made everything anew");
    process.stop().await;
    assert_eq!(scene.runs().len(), 1);
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_told_and_then_used() {
    let scene = Scene::new("2026-03-10T01:00:00Z", nightly("ok"));
    std::fs::write(scene.folder().path(), b"in the way").unwrap();
    let process = scene.start().await;
    let (role, trouble) = process.standing.get();
    assert_eq!(role, Role::Off);
    assert!(trouble.unwrap().message.starts_with("no job runs by itself: could not create folder"));
    std::fs::remove_file(scene.folder().path()).unwrap();
    scene.until("2026-03-10T02:00:00Z").await;
    assert_eq!(process.standing.get(), (Role::Leader, None));
    process.stop().await;
    assert_eq!(scene.runs().len(), 1);
}
