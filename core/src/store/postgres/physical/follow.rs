//! Follows the log of a server.
//!
//! `pg_receivewal` writes it into the cache as it comes, and what it has synced (it says so to the server, whom we ask) is read
//! from there. It reads by no slot: it would let go of the log as soon as it is in the cache, which may be lost. The slot is
//! ours: it moves when something is *stored*, so that the server keeps what is not, up to a limit, past which it is dropped.
//!
//! A moment is where the log ended when the server was asked, which is the end of a record. Its time is that of our clock.

use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::super::PostgresStore;
use super::super::programs::{self, Programs};
use super::super::session::Session;
use super::wal::{HEAD, Lsn, Position, file_name, payload};
use super::{Facts, failed};
use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::process::ProgramOutput;
use crate::store::follow::{
    Continuity, FollowRequest, Follower, FollowerStanding, Increment, MAX_PAYLOAD, Point, Resume,
};
use crate::value::random_hex;

const DOING: &str = "follow the server's log";
/// How often the server is asked how far its log and we are.
const LOOK: Duration = Duration::from_millis(200);
/// Log that was not received for so long is named as what is waited for. Commits that are not waited for (`synchronous_commit =
/// off`) are sent within 0.6 s.
const LATE: Duration = Duration::from_secs(5);
/// The length of a page of the log, and the longest head of one, in bytes.
const PAGE: u64 = 8192;
const PAGE_HEAD: u64 = 40;

/// Begins to follow.
///
/// # Errors
/// What is missing for it, with the grant or the setting.
pub(in crate::store::postgres) async fn begin(
    store: &PostgresStore,
    scope: &Scope,
    request: FollowRequest,
) -> Result<Box<dyn Follower>> {
    let session = store.server.connect(scope).await?;
    let facts = Facts::ask(&session).await?;
    if facts.standby {
        return Err(Error::new(ErrorKind::Unsupported, "the server is a standby, whose log is that of its primary")
            .with_hint("name the primary in url, or several hosts with target_session_attrs=primary"));
    }
    if !facts.monitors {
        let user = super::super::trouble::quoted(&facts.user);
        return Err(Error::new(ErrorKind::Denied, format!("user {user} may not see how far the log was received"))
            .with_hint(format!("GRANT pg_monitor TO {user}")));
    }
    let programs = Programs::find(scope, store.server.settings.programs.as_deref(), session.version()).await?;
    if !programs.has("pg_receivewal") {
        return Err(Error::new(ErrorKind::Unsupported, "pg_receivewal is missing beside pg_dump")
            .with_hint(format!("install postgresql-client-{} or later", programs.version)));
    }
    let mut follower = LogFollower {
        store: store.clone(),
        programs,
        slot: slot_name(store),
        cache: request.cache,
        limit: request.log_limit_bytes,
        version: session.version(),
        segment: facts.segment,
        position: Position { system: facts.system.clone(), timeline: facts.timeline(), lsn: Lsn(0) },
        begins: None,
        ready: VecDeque::new(),
        since: request.resume.as_ref().map_or_else(|| scope.clock.now(), |resume| resume.until),
        caught_up_at: scope.clock.monotonic(),
        session: Some(session),
        receiver: None,
        standing: FollowerStanding::default(),
    };
    match request.resume {
        None => follower.begin_anew("following begins".to_owned(), &facts).await?,
        Some(resume) => follower.resume(&resume, &facts).await?,
    }
    Ok(Box::new(follower))
}

/// The slot's name: of the service and the store, as far as it can be one of a slot.
fn slot_name(store: &PostgresStore) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    let name = format!("uplifted_ops_{}_{}", store.service, store.name).to_lowercase();
    name.chars().map(plain).take(60).collect()
}

/// How long a slot may be in use once its receiver was killed, and how often it is looked at.
const GIVES_UP: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A running `pg_receivewal`. It is killed when this is dropped.
#[derive(Debug)]
struct Receiver {
    name: String,
    running: tokio::task::JoinHandle<Result<ProgramOutput>>,
    _end: CancelOnDrop,
}

#[derive(Debug)]
struct LogFollower {
    store: PostgresStore,
    programs: Programs,
    slot: String,
    cache: PathBuf,
    limit: u64,
    version: u32,
    segment: u64,
    /// Up to where increments were made.
    position: Position,
    /// Why the next increment continues nothing.
    begins: Option<String>,
    ready: VecDeque<Increment>,
    /// Everything committed before this is in the increments that were made.
    since: Timestamp,
    /// When it was last asked, on the monotonic clock, and there was nothing that had not been received.
    caught_up_at: Duration,
    session: Option<Session>,
    receiver: Option<Receiver>,
    standing: FollowerStanding,
}

