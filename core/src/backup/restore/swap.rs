//! The swap: a list of trades, each one rename, that can be interrupted anywhere and carried out again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::record::{Phase, Record, Step, TREE, Work};
use super::survey::{Survey, Surveyor};
use crate::cancel::{ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir};

/// Which way the trades go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// What is in the other tree comes in.
    Forward,
    /// What went out comes back.
    Back,
}

/// Looks over what is live at one unit of a record.
pub(super) fn survey(record: &Record, base: &Path, tree: &Path, unit: &Path) -> Result<Survey> {
    let known: BTreeSet<PathBuf> = record.databases.iter().map(|path| path.as_path().to_owned()).collect();
    let incoming = |path: &Path| tree.join(path).symlink_metadata().is_ok();
    Surveyor { root: base, spared: &record.spared, known: &known, incoming: &incoming }.look(unit)
}

/// Makes the steps from what is there now, and the folders that they need in the other tree. Writes nothing
/// to the live tree.
pub(super) fn compile(work: &Work, root: &Path) -> Result<Vec<Step>> {
    let record = &work.record;
    let base = record.base(root);
    let areas = work.area_paths(root);
    let live = Dir::open(&base)?;
    let mut carried = Vec::new();
    let mut units = Vec::new();
    for (index, unit) in record.units.iter().enumerate() {
        let path = unit.path.as_path();
        let tree = areas[unit.area].join(TREE);
        let other = Dir::open(&tree)?;
        make_parents(&base, &tree, path)?;
        let step = Step {
            path: unit.path.clone(),
            area: unit.area,
            live: live.node(path)?,
            other: other.node(path)?,
            unit: None,
        };
        // A folder that goes out for another folder hands over what the snapshot left out on purpose. What
        // goes out for good, or for a file, keeps it: there is nowhere to put it.
        if is_folder(&base.join(path)) && is_folder(&tree.join(path)) {
            for spared in survey(record, &base, &tree, path)?.carry {
                if make_parents(&base, &tree, &spared)? {
                    carried.push(Step {
                        live: live.node(&spared)?,
                        other: None,
                        path: crate::backup::manifest::RelPath::new(spared),
                        area: unit.area,
                        unit: Some(index),
                    });
                }
            }
        }
        units.push(step);
    }
    // What is carried goes first, so that a unit that is in place says that all of it is.
    let offset = carried.len();
    for step in &mut carried {
        step.unit = step.unit.map(|unit| unit + offset);
    }
    carried.append(&mut units);
    Ok(carried)
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Makes the parents of `path` in `tree`, each like the live one. `false` when something else than a folder is
/// in the way.
fn make_parents(base: &Path, tree: &Path, path: &Path) -> Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    let mut so_far = PathBuf::new();
    for name in parent.components() {
        so_far.push(name);
        let there = tree.join(&so_far);
        match there.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let dir = Dir::open(tree)?;
                dir.make_dir_all(&so_far)?;
                if let Ok(like) = base.join(&so_far).symlink_metadata() {
                    if rustix::process::geteuid().is_root() {
                        dir.set_owner(&so_far, like.uid(), like.gid())?;
                    }
                    dir.set_mode(&so_far, like.mode() & 0o7777)?;
                }
            }
            Err(error) => return Err(Error::io(format!("look at {there:?}"), error)),
        }
    }
    Ok(true)
}

/// A swap that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Why.
    pub(super) error: Error,
    /// Whether the live tree is as it was before. Otherwise the record says what is left to take back.
    pub(super) taken_back: bool,
}

/// Records the steps as begun, carries them out, and records that. A failure is taken back as far as it went.
pub(super) fn run(scope: &Scope, work: &mut Work, root: &Path) -> std::result::Result<(), Failure> {
    let prepared = compile(work, root).and_then(|steps| {
        work.record.steps = steps;
        work.enter(Phase::Swapping)
    });
    // Whether a write that failed reached the disk is not known; taking back what was not begun is harmless.
    let swapped = prepared.and_then(|()| carry_out(scope, work, root, Goal::Forward));
    swapped.and_then(|()| work.enter(Phase::Swapped)).map_err(|error| match back(scope, work, root) {
        Ok(()) => Failure { error: error.while_doing("the restore was taken back"), taken_back: true },
        Err(second) => Failure {
            error: error
                .while_doing("the restore failed and is not taken back yet")
                .with_context("taking back", second)
                .with_hint("repair what the message names, then run any command: it finishes the restore"),
            taken_back: false,
        },
    })
}

/// Takes the steps back, durably.
pub(super) fn back(scope: &Scope, work: &mut Work, root: &Path) -> Result<()> {
    work.enter(Phase::Undoing)?;
    carry_out(scope, work, root, Goal::Back)
}

/// The units that a swap in this direction has still to trade: the only ones whose databases matter.
pub(super) fn waiting_units(work: &Work, root: &Path, goal: Goal) -> Result<Vec<PathBuf>> {
    let live = Dir::open(&work.record.base(root))?;
    let mut waiting = Vec::new();
    for step in work.record.steps.iter().filter(|step| step.unit.is_none()) {
        let wanted = if goal == Goal::Forward { step.other } else { step.live };
        if live.node(step.path.as_path())? != wanted {
            waiting.push(step.path.as_path().to_owned());
        }
    }
    Ok(waiting)
}

