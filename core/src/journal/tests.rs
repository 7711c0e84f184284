use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;

fn record(operation: &str, number: u64) -> Record {
    Record {
        time: Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).unwrap(),
        operation: operation.to_owned(),
        outcome: RecordOutcome::Done,
        duration_seconds: 0.5,
        pid: std::process::id(),
        request: json!({}),
        response: json!({ "number": number, "text": "a\nb \"sum\" {\"sum\":\"x\"} ü" }),
        error: None,
    }
}

fn number(record: &Record) -> u64 {
    record.response["number"].as_u64().unwrap()
}

fn all(newest_first: bool) -> Query {
    Query { limit: usize::MAX, newest_first, ..Query::default() }
}

fn small_segments(state: &Path, segment_bytes: u64) -> Journal {
    Journal { segment_bytes, ..Journal::open(state).unwrap() }
}

fn segment(journal: &Journal, number: u64) -> std::path::PathBuf {
    journal.path_of(number)
}

#[test]
fn nothing_exists_until_something_is_appended() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(&state.path().join("deep/state")).unwrap();
    assert_eq!(journal.read(&Query::default()).unwrap(), JournalPage::default());
    assert_eq!(journal.last("x", |_| true).unwrap(), None);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);

    journal.append(&record("x", 1)).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state.path().join("deep/state")), 0o700);
    assert_eq!(mode(journal.folder()), 0o700);
    assert_eq!(mode(&segment(&journal, 1)), 0o600);
    std::fs::write(state.path().join("journal"), "").unwrap();
    assert_eq!(Journal::open(state.path()).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn queries() {
    let state = tempfile::tempdir().unwrap();
    // The clock jumps back in the middle: the order stays that of writing.
    let journal = small_segments(state.path(), 700);
    for n in [1, 2, 3, 10, 4, 5] {
        journal.append(&record(if n % 2 == 0 { "even" } else { "odd" }, n)).unwrap();
    }
    assert!(journal.entries().unwrap().len() > 1);
    let read = |query: &Query| journal.read(query).unwrap().records.iter().map(number).collect::<Vec<_>>();
    let at = |n| Some(record("", n).time);
    assert_eq!(read(&all(false)), [1, 2, 3, 10, 4, 5]);
    assert_eq!(read(&all(true)), [5, 4, 10, 3, 2, 1]);
    assert_eq!(read(&Query { since: at(3), until: at(10), ..all(false) }), [3, 4, 5]);
    assert_eq!(read(&Query { operations: vec!["even".into()], ..all(true) }), [4, 10, 2]);
    let page = journal.read(&Query { limit: 2, ..Query::default() }).unwrap();
    assert_eq!((page.records.iter().map(number).collect::<Vec<_>>(), page.more), (vec![5, 4], true));
    let page = journal.read(&Query { limit: 6, ..Query::default() }).unwrap();
    assert_eq!((page.records.len(), page.more), (6, false));
    let last = journal.last("odd", |record| number(record) < 5).unwrap().unwrap();
    assert_eq!(last, record("odd", 3));
}

#[test]
fn a_torn_tail_costs_one_line() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    let line = record::encode(&record("x", 99)).unwrap();
    for cut in [1, 5, 20, 60, line.len() - 2, line.len() - 1] {
        journal.append(&record("x", 1)).unwrap();
        let path = segment(&journal, 1);
        std::fs::File::options().append(true).open(&path).unwrap().write_all(&line[..cut]).unwrap();
        journal.append(&record("x", 2)).unwrap();
        let page = journal.read(&all(false)).unwrap();
        let numbers: Vec<u64> = page.records.iter().map(number).collect();
        // A line that lacks nothing but its end is whole.
        let (expected, damaged) = if cut == line.len() - 1 { (vec![1, 99, 2], 0) } else { (vec![1, 2], 1) };
        assert_eq!((numbers, page.damaged_lines), (expected, damaged), "cut at {cut}");
        // Other readers of lines see every later record too.
        assert!(std::fs::read_to_string(&path).unwrap().lines().last().unwrap().contains("\"number\":2"));
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_record_glued_to_a_tear_is_found() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    journal.append(&record("x", 0)).unwrap();
    // What a writer leaves that dies between another one's look at the tail and its write.
    let line = |n| {
        let mut nested = record("x", n);
        nested.response["nested"] = json!({ "sum": "0123456789abcdef", "record": {} });
        record::encode(&nested).unwrap()
    };
    let glued = [&line(7)[..40], &line(1), &line(2)[..line(2).len() - 1], b"X", &line(3)].concat();
    std::fs::File::options().append(true).open(segment(&journal, 1)).unwrap().write_all(&glued).unwrap();
    for newest_first in [false, true] {
        let page = journal.read(&all(newest_first)).unwrap();
        let mut numbers: Vec<u64> = page.records.iter().map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(page.damaged_lines, 2);
    }
}

#[test]
fn every_bit_flip_is_noticed_and_costs_at_most_its_line() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    for n in 0..3 {
        journal.append(&record("x", n)).unwrap();
    }
    let path = segment(&journal, 1);
    let good = std::fs::read(&path).unwrap();
    let originals: Vec<Record> = (0..3).map(|n| record("x", n)).collect();
    let line = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // The middle record, every byte, and each bit of some.
    for at in line..line * 2 {
        for bit in if at % 16 == 0 { 0..8 } else { at % 8..at % 8 + 1 } {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            let page = journal.read(&all(false)).unwrap();
            assert!(page.damaged_lines >= 1, "byte {at} bit {bit}");
            assert!(page.records.iter().all(|record| originals.contains(record)), "byte {at} bit {bit}");
            assert!(
                page.records.contains(&originals[0]) && page.records.contains(&originals[2]),
                "byte {at} bit {bit}"
            );
        }
    }
}