/// How the server stands.
#[derive(Debug, Deserialize)]
struct Stand {
    system: String,
    timeline: Option<String>,
    end: Option<String>,
    /// What our receiver has synced.
    received: Option<String>,
    /// Where the slot holds the log back to; nothing without a slot.
    slot: Option<String>,
    slot_is_there: bool,
    slot_state: Option<String>,
    kept: Option<i64>,
}

impl LogFollower {
    fn folder(&self) -> PathBuf {
        self.cache.join("wal")
    }

    async fn resume(&mut self, resume: &Resume, facts: &Facts) -> Result<()> {
        let before: Position = resume.position.parse()?;
        let reason = before.is_left_for(&facts.system, facts.timeline());
        if let Some(reason) = reason {
            return self.begin_anew(reason, facts).await;
        }
        self.position = before;
        self.make_slot().await?;
        self.clear()
    }

    /// Starts at what the server has from now on.
    async fn begin_anew(&mut self, reason: String, facts: &Facts) -> Result<()> {
        self.receiver = None;
        self.ready.clear();
        self.drop_slot().await?;
        self.make_slot().await?;
        let at: Lsn =
            self.stand().await?.slot.ok_or_else(|| Error::internal("a slot that was made is not there"))?.parse()?;
        let timeline = facts.timeline();
        self.position = Position { system: facts.system.clone(), timeline, lsn: at.segment(self.segment) };
        self.begins = Some(reason);
        self.clear()
    }

