//! The real `age`, both ways.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::stream::CHUNK;
use super::*;

/// Runs a program with `input`, and gives its output.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn keygen(folder: &Path, name: &str) -> (PathBuf, Recipient) {
    let path = folder.join(name);
    run(program("age-keygen").arg("-o").arg(&path), b"");
    let public = run(program("age-keygen").arg("-y").arg(&path), b"");
    (path, String::from_utf8(public).unwrap().trim().parse().unwrap())
}

#[test]
fn plain_age_opens_the_wrapped_key_and_with_it_the_packs() {
    let folder = tempfile::tempdir().unwrap();
    let key = key();
    let (first, first_public) = keygen(folder.path(), "first.txt");
    let (second, second_public) = keygen(folder.path(), "second.txt");
    let wrapped = key.wrap(&WrapTo::recipients(vec![first_public, second_public]).unwrap()).unwrap();
    for len in [0, 10, CHUNK as usize, 2 * CHUNK as usize + 1] {
        let plain = noise(len, 1);
        let pack = sealed(&KeyRing::of_host(&HostKeys::of(&key)), &plain);
        for operator in [&first, &second] {
            let unwrapped = run(program("age").arg("-d").arg("-i").arg(operator), &wrapped);
            let file = folder.path().join("repository.txt");
            std::fs::write(&file, &unwrapped).unwrap();
            assert_eq!(run(program("age").arg("-d").arg("-i").arg(&file), &pack), plain, "{len}");
            // What age unwrapped is what we read.
            let by_us = RepositoryKey::unwrap(&wrapped, &Operator::from_file(operator).unwrap()).unwrap();
            assert_eq!(by_us.to_text().as_bytes(), unwrapped);
            assert_eq!(Operator::from_file(&file).unwrap().recipients(), [key.identity.recipient()]);
        }
    }
}

#[test]
fn what_plain_age_encrypts_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let key = key();
    let mut ring = KeyRing::of_host(&HostKeys::of(&key));
    ring.add(key.clone()).unwrap();
    for len in [0, 1, CHUNK as usize, 3 * CHUNK as usize, 3 * CHUNK as usize + 5] {
        let plain = noise(len, 2);
        let recipient = key.identity.recipient().to_string();
        let bytes = run(program("age").args(["-r", &recipient]), &plain);
        let opener = ring.open(Bytes::new(bytes), None).unwrap();
        opener.prove_end().unwrap();
        assert_eq!(opener.read(0..opener.len()).unwrap(), plain, "{len}");
    }
    // A key that was wrapped again by hand, to another recipient.
    let (operator, public) = keygen(folder.path(), "operator.txt");
    let wrapped = run(program("age").args(["-r", &public.to_string()]), key.to_text().as_bytes());
    let read = RepositoryKey::unwrap(&wrapped, &Operator::from_file(&operator).unwrap()).unwrap();
    assert_eq!(read.fingerprint(), key.fingerprint());
}

#[test]
fn a_fingerprint_can_be_made_with_plain_tools() {
    let recipient = key().identity.recipient();
    let line = format!("printf %s {recipient} | sha256sum | cut -c1-16");
    let printed = run(Command::new("sh").args(["-c", &line]), b"");
    assert_eq!(String::from_utf8(printed).unwrap().trim(), recipient.fingerprint().as_str());
}
