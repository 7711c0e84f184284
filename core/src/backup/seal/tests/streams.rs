//! Random access, damage at every place where it can hide, and what a range costs.

use super::super::header::Header;
use super::super::stream::{CHUNK, SEALED_CHUNK};
use super::*;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind};

/// The header's length of an age file.
fn header_len(sealed: &[u8]) -> usize {
    Header::in_prefix(sealed).unwrap().unwrap().len() as usize
}

fn open(ring: &KeyRing, bytes: Vec<u8>) -> Result<Opener> {
    ring.open(Bytes::new(bytes), None)
}

/// Everything, from one end to the other.
fn read_all(ring: &KeyRing, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let opener = open(ring, bytes)?;
    opener.prove_end()?;
    opener.read(0..opener.len())
}

/// The same as it arrives, in pieces of `step`.
fn stream_all(ring: &KeyRing, bytes: &[u8], total: u64, step: usize) -> Result<Vec<u8>> {
    let mut unsealer = ring.unsealer(total);
    let mut plain = Vec::new();
    for piece in bytes.chunks(step) {
        unsealer.push(piece, |part| plain.extend_from_slice(part))?;
    }
    unsealer.finish()?;
    Ok(plain)
}

#[test]
fn any_length_round_trips_and_any_range_of_it() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let mut random = random::seeded("any_range_of_a_stream");
    for len in
        [0, 1, CHUNK as usize - 1, CHUNK as usize, CHUNK as usize + 1, 3 * CHUNK as usize, 3 * CHUNK as usize + 77]
    {
        let plain = noise(len, len as u64);
        let bytes = sealed(&ring, &plain);
        assert_eq!(read_all(&ring, bytes.clone()).unwrap(), plain, "{len}");
        for step in [1000, SEALED_CHUNK as usize, bytes.len()] {
            assert_eq!(stream_all(&ring, &bytes, bytes.len() as u64, step).unwrap(), plain, "{len} by {step}");
        }
        let opener = open(&ring, bytes).unwrap();
        for _ in 0..50 {
            let start = random.usize(..len + 2);
            let end = start + random.usize(..len + 2);
            let expected = &plain[start.min(len)..end.min(len).max(start.min(len))];
            assert_eq!(opener.read(start as u64..end as u64).unwrap(), expected, "{start}..{end} of {len}");
        }
    }
}

#[test]
fn a_range_costs_its_chunks_and_opening_costs_the_header() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let bytes = Bytes::new(sealed(&ring, &noise(40 * CHUNK as usize, 3)));
    let opener = ring.open(Arc::clone(&bytes) as _, None).unwrap();
    assert!(bytes.taken() <= 4096);
    opener.read(7 * CHUNK + 5..7 * CHUNK + 9).unwrap();
    assert_eq!(bytes.taken(), SEALED_CHUNK);
    opener.read(7 * CHUNK..9 * CHUNK).unwrap();
    assert_eq!(bytes.taken(), 2 * SEALED_CHUNK);
    opener.prove_end().unwrap();
    assert_eq!(bytes.taken(), SEALED_CHUNK);
}

#[test]
fn several_threads_read_one_stream() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let plain = noise(20 * CHUNK as usize, 9);
    let opener = open(&ring, sealed(&ring, &plain)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (opener, plain) = (&opener, &plain);
            scope.spawn(move || {
                let mut random = Rng::with_seed(thread);
                for _ in 0..40 {
                    let start = random.usize(..plain.len());
                    let end = plain.len().min(start + random.usize(..300_000));
                    assert_eq!(opener.read(start as u64..end as u64).unwrap(), &plain[start..end]);
                }
            });
        }
    });
}

#[test]
fn a_stream_cut_at_any_chunk_or_beside_it_is_found_and_named() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let bytes = sealed(&ring, &noise(3 * CHUNK as usize + 77, 5));
    let header = header_len(&bytes);
    for chunks in 0..=3_usize {
        let at = header + chunks * SEALED_CHUNK as usize;
        for cut in [at.saturating_sub(1), at, at + 1, at + 15, at + 16, at + 17] {
            let cut_off = bytes[..cut].to_vec();
            let error = read_all(&ring, cut_off.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
            if cut == at && chunks > 0 {
                let expected = format!("it was cut after chunk {chunks} of {chunks}, bytes");
                assert!(error.message().contains(&expected), "{error}");
            }
            // As it arrives, also when whoever cut it says how long it is now.
            for total in [cut, bytes.len()] {
                let error = stream_all(&ring, &cut_off, total as u64, 9999).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut} of {total}: {error}");
            }
        }
    }
    for cut in [0, 1, 21, 22, 100, header - 20, header - 16, header - 1] {
        assert_eq!(read_all(&ring, bytes[..cut].to_vec()).unwrap_err().kind(), ErrorKind::Corrupt, "cut at {cut}");
    }
}

