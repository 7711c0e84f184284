use super::*;

pub(crate) fn point(second: i64, position: &str) -> Point {
    Point { time: Timestamp::from_second(second).unwrap(), position: position.to_owned(), checksum: Some("abc".into()) }
}

fn head(from: &str, to: &str, len: u64, points: Vec<Point>) -> Head {
    let until = Timestamp::from_second(50).unwrap();
    let since = Timestamp::from_second(40).ok();
    Head { from: from.into(), to: to.into(), continuity: Continuity::Continues, until, since, len, points }
}

fn frame(plain_bytes: u64) -> Frame {
    Frame { stored_bytes: plain_bytes + 9, plain_bytes, digest: Digest([3; 32]), sealed_to: None }
}

fn sample() -> Segment {
    let mut first = head("0", "10", 5, vec![point(10, "5"), point(11, "10")]);
    first.continuity = Continuity::Begins { reason: "following begins: 100%".into() };
    let mut third = head("20", "30", 7, vec![point(30, "30 x")]);
    third.continuity = Continuity::Difference { reason: "the log was reset".into() };
    Segment {
        repository: RepositoryId([1; 16]),
        place: Place {
            store: "main db".into(),
            kind: "fake".into(),
            host: "web-1".into(),
            stream: StreamId([2; 6]),
            begun: Timestamp::from_second(9).unwrap(),
            first: 1,
            last: 1,
        },
        previous: None,
        tail: None,
        from: "0".into(),
        to: "30".into(),
        checksum: Some("abc".into()),
        until: Timestamp::from_second(60).unwrap(),
        frames: vec![frame(5), Frame { sealed_to: Some("00ff".into()), ..frame(7) }],
        increments: vec![first, head("10", "20", 0, Vec::new()), third],
    }
}

fn read(segment: &Segment) -> Result<Segment> {
    let key = IdKey::new([1; 32]);
    let (bytes, mac) = segment.write(&key);
    let (read, read_mac) = Segment::read(&bytes, segment.repository, &key)?;
    assert_eq!(mac, read_mac);
    Ok(read)
}

#[test]
fn a_head_round_trips_and_ends_where_it_says() {
    let (key, segment) = (IdKey::new([1; 32]), sample());
    assert_eq!(read(&segment).unwrap(), segment);
    let bytes = segment.write(&key).0;
    let mut stored = bytes.clone();
    stored.extend_from_slice(b"mac 00\nmac payload\n");
    assert_eq!(head_len(&stored), Some(bytes.len()));
    for cut in 0..bytes.len() {
        assert_eq!(head_len(&bytes[..cut]), None, "{cut}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Segment::read(&changed, segment.repository, &key).is_err(), "byte {at}");
    }
    let error = Segment::read(&bytes, RepositoryId([9; 16]), &key).unwrap_err();
    assert!(error.message().contains("belongs to the repository"), "{error}");
    let of_frames: Vec<Vec<_>> =
        segment.by_frame().into_iter().map(|of| of.into_iter().map(|(head, at)| (head.to, at)).collect()).collect();
    assert_eq!(of_frames, [vec![("10".to_owned(), 0..5)], vec![("20".to_owned(), 0..0), ("30".to_owned(), 0..7)]]);
}

/// The mac says who wrote it. What he wrote may be nonsense all the same.
#[test]
fn a_genuine_head_that_cannot_be_is_refused() {
    type Change = fn(&mut Segment);
    let changes: [(&str, Change); 14] = [
        ("numbers", |it| it.place.first = 0),
        ("numbers", |it| it.place = Place { first: 3, last: 2, ..it.place.clone() }),
        ("behind it calls", |it| it.place.last = 2),
        ("names one before", |it| it.previous = Some(Digest([1; 32]))),
        ("a length that none has", |it| it.frames[0].plain_bytes = 0),
        ("a length that none has", |it| it.frames[0].plain_bytes = MAX_FRAME + 1),
        ("does not begin where", |it| it.increments[1].from = "11".into()),
        ("begins in its middle", |it| it.increments[2].continuity = Continuity::Begins { reason: "x".into() }),
        ("longer than its frames", |it| it.increments[2].len = 8),
        ("shorter than its frames", |it| it.increments[2].len = 6),
        ("crosses the end", |it| (it.increments[0].len, it.increments[1].len) = (4, 1 + 3)),
        ("points are out of order", |it| it.increments[2].points[0] = point(10, "30 x")),
        ("does not end where", |it| it.to = "31".into()),
        ("ends before it begins", |it| it.increments[1].since = Timestamp::from_second(51).ok()),
    ];
    for (says, change) in changes {
        let mut segment = sample();
        change(&mut segment);
        let error = read(&segment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(says), "{says}: {error}");
    }
    let mut later = sample();
    later.increments[0].continuity = Continuity::Continues;
    later.increments[1].since = None;
    assert!(read(&later).unwrap_err().message().contains("does not say why"));
    later.place = Place { first: 2, last: 2, ..later.place };
    assert_eq!(read(&later).unwrap(), later);
    let idle = Segment { frames: Vec::new(), increments: Vec::new(), from: "30".into(), ..later };
    assert_eq!(read(&idle).unwrap(), idle);
}
