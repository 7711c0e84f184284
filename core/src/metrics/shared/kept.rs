//! What the dead have left: one file, which is replaced whole.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fs::{self, FileLock, PRIVATE_FILE};

use super::super::native::NativeSum;
use super::super::slab::layout::{checksum, words};
use super::super::slab::{NEW, SUFFIX, boot};
use super::merged::{Merged, MergedSeries, Part};
use super::record::{FamilyFacts, In, Out};
use super::source::{Fault, Source};

/// The file of what was left. Each version has its own, for processes of two versions may share a folder.
const FILE: &str = "kept-2";
/// Held by who replaces it.
const LOCK: &str = "fold.lock";
/// How the names of files end that are out of use, for they say what cannot be.
const DAMAGED: &str = ".damaged";
/// The most of those that stay.
const MAX_DAMAGED: usize = 8;

const MAGIC: u64 = u64::from_le_bytes(*b"UPL-KEPT");
const VERSION: u64 = 2;

/// What the dead have left.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Another one each time; 0 where there is none yet.
    pub(super) edition: u64,
    /// Files whose numbers are in it already: they are to be removed, and not to be counted.
    pub(super) folded: Vec<u128>,
    is_of_this_boot: bool,
    /// When it was read, in milliseconds of the clock.
    read_at: u64,
    families: Vec<KeptFamily>,
}

#[derive(Debug)]
struct KeptFamily {
    facts: FamilyFacts,
    series: Vec<KeptSeries>,
    whole: Vec<u64>,
}

#[derive(Debug)]
struct KeptSeries {
    text: Box<str>,
    float: f64,
    set_at: u64,
    /// Since when nobody has changed it, in milliseconds.
    since: u64,
    native: Option<Box<NativeSum>>,
}

/// Which edition there is now; 0 for none.
pub(super) fn edition(folder: &Path) -> std::result::Result<u64, Fault> {
    let mut head = [0; 24];
    match std::fs::File::open(folder.join(FILE)).and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) => {
            let mut from = In(&head);
            let (magic, version, edition) = (from.number(), from.number(), from.number());
            match (magic, version) {
                (Some(MAGIC), Some(VERSION)) => edition.ok_or(Fault::Torn),
                (Some(MAGIC), _) => Err(Fault::Version),
                _ => Err(Fault::Foreign),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Fault::Truncated),
        Err(_) => Err(Fault::Unreadable),
    }
}

impl Kept {
    /// Reads it; empty where there is none.
    pub(super) fn read(folder: &Path, now: u64) -> std::result::Result<Self, Fault> {
        match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => Self::decode(&bytes).map(|kept| Self { read_at: now, ..kept }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(_) => Err(Fault::Unreadable),
        }
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, Fault> {
        let mut from = In(bytes);
        if from.number() != Some(MAGIC) {
            return Err(Fault::Foreign);
        }
        if from.number() != Some(VERSION) {
            return Err(Fault::Version);
        }
        let (body, sum) = bytes.split_at_checked(bytes.len() - 8).ok_or(Fault::Truncated)?;
        if In(sum).number() != Some(checksum(words(body))) {
            return Err(Fault::Torn);
        }
        body.get(16..).and_then(|body| Self::decode_body(&mut In(body))).ok_or(Fault::Torn)
    }

    fn decode_body(from: &mut In<'_>) -> Option<Self> {
        let (edition, is_of_this_boot) = (from.number()?, from.number()? == boot());
        let mut folded = Vec::new();
        for _ in 0..from.small()? {
            folded.push(u128::from(from.number()?) | u128::from(from.number()?) << 64);
        }
        let mut families = Vec::new();
        for _ in 0..from.small()? {
            let facts = FamilyFacts::decode(from)?;
            let width = width(&facts);
            let (mut series, mut whole) = (Vec::new(), Vec::new());
            for _ in 0..from.small()? {
                let (text, float, set_at) = (from.text()?.into(), f64::from_bits(from.number()?), from.number()?);
                let since = from.number()?;
                for _ in 0..width {
                    whole.push(from.number()?);
                }
                let native = match from.small()? {
                    0 => None,
                    _ => Some(Box::new(from.native()?)),
                };
                series.push(KeptSeries { text, float, set_at, since, native });
            }
            families.push(KeptFamily { facts, series, whole });
        }
        Some(Self { edition, folded, is_of_this_boot, read_at: 0, families })
    }

    /// Where each of its series stands in `merged`.
    pub(super) fn place(&self, merged: &mut Merged) -> Vec<(usize, Vec<u32>)> {
        let place = |KeptFamily { facts, series, .. }: &KeptFamily| {
            // Who lives knows better what a family is for.
            let at = match merged.of(facts) {
                Some(held) => merged.family(held.facts().clone()),
                None => merged.family(facts.clone()),
            };
            (at, series.iter().map(|series| merged.slot(at, &series.text)).collect())
        };
        self.families.iter().map(place).collect()
    }

    /// Adds what it has, at the places that [`Kept::place`] gave.
    pub(super) fn add_to(&self, merged: &mut Merged, places: &[(usize, Vec<u32>)]) {
        for (KeptFamily { facts, series, whole }, (family, slots)) in self.families.iter().zip(places) {
            let width = width(facts);
            for (at, (series, slot)) in series.iter().zip(slots).enumerate() {
                let KeptSeries { float, set_at, native, since, .. } = series;
                let set_at = if self.is_of_this_boot { *set_at } else { 0 };
                let whole = &whole[at * width..][..width];
                // Of another boot, nobody knows: the clock began anew.
                let since = if self.is_of_this_boot { *since } else { self.read_at };
                let native = native.as_deref();
                merged.add(*family, *slot, Part { whole, float: *float, set_at, native, since });
            }
        }
    }
}

impl Kept {
    /// How many of its series have not changed for as long as they may.
    pub(super) fn idle(&self, merged: &Merged, places: &[(usize, Vec<u32>)]) -> usize {
        let idle =
            |(family, slots): &(usize, Vec<u32>)| slots.iter().filter(|slot| merged.is_idle(*family, **slot)).count();
        places.iter().map(idle).sum()
    }

