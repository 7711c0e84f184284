//! What is encrypted: wrapped keys, identity files, streams, and the summary beside an archive.

use std::sync::{Arc, Mutex, PoisonError};

use uplifted_ops::Result;
use uplifted_ops::backup::blocks::Blocks;
use uplifted_ops::backup::seal::{
    HostKeys, IdKey, KeyHolders, KeyRing, Opener, Operator, RepositoryIdentity, RepositoryKey, SealedSummary, Sealer,
    Unsealer, WrapTo,
};
use uplifted_ops::testing::parsers::{Form, KEY, Memory};

use super::{KIB, MIB, broken, text};
use crate::{Target, seeds};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "key_file", read: key_file, seeds: || vec![wrapped()], floor: MIB, factor: 64, short: 40 },
    Target {
        name: "identity_file",
        read: identity_file,
        seeds: identity_files,
        floor: 512 * KIB,
        factor: 64,
        short: 200,
    },
    Target {
        name: "age_header",
        read: stream,
        seeds: || vec![sealed(b"content"), sealed(b"")],
        floor: MIB,
        factor: 64,
        short: 40,
    },
    Target {
        name: "age_stream",
        read: stream,
        seeds: || vec![sealed(&vec![5; 140_000])],
        floor: MIB,
        factor: 64,
        short: 40,
    },
    Target { name: "sealed_summary", read: summary, seeds: summaries, floor: 512 * KIB, factor: 64, short: 500 },
];

/// Nobody's key: with it an input that was kept can be read again.
const IDENTITY: &str = "AGE-SECRET-KEY-1G8W5QLCSR2N66KEP2C7FVGUEDH95NJYTUC3EXP9HUYK8RQUQM4MQ2PY9ZW";

fn identity() -> RepositoryIdentity {
    IDENTITY.parse().unwrap()
}

fn key() -> RepositoryKey {
    RepositoryKey {
        repository: "0123456789abcdef0123456789abcdef".to_owned(),
        created: "2026-03-01T02:00:00Z".parse().unwrap(),
        identity: identity(),
        id_key: IdKey::from_bytes(KEY),
    }
}

fn wrapped() -> Vec<u8> {
    key().wrap(&WrapTo::recipients(vec![identity().recipient()]).unwrap()).unwrap()
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&bytes);
    let sink = Box::new(move |block: &[u8]| {
        sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(block);
        Ok(())
    });
    let mut sealer = Sealer::new(&[&identity().recipient()], sink).unwrap();
    sealer.write(plain).unwrap();
    sealer.finish().unwrap();

    bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn key_file(input: &[u8]) -> Result<Form> {
    KeyHolders::of(input)?;
    let operator = Operator::from_text(IDENTITY, "the identity file")?;
    let unwrapped = RepositoryKey::unwrap(input, &operator)?;
    if unwrapped.repository != key().repository || unwrapped.id_key != key().id_key {
        return Err(broken("another key came out"));
    }
    Ok(Form::Read)
}

fn identity_files() -> Vec<Vec<u8>> {
    let opened = Opener::new(Arc::new(Memory(wrapped())), &[&identity()]).unwrap();
    let unwrapped = opened.read(0..opened.len()).unwrap();
    vec![unwrapped, format!("# created: 2026\n# public key: age1\n{IDENTITY}\n").into_bytes()]
}

/// No error may tell a secret.
fn identity_file(input: &[u8]) -> Result<Form> {
    let told = |error: &uplifted_ops::Error| {
        let told = format!("{error} {error:?} {:?}", error.hint());
        // Long parts of the secret: what is short may be in an error by chance.
        let secret = &IDENTITY.as_bytes()["AGE-SECRET-KEY-1".len()..];
        secret.windows(12).any(|part| told.to_ascii_uppercase().as_bytes().windows(12).any(|window| window == part))
    };
    match Operator::from_text(text(input)?, "the identity file") {
        Ok(operator) if format!("{operator:?}").contains("SECRET") => Err(broken("a secret is printed")),
        Ok(_) => Ok(Form::Read),
        Err(error) if told(&error) => Err(broken("an error tells the secret")),
        Err(error) => Err(error),
    }
}

/// Read by range and from one end to the other, which must come to the same.
fn stream(input: &[u8]) -> Result<Form> {
    let mut plain = Vec::new();
    let mut unsealer = Unsealer::new(vec![identity()], input.len() as u64);
    let pushed = input.chunks(10_000).try_for_each(|part| unsealer.push(part, |bytes| plain.extend_from_slice(bytes)));
    let flowed = pushed.and_then(|()| unsealer.finish());
    let opened = Opener::new(Arc::new(Memory(input.to_vec())), &[&identity()]).and_then(|opened| {
        opened.prove_end()?;
        let mut all = Vec::new();
        while (all.len() as u64) < opened.len() {
            let at = all.len() as u64;
            all.extend(opened.read(at..opened.len().min(at + 50_000))?);
        }
        Ok(all)
    });
    match (flowed, opened) {
        (Ok(()), Ok(all)) if all == plain => Ok(Form::Read),
        (Err(error), Err(_)) => Err(error),
        (flowed, opened) => Err(broken(format!("one end says {flowed:?}, a range {:?}", opened.map(|all| all.len())))),
    }
}

const ARCHIVE: &str = "uplifted_20260301T020000Z_aaaaaaaaaaaa.tar.zst.age";

fn ring() -> KeyRing {
    KeyRing::of_host(&HostKeys::of(&key()))
}

fn summaries() -> Vec<Vec<u8>> {
    let manifest = seeds::manifest(1, 2, 3);
    let summary = SealedSummary {
        summary: (&manifest).into(),
        encrypted_to: identity().fingerprint(),
        stored_bytes: 4711,
        blake3: uplifted_ops::backup::manifest::Digest([3; 32]),
    };
    vec![unsigned(summary.write(&ring(), ARCHIVE).unwrap())]
}

fn unsigned(mut record: Vec<u8>) -> Vec<u8> {
    record.truncate(record.len() - 69);
    record
}

/// Signed here, so that what is behind the mac is reached.
fn summary(body: &[u8]) -> Result<Form> {
    let mac = IdKey::from_bytes(KEY).subkey("uplifted-ops archive 1 summary").digest(body);
    let signed = [body, format!("mac {}\n", seeds::hex(&mac.0)).as_bytes()].concat();
    let read = SealedSummary::read(&signed, &ring(), ARCHIVE)?;
    Ok(Form::Same(unsigned(read.write(&ring(), ARCHIVE)?)))
}
