//! The streams of a repository: putting segments, finding them, reading them back.
//!
//! One segment is one object, written once. It is read back before it counts. Whoever has no key of a sealed repository writes
//! segments, reads their heads and puts several together; only their payload stays closed.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::id::{BlobId, StreamId};
use super::names::{self, SegmentName};
use super::open::Repository;
use super::segment::{Frame, Head, MAX_HEAD, Place, Segment, corrupt, head_len};
use crate::backup::blocks::{Objects, list_all};
use crate::backup::deposit::{self, in_time};
use crate::backup::frames::{Packer, Unpacker};
use crate::backup::list::blocking;
use crate::backup::manifest::Digest;
use crate::backup::seal::{Keys, keyring, sealing};
use crate::backup::spool::Spooled;
use crate::backup::target::{BackupTarget, MAX_BLOCK};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::Increment;

/// How much of an object is read to find its head. Most segments are shorter.
const FIRST_READ: u64 = 64 << 10;
/// How many heads are asked for at once.
const AT_ONCE: usize = 8;
/// How hard payloads are compressed: beside the service, each half second.
const LEVEL: i32 = 1;

/// The streams of the repository in a target.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    /// The target's name.
    pub(crate) name: String,
    pub(crate) target: Arc<dyn BackupTarget>,
    pub(crate) repository: Repository,
    pub(crate) keys: Keys,
}

/// A segment where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) name: SegmentName,
    pub(crate) head: Segment,
    /// What the segment behind it names.
    pub(crate) link: Digest,
    /// Bytes of its head, after which the frames follow.
    pub(crate) head_bytes: u64,
}

/// A key that names a segment, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) name: SegmentName,
    pub(crate) error: Error,
}

/// What is to be stored as one segment.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) place: &'a Place,
    pub(crate) head: &'a Segment,
    /// The payloads of its increments one after the other, as one zstd frame; empty without any.
    pub(crate) packed: Vec<u8>,
}

impl Shelf {
    /// That of the repository in `target`; `None` when there is none.
    ///
    /// # Errors
    /// Those of [`Repository::open`].
    pub(crate) async fn open(
        scope: &Scope,
        name: &str,
        target: &Arc<dyn BackupTarget>,
        keys: &Keys,
    ) -> Result<Option<Self>> {
        let (objects, ring) = (Objects::new(scope, Arc::clone(target)), keyring(keys));
        let repository = in_time(scope, blocking(move || Repository::open(&objects, &ring))).await?;
        let Some(repository) = repository else { return Ok(None) };
        if keys.is_some() && !repository.sealed {
            return Ok(Some(Self { name: name.to_owned(), target: Arc::clone(target), repository, keys: None }));
        }
        Ok(Some(Self { name: name.to_owned(), target: Arc::clone(target), repository, keys: keys.clone() }))
    }

    /// The segments of `store`, by stream and number. Several may have the same part of a stream.
    pub(crate) async fn list(&self, scope: &Scope, store: &str) -> Result<Vec<(SegmentName, u64)>> {
        self.list_below(scope, &names::streams_of(store, &self.repository.key)).await
    }

    /// Those of one stream.
    pub(crate) async fn list_stream(&self, scope: &Scope, place: &Place) -> Result<Vec<SegmentName>> {
        let any = self.name_of(place).folder;
        Ok(self.list_below(scope, &any).await?.into_iter().map(|(name, _)| name).collect())
    }

    async fn list_below(&self, scope: &Scope, prefix: &str) -> Result<Vec<(SegmentName, u64)>> {
        let objects = list_all(scope, &*self.target, prefix).await?;
        Ok(objects.into_iter().filter_map(|it| Some((SegmentName::of(&it.key)?, it.size_bytes))).collect())
    }