/// Carries out all steps of the record that are not done yet, in either direction. Not stopped by a cancel:
/// it takes milliseconds, and half of it is of no use to anybody.
pub(super) fn carry_out(scope: &Scope, work: &Work, root: &Path, goal: Goal) -> Result<()> {
    let trees = Trees::open(work, root)?;
    let steps = &work.record.steps;
    let (carried, units): (Vec<_>, Vec<_>) = (0..steps.len()).partition(|index| steps[*index].unit.is_some());
    let mut done = 0;
    let mut report = |add: usize| {
        done += add as u64;
        scope.progress.report(ProgressEvent {
            stage: "swapping".to_owned(),
            done_bytes: 0,
            total_bytes: None,
            done_files: done,
            total_files: Some(steps.len() as u64),
            uninterruptible: true,
        });
    };
    report(0);
    match goal {
        Goal::Forward => {
            // A unit that is in place took with it what was carried into it: the names mean other nodes now.
            let waiting: Vec<_> = carried
                .iter()
                .copied()
                .map(|index| Ok((index, trees.is_in_place(&steps[index])?)))
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .filter_map(|(index, in_place)| (!in_place).then_some(index))
                .collect();
            trees.trade_all(&waiting, goal)?;
            report(carried.len());
            trees.trade_all(&units, goal)?;
            report(units.len());
        }
        Goal::Back => {
            let reversed: Vec<_> = units.iter().rev().copied().collect();
            trees.trade_all(&reversed, goal)?;
            report(units.len());
            trees.trade_all(&carried, goal)?;
            report(carried.len());
        }
    }
    Ok(())
}

/// The live tree and the other ones, open.
struct Trees<'a> {
    record: &'a Record,
    live: Dir,
    areas: Vec<Dir>,
}

impl<'a> Trees<'a> {
    fn open(work: &'a Work, root: &Path) -> Result<Self> {
        let areas = work.area_paths(root).iter().map(|area| Dir::open(area)).collect::<Result<_>>()?;
        Ok(Self { record: &work.record, live: Dir::open(&work.record.base(root))?, areas })
    }

    /// Whether the unit that a carried step belongs to has come in.
    fn is_in_place(&self, carried: &Step) -> Result<bool> {
        let Some(unit) = carried.unit.and_then(|index| self.record.steps.get(index)) else { return Ok(false) };
        Ok(unit.other.is_some() && self.live.node(unit.path.as_path())? == unit.other)
    }

    /// Carries out these steps, then makes the names durable: not later than the next batch begins.
    fn trade_all(&self, steps: &[usize], goal: Goal) -> Result<()> {
        let mut touched: BTreeMap<(Option<usize>, PathBuf), PathBuf> = BTreeMap::new();
        for &index in steps {
            let step = &self.record.steps[index];
            self.trade(index, step, goal).map_err(|error| error.with_context("path", &step.path))?;
            let (path, other) = (step.path.as_path(), in_tree(step));
            let parent = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
            touched.insert((None, parent(path)), path.to_owned());
            touched.insert((Some(step.area), parent(&other)), other);
        }
        for ((area, _), path) in touched {
            area.map_or(&self.live, |area| &self.areas[area]).sync_parent(&path)?;
        }
        Ok(())
    }

    /// Trades one name, unless that is done already. Where the filesystem cannot exchange, the live node steps
    /// aside for a moment; from any of the three states in between, the trade goes on.
    fn trade(&self, index: usize, step: &Step, goal: Goal) -> Result<()> {
        let (live, area, path) = (&self.live, &self.areas[step.area], step.path.as_path());
        let (other, aside) = (in_tree(step), PathBuf::from(format!("aside-{index}")));
        let (wanted, leaving) = match goal {
            Goal::Forward => (step.other, step.live),
            Goal::Back => (step.live, step.other),
        };
        let (here, there) = (live.node(path)?, area.node(&other)?);
        if let Some(waiting) = area.node(&aside)? {
            if Some(waiting) == wanted {
                if here.is_some() {
                    live.move_to(path, area, &other)?;
                }
                return area.move_to(&aside, live, path);
            }
            if here.is_none() {
                area.move_to(&other, live, path)?;
            }
            return area.move_to(&aside, area, &other);
        }
        match wanted {
            // The name is to be empty. What is at both sides is not ours to judge: somebody made it since.
            None if here.is_some() && there.is_none() => live.move_to(path, area, &other),
            None => Ok(()),
            Some(_) if here == wanted || (leaving.is_some() && there == leaving) => Ok(()),
            Some(_) if here.is_none() && there.is_some() => area.move_to(&other, live, path),
            Some(_) if there == wanted => {
                if live.exchange(path, area, &other)? {
                    return Ok(());
                }
                live.move_to(path, area, &aside)?;
                area.move_to(&other, live, path)?;
                area.move_to(&aside, area, &other)
            }
            // Carried, and gone from both sides: its owner removed it.
            Some(_) if step.unit.is_some() => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} is neither in place nor in {:?}", step.path, area.path().join(TREE)),
            )
            .with_hint("somebody moved it: put it back there, then run any command again")),
        }
    }
}

fn in_tree(step: &Step) -> PathBuf {
    Path::new(TREE).join(step.path.as_path())
}

/// Makes the folder of an area, empty and private.
pub(super) fn make_area(area: &Path) -> Result<PathBuf> {
    let tree = area.join(TREE);
    fs::create_dir_all(&tree, fs::PRIVATE_DIR)?;
    Ok(tree)
}