#[test]
fn a_segment_that_cannot_be_read_hides_no_other() {
    let state = tempfile::tempdir().unwrap();
    let journal = small_segments(state.path(), 1);
    for n in 0..4 {
        journal.append(&record("x", n)).unwrap();
    }
    let path = segment(&journal, 2);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    // The youngest is no file at all: appending goes on behind it.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        segment(&journal, 5),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    journal.append(&record("x", 9)).unwrap();
    std::fs::write(journal.folder().join("notes.txt"), "not ours").unwrap();
    let page = journal.read(&all(false)).unwrap();
    assert_eq!(page.records.iter().map(number).collect::<Vec<_>>(), [0, 2, 3, 9]);
    assert_eq!(page.unreadable_segments.len(), 2);
    assert!(page.unreadable_segments[0].starts_with("00000002.jsonl: "), "{page:?}");
}

#[test]
fn a_record_that_is_too_large_is_cut_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    let mut large = record("backup.create", 1);
    let skipped: Vec<Value> =
        (0..60_000).map(|n| json!({ "path": format!("data/file-{n}"), "reason": "gone" })).collect();
    large.response = json!({ "snapshot_id": "a1", "outcome": "partial", "skipped": skipped, "files": 60_000 });
    journal.append(&large).unwrap();
    large.request = Value::String("ü".repeat(MAX_RECORD_BYTES));
    large.error = Some(Error::invalid("e".repeat(MAX_RECORD_BYTES)).to_body());
    journal.append(&large).unwrap();
    let mut deep = json!(1);
    for _ in 0..500 {
        deep = json!([deep]);
    }
    journal
        .append(&Record { request: deep.clone(), response: deep, duration_seconds: f64::NAN, ..record("x", 1) })
        .unwrap();

    let page = journal.read(&all(false)).unwrap();
    assert_eq!((page.records.len(), page.damaged_lines), (3, 0));
    let response = &page.records[0].response;
    assert_eq!((&response["snapshot_id"], &response["files"]), (&json!("a1"), &json!(60_000)));
    assert_eq!(response["skipped"], json!({ "cut_items": 60_000 }));
    assert!(response["cut"].as_str().unwrap().contains("was cut"));
    assert!(page.records[1].error.as_ref().unwrap().message.len() < 2000);
    assert!(segment(&journal, 1).metadata().unwrap().len() < 100_000);
}