    /// Empties the cache, so that the receiver starts with the segment of our position.
    fn clear(&self) -> Result<()> {
        let folder = self.folder();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder, fs::PRIVATE_DIR)?;
        // It goes on with a segment that it finds unfinished, of which an empty file is one.
        let name = format!("{}.partial", file_name(self.position.timeline, self.position.lsn, self.segment));
        fs::write_atomic(&folder.join(name), fs::PRIVATE_FILE, b"")
    }

    async fn session(&mut self, scope: &Scope) -> Result<&Session> {
        if self.session.is_none() {
            self.session = Some(self.store.server.connect(scope).await?);
        }
        self.session.as_ref().ok_or_else(|| Error::internal("a session that was opened is not there"))
    }

    async fn ask<T: serde::de::DeserializeOwned>(&mut self, select: &str) -> Result<Vec<T>> {
        let scope = Scope::default();
        let asked = self.session(&scope).await?.ask(DOING, select).await;
        if asked.is_err() {
            self.session = None;
        }
        asked
    }

    async fn make_slot(&mut self) -> Result<()> {
        let slot = self.slot.clone();
        let make = format!(
            "SELECT pg_create_physical_replication_slot('{slot}', true)::text AS made
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}')"
        );
        let made: Result<Vec<serde_json::Value>> = self.ask(&make).await;
        made.map(drop).map_err(|error| match error.message().contains("replication slots are in use") {
            true => Error::new(ErrorKind::Busy, format!("the server has no replication slot left for {slot:?}"))
                .with_hint("drop one that nobody uses (pg_replication_slots), or raise max_replication_slots"),
            false => error,
        })
    }

    async fn drop_slot(&mut self) -> Result<()> {
        let slot = &self.slot;
        let drop_it = format!(
            "SELECT pg_drop_replication_slot(slot_name)::text AS gone FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active"
        );
        self.ask::<serde_json::Value>(&drop_it).await.map(drop)
    }

    async fn stand(&mut self) -> Result<Stand> {
        let name = self.receiver.as_ref().map_or("", |receiver| receiver.name.as_str());
        let select = format!(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
               CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
               CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END AS end,
               (SELECT flush_lsn::text FROM pg_stat_replication WHERE application_name = '{name}' LIMIT 1) AS received,
               s.restart_lsn::text AS slot, s.slot_name IS NOT NULL AS slot_is_there, s.wal_status AS slot_state,
               CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_lsn() - s.restart_lsn)::int8 END AS kept
             FROM (SELECT 1) one LEFT JOIN pg_replication_slots s ON s.slot_name = '{}'",
            self.slot
        );
        let mut stands: Vec<Stand> = self.ask(&select).await?;
        stands.pop().ok_or_else(|| Error::internal("the server does not say how it stands"))
    }

    /// Starts the receiver where the cache ends.
    fn receive(&mut self) -> Result<()> {
        let name = format!("uplifted-ops-wal-{}", random_hex(8)?);
        let place = self.store.server.place()?;
        let Some(session) = &self.session else { return Err(Error::internal("nobody knows where the server is")) };
        let arguments = [
            "--no-loop".into(),
            "--synchronous".into(),
            "--no-password".into(),
            "--directory".into(),
            self.folder().into(),
        ];
        let program = self.programs.program("pg_receivewal", arguments);
        let program = programs::led_to(program, &place, session.host(), &place.database).env("PGAPPNAME", &name);
        let cancel = Cancel::new();
        let end = CancelOnDrop::new(&cancel);
        let scope = Scope { cancel, ..Scope::default() };
        let running = tokio::spawn(async move { program.run(&scope).await });
        self.receiver = Some(Receiver { name, running, _end: end });
        Ok(())
    }

    /// Looks once. Whether there is something to hand out.
    async fn look(&mut self, scope: &Scope) -> Result<()> {
        // What was committed before this is before the end that is asked for next.
        let (until, began) = (scope.clock.now(), scope.clock.monotonic());
        if self.session.is_none() {
            self.session(scope).await?;
        }
        let stand = self.stand().await?;
        let seen = scope.clock.now();
        let Some(end) = &stand.end else {
            self.standing.waits_for = Some("the server is a standby".to_owned());
            return Ok(());
        };
        let timeline = stand.timeline.as_deref().and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0);
        let left = self.position.is_left_for(&stand.system, timeline);
        let reason = if left.is_some() {
            left
        } else if stand.slot_state.as_deref() == Some("lost") {
            Some(format!("the server gave up the log that the slot {} held (max_slot_wal_keep_size)", self.slot))
        } else {
            let kept = u64::try_from(stand.kept.unwrap_or(0)).unwrap_or(0);
            self.standing.log_bytes = kept;
            (kept > self.limit).then(|| format!("more log than {} bytes was not stored, and was let go of", self.limit))
        };
        if let Some(reason) = reason {
            let facts = Facts::ask(self.session(scope).await?).await?;
            return self.begin_anew(reason, &facts).await;
        }
        if !stand.slot_is_there {
            // What the receiver has not seen yet may go on until then; whether it did is seen by the receiver.
            self.make_slot().await?;
        }
        if self.receiver.as_ref().is_some_and(|receiver| receiver.running.is_finished())
            && let Some(receiver) = self.receiver.take()
        {
            self.ended(scope, receiver, &stand).await?;
        }
        if self.receiver.is_none() {
            return self.receive();
        }
        let mut end: Lsn = end.parse()?;
        // A record begins behind the head of its page, and the one before it ended at the page's beginning.
        if end.0 % PAGE <= PAGE_HEAD {
            end = Lsn(end.0 - end.0 % PAGE);
        }
        let received = stand.received.as_deref().map(str::parse::<Lsn>).transpose()?;
        if end <= self.position.lsn || received.is_some_and(|received| received >= end) {
            (self.caught_up_at, self.standing.waits_for) = (began, None);
            if end > self.position.lsn {
                self.cut(end, until, seen)?;
            }
            self.since = until;
            return Ok(());
        }
        if scope.clock.monotonic().saturating_sub(self.caught_up_at) > LATE {
            self.standing.waits_for = Some(format!("the server's log up to {end} has not been received yet"));
        }
        let Some(received) = received.filter(|received| *received >= self.position.lsn) else { return Ok(()) };
        // A receiver that is far behind is no reason to keep what it has brought: the moment comes later.
        if received.0 - self.position.lsn.0 > MAX_PAYLOAD as u64 {
            return self.pieces(received, self.since, Vec::new());
        }
        Ok(())
    }

    /// Makes increments up to a moment.
    fn cut(&mut self, end: Lsn, until: Timestamp, seen: Timestamp) -> Result<()> {
        let position = Position { lsn: end, ..self.position.clone() }.to_string();
        self.pieces(end, until, vec![Point { time: seen, position, checksum: None }])
    }

    fn pieces(&mut self, end: Lsn, until: Timestamp, points: Vec<Point>) -> Result<()> {
        let most = (MAX_PAYLOAD - HEAD) as u64;
        while self.position.lsn < end {
            let to = Lsn(end.0.min(self.position.lsn.0 + most));
            let bytes = read(&self.folder(), self.position.timeline, self.position.lsn, to, self.segment)?;
            let from = self.position.to_string();
            self.position.lsn = to;
            let continuity = match self.begins.take() {
                Some(reason) => Continuity::Begins { reason },
                None => Continuity::Continues,
            };
            self.ready.push_back(Increment {
                from,
                to: self.position.to_string(),
                continuity,
                points: if to == end { points.clone() } else { Vec::new() },
                since: self.since,
                until,
                payload: payload(self.segment, self.version, &bytes),
            });
        }
        Ok(())
    }

    /// Sees why the receiver ended. What was recycled begins anew; anything else is tried again.
    async fn ended(&mut self, scope: &Scope, receiver: Receiver, stand: &Stand) -> Result<()> {
        let output = receiver
            .running
            .await
            .map_err(|error| Error::internal(format!("a program ended without an answer: {error}")))?;
        let output = output?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("has already been removed") {
            let slot = if stand.slot_is_there { "" } else { ", because its slot was dropped" };
            let reason = format!("the server has recycled its log from {} on{slot}", self.position.lsn);
            let facts = Facts::ask(self.session(scope).await?).await?;
            return self.begin_anew(reason, &facts).await;
        }
        let error = failed("the log is not received", &output.stderr);
        if error.kind() == ErrorKind::Denied {
            return Err(error);
        }
        self.standing.waits_for = Some(error.message().to_owned());
        Ok(())
    }

    /// Removes the segments of the cache that are stored. The newest stays: from it the receiver knows where it is.
    fn tidy(&self, stored: Lsn) -> Result<()> {
        let folder = self.folder();
        let keep = file_name(
            self.position.timeline,
            Lsn(stored.0.min(self.position.lsn.0)).segment(self.segment),
            self.segment,
        );
        let entries =
            std::fs::read_dir(&folder).map_err(|error| Error::io(format!("read folder {folder:?}"), error))?;
        let mut names: Vec<String> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(format!("read folder {folder:?}"), error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        names.pop();
        for name in names.iter().filter(|name| name.len() == keep.len() && **name < keep) {
            fs::remove_file(&folder.join(name))?;
        }
        Ok(())
    }
}

