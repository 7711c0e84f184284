//! Recipients, identities, wrapping, the host's file: what is accepted, and what each mistake is called.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::ErrorKind;
use crate::value::Secret;

const PUBLIC: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust";

fn operator(text: &str) -> Result<Operator> {
    Operator::from_text(text, "\"key.txt\"")
}

#[test]
fn recipients_are_read_and_mistakes_are_named() {
    let recipient: Recipient = PUBLIC.parse().unwrap();
    assert_eq!(recipient.to_string(), PUBLIC);
    let all = Recipient::all_in(&format!("# the operators\n\n{PUBLIC}\n  {PUBLIC}  \n"), "r.txt").unwrap();
    assert_eq!(all.len(), 2);
    for (text, kind, message) in [
        (SECRET, ErrorKind::InvalidInput, "this is the secret half"),
        (&SECRET.to_lowercase(), ErrorKind::InvalidInput, "this is the secret half"),
        (SSH, ErrorKind::InvalidInput, "this is an SSH key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", ErrorKind::InvalidInput, "this is an SSH key"),
        ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", ErrorKind::Unsupported, "plugin"),
        (&PUBLIC[..61], ErrorKind::InvalidInput, "no age recipient"),
        (&PUBLIC.replace("rxy", "rxx"), ErrorKind::InvalidInput, "no age recipient"),
        ("", ErrorKind::InvalidInput, "no age recipient"),
    ] {
        let error = text.parse::<Recipient>().unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(error.message().contains(message) && error.hint().is_some(), "{text}: {error}");
        assert!(!format!("{error:?}").to_lowercase().contains("1gq9778"), "{error:?}");
    }
    let error = Recipient::all_in(&format!("{PUBLIC}\n{SECRET}\n"), "r.txt").unwrap_err();
    assert!(error.message().starts_with("r.txt, line 2: "), "{error}");
}