#[test]
fn retention_takes_the_oldest_and_never_the_youngest() {
    let state = tempfile::tempdir().unwrap();
    let journal = small_segments(state.path(), 1);
    for n in 0..5 {
        journal.append(&record("x", n)).unwrap();
    }
    let one = segment(&journal, 1).metadata().unwrap().len();
    let plan = journal.plan_retention(one * 2 + 1).unwrap();
    assert_eq!(plan.remove.iter().map(|segment| segment.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(journal.entries().unwrap().len(), 5, "a plan removes nothing");
    journal.apply_retention(&plan).unwrap();
    journal.apply_retention(&plan).unwrap();
    assert_eq!(journal.read(&all(false)).unwrap().records.len(), 2);
    assert_eq!(journal.plan_retention(0).unwrap().remove.len(), 1);
    journal.append(&record("x", 5)).unwrap();
    assert_eq!(journal.entries().unwrap().last().unwrap().0, 6, "numbers are not used again");
}

#[test]
fn not_recorded_says_that_it_was_done() {
    let full = Error::io("append to \"j\"", std::io::Error::from_raw_os_error(libc::ENOSPC));
    let error = Journal::not_recorded(&record("backup.create", 1), full);
    assert_eq!(
        error.message(),
        "backup.create was done, but could not be recorded in the journal: \
         could not append to \"j\": No space left on device"
    );
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(!error.retryable() && error.hint().unwrap().starts_with("do not repeat the operation"));
}

/// A page of large records ends before memory does, and the newest come without the oldest being read.
#[test]
fn a_huge_segment_is_read_from_its_end_in_bounded_memory() {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    let mut large = record("x", 1);
    large.response["text"] = json!("t".repeat(700_000));
    let line = record::encode(&large).unwrap();
    fs::create_dir_all(journal.folder(), 0o700).unwrap();
    let mut file = std::fs::File::create(segment(&journal, 1)).unwrap();
    for _ in 0..60 {
        file.write_all(&line).unwrap();
    }
    drop(file);
    journal.append(&record("y", 2)).unwrap();
    let page = journal.read(&all(true)).unwrap();
    assert_eq!(page.records[0].operation, "y");
    assert!(page.more && page.records.len() < 30, "{}", page.records.len());
    let before = bytes_read();
    assert_eq!(journal.last("y", |_| true).unwrap().map(|record| number(&record)), Some(2));
    assert!(bytes_read() - before < 1 << 20, "the whole segment was read for its last line");
}

/// What this thread has read so far, in bytes.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

// Several processes. Each is this test binary again, told by the environment to be a writer.

const WRITER: &str = "UPLIFTED_OPS_TEST_JOURNAL_WRITER";

fn writer(state: &Path, name: &str, count: u64, segment_bytes: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::tests::as_a_writer", "--nocapture"])
        .env(WRITER, json!([state, name, count, segment_bytes]).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what [`writer`] runs.
#[test]
fn as_a_writer() {
    let Ok(told) = std::env::var(WRITER) else { return };
    let (state, name, count, segment_bytes): (std::path::PathBuf, String, u64, u64) =
        serde_json::from_str(&told).unwrap();
    let journal = small_segments(&state, segment_bytes);
    for n in 0..count {
        journal.append_with(&record(&name, n), Durability::Written).unwrap();
        if n == 10 {
            println!("under way");
        }
    }
}

#[test]
fn eight_processes_write_at_once_and_rotate() {
    let state = tempfile::tempdir().unwrap();
    let count = 500;
    let mut writers: Vec<Child> =
        (0..8).map(|n| writer(state.path(), &format!("writer-{n}"), count, 64 << 10)).collect();
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let journal = Journal::open(state.path()).unwrap();
    assert!(journal.entries().unwrap().len() > 5, "it rotated");
    let page = journal.read(&Query { limit: usize::MAX, newest_first: false, ..Query::default() }).unwrap();
    assert_eq!((page.damaged_lines, page.unreadable_segments.len()), (0, 0));
    for n in 0..8 {
        let name = format!("writer-{n}");
        let mut numbers: Vec<u64> = page.records.iter().filter(|record| record.operation == name).map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_killed_writer_costs_at_most_one_line() {
    let state = tempfile::tempdir().unwrap();
    let mut survivor = writer(state.path(), "survivor", 300, 1 << 20);
    let mut victims: Vec<Child> = (0..3).map(|_| writer(state.path(), "victim", u64::MAX, 1 << 20)).collect();
    for victim in &mut victims {
        // Killed in the middle of its work: it has said so.
        let mut said = Vec::new();
        let mut out = victim.stdout.take().unwrap();
        let mut byte = [0];
        while !said.ends_with(b"under way") && out.read(&mut byte).unwrap() == 1 {
            said.push(byte[0]);
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    assert!(survivor.wait().unwrap().success());
    let journal = Journal::open(state.path()).unwrap();
    journal.append(&record("after", 1)).unwrap();
    let page = journal.read(&all(false)).unwrap();
    assert!(page.damaged_lines <= 3, "{}", page.damaged_lines);
    let survived = page.records.iter().filter(|record| record.operation == "survivor").count();
    assert_eq!(survived, 300);
    assert_eq!(page.records.last().unwrap().operation, "after");
}

/// A build for others takes no orders to fail.
#[cfg(not(feature = "faults"))]
#[test]
fn without_the_feature_no_variable_fails_a_write() {
    let state = tempfile::tempdir().unwrap();
    let mut told = Command::new(std::env::current_exe().unwrap());
    told.args(["--exact", "journal::tests::as_a_writer"]).stdout(Stdio::null()).stderr(Stdio::null());
    told.env(WRITER, json!([state.path(), "told", 1, 1 << 20]).to_string());
    told.env("UPLIFTED_OPS_FAULT", "host:enospc+@1");
    assert!(told.status().unwrap().success());
    assert_eq!(Journal::open(state.path()).unwrap().read(&all(false)).unwrap().records.len(), 1);
}

/// A full disk tears a record in the middle. It is an error there, and one damaged line for everybody else.
#[cfg(feature = "faults")]
#[test]
fn a_full_disk_costs_one_line() {
    for (fault, damaged) in [("short", 1), ("enospc", 0)] {
        let state = tempfile::tempdir().unwrap();
        let journal = Journal::open(state.path()).unwrap();
        journal.append(&record("before", 1)).unwrap();
        let mut failing = Command::new(std::env::current_exe().unwrap());
        failing.args(["--exact", "journal::tests::as_a_writer"]).stdout(Stdio::null()).stderr(Stdio::null());
        failing.env(WRITER, json!([state.path(), "failing", 1, 1 << 20]).to_string());
        failing.env("UPLIFTED_OPS_FAULT", format!("host:{fault}@1"));
        assert!(!failing.status().unwrap().success(), "{fault}: the append was no error");
        journal.append(&record("after", 2)).unwrap();
        let page = journal.read(&all(false)).unwrap();
        let operations: Vec<&str> = page.records.iter().map(|record| record.operation.as_str()).collect();
        assert_eq!((operations, page.damaged_lines), (vec!["before", "after"], damaged), "{fault}");
    }
}