/// Reads a piece of the log from the cache.
fn read(folder: &Path, timeline: u32, from: Lsn, to: Lsn, segment: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(to.0 - from.0).unwrap_or(0));
    let mut at = from;
    while at < to {
        let end = (at.segment(segment).0 + segment).min(to.0);
        let whole = folder.join(file_name(timeline, at, segment));
        let partial = whole.with_extension("partial");
        // It is renamed when it is full, maybe between these two.
        let file = std::fs::File::open(&partial).or_else(|_| std::fs::File::open(&whole));
        let file = file.map_err(|error| Error::io(format!("open {whole:?}"), error))?;
        let start = bytes.len();
        bytes.resize(start + usize::try_from(end - at.0).unwrap_or(0), 0);
        file.read_exact_at(&mut bytes[start..], at.0 % segment)
            .map_err(|error| Error::io(format!("read {whole:?}"), error))?;
        at = Lsn(end);
    }
    Ok(bytes)
}

#[async_trait]
impl Follower for LogFollower {
    async fn next(&mut self, scope: &Scope, patience: Duration) -> Result<Option<Increment>> {
        let until = scope.clock.monotonic() + patience;
        loop {
            scope.cancel.check()?;
            if let Some(increment) = self.ready.pop_front() {
                self.standing.position.clone_from(&increment.to);
                return Ok(Some(increment));
            }
            match self.look(scope).await {
                Ok(()) => {}
                // It is restarted, or the network is gone: what it has kept for us is there when it is back.
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Busy) => {
                    self.session = None;
                    self.standing.waits_for = Some(error.message().to_owned());
                }
                Err(error) => return Err(error),
            }
            if !self.ready.is_empty() {
                continue;
            }
            let now = scope.clock.monotonic();
            if now >= until {
                self.standing.seen_until = Some(self.since);
                return Ok(None);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(until - now)) => {}
                () = scope.cancel.cancelled() => {}
            }
        }
    }

    async fn stored(&mut self, _scope: &Scope, position: &str) -> Result<()> {
        let position: Position = position.parse()?;
        if (&position.system, position.timeline) != (&self.position.system, self.position.timeline) {
            return Ok(());
        }
        let advance = format!(
            "SELECT pg_replication_slot_advance(slot_name, least('{0}'::pg_lsn, pg_current_wal_flush_lsn()))::text AS at
             FROM pg_replication_slots WHERE slot_name = '{1}' AND NOT active AND restart_lsn < '{0}'::pg_lsn",
            position.lsn, self.slot
        );
        self.ask::<serde_json::Value>(&advance).await?;
        self.tidy(position.lsn)
    }

    async fn give_up(&mut self, scope: &Scope) -> Result<()> {
        self.receiver = None;
        // The server notices in its own time that the receiver is gone.
        let until = scope.clock.monotonic() + GIVES_UP;
        loop {
            let dropped = self.drop_slot().await;
            if dropped.is_ok() && !self.stand().await?.slot_is_there {
                return Ok(());
            }
            if scope.clock.monotonic() >= until {
                let slot = &self.slot;
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("the replication slot {slot} is still there, and holds the log of the server back"),
                )
                .with_hint(format!("as a superuser: SELECT pg_drop_replication_slot('{slot}')")));
            }
            scope.clock.sleep(LOOK_AGAIN).await;
        }
    }

    fn standing(&self) -> FollowerStanding {
        self.standing.clone()
    }
}
