//! Several processes of a service as one: any of them shows the sum.
//!
//! Each process counts in a file of its own, in a folder that all of them know (`slab/share`, `slab/format`). Nobody asks
//! anybody: who makes a page reads the files of the others.
//!
//! | room | has |
//! | --- | --- |
//! | `record` | families and series as bytes |
//! | `source` | the file of another process, as far as it was read |
//! | `merged` | the sum over processes, in the order of the page |
//! | `kept` | what the dead have left, and how it gets there |
//! | this one | the folder: who is there, who is dead, what is passed over |
//!
//! - **Who lives** holds the lock of his file, which the system takes away with the process, however it ends. Numbers of
//!   processes are never asked: one that is used again means nothing.
//! - **The dead** stay in the sum. Once there are [`MANY_DEAD`] of them, someone folds them into the file `kept`, which names
//!   whom it has and is replaced at once. So each count is in one place at each moment, whoever is killed and when: a file
//!   that `kept` names does not count, whether it was removed or not.
//! - **Readers take no lock.** Who finds another edition of `kept` after reading the files than before begins again: a file may
//!   have been folded in between.
//! - **Counters and histograms** are summed; gauges by their [`GaugeMode`](super::GaugeMode). Families of the same name are
//!   summed where kind, unit, labels and bounds are the same; where not, each process shows its own.
//! - **Native buckets** are summed at the coarsest schema of the processes, with the widest zero bucket. A series that some
//!   process has without native buckets shows none, for they would say less than the others.
//! - **Series that expire** do so for all at once: when nobody has changed one for as long as it may stay. From then on no page
//!   shows it; processes that have it take it out once they look, and `kept` loses it then.
//! - **Exemplars** are those of the process that is asked.
//! - **Collectors** (`process_*`, facts, what the journal tells) speak for the process that is asked, or for all alike, as
//!   they do in a single process. `uplifted_ops_metrics_processes` says how many there are.

mod kept;
mod merged;
mod record;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::fs::{self, PRIVATE_DIR};

use self::kept::{Kept, Known};
use self::merged::Merged;
use self::source::{Fault, Source};
use super::family::label;
use super::slab::{self, Inside, Sharing, inside};
use super::snapshot::{Family, MetricKind, Series};

pub(super) use self::merged::{MergedFamily, MergedSeries};
pub(super) use self::record::{BucketFacts, FamilyFacts, NONE, NativeFacts, SeriesFacts};

/// So many files of dead processes are worth folding.
const MANY_DEAD: usize = 8;
/// Milliseconds until idle series that a process has are looked at again.
const TRY_AGAIN: u64 = 60_000;
/// How often a folder is read again that changes while it is read.
const ATTEMPTS: usize = 8;

/// What is known of the folder. Taken inside the gate, so that a fork finds it free.
static FOLDER: Mutex<Option<Folder>> = Mutex::new(None);

/// Lets the other processes that share in this folder see what the families of [`global`](super::global) count, and shows
/// their sum with it from now on. The first folder of a process is the one for all its life. Files there are readable for
/// this user alone.
///
/// A forked child has a file of its own there before it counts, and begins at zero.
///
/// # Errors
/// When the folder cannot be made or written to, or when this process shares in another one already. Counting goes on, and what
/// is in the folder is shown nevertheless; `uplifted_ops_metrics_unshared` says so on the page.
pub fn share(folder: &Path) -> Result<()> {
    show(folder);
    let shared = fs::create_dir_all(folder, PRIVATE_DIR)
        .and_then(|()| folder.canonicalize().map_err(|e| crate::Error::io(format!("find {folder:?}"), e)))
        .and_then(|folder| slab::share(&folder, super::registry::publish));
    let mut held = lock();
    if let Some(at) = held.as_mut() {
        at.trouble = shared.as_ref().err().map(|error| error.kind().as_str()).or(at.trouble);
        // Where processes come and go and nobody ever asks, files must not pile up.
        if shared.is_ok() && files_that_died(folder) >= MANY_DEAD {
            at.merged.begin(super::registry::now());
            at.fold();
        }
    }
    shared
}

/// Shows what processes that share in this folder count, without counting there: for a program beside the service.
pub fn show(folder: &Path) {
    let mut held = lock();
    if held.is_none() {
        *held = Some(Folder::new(folder));
    }
}

/// Reads what the other processes count, as each page does, and says how many series they have.
pub fn look_at_others() -> usize {
    others(super::registry::now()).map_or(0, |others| others.families().map(|family| family.shown().count()).sum())
}