    /// The ids of all stores that have streams here.
    pub(crate) async fn stores(&self, scope: &Scope) -> Result<Vec<BlobId>> {
        let mut found: Vec<BlobId> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.target.list(scope, names::STREAMS, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(found) };
            let id = |key: &str| BlobId::parse(key.strip_prefix(names::STREAMS)?.split('/').next()?.as_bytes());
            let next = id(&last.key);
            for id in page.iter().filter_map(|object| id(&object.key)) {
                if !found.contains(&id) {
                    found.push(id);
                }
            }
            // What else is in that folder is nothing new.
            after = Some(match next {
                Some(id) => format!("{}{id}/~", names::STREAMS).max(last.key.clone()),
                None => last.key.clone(),
            });
        }
    }

    /// Where the segment of `place` lies.
    pub(crate) fn name_of(&self, place: &Place) -> SegmentName {
        let numbers = (place.first, place.last);
        SegmentName::new(&place.store, &self.repository.key, place.begun, place.stream, numbers)
    }

    /// The head of a segment.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is damaged, or lies where another one belongs; what the target says.
    pub(crate) async fn head(&self, scope: &Scope, name: &SegmentName) -> Result<Stored> {
        let key = name.key();
        let mut bytes = in_time(scope, self.target.get(scope, &key, 0..FIRST_READ)).await?;
        let head_bytes = loop {
            if let Some(len) = head_len(&bytes) {
                break len;
            }
            let at = bytes.len() as u64;
            if at > MAX_HEAD {
                return Err(corrupt("its head does not end".to_owned()));
            }
            let more = in_time(scope, self.target.get(scope, &key, at..at + (1 << 20))).await?;
            if more.is_empty() {
                return Err(corrupt("its head is cut off".to_owned()));
            }
            bytes.extend(more);
        };
        let (head, mac) = Segment::read(&bytes[..head_bytes], self.repository.id, &self.repository.key)?;
        if self.name_of(&head.place) != *name {
            return Err(corrupt(format!("{key:?} is segment {} of another stream or place", head.place.first)));
        }
        let link = head.link(mac);
        Ok(Stored { name: name.clone(), head, link, head_bytes: head_bytes as u64 })
    }

    /// The heads of many segments, in order; one that was deleted meanwhile is left out.
    ///
    /// # Errors
    /// What the target says, and a cancel. Damage is in the result.
    pub(crate) async fn heads(
        &self,
        scope: &Scope,
        names: Vec<SegmentName>,
    ) -> Result<Vec<std::result::Result<Stored, Broken>>> {
        let mut asked = JoinSet::new();
        let mut waiting = names.into_iter().enumerate();
        let mut answers = Vec::new();
        loop {
            while asked.len() < AT_ONCE
                && let Some((number, name)) = waiting.next()
            {
                let (shelf, scope) = (self.clone(), scope.clone());
                asked.spawn(async move {
                    let read = shelf.head(&scope, &name).await;
                    (number, name, read)
                });
            }
            let Some(answer) = asked.join_next().await else { break };
            let (number, name, read) =
                answer.map_err(|error| Error::internal(format!("reading a segment did not end: {error}")))?;
            match read {
                Ok(stored) => answers.push((number, Ok(stored))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                    answers.push((number, Err(Broken { name, error })));
                }
                Err(error) => return Err(error),
            }
        }
        answers.sort_by_key(|(number, _)| *number);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Stores a segment behind the one that `previous` is the link of, and reads it back. Returns its own link, and how many
    /// bytes were stored.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is another one of that number; what the target says.
    pub(crate) async fn put(&self, scope: &Scope, batch: Batch<'_>, previous: Option<Digest>) -> Result<(Digest, u64)> {
        let Batch { place, head, packed } = batch;
        let plain_bytes = head.increments.iter().map(|head| head.len).sum();
        let sealing = sealing(&self.keys);
        let (payload, sealed_to) = blocking(move || {
            if packed.is_empty() {
                return Ok((packed, None));
            }
            let (mut stream, mut sealed) = (sealing.begin()?, Vec::with_capacity(packed.len() + 1024));
            stream.push(&packed, &mut sealed)?;
            stream.finish(&mut sealed)?;
            Ok((sealed, sealing.fingerprint()))
        })
        .await?;
        let frames = match payload.is_empty() {
            true => Vec::new(),
            false => vec![Frame {
                stored_bytes: payload.len() as u64,
                plain_bytes,
                digest: Digest(*blake3::hash(&payload).as_bytes()),
                sealed_to,
            }],
        };
        let segment = Segment {
            repository: self.repository.id,
            place: place.clone(),
            previous: previous.filter(|_| place.first > 1),
            tail: None,
            frames,
            ..head.clone()
        };
        self.put_segment(scope, &segment, &payload).await
    }

    /// Stores a head and what follows it.
    pub(crate) async fn put_segment(&self, scope: &Scope, segment: &Segment, payload: &[u8]) -> Result<(Digest, u64)> {
        let (mut bytes, mac) = segment.write(&self.repository.key);
        bytes.extend_from_slice(payload);
        let place = deposit::Place {
            name: self.name.clone(),
            target: Arc::clone(&self.target),
            key: self.name_of(&segment.place).key(),
            keys: None,
        };
        deposit::put(scope, &place, &bytes).await?;
        Ok((segment.link(mac), bytes.len() as u64))
    }

    /// What is stored as frame `number` of a segment, proven by its digest.
    pub(crate) async fn stored_frame(&self, scope: &Scope, stored: &Stored, number: usize) -> Result<Vec<u8>> {
        let before: u64 = stored.head.frames[..number].iter().map(|frame| frame.stored_bytes).sum();
        let (frame, key) = (&stored.head.frames[number], stored.name.key());
        let (mut at, end) = (stored.head_bytes + before, stored.head_bytes + before + frame.stored_bytes);
        let mut bytes = Vec::new();
        while at < end {
            let block = in_time(scope, self.target.get(scope, &key, at..end.min(at + MAX_BLOCK as u64))).await?;
            if block.is_empty() {
                return Err(corrupt(format!("{key:?} ends at byte {at}, before its {end}")));
            }
            at += block.len() as u64;
            match bytes.is_empty() {
                true => bytes = block,
                false => bytes.extend(block),
            }
        }
        if *blake3::hash(&bytes).as_bytes() != frame.digest.0 {
            return Err(corrupt(format!("the changes in {key:?} are not those that its head names"))
                .with_hint("use a copy in another target, or an earlier time"));
        }
        Ok(bytes)
    }

    /// The increments of frame `number` of a segment.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it is sealed and no key is at hand; [`ErrorKind::Corrupt`].
    pub(crate) async fn increments(&self, scope: &Scope, stored: &Stored, number: usize) -> Result<Vec<Increment>> {
        let bytes = self.stored_frame(scope, stored, number).await?;
        let frame = stored.head.frames[number].clone();
        let heads = stored.head.by_frame().swap_remove(number);
        let keys = keyring(&self.keys);
        blocking(move || {
            let packed = match &frame.sealed_to {
                None => bytes,
                Some(fingerprint) => {
                    let opened = keys.open(fingerprint, Arc::new(Spooled::from(bytes)))?;
                    crate::backup::blocks::read_exact(&*opened, 0..opened.len())?
                }
            };
            let mut plain = Vec::new();
            let len = usize::try_from(frame.plain_bytes).unwrap_or(usize::MAX);
            Unpacker::new()?.unpack(&packed, len, &mut plain)?;
            // As it was shipped, a frame has one.
            let is_one = matches!(&heads[..], [(_, at)] if *at == (0..plain.len() as u64));
            Ok(match is_one {
                true => heads.into_iter().map(|(head, _)| head.with(std::mem::take(&mut plain))).collect(),
                false => heads.into_iter().map(|(head, at)| cut(head, &plain, at)).collect(),
            })
        })
        .await
    }

    /// Removes a segment.
    pub(crate) async fn delete(&self, scope: &Scope, name: &SegmentName) -> Result<()> {
        in_time(scope, self.target.delete(scope, &name.key())).await
    }

    /// Whether a store of this id is the one of that name.
    pub(crate) fn is_store(&self, id: BlobId, store: &str) -> bool {
        self.repository.key.blob_id(store.as_bytes()) == id
    }
}