    /// Whether there is a series that need not be kept any more.
    fn has_expired(&self, tally: &Merged, keeps: &impl Fn(&FamilyFacts, MergedSeries<'_>) -> Option<u64>) -> bool {
        let expiring = self.families.iter().filter(|family| family.facts.expire_after > 0);
        let mut all = expiring.filter_map(|family| Some((family, tally.of(&family.facts)?)));
        all.any(|(family, held)| {
            let mut series = family.series.iter().filter_map(|series| held.get(tally.pass(), &series.text));
            series.any(|series| keeps(held.facts(), series).is_none())
        })
    }
}

fn width(facts: &FamilyFacts) -> usize {
    match facts.kind {
        super::super::MetricKind::Counter => 1,
        super::super::MetricKind::Gauge => 0,
        super::super::MetricKind::Histogram => facts.bounds.len() + 1,
    }
}

/// Writes down those series that `keeps` gives a time of their last change for.
fn encode(
    merged: &mut Merged,
    edition: u64,
    folded: &[u128],
    keeps: impl Fn(&FamilyFacts, MergedSeries<'_>) -> Option<u64>,
) -> Vec<u8> {
    merged.put_in_order();
    let mut out = Out::default();
    out.number(MAGIC).number(VERSION).number(edition).number(boot()).small(folded.len() as u32);
    for id in folded {
        out.number(*id as u64).number((id >> 64) as u64);
    }
    let pass = merged.pass();
    let mut families = Vec::new();
    for family in merged.present() {
        let all = family.series(pass);
        let series: Vec<_> = all.filter_map(|series| Some((series, keeps(family.facts(), series)?))).collect();
        if !series.is_empty() {
            families.push((family.facts(), series));
        }
    }
    out.small(families.len() as u32);
    for (facts, all) in families {
        out.0.extend(facts.encode());
        out.small(all.len() as u32);
        for (series, since) in all {
            let part = series.part();
            out.text(series.text()).number(part.float.to_bits()).number(part.set_at).number(since);
            part.whole.iter().for_each(|count| {
                out.number(*count);
            });
            match part.native {
                Some(native) => out.small(1).native(native),
                None => out.small(0),
            };
        }
    }
    let sum = checksum(words(&out.0));
    out.number(sum);
    out.0
}

/// The files of processes in the folder, by number.
pub(super) fn files(folder: &Path) -> Result<Vec<(u128, PathBuf)>> {
    list(folder, SUFFIX)
}

fn list(folder: &Path, suffix: &str) -> Result<Vec<(u128, PathBuf)>> {
    let failed = |e| crate::error::Error::io(format!("list {folder:?}"), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(suffix)).filter(|stem| stem.len() == 32);
        if let Some(id) = stem.and_then(|stem| u128::from_str_radix(stem, 16).ok()) {
            found.push((id, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What is known to who folds.
pub(super) struct Known<'a> {
    /// The number of its own file.
    pub(super) own: Option<u128>,
    /// Milliseconds of the clock.
    pub(super) now: u64,
    /// The sum over all others, with since when it stands.
    pub(super) merged: &'a Merged,
}

impl Known<'_> {
    /// Since when a series stands where it does; `None` where it has for as long as it may, and no process has it.
    fn keeps(&self, facts: &FamilyFacts, series: MergedSeries<'_>) -> Option<u64> {
        if facts.expire_after == 0 {
            return Some(0);
        }
        let since = self.merged.since(facts, series.text()).unwrap_or_else(|| series.since());
        let is_over = self.now.saturating_sub(since) >= facts.expire_after;
        (!is_over || series.is_living()).then_some(since)
    }
}

/// Takes what dead processes have left into the one file, and removes theirs; takes series out of it that have not changed
/// for as long as they may and that no process has any more. Whatever kills it, and whenever: each count is in one place. What
/// is in the new edition is named there and not counted in its own file any more, and the new edition takes the place of the
/// old one at once.
///
/// Does nothing while another process does it.
///
/// # Errors
/// When the disk is full or cannot be written; then all stays as it was.
pub(super) fn fold(folder: &Path, known: &Known<'_>) -> Result<()> {
    let Some(_lock) = FileLock::try_acquire(&folder.join(LOCK))? else { return Ok(()) };
    let kept = match Kept::read(folder, known.now) {
        Ok(kept) => kept,
        // Its own kind folds there.
        Err(Fault::Version | Fault::Unreadable | Fault::Vanished) => return Ok(()),
        Err(Fault::Foreign | Fault::Torn | Fault::Truncated) => {
            let mut aside = [0; 16];
            getrandom::fill(&mut aside).unwrap_or_default();
            let name = format!("{:032x}{DAMAGED}", u128::from_ne_bytes(aside));
            fs::rename(&folder.join(FILE), &folder.join(name))?;
            Kept::default()
        }
    };
    let (mut tally, mut folded, mut finished) = (Merged::new(true), Vec::new(), Vec::new());
    tally.begin(known.now);
    let places = kept.place(&mut tally);
    kept.add_to(&mut tally, &places);
    let mut living = Vec::new();
    for (id, path) in files(folder)? {
        if kept.folded.contains(&id) {
            finished.push((id, path));
            continue;
        }
        let looked = Source::open(&path, id).and_then(|mut source| {
            let dead = known.own != Some(id) && source.is_dead();
            if dead {
                source.look(&mut tally)?;
                source
                    .add_to(&mut tally, |facts| !facts.mode.is_live() || facts.kind != super::super::MetricKind::Gauge);
            } else {
                living.push(source);
            }
            Ok(dead)
        });
        match looked {
            Ok(true) => folded.push((id, path)),
            Ok(false) | Err(Fault::Version | Fault::Unreadable | Fault::Vanished) => {}
            Err(_) if known.own == Some(id) => {}
            Err(Fault::Foreign | Fault::Torn | Fault::Truncated) => set_aside(&path)?,
        }
    }
    if tally.any_expires() {
        // What the living have stays, whatever its age.
        for mut source in living {
            if source.look(&mut tally).is_ok() {
                source.mark_living(&mut tally);
            }
        }
    }
    let keeps = |facts: &FamilyFacts, series: MergedSeries<'_>| known.keeps(facts, series);
    if !folded.is_empty() || kept.has_expired(&tally, &keeps) {
        let mut edition = [0; 8];
        getrandom::fill(&mut edition).unwrap_or_default();
        let edition = u64::from_ne_bytes(edition).max(1);
        // Those that are not removed yet stay named.
        let named: Vec<u128> = folded.iter().chain(&finished).map(|(id, _)| *id).collect();
        fs::write_atomic(&folder.join(FILE), PRIVATE_FILE, &encode(&mut tally, edition, &named, keeps))?;
    }
    for (_, path) in folded.iter().chain(&finished) {
        fs::remove_file(path)?;
    }
    sweep(folder)
}

/// Gives a file that says what cannot be a name that nobody looks at, unless its process lives.
fn set_aside(path: &Path) -> Result<()> {
    let is_dead = std::fs::File::open(path).is_ok_and(|file| {
        file.metadata().is_ok_and(|meta| meta.is_file())
            && rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
    });
    if is_dead { fs::rename(path, &path.with_extension(&DAMAGED[1..])) } else { Ok(()) }
}

/// Removes what processes left that died while they made their file, and all but the last that were set aside.
fn sweep(folder: &Path) -> Result<()> {
    for (_, path) in list(folder, NEW)? {
        let abandoned = std::fs::File::open(&path).is_ok_and(|file| {
            // Between making and locking it there is a moment.
            let old = file.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
            old.is_some_and(|age| age.as_secs() >= 60)
                && rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
        });
        if abandoned {
            fs::remove_file(&path)?;
        }
    }
    let mut damaged = Vec::new();
    for (_, path) in list(folder, DAMAGED)? {
        damaged.push((path.metadata().and_then(|meta| meta.modified()).ok(), path));
    }
    damaged.sort();
    let over = damaged.len().saturating_sub(MAX_DAMAGED);
    damaged.iter().take(over).try_for_each(|(_, path)| fs::remove_file(path))
}
