//! The suite of [`BackupTarget`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::CaseOutcome;
use super::case::{case, run_all};
use crate::backup::target::{BackupTarget, MAX_BLOCK, Object, Upload};
use crate::cancel::Scope;
use crate::error::{ErrorKind, Result};

/// One clause of the contract, as a check of an empty target.
pub type Case = super::Case<Arc<dyn BackupTarget>>;

/// Runs every case, each on a target of its own: `fresh` makes an empty one. Must be called within a Tokio
/// runtime.
pub async fn run(fresh: impl Fn() -> Arc<dyn BackupTarget>) -> Vec<CaseOutcome> {
    run_with(async || Ok(fresh())).await
}

/// As [`run`], where making a target takes time and can fail.
pub async fn run_with(fresh: impl AsyncFn() -> Result<Arc<dyn BackupTarget>>) -> Vec<CaseOutcome> {
    run_all(cases(), fresh).await
}

/// The cases, in the order of the contract's clauses.
pub fn cases() -> Vec<Case> {
    vec![
        case!(what_is_put_can_be_read, "put stores an object at once; what is visible is whole"),
        case!(put_replaces_unless_told, "put replaces; with if_absent it leaves what exists alone and returns false"),
        case!(one_of_many_puts_wins, "of several callers of put with if_absent at the same time exactly one gets true"),
        case!(an_upload_appears_when_finished, "nothing is visible under its key before finish returns"),
        case!(an_upload_replaces_nothing, "an object that exists under the key is refused by finish"),
        case!(one_of_many_uploads_wins, "of several uploads to one key exactly one becomes visible, whole"),
        case!(an_aborted_upload_leaves_nothing, "an upload that is aborted or dropped leaves nothing visible"),
        case!(an_upload_takes_many_blocks, "an upload takes an object of any size in blocks, in order"),
        case!(read_back_reads_what_was_written, "read_back returns what was written, or is unsupported as announced"),
        case!(ranges_are_exact, "get returns exactly the range, less only where the object ends"),
        case!(a_block_has_a_limit, "no block is longer than 8 MiB"),
        case!(what_is_missing_is_said, "a missing object is NotFound from get and None from stat"),
        case!(deleting_is_final_and_repeatable, "delete removes for good; deleting what is missing succeeds"),
        case!(list_is_sorted_and_filtered, "list is sorted by key in byte order and knows only its prefix"),
        case!(list_is_complete_when_paged, "list is complete when paged with after, at most 1,000 at a time"),
        case!(stat_agrees_with_list, "stat and list tell the same sizes, and times that do not go back"),
        case!(bad_keys_are_refused, "a key that check_key refuses is refused by every method"),
        case!(capability_is_steady, "capability does no I/O and says what probe found, every time"),
    ]
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The value of a call that must succeed.
fn done<T>(doing: &str, result: Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{doing} failed: {error}"))
}

/// Checks that a call failed, with that kind.
fn refused<T>(doing: &str, result: Result<T>, kind: ErrorKind) -> Result<(), String> {
    match result {
        Ok(_) => Err(format!("{doing} succeeded")),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{doing} failed as {}, not as {kind}: {error}", error.kind())),
    }
}

async fn read(target: &dyn BackupTarget, key: &str) -> Result<Vec<u8>, String> {
    done("get", target.get(&Scope::default(), key, 0..MAX_BLOCK as u64).await)
}

async fn list_all(target: &dyn BackupTarget, prefix: &str) -> Result<Vec<Object>, String> {
    let mut all: Vec<Object> = Vec::new();
    loop {
        let after = all.last().map(|object| object.key.clone());
        let page = done("list", target.list(&Scope::default(), prefix, after.as_deref()).await)?;
        ensure(page.len() <= 1000, || format!("list returned {} objects at once", page.len()))?;
        if page.is_empty() {
            return Ok(all);
        }
        ensure(all.len() < 100_000, || "list does not end: `after` is ignored".to_owned())?;
        all.extend(page);
    }
}

async fn keys(target: &dyn BackupTarget, prefix: &str) -> Result<Vec<String>, String> {
    Ok(list_all(target, prefix).await?.into_iter().map(|object| object.key).collect())
}

async fn put(target: &dyn BackupTarget, key: &str, bytes: &[u8]) -> Result<(), String> {
    let created = done("put", target.put(&Scope::default(), key, bytes, false).await)?;
    ensure(created, || "put without if_absent returned false".to_owned())
}

async fn upload(target: &dyn BackupTarget, key: &str) -> Result<Box<dyn Upload>, String> {
    done("upload", target.upload(&Scope::default(), key, Some(3)).await)
}

async fn invisible(target: &dyn BackupTarget, key: &str, when: &str) -> Result<(), String> {
    let scope = Scope::default();
    ensure(done("stat", target.stat(&scope, key).await)?.is_none(), || format!("stat sees the object {when}"))?;
    refused(&format!("get {when}"), target.get(&scope, key, 0..1).await, ErrorKind::NotFound)?;
    let listed = keys(target, "").await?;
    ensure(listed.is_empty(), || format!("list shows {listed:?} {when}"))
}

async fn what_is_put_can_be_read(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    for bytes in [&b""[..], b"x", &[0_u8, 255, 10].repeat(5000)] {
        put(&*target, "a/b.c_d-e", bytes).await?;
        ensure(read(&*target, "a/b.c_d-e").await? == bytes, || format!("{} bytes came back changed", bytes.len()))?;
    }
    Ok(())
}

async fn put_replaces_unless_told(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let scope = Scope::default();
    let first = done("put", target.put(&scope, "k", b"first", true).await)?;
    ensure(first, || "put with if_absent of a new object returned false".to_owned())?;
    let second = done("put", target.put(&scope, "k", b"second", true).await)?;
    ensure(!second, || "put with if_absent of an existing object returned true".to_owned())?;
    ensure(read(&*target, "k").await? == b"first", || "put with if_absent replaced the object".to_owned())?;
    put(&*target, "k", b"third").await?;
    ensure(read(&*target, "k").await? == b"third", || "put did not replace the object".to_owned())
}

async fn one_of_many_puts_wins(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    for round in 0..8 {
        let key = format!("race.{round}");
        let racers: Vec<_> = (0..12_u8)
            .map(|racer| {
                let (target, key) = (Arc::clone(&target), key.clone());
                tokio::spawn(async move { (racer, target.put(&Scope::default(), &key, &[racer; 64], true).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            let (racer, won) = racer.await.map_err(|error| error.to_string())?;
            if done("put", won)? {
                winners.push(racer);
            }
        }
        ensure(winners.len() == 1, || format!("callers {winners:?} all got true"))?;
        let stored = read(&*target, &key).await?;
        ensure(stored == [winners[0]; 64], || "the object is not the winner's".to_owned())?;
    }
    Ok(())
}

async fn an_upload_appears_when_finished(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let mut writer = upload(&*target, "dir/up").await?;
    invisible(&*target, "dir/up", "before anything was written").await?;
    done("write", writer.write(b"one ").await)?;
    done("write", writer.write(b"two").await)?;
    invisible(&*target, "dir/up", "before finish").await?;
    done("finish", writer.finish().await)?;
    ensure(read(&*target, "dir/up").await? == b"one two", || "the object is not what was written".to_owned())?;
    let listed = keys(&*target, "").await?;
    ensure(listed == ["dir/up"], || format!("list shows {listed:?} after finish"))
}

async fn an_upload_replaces_nothing(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let mut writer = upload(&*target, "k").await?;
    done("write", writer.write(b"late").await)?;
    put(&*target, "k", b"early").await?;
    refused("finish over an object", writer.finish().await, ErrorKind::Refused)?;
    ensure(read(&*target, "k").await? == b"early", || "finish replaced the object".to_owned())?;
    let listed = keys(&*target, "").await?;
    ensure(listed == ["k"], || format!("a refused finish left {listed:?}"))
}

async fn one_of_many_uploads_wins(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let racers: Vec<_> = (0..8_u8)
        .map(|racer| {
            let target = Arc::clone(&target);
            tokio::spawn(async move {
                let mut writer = target.upload(&Scope::default(), "race", None).await?;
                for _ in 0..20 {
                    writer.write(&[racer; 1000]).await?;
                }
                writer.finish().await
            })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        match racer.await.map_err(|error| error.to_string())? {
            Ok(()) => won += 1,
            Err(error) if error.kind() == ErrorKind::Refused => {}
            Err(error) => return Err(format!("a racing upload failed as {}: {error}", error.kind())),
        }
    }
    ensure(won == 1, || format!("{won} uploads to one key succeeded"))?;
    let bytes = read(&*target, "race").await?;
    let whole = bytes.len() == 20_000 && bytes.iter().all(|byte| *byte == bytes[0]);
    ensure(whole, || "the object is a mixture of uploads".to_owned())
}

async fn an_aborted_upload_leaves_nothing(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let mut aborted = upload(&*target, "aborted").await?;
    done("write", aborted.write(b"abc").await)?;
    done("abort", aborted.abort().await)?;
    invisible(&*target, "aborted", "after abort").await?;
    let mut dropped = upload(&*target, "dropped").await?;
    done("write", dropped.write(b"abc").await)?;
    drop(dropped);
    invisible(&*target, "dropped", "after the upload was dropped").await?;
    // The key is free for the next attempt.
    let mut again = upload(&*target, "aborted").await?;
    done("write", again.write(b"again").await)?;
    done("finish", again.finish().await)?;
    ensure(read(&*target, "aborted").await? == b"again", || "an aborted upload spoils the next".to_owned())
}

async fn an_upload_takes_many_blocks(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let mut writer = upload(&*target, "big").await?;
    let mut expected = Vec::new();
    for (number, len) in [0, 1, 4096, MAX_BLOCK, 7, 1 << 20].into_iter().enumerate() {
        let block = vec![number as u8 + 1; len];
        done("write", writer.write(&block).await)?;
        expected.extend(block);
    }
    done("finish", writer.finish().await)?;
    let scope = Scope::default();
    let mut have = Vec::new();
    loop {
        let at = have.len() as u64;
        let block = done("get", target.get(&scope, "big", at..at + (3 << 20)).await)?;
        if block.is_empty() {
            break;
        }
        have.extend(block);
    }
    ensure(have == expected, || format!("wrote {} bytes, read {} others", expected.len(), have.len()))
}

async fn read_back_reads_what_was_written(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let mut writer = upload(&*target, "k").await?;
    done("write", writer.write(b"0123456789").await)?;
    if !target.capability().read_before_finish {
        refused("read_back", writer.read_back(0..10).await, ErrorKind::Unsupported)?;
        return done("abort", writer.abort().await);
    }
    let whole = done("read_back", writer.read_back(0..10).await)?;
    ensure(whole == b"0123456789", || "read_back returned other bytes".to_owned())?;
    let part = done("read_back", writer.read_back(3..5).await)?;
    ensure(part == b"34", || "read_back of a range returned other bytes".to_owned())?;
    let end = done("read_back", writer.read_back(8..20).await)?;
    ensure(end == b"89", || "read_back past the end did not stop there".to_owned())?;
    invisible(&*target, "k", "after read_back").await?;
    done("finish", writer.finish().await)?;
    ensure(read(&*target, "k").await? == b"0123456789", || "read_back changed the object".to_owned())
}

async fn ranges_are_exact(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    put(&*target, "k", b"0123456789").await?;
    for (range, expected) in [
        (0..10, &b"0123456789"[..]),
        (0..1, b"0"),
        (4..7, b"456"),
        (8..100, b"89"),
        (10..20, b""),
        (50..60, b""),
        (3..3, b""),
    ] {
        let bytes = done("get", target.get(&Scope::default(), "k", range.clone()).await)?;
        ensure(bytes == expected, || format!("{range:?} returned {bytes:?}"))?;
    }
    Ok(())
}

async fn a_block_has_a_limit(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let scope = Scope::default();
    let long = vec![0; MAX_BLOCK + 1];
    refused("put of too much", target.put(&scope, "k", &long, false).await, ErrorKind::InvalidInput)?;
    let mut writer = upload(&*target, "k").await?;
    refused("write of too much", writer.write(&long).await, ErrorKind::InvalidInput)?;
    done("abort after an error", writer.abort().await)?;
    put(&*target, "k", &long[..MAX_BLOCK]).await?;
    let asked = target.get(&scope, "k", 0..MAX_BLOCK as u64 + 1).await;
    refused("get of too much", asked, ErrorKind::InvalidInput)
}

async fn what_is_missing_is_said(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    invisible(&*target, "no/such", "in an empty target").await?;
    put(&*target, "dir/object", b"x").await?;
    // Neither what an object store would call a prefix nor what lies below an object is an object.
    for key in ["dir", "dir/object/below"] {
        let scope = Scope::default();
        ensure(done("stat", target.stat(&scope, key).await)?.is_none(), || format!("stat sees {key:?}"))?;
        refused(&format!("get of {key:?}"), target.get(&scope, key, 0..1).await, ErrorKind::NotFound)?;
    }
    Ok(())
}

async fn deleting_is_final_and_repeatable(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let scope = Scope::default();
    done("delete of what is missing", target.delete(&scope, "a/k").await)?;
    put(&*target, "a/k", b"x").await?;
    put(&*target, "a/other", b"y").await?;
    done("delete", target.delete(&scope, "a/k").await)?;
    done("delete again", target.delete(&scope, "a/k").await)?;
    let listed = keys(&*target, "").await?;
    ensure(listed == ["a/other"], || format!("list shows {listed:?} after a delete"))?;
    refused("get of a deleted object", target.get(&scope, "a/k", 0..1).await, ErrorKind::NotFound)
}

async fn list_is_sorted_and_filtered(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    // In byte order `-` and `.` come before `/`, and capitals before small letters.
    let mut names = ["a/b", "a.b", "a-b", "a", "B", "ab/c/d", "ab.c", "ab", "Z/z", "a/b.c/d"];
    // "a" and "a/b" cannot both be files on a disk: keep to the names that every target can hold.
    let usable: BTreeSet<&str> = names.into_iter().filter(|name| !["a", "ab", "a/b"].contains(name)).collect();
    for name in &usable {
        put(&*target, name, b"x").await?;
    }
    names.sort_unstable();
    let listed = keys(&*target, "").await?;
    ensure(listed.iter().map(String::as_str).eq(usable.iter().copied()), || format!("list shows {listed:?}"))?;
    for prefix in ["a", "a/", "ab", "ab/c", "ab/c/d", "Z/", "none", "a.b"] {
        let expected: Vec<&str> = usable.iter().copied().filter(|name| name.starts_with(prefix)).collect();
        let listed = keys(&*target, prefix).await?;
        ensure(listed == expected, || format!("list of {prefix:?} shows {listed:?}, not {expected:?}"))?;
    }
    Ok(())
}

async fn list_is_complete_when_paged(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let expected: Vec<String> = (0..1007).map(|number| format!("p{}/{number:05}", number % 2)).collect();
    for key in &expected {
        put(&*target, key, b"x").await?;
    }
    let listed = keys(&*target, "").await?;
    let wanted: BTreeSet<&String> = expected.iter().collect();
    ensure(listed.iter().eq(wanted.iter().copied()), || format!("{} of 1007 keys were listed", listed.len()))?;
    let page = done("list", target.list(&Scope::default(), "", Some("p0/00500")).await)?;
    let first = page.first().map(|object| object.key.as_str());
    ensure(first == Some("p0/00502"), || format!("what follows p0/00500 is {first:?}"))
}

async fn stat_agrees_with_list(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let scope = Scope::default();
    put(&*target, "old", b"12345").await?;
    put(&*target, "new", b"123").await?;
    for object in list_all(&*target, "").await? {
        let stat = done("stat", target.stat(&scope, &object.key).await)?;
        ensure(stat.as_ref() == Some(&object), || format!("list says {object:?}, stat says {stat:?}"))?;
        let size = if object.key == "old" { 5 } else { 3 };
        ensure(object.size_bytes == size, || format!("{object:?} has {size} bytes"))?;
    }
    let old = done("stat", target.stat(&scope, "old").await)?.map(|object| object.modified_at);
    let new = done("stat", target.stat(&scope, "new").await)?.map(|object| object.modified_at);
    ensure(old <= new, || format!("the older object is of {old:?}, the newer of {new:?}"))
}

async fn bad_keys_are_refused(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let scope = Scope::default();
    for key in ["", "/abs", "a//b", "../up", "a/../b", ".hidden", "a/.hidden", "sp ace", "nul\0", "ü", "a/"] {
        let name = |doing: &str| format!("{doing} of {key:?}");
        refused(&name("put"), target.put(&scope, key, b"x", false).await, ErrorKind::InvalidInput)?;
        refused(&name("upload"), target.upload(&scope, key, None).await, ErrorKind::InvalidInput)?;
        refused(&name("get"), target.get(&scope, key, 0..1).await, ErrorKind::InvalidInput)?;
        refused(&name("stat"), target.stat(&scope, key).await, ErrorKind::InvalidInput)?;
        refused(&name("delete"), target.delete(&scope, key).await, ErrorKind::InvalidInput)?;
    }
    Ok(())
}

async fn capability_is_steady(target: Arc<dyn BackupTarget>) -> Result<(), String> {
    let before = done("probe", target.probe(&Scope::default()).await)?;
    ensure(target.capability() == before, || "capability is not what probe found".to_owned())?;
    put(&*target, "k", b"x").await?;
    done("free_bytes", target.free_bytes(&Scope::default()).await)?;
    ensure(target.capability() == before, || "capability changed".to_owned())?;
    ensure(!before.kind.is_empty() && !before.location.is_empty(), || "kind and location are empty".to_owned())
}

#[cfg(test)]
mod tests;