fn lock() -> Inside<MutexGuard<'static, Option<Folder>>> {
    inside(|| FOLDER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The sum over all other processes, as it stands now: `now` is in milliseconds of the clock. `None` where nothing is shared.
pub(super) fn others(now: u64) -> Option<Others> {
    // Its own file is there before it looks at others.
    slab::before_set();
    let mut held = lock();
    held.as_mut()?.look(now);
    Some(Others(held))
}

/// The sum over all other processes. While one exists nobody else makes one.
pub(super) struct Others(Inside<MutexGuard<'static, Option<Folder>>>);

impl Others {
    fn folder(&self) -> Option<&Folder> {
        self.0.as_ref()
    }

    /// The family of the others that is the same; of one that is mixed, all its parts.
    pub(super) fn same(&self, facts: &FamilyFacts) -> Vec<OtherFamily<'_>> {
        if facts.is_mixed {
            return self.families().filter(|other| other.facts().is_part_of(facts)).collect();
        }
        let Some(Folder { merged, .. }) = self.folder() else { return Vec::new() };
        merged.of(facts).map(|family| OtherFamily { family, pass: merged.pass() }).into_iter().collect()
    }

    /// All that there are.
    pub(super) fn families(&self) -> impl Iterator<Item = OtherFamily<'_>> {
        let merged = self.folder().map(|folder| &folder.merged);
        merged.into_iter().flat_map(|merged| merged.present().map(|family| OtherFamily { family, pass: merged.pass() }))
    }

    /// Takes out what nobody has changed for as long as it may stay. After this process has taken out its own.
    pub(super) fn tidy(&mut self) {
        if let Some(folder) = self.0.as_mut() {
            folder.tidy();
        }
    }

    /// How sharing stands, as metrics.
    pub(super) fn state(&self) -> Vec<Family> {
        self.folder().map(Folder::state).unwrap_or_default()
    }
}

/// A family of other processes.
#[derive(Debug, Clone, Copy)]
pub(super) struct OtherFamily<'a> {
    family: &'a MergedFamily,
    pass: u32,
}

impl<'a> OtherFamily<'a> {
    pub(super) fn facts(self) -> &'a FamilyFacts {
        self.family.facts()
    }

    /// These as one: the only one, or the parts of one that is mixed.
    pub(super) fn read(parts: &[Self]) -> Family {
        let mut whole = Family::new("", MetricKind::Gauge, "");
        for part in parts {
            let FamilyFacts { name, kind, help, unit, labels, .. } = part.facts();
            whole.series.extend(part.shown().map(|series| Series {
                labels: labels.iter().cloned().zip(label::values(series.text(), labels)).collect(),
                value: series.value(),
                exemplars: Vec::new(),
            }));
            (whole.name, whole.kind) = (name.clone(), *kind);
            // What was told to one is told to all.
            if whole.help.is_empty() {
                whole.help.clone_from(help);
            }
            whole.unit = whole.unit.or_else(|| unit.clone());
        }
        whole
    }

    /// Its series, in the order of the page.
    pub(super) fn series(self) -> impl Iterator<Item = MergedSeries<'a>> {
        self.family.series(self.pass)
    }

    /// Those that are shown where this process does not have them.
    pub(super) fn shown(self) -> impl Iterator<Item = MergedSeries<'a>> {
        self.series().filter(|series| !series.is_idle())
    }

    /// The series with this text.
    pub(super) fn get(self, text: &str) -> Option<MergedSeries<'a>> {
        self.family.get(self.pass, text)
    }
}

/// The folder, as far as it was read.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    sources: HashMap<u128, Source>,
    kept: Kept,
    /// Where the series of `kept` stand.
    places: Vec<(usize, Vec<u32>)>,
    merged: Merged,
    /// How many others live.
    living: usize,
    /// So many idle series were left the last time, and when that was.
    held: (usize, u64),
    /// Files that were passed over.
    faults: BTreeMap<Fault, usize>,
    /// Why this process cannot share.
    trouble: Option<&'static str>,
    sharing: Sharing,
}

