//! Targets whose segments somebody changed, swapped, took away or brought back.

use super::*;
use crate::backup::repository::streams::Shelf;

/// A ledger with a base and ten commits, of which each is in a segment of its own; the moment after each.
async fn followed() -> (Scene, Vec<Timestamp>) {
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let mut moments = Vec::new();
    for number in 0..6 {
        moments.push(scene.commit(&format!("line {number}")).await);
    }
    following.stop().await;
    (scene, moments)
}

/// The key of the segment with the commit of that number.
async fn with_line(scene: &Scene, number: usize) -> String {
    let view = scene.view().await;
    let segments = view.stores[0].runs.iter().flat_map(|run| &run.segments);
    let of_lines: Vec<_> = segments.filter(|stored| stored.head.points().next().is_some()).collect();
    of_lines[of_lines.len() - 6 + number].name.key()
}

fn bytes(scene: &Scene, key: &str) -> Vec<u8> {
    let mut all = Vec::new();
    scene.memory.tamper(key, |bytes| all.clone_from(bytes));
    all
}

async fn put(scene: &Scene, key: &str, bytes: &[u8]) {
    scene.memory.put(&Scope::default(), key, bytes, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_changed_is_found_and_what_is_before_it_comes_back() {
    let (scene, moments) = followed().await;
    let third = with_line(&scene, 2).await;
    let whole = bytes(&scene, &third);
    let other = bytes(&scene, &with_line(&scene, 3).await);
    let older = bytes(&scene, &with_line(&scene, 1).await);
    let head = crate::backup::repository::segment::head_len(&whole).unwrap();
    let mut payload = whole.clone();
    *payload.last_mut().unwrap() ^= 1;
    let mut in_head = whole.clone();
    in_head[head / 2] ^= 1;
    let cut = whole[..whole.len() - 3].to_vec();
    let swapped = [&whole[..head], &other[crate::backup::repository::segment::head_len(&other).unwrap()..]].concat();
    let changes = [
        ("payload", payload, true),
        ("head", in_head, false),
        ("cut", cut, true),
        ("cut in its head", whole[..head / 2].to_vec(), false),
        ("empty", Vec::new(), false),
        ("another one", other.clone(), false),
        ("an older one", older, false),
        ("another payload", swapped, true),
    ];
    for (what, changed, is_listed) in changes {
        put(&scene, &third, &changed).await;
        assert_eq!(scene.go_back(moments[1]).await.unwrap(), lines(&["line 0", "line 1"]), "{what}");
        for moment in &moments[2..] {
            let error = scene.go_back(*moment).await.unwrap_err();
            // What only the payload tells is found on the way; the rest before it.
            let kind = if is_listed { ErrorKind::Corrupt } else { ErrorKind::NotFound };
            assert_eq!(error.kind(), kind, "{what}: {error}");
        }
    }
    scene.memory.delete(&Scope::default(), &third).await.unwrap();
    let error = scene.go_back(moments[4]).await.unwrap_err();
    assert!(error.message().contains("is missing"), "{error}");
    assert!(error.hint().unwrap().contains("the last time before it"), "{error:?}");
    // A base behind the hole makes the rest of the stream worth something again.
    let following = scene.follow().await;
    scene.back_up().await;
    let after = scene.commit("after").await;
    following.stop().await;
    assert_eq!(scene.go_back(after).await.unwrap().len(), 7);
    put(&scene, &third, &whole).await;
    assert_eq!(scene.go_back(moments[4]).await.unwrap().len(), 5);
}

/// A genuine segment of another repository, store or number is none here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn segments_of_elsewhere_are_no_segments_here() {
    let (scene, moments) = followed().await;
    let (foreign, _) = followed().await;
    let (ours, theirs) = (with_line(&scene, 3).await, with_line(&foreign, 3).await);
    let mine = bytes(&scene, &ours);
    put(&scene, &ours, &bytes(&foreign, &theirs)).await;
    assert_eq!(scene.go_back(moments[5]).await.unwrap_err().kind(), ErrorKind::NotFound);
    put(&scene, &ours, &mine).await;
    // Once more under the next number, behind the end.
    let name = SegmentName::of(scene.segments().last().unwrap()).unwrap();
    let behind = SegmentName { first: name.last + 1, last: name.last + 1, ..name };
    put(&scene, &behind.key(), &mine).await;
    assert_eq!(scene.go_back(moments[5]).await.unwrap().len(), 6);
    assert_eq!(scene.view().await.stores[0].runs.len(), 1);
}

/// Somebody who has the key, and puts nonsense: the mac is right, and what it says is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_genuine_mac_makes_nonsense_no_truth() {
    let (scene, moments) = followed().await;
    let scope = Scope::default();
    let shelf = Shelf::open(&scope, "memory", &scene.targets[0].1, &None).await.unwrap().unwrap();
    let key = with_line(&scene, 3).await;
    let name = SegmentName::of(&key).unwrap();
    let stored = shelf.head(&scope, &name).await.unwrap();
    let payload = shelf.stored_frame(&scope, &stored, 0).await.unwrap();
    // A frame that says to be longer than it is; a payload that is no frame; points that lead elsewhere.
    let mut longer = stored.head.clone();
    longer.frames[0].plain_bytes += 1;
    longer.increments.last_mut().unwrap().len += 1;
    let mut garbage = stored.head.clone();
    let noise = vec![7; payload.len()];
    garbage.frames[0].digest = crate::backup::manifest::Digest(*blake3::hash(&noise).as_bytes());
    let mut elsewhere = stored.head.clone();
    elsewhere.increments[0].points[0].checksum = Some("00".into());
    for (what, head, payload) in
        [("longer", &longer, &payload), ("garbage", &garbage, &noise), ("elsewhere", &elsewhere, &payload)]
    {
        shelf.delete(&scope, &name).await.unwrap();
        shelf.put_segment(&scope, head, payload).await.unwrap();
        // It is another segment: what follows it names the one that was there.
        let runs = scene.view().await.stores[0].runs.len();
        assert_eq!(runs, 2, "{what}");
        assert_eq!(scene.go_back(moments[2]).await.unwrap().len(), 3, "{what}");
        assert!(scene.go_back(moments[4]).await.is_err(), "{what}");
    }
}

/// A target that was put back to an older state, while nobody followed and while somebody did.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_target_that_is_put_back_has_a_gap() {
    let (scene, moments) = followed().await;
    // The end of the stream is gone, from the fourth line on.
    let gone = with_line(&scene, 3).await;
    for key in scene.segments().into_iter().filter(|key| *key >= gone) {
        scene.memory.delete(&Scope::default(), &key).await.unwrap();
    }
    let following = scene.follow().await;
    let standing = || scene.folder().standing().unwrap().unwrap_or_default();
    let lost = scene.commit("after").await;
    until("the wish for a base", async || standing().base_wanted_since.is_some()).await;
    assert!(scene.go_back(lost).await.is_err());
    scene.back_up().await;
    let after = scene.commit("and a base").await;
    following.stop().await;
    assert_eq!(scene.go_back(after).await.unwrap().len(), 8);
    assert!(scene.go_back(moments[0]).await.is_ok());
}
