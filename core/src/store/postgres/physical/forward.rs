//! A copy of a cluster brought to a moment of its log.
//!
//! The log after the moment is left out, so that the server replays exactly what there is: it cannot stop elsewhere. (A
//! `recovery_target_lsn` stops only at a record that lies behind it, of which the last moment has none.) What is missing, of
//! another server, of another timeline or of another version is found before the server starts; after it has, the place where
//! its own timeline branches off proves how far it came.

use std::path::{Path, PathBuf};

use super::super::PostgresStore;
use super::super::programs::Programs;
use super::place::{Logged, Place};
use super::private::{PrivateServer, programs_of};
use super::wal::{Lsn, Position, file_name, piece};
use super::{Span, names, span, unpack};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::store::follow::{Continuity, Increment, Increments, Point, Reached, Until};

/// What the folder of a cluster that was brought to a moment is called, after the store's name.
const SUFFIX: &str = "cluster";

/// Where a copy in `dir` is once it was brought to a moment.
pub(in crate::store::postgres) fn cluster_in(store: &PostgresStore, dir: &Path) -> PathBuf {
    dir.join(format!("{}.{SUFFIX}", store.file_stem()))
}

/// Brings the copy in `dir` to `until`: it is a cluster in a folder then, cleanly stopped, and no tar any more.
///
/// # Errors
/// See [`Store::roll_forward`](crate::store::Store::roll_forward).
pub(in crate::store::postgres) async fn roll_forward(
    store: &PostgresStore,
    scope: &Scope,
    dir: &Path,
    taken_at: Timestamp,
    increments: &mut dyn Increments,
    until: &Until,
) -> Result<Reached> {
    let cluster = cluster_in(store, dir);
    let span = span(&dir.join(&names(store)[2]))?;
    unpack(store, dir, &cluster).await?;
    let (version, programs) = programs_of(store, scope, &cluster).await?;
    let system = system(scope, &programs, &cluster).await?;
    let mut log = Log { cluster: &cluster, system, version, span, segment: 0, end: None, points: Vec::new() };
    log.take(scope, taken_at, increments, until).await?;
    let point = match until {
        Until::Place(text) => log.place(scope, &programs, text).await?,
        _ => log.points.pop().ok_or_else(|| too_early(until))?,
    };
    let place: Position = point.position.parse()?;
    log.cut(place.lsn)?;
    for name in names(store) {
        fs::remove_file(&dir.join(name))?;
    }
    replay(store, scope, &programs, &cluster, span.timeline, place.lsn).await?;
    Ok(Reached { point, proven: None })
}

fn too_early(until: &Until) -> Error {
    let message = match until {
        Until::Time(time) => format!("no moment at or before {time} is known that is later than the copy"),
        Until::Position(position) | Until::Place(position) => format!("there is no moment {position:?} in the log"),
        Until::End => "the log holds no moment that is later than the copy".to_owned(),
    };
    Error::new(ErrorKind::NotFound, message)
        .with_hint("take an earlier copy, or a later moment: restore.points lists them")
}

/// The server's own number, from the control file of the copy.
async fn system(scope: &Scope, programs: &Programs, cluster: &Path) -> Result<String> {
    let output = programs.program("pg_controldata", [cluster.into()]).env("LC_ALL", "C").run(scope).await?.success()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Database system identifier:"));
    line.map(|number| number.trim().to_owned()).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "the control file of the copy names no system").with_hint("use another snapshot")
    })
}

/// The log on its way into the cluster.
struct Log<'a> {
    cluster: &'a Path,
    system: String,
    version: u32,
    span: Span,
    segment: u64,
    /// Where the last increment ended.
    end: Option<Lsn>,
    /// The moments that the copy can be brought to: the last one, or where a place between them is wanted all.
    points: Vec<Point>,
}