#[test]
fn a_changed_bit_a_moved_chunk_and_what_was_added_are_found() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let plain = noise(3 * CHUNK as usize + 77, 6);
    let bytes = sealed(&ring, &plain);
    let header = header_len(&bytes);
    let chunk = |number: usize| {
        let start = header + number * SEALED_CHUNK as usize;
        start..(start + SEALED_CHUNK as usize).min(bytes.len())
    };
    // One bit at either end of each chunk and of its tag, and all over the header.
    let mut places: Vec<usize> = (0..4)
        .flat_map(|number| {
            let range = chunk(number);
            [range.start, range.end - 17, range.end - 16, range.end - 1]
        })
        .collect();
    places.extend(0..header);
    for place in places {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        let error = match read_all(&ring, flipped) {
            Err(error) => error,
            Ok(_) => panic!("a bit at {place} made no difference"),
        };
        // A header that nobody can open any more may look like that of another key.
        let kinds: &[ErrorKind] =
            if place < header { &[ErrorKind::Corrupt, ErrorKind::Denied] } else { &[ErrorKind::Corrupt] };
        assert!(kinds.contains(&error.kind()), "a bit at {place}: {:?} {error}", error.kind());
        if place >= header {
            let number = (place - header) / SEALED_CHUNK as usize + 1;
            assert!(error.message().contains(&format!("chunk {number} of 4, bytes")), "{error}");
        }
    }
    // What lies beside the damage is still read.
    let mut flipped = bytes.clone();
    flipped[chunk(1).start] ^= 1;
    let opener = open(&ring, flipped).unwrap();
    assert_eq!(opener.read(0..CHUNK).unwrap(), &plain[..CHUNK as usize]);
    assert_eq!(opener.read(2 * CHUNK..opener.len()).unwrap(), &plain[2 * CHUNK as usize..]);
    assert_eq!(opener.read(CHUNK - 1..CHUNK + 1).unwrap_err().kind(), ErrorKind::Corrupt);

    let mut swapped = bytes[..header].to_vec();
    for number in [1, 0, 2, 3] {
        swapped.extend_from_slice(&bytes[chunk(number)]);
    }
    let error = read_all(&ring, swapped).unwrap_err();
    assert!(error.message().contains("chunk 1 of 4") && error.message().contains("out of place"), "{error}");

    let mut without = bytes[..header].to_vec();
    for number in [0, 2, 3] {
        without.extend_from_slice(&bytes[chunk(number)]);
    }
    assert_eq!(read_all(&ring, without).unwrap_err().kind(), ErrorKind::Corrupt);

    let whole = sealed(&ring, &noise(3 * CHUNK as usize, 7));
    let mut longer = whole.clone();
    longer.extend_from_slice(&whole[header_len(&whole)..]);
    let error = open(&ring, longer).unwrap().read(0..4 * CHUNK).unwrap_err();
    assert!(error.message().contains("it ends with chunk 3 of 6"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn random_cuts_and_flips_are_always_found() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let mut random = random::seeded("random_cuts_and_flips_are_always_found");
    let bytes = sealed(&ring, &noise(CHUNK as usize + 1, 8));
    for round in 0..300 {
        let mut damaged = bytes.clone();
        match round % 3 {
            0 => damaged.truncate(random.usize(..bytes.len())),
            1 => {
                let at = random.usize(..bytes.len());
                damaged[at] ^= 1 << random.u8(..8);
            }
            _ => {
                let at = random.usize(..bytes.len());
                let len = 1 + random.usize(..bytes.len() - at);
                damaged.drain(at..at + len);
            }
        }
        assert!(read_all(&ring, damaged.clone()).is_err(), "round {round}");
        let step = 1 + random.usize(..70_000);
        assert!(stream_all(&ring, &damaged, damaged.len() as u64, step).is_err(), "round {round}");
    }
}

#[test]
fn a_header_that_never_ends_is_given_up() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let mut endless = b"age-encryption.org/v1\n".to_vec();
    endless.extend(std::iter::repeat_n(b'a', 1 << 20));
    let bytes = Bytes::new(endless);
    let error = ring.open(Arc::clone(&bytes) as _, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(bytes.taken() <= 64 << 10);
}

#[test]
fn what_the_sink_says_reaches_the_caller() {
    let ring = KeyRing::of_host(&HostKeys::of(&key()));
    let full = || Error::new(ErrorKind::NoSpace, "the target is full");
    assert_eq!(ring.sealer(Box::new(move |_| Err(full()))).unwrap_err().kind(), ErrorKind::NoSpace);
    let mut taken = 0;
    let mut sealer = ring
        .sealer(Box::new(move |bytes| {
            taken += bytes.len();
            if taken > 100_000 { Err(full()) } else { Ok(()) }
        }))
        .unwrap();
    let error = (0..).find_map(|_| sealer.write(&[7; 10_000]).err()).unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NoSpace, "the target is full"));
    let cancel = Cancel::new();
    cancel.cancel();
    let error = ring.sealer(Box::new(move |_| cancel.check())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