fn cut(head: Head, plain: &[u8], at: std::ops::Range<u64>) -> Increment {
    // Within the frame, as the head was checked to say.
    let payload = plain.get(at.start as usize..at.end as usize).unwrap_or_default().to_vec();
    head.with(payload)
}

/// The payloads one after the other as one frame; nothing for none.
pub(crate) fn pack(plain: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    if !plain.is_empty() {
        Packer::new(LEVEL)?.pack(plain, &mut packed)?;
    }
    Ok(packed)
}

/// Of segments of one stream in the order of their keys those that together have each part once: where a part is there by
/// itself and with others, that with others. `None` in between where one is missing.
pub(crate) fn thread<T>(segments: Vec<T>, name: impl Fn(&T) -> &SegmentName) -> Vec<T> {
    let mut chosen: Vec<T> = Vec::new();
    let mut sorted = segments;
    // Of those that begin with the same part the longest first.
    sorted.sort_by(|a, b| {
        let (a, b) = (name(a), name(b));
        (a.first, std::cmp::Reverse(a.last)).cmp(&(b.first, std::cmp::Reverse(b.last)))
    });
    for segment in sorted {
        if chosen.last().is_none_or(|last| name(&segment).last > name(last).last) {
            chosen.push(segment);
        }
    }
    chosen
}

/// The streams of a list, with their segments.
pub(crate) fn by_stream(names: Vec<(SegmentName, u64)>) -> Vec<(StreamId, Vec<(SegmentName, u64)>)> {
    let mut streams: Vec<(StreamId, Vec<(SegmentName, u64)>)> = Vec::new();
    for (name, len) in names {
        match streams.last_mut() {
            Some((stream, segments)) if *stream == name.stream && segments[0].0.folder == name.folder => {
                segments.push((name, len));
            }
            _ => streams.push((name.stream, vec![(name, len)])),
        }
    }
    streams
}