impl Log<'_> {
    async fn take(
        &mut self,
        scope: &Scope,
        taken_at: Timestamp,
        increments: &mut dyn Increments,
        until: &Until,
    ) -> Result<()> {
        scope.progress.stage("putting the log into the copy");
        while let Some(increment) = increments.next(scope).await? {
            scope.cancel.check()?;
            if increment.until < taken_at && self.end.is_none() {
                // All of it is in the copy; whoever asks may begin earlier than he has to.
                continue;
            }
            self.add(&increment)?;
            for point in increment.points {
                let lsn = point.position.parse::<Position>()?.lsn;
                let fits = match until {
                    Until::Time(time) if point.time > *time => return Ok(()),
                    Until::Position(position) => point.position == *position,
                    Until::Time(_) | Until::Place(_) | Until::End => true,
                };
                // Before its end the copy is not consistent.
                if fits && lsn >= self.span.end {
                    if !matches!(until, Until::Place(_)) {
                        self.points.clear();
                    }
                    self.points.push(point);
                    if matches!(until, Until::Position(_)) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The place that a user has words for, with the time of the last moment before it.
    async fn place(&self, scope: &Scope, programs: &Programs, text: &str) -> Result<Point> {
        scope.progress.stage("looking for the place in the log");
        let positions = self.points.iter().map(|point| Ok(point.position.parse::<Position>()?.lsn));
        let moments = positions.collect::<Result<Vec<Lsn>>>()?;
        let first = self.points.first().ok_or_else(|| too_early(&Until::Place(text.to_owned())))?;
        let (folder, timeline) = (self.cluster.join("pg_wal"), self.span.timeline);
        let logged = Logged { programs, folder: &folder, timeline, copy: self.span.end, moments: &moments };
        let lsn = logged.find(scope, &Place::of(text)).await?;
        let before = self.points.iter().zip(&moments).take_while(|(_, moment)| **moment <= lsn).last();
        let time = before.map_or(first, |(point, _)| point).time;
        let position = Position { system: self.system.clone(), timeline, lsn };
        Ok(Point { time, position: position.to_string(), checksum: None })
    }

    fn add(&mut self, increment: &Increment) -> Result<()> {
        let damaged = |what: String| {
            Err(Error::new(ErrorKind::Corrupt, what).with_hint("take an earlier moment, or another copy"))
        };
        let (from, to): (Position, Position) = (increment.from.parse()?, increment.to.parse()?);
        for position in [&from, &to] {
            if position.system != self.system {
                return damaged(format!(
                    "the log is of server {}, the copy of server {}",
                    position.system, self.system
                ));
            }
            if position.timeline != self.span.timeline {
                let (log, copy) = (position.timeline, self.span.timeline);
                return damaged(format!(
                    "the log is of timeline {log}, the copy of timeline {copy}: a server was promoted between them"
                ));
            }
        }
        let (segment, version, bytes) = piece(&increment.payload)?;
        if version != self.version {
            return damaged(format!("the log is of PostgreSQL {version}, the copy of {}", self.version));
        }
        if bytes.len() as u64 != to.lsn.0.saturating_sub(from.lsn.0) {
            return damaged(format!("the log from {} to {} does not have its length", from.lsn, to.lsn));
        }
        match self.end {
            None if from.lsn > self.span.end => {
                return damaged(format!(
                    "the log between {}, where the copy ends, and {} is missing",
                    self.span.end, from.lsn
                ));
            }
            Some(end) if from.lsn != end => {
                return damaged(format!("the log between {end} and {} is missing", from.lsn));
            }
            Some(_) if increment.continuity != Continuity::Continues => {
                return damaged(format!("the log does not go on at {}", from.lsn));
            }
            _ => {}
        }
        self.segment = segment;
        // What is before the file in which the copy ends the copy has: of a file before that, a part alone would come about,
        // which `pg_waldump` takes for damage.
        let had = self.span.end.segment(segment).0.saturating_sub(from.lsn.0);
        let had = usize::try_from(had).unwrap_or(usize::MAX).min(bytes.len());
        let mut at = Lsn(from.lsn.0 + had as u64);
        let mut rest = &bytes[had..];
        while !rest.is_empty() {
            let room = segment - at.0 % segment;
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(len);
            self.file(at)?.write_all_at(now, at.0 % segment)?;
            rest = later;
            at = Lsn(at.0 + len as u64);
        }
        self.end = Some(to.lsn);
        Ok(())
    }

    /// The file with that byte, at its full length.
    fn file(&self, at: Lsn) -> Result<fs::OutFile> {
        let (folder, name) = (self.cluster.join("pg_wal"), file_name(self.span.timeline, at, self.segment));
        let path = folder.join(&name);
        let file = match path.is_file() {
            // Not for appending: there the offset of a write would count for nothing (pwrite(2), bugs).
            true => fs::Dir::open(&folder)?.open_file(Path::new(&name))?,
            false => fs::OutFile::create_new(&path, fs::PRIVATE_FILE)?,
        };
        let len = file.file().metadata().map_err(|error| Error::io(format!("look at {path:?}"), error))?.len();
        if len != self.segment {
            file.set_len(self.segment)?;
        }
        Ok(file)
    }

    /// Takes everything out of the log that is after the moment.
    fn cut(&self, at: Lsn) -> Result<()> {
        let rest = usize::try_from(self.segment - at.0 % self.segment).unwrap_or(0);
        if !at.0.is_multiple_of(self.segment) {
            self.file(at)?.write_all_at(&vec![0; rest], at.0 % self.segment)?;
        }
        let last = file_name(self.span.timeline, Lsn(at.0.saturating_sub(1)), self.segment);
        let folder = self.cluster.join("pg_wal");
        let entries =
            std::fs::read_dir(&folder).map_err(|error| Error::io(format!("read folder {folder:?}"), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(format!("read folder {folder:?}"), error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == last.len() && name > last {
                fs::remove_file(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Lets a server of our own replay the log, and looks whether it came to its end.
async fn replay(
    store: &PostgresStore,
    scope: &Scope,
    programs: &Programs,
    cluster: &Path,
    timeline: u32,
    goal: Lsn,
) -> Result<()> {
    scope.progress.stage("replaying the log");
    fs::write_atomic(&cluster.join("recovery.signal"), fs::PRIVATE_FILE, b"")?;
    let mut settings = vec![
        // There is no other log than what lies in the cluster.
        ("restore_command", "false".to_owned()),
        ("recovery_target_timeline", timeline.to_string()),
        // Nobody asks before the end, so that no limit of the former server has to be known.
        ("hot_standby", "off".to_owned()),
    ];
    for target in [
        "recovery_target",
        "recovery_target_lsn",
        "recovery_target_time",
        "recovery_target_name",
        "recovery_target_xid",
    ] {
        settings.push((target, String::new()));
    }
    let place = store.server.place()?;
    let (server, session) = PrivateServer::start(scope, programs, cluster, &place, &settings).await?;
    #[derive(serde::Deserialize)]
    struct State {
        recovering: bool,
    }
    let state: State =
        session.ask_one("ask the copy how far it is", "SELECT pg_is_in_recovery() AS recovering").await?;
    session.close().await;
    server.stop(scope).await?;
    let branches = branches_at(cluster, timeline)?;
    // At the beginning of a page the place of a record is behind the page's head.
    let reached =
        branches.is_some_and(|at| at == goal || (at.0.abs_diff(goal.0) <= 40 && at.min(goal).0.is_multiple_of(8192)));
    if state.recovering || !reached {
        let there = branches.map_or_else(|| "nowhere".to_owned(), |at| at.to_string());
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the log ends at {there}, and not at {goal}: a part of it cannot be replayed"),
        )
        .with_hint("take an earlier moment, or another copy"));
    }
    Ok(())
}

/// Where the timeline that the server began branches off from that of the copy, by its history file.
fn branches_at(cluster: &Path, timeline: u32) -> Result<Option<Lsn>> {
    let path = cluster.join("pg_wal").join(format!("{:08X}.history", timeline + 1));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("read {path:?}"), error)),
    };
    // `1\t0/3000110\tno recovery target specified`
    let line = text.lines().rev().find_map(|line| line.strip_prefix(&format!("{timeline}\t")).map(str::to_owned));
    line.and_then(|line| line.split('\t').next().map(str::parse)).transpose()
}