impl Folder {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            sources: HashMap::new(),
            kept: Kept::default(),
            places: Vec::new(),
            merged: Merged::default(),
            living: 0,
            held: (0, 0),
            faults: BTreeMap::new(),
            trouble: None,
            sharing: Sharing::default(),
        }
    }

    /// Reads what there is.
    fn look(&mut self, now: u64) {
        self.sharing = slab::state_of_sharing();
        let mut dead = 0;
        for _ in 0..ATTEMPTS {
            let before = kept::edition(&self.path);
            dead = self.try_look(before, now);
            if kept::edition(&self.path) == before {
                break;
            }
        }
        if self.merged.is_stale() {
            self.forget(now);
        }
        if dead >= MANY_DEAD {
            self.fold();
        }
        self.merged.put_in_order();
    }

    /// Begins anew, for the places of what is gone are more than those of what is there.
    fn forget(&mut self, now: u64) {
        self.merged = Merged::default();
        self.sources.values_mut().for_each(Source::reset);
        self.kept = Kept::default();
        self.places = Vec::new();
        let edition = kept::edition(&self.path);
        self.try_look(edition, now);
    }

    /// Reads what there is, and gives how many are dead. What is moved meanwhile may be missing, or there twice.
    fn try_look(&mut self, edition: std::result::Result<u64, Fault>, now: u64) -> usize {
        self.faults.clear();
        let mut fault = |fault: Fault| *self.faults.entry(fault).or_default() += 1;
        if edition != Ok(self.kept.edition) || edition == Ok(0) {
            self.kept = edition.and_then(|_| Kept::read(&self.path, now)).unwrap_or_else(|why| {
                fault(why);
                Kept::default()
            });
            self.places = self.kept.place(&mut self.merged);
        }
        // Where there is no folder, there is nobody.
        let mut files = kept::files(&self.path).unwrap_or_default();
        files.retain(|(id, _)| self.sharing.own != Some(*id) && !self.kept.folded.contains(id));
        self.sources.retain(|id, _| files.binary_search_by(|(at, _)| at.cmp(id)).is_ok());
        let (mut readable, mut dead) = (Vec::new(), 0);
        self.living = 0;
        for (id, path) in files {
            let source = match self.sources.remove(&id) {
                Some(source) => Ok(source),
                None => Source::open(&path, id),
            };
            let looked = source.and_then(|mut source| source.look(&mut self.merged).map(|()| source));
            match looked {
                Ok(mut source) => {
                    // Asked after reading: what was read of one that is dead now is all of it, or it is asked again.
                    let was_dead = source.is_dead();
                    (self.living, dead) = (self.living + usize::from(!was_dead), dead + usize::from(was_dead));
                    readable.push((was_dead, id));
                    self.sources.insert(id, source);
                }
                Err(Fault::Vanished) => {}
                Err(why) => fault(why),
            }
        }
        self.merged.begin(now);
        self.kept.add_to(&mut self.merged, &self.places);
        for (is_dead, id) in readable {
            if let Some(source) = self.sources.get_mut(&id) {
                let lives_on = |facts: &FamilyFacts| facts.kind != MetricKind::Gauge || !facts.mode.is_live();
                source.add_to(&mut self.merged, |facts| !is_dead || lives_on(facts));
            }
        }
        dead
    }

    /// Takes out what the dead left and nobody has changed for as long as it may stay, at once, so that what is counted again
    /// begins at zero.
    fn tidy(&mut self) {
        if !self.merged.any_expires() {
            return;
        }
        let dead = self.sources.values().filter(|source| source.was_dead()).map(|source| source.idle(&self.merged));
        let (idle, now) = (self.kept.idle(&self.merged, &self.places) + dead.sum::<usize>(), self.merged.now());
        // Those that stay are not tried again at once: a process that lives has them.
        let (held, tried_at) = self.held;
        if idle > held || (idle > 0 && now.saturating_sub(tried_at) >= TRY_AGAIN) {
            self.held = (idle, now);
            self.fold();
        }
    }

    fn fold(&mut self) {
        let known = Known { own: self.sharing.own, now: self.merged.now(), merged: &self.merged };
        if let Err(error) = kept::fold(&self.path, &known) {
            self.trouble = Some(error.kind().as_str());
        }
    }

    fn state(&self) -> Vec<Family> {
        let own = usize::from(self.sharing.own.is_some());
        let processes = Family::new(
            "uplifted_ops_metrics_processes",
            MetricKind::Gauge,
            "Processes whose numbers are summed on this page and that live",
        );
        // A program beside a service that has never run shows what it would without this.
        let mut families = Vec::new();
        if self.living + own > 0 || self.kept.edition != 0 {
            families.push(processes.number(&[], (self.living + own) as f64));
        }
        let mut skipped = Family::new(
            "uplifted_ops_metrics_skipped_files",
            MetricKind::Gauge,
            "Files in the folder of the metrics that are passed over, by reason",
        );
        for (fault, count) in &self.faults {
            skipped = skipped.number(&[("reason", fault.as_str())], *count as f64);
        }
        if !self.faults.is_empty() {
            families.push(skipped);
        }
        let trouble = self.trouble.or(self.sharing.trouble.as_ref().map(|(kind, _)| kind.as_str()));
        if let Some(reason) = trouble {
            let unshared = Family::new(
                "uplifted_ops_metrics_unshared",
                MetricKind::Gauge,
                "1 where this process counts what other processes cannot see, or cannot tidy up, by reason",
            );
            families.push(unshared.number(&[("reason", reason)], 1.0));
        }
        families
    }
}

/// How many files of processes that are gone lie in the folder.
fn files_that_died(folder: &Path) -> usize {
    let own = slab::state_of_sharing().own;
    let files = kept::files(folder).unwrap_or_default().into_iter().filter(|(id, _)| own != Some(*id));
    files.filter(|(id, path)| Source::open(path, *id).is_ok_and(|mut source| source.is_dead())).count()
}