#[test]
fn identity_files_are_read_and_mistakes_are_named() {
    let read = operator(&format!("# created: today\n# public key: {PUBLIC}\n{SECRET}\n")).unwrap();
    assert_eq!(read.recipients(), [PUBLIC.parse().unwrap()]);
    assert!(!format!("{read:?}").contains("1GQ9778"));
    let broken = SECRET.replace("GQ9778", "GQ9777");
    for (text, kind, message) in [
        (PUBLIC, ErrorKind::InvalidInput, "holds a public key"),
        (SSH, ErrorKind::InvalidInput, "line 1 is an SSH key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1", ErrorKind::InvalidInput, "is an SSH key"),
        ("# nothing\n", ErrorKind::InvalidInput, "holds no identity"),
        ("AGE-PLUGIN-YUBIKEY-1QQQ", ErrorKind::Unsupported, "of a kind"),
        (&broken, ErrorKind::InvalidInput, "line 1: this is no age identity"),
    ] {
        let error = operator(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(message) && error.hint().is_some(), "{error}");
        assert!(!format!("{error:?}").contains("GQ977"), "{error:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.txt");
    assert_eq!(Operator::from_file(&path).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(&path, "age-encryption.org/v1\n-> scrypt").unwrap();
    assert!(Operator::from_file(&path).unwrap_err().message().contains("is itself encrypted"));
    std::fs::write(&path, b"\xff\xfe").unwrap();
    assert!(Operator::from_file(&path).unwrap_err().message().contains("is not text"));
}

#[test]
fn a_key_is_wrapped_to_several_and_each_opens_it() {
    let key = key();
    let holders: Vec<RepositoryIdentity> = (0..3).map(|_| RepositoryIdentity::generate()).collect();
    let to = WrapTo::recipients(holders.iter().map(RepositoryIdentity::recipient).collect()).unwrap();
    let wrapped = key.wrap(&to).unwrap();
    assert_eq!(KeyHolders::of(&wrapped).unwrap(), KeyHolders::Recipients(3));
    for holder in &holders {
        let opened = RepositoryKey::unwrap(&wrapped, &operator(&holder.reveal()).unwrap()).unwrap();
        assert_eq!(opened.fingerprint(), key.fingerprint());
        assert_eq!((&opened.repository, opened.created, &opened.id_key), (&key.repository, key.created, &key.id_key));
    }
    let stranger = RepositoryIdentity::generate();
    let error = RepositoryKey::unwrap(&wrapped, &operator(&stranger.reveal()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains(&stranger.recipient().to_string()), "{error}");
    let phrase = Operator::from_passphrase(&Secret::new("correct horse battery"), "env:BACKUP");
    let error = RepositoryKey::unwrap(&wrapped, &phrase).unwrap_err();
    assert!(error.message().contains("wrapped to recipients, and a passphrase"), "{error}");
    for at in [0, 30, wrapped.len() / 2, wrapped.len() - 1] {
        let mut damaged = wrapped.clone();
        damaged[at] ^= 1;
        assert!(RepositoryKey::unwrap(&damaged, &operator(&holders[0].reveal()).unwrap()).is_err(), "{at}");
    }
    assert_eq!(WrapTo::recipients(Vec::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_key_is_wrapped_to_a_passphrase() {
    let key = key();
    let phrase = |text: &str| Operator::from_passphrase(&Secret::new(text), "env:BACKUP");
    let wrapped = key.wrap(&WrapTo::passphrase(&Secret::new("correct horse battery")).unwrap()).unwrap();
    assert_eq!(KeyHolders::of(&wrapped).unwrap(), KeyHolders::Passphrase);
    let opened = RepositoryKey::unwrap(&wrapped, &phrase("correct horse battery")).unwrap();
    assert_eq!(opened.fingerprint(), key.fingerprint());
    let error = RepositoryKey::unwrap(&wrapped, &phrase("correct horse")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.message(), "the passphrase in env:BACKUP does not open the key");
    let error = RepositoryKey::unwrap(&wrapped, &operator(SECRET).unwrap()).unwrap_err();
    assert!(error.message().contains("wrapped to a passphrase, and an identity"), "{error}");
    assert_eq!(WrapTo::passphrase(&Secret::new("short")).unwrap_err().kind(), ErrorKind::InvalidInput);
    // Somebody who can write to the target asks for a terabyte of memory.
    let text = String::from_utf8_lossy(&wrapped[..wrapped.len() - 200]).replace(" 10\n", " 40\n");
    let mut greedy = text.into_bytes();
    greedy.extend_from_slice(&wrapped[wrapped.len() - 200..]);
    let error = RepositoryKey::unwrap(&greedy, &phrase("correct horse battery")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[test]
fn an_unwrapped_key_is_an_identity_file_and_later_versions_are_refused() {
    let key = key();
    let text = key.to_text();
    let unwrapped = operator(&text).unwrap();
    assert_eq!(unwrapped.recipients(), [key.identity.recipient()]);
    assert_eq!(RepositoryKey::unwrap(b"", &unwrapped).unwrap().fingerprint(), key.fingerprint());
    let later = text.replace("key 1", "key 2");
    assert_eq!(operator(&later).unwrap_err().kind(), ErrorKind::Unsupported);
    for line in 1..7 {
        let without: String = text
            .lines()
            .enumerate()
            .filter(|(number, _)| *number != line)
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        // The public key is there for people.
        assert_eq!(RepositoryKey::parse(&without).is_err(), line != 4, "{line}");
    }
    let other = text.replace(key.fingerprint().as_str(), "0123456789abcdef");
    assert_eq!(RepositoryKey::parse(&other).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn the_host_keeps_no_secret_that_opens_and_its_file_is_private() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(HostKeys::load(state.path()).unwrap(), None);
    let key = key();
    let host = HostKeys::of(&key);
    host.save(state.path()).unwrap();
    let path = HostKeys::path(state.path(), &key.repository);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("AGE-SECRET-KEY") && !text.contains(&key.identity.reveal()[20..50]), "{text}");
    assert_eq!(HostKeys::load(state.path()).unwrap().unwrap(), host);

    let next = key.rotated("2026-12-01T00:00:00Z".parse().unwrap());
    assert_ne!(next.fingerprint(), key.fingerprint());
    assert_eq!(next.id_key, key.id_key);
    let rotated = host.rotated_to(&next).unwrap();
    rotated.save(state.path()).unwrap();
    let loaded = HostKeys::load(state.path()).unwrap().unwrap();
    assert_eq!(loaded.fingerprints(), [key.fingerprint(), next.fingerprint()]);
    assert_eq!(host.rotated_to(&super::key()).unwrap_err().kind(), ErrorKind::InvalidInput);

    for damaged in [&b"{"[..], b"", &text.as_bytes()[..text.len() / 2]] {
        std::fs::write(&path, damaged).unwrap();
        let error = HostKeys::load(state.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.hint().unwrap().contains("keys adopt"), "{error}");
    }
    std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert_eq!(HostKeys::load(state.path()).unwrap_err().kind(), ErrorKind::Unsupported);
    HostKeys::of(&super::key()).save(state.path()).unwrap();
    assert_eq!(HostKeys::load(state.path()).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_run_reads_what_it_wrote_and_nothing_else_without_an_identity() {
    let key = key();
    let host = HostKeys::of(&key);
    let (first, second) = (KeyRing::of_host(&host), KeyRing::of_host(&host));
    let bytes = sealed(&first, b"hello");
    assert_eq!(first.open(Bytes::new(bytes.clone()), None).unwrap().read(0..5).unwrap(), b"hello");
    let wanted = key.fingerprint();
    let error = second.open(Bytes::new(bytes.clone()), Some(&wanted)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.message(), format!("it is encrypted to the key {wanted}, and no identity was given"));
    assert!(error.hint().unwrap().contains("--identity-file"));

    let next = key.rotated("2026-12-01T00:00:00Z".parse().unwrap());
    let mut rotated = KeyRing::of_host(&host.rotated_to(&next).unwrap());
    rotated.add(next.clone()).unwrap();
    let error = rotated.open(Bytes::new(bytes.clone()), Some(&wanted)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains(wanted.as_str()) && error.message().contains(next.fingerprint().as_str()));
    rotated.add(key.clone()).unwrap();
    assert_eq!(rotated.open(Bytes::new(bytes), Some(&wanted)).unwrap().read(0..5).unwrap(), b"hello");
    assert_eq!(rotated.fingerprint(), next.fingerprint());
    assert!(rotated.add(super::key()).is_err());

    let ring = KeyRing::of_unwrapped(vec![next.clone(), key.clone()]).unwrap();
    assert_eq!(ring.fingerprint(), next.fingerprint());
    assert_eq!(ring.fingerprints(), [key.fingerprint(), next.fingerprint()]);
    assert!(ring.opens(&key.fingerprint()) && ring.has_identity());
    assert!(KeyRing::of_unwrapped(vec![key, super::key()]).is_err());
}

/// Whoever may write to the target, and knows the operator's public key, can wrap a key of his own to it, and call it a later
/// one of this repository. What was encrypted to it would be his to read.
#[test]
fn a_key_that_somebody_slipped_in_is_not_taken() {
    let key = key();
    let forged =
        RepositoryKey { id_key: IdKey::generate().unwrap(), ..key.rotated("2026-12-01T00:00:00Z".parse().unwrap()) };
    let host = HostKeys::of(&key);
    for error in [
        host.rotated_to(&forged).unwrap_err(),
        KeyRing::of_host(&host).add(forged.clone()).unwrap_err(),
        KeyRing::of_unwrapped(vec![key.clone(), forged.clone()]).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(
            error.message().contains(forged.fingerprint().as_str())
                || error.message().contains(key.fingerprint().as_str())
        );
        assert!(error.hint().unwrap().contains("identity_file"), "{error:?}");
    }
}

#[test]
fn nothing_secret_prints() {
    let key = key();
    let host = HostKeys::of(&key);
    let mut ring = KeyRing::of_host(&host);
    ring.add(key.clone()).unwrap();
    let to = WrapTo::passphrase(&Secret::new("correct horse battery")).unwrap();
    let operator = Operator::from_passphrase(&Secret::new("correct horse battery"), "env:BACKUP");
    let printed = format!("{key:?} {host:?} {ring:?} {to:?} {operator:?} {:?} {:?}", key.identity, key.id_key);
    for secret in [&*key.identity.reveal(), key.id_key.to_hex().reveal(), "correct horse battery"] {
        assert!(!printed.to_lowercase().contains(&secret.to_lowercase()), "{printed}");
    }
    assert!(printed.contains(key.fingerprint().as_str()));
}
