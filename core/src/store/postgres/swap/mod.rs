//! A restored database takes the name of the live one, by renaming; and back.
//!
//! Both renames, and all that is carried over, are one transaction: there is no moment at which the name means nothing, and a
//! crash leaves the server before it or after it. What comes before is that nobody is connected, or can connect: the databases
//! are closed (`ALLOW_CONNECTIONS false`, which holds for superusers too, so that a pool that reconnects stays out), then the
//! sessions that are open are ended. What was live stays closed under its new name, so that nothing is written to it that an
//! undo or a discard would lose.
//!
//! Before anything is closed it is written down, see `record`. Whoever finds that looks at the server for how far it came.

mod carry;
mod look;
mod record;

use std::time::Duration;

use self::look::{Connected, Database, Server};
pub(super) use self::record::Verified;
use self::record::{Book, Swap};
use super::session::Session;
use super::trouble::quoted;
use super::{PostgresStore, restore};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::store::swap::{SwapAct, SwapReport, SwapRequest};

/// What the server says when somebody is connected to a database that is renamed (`object_in_use`).
const IN_USE: &str = "55006";
/// How often it is looked whether the sessions have ended: the server tells nobody.
const LOOK: Duration = Duration::from_millis(50);

/// Does what is asked.
///
/// # Errors
/// See [`Store::swap`](crate::store::Store::swap).
pub(super) async fn run(store: &PostgresStore, scope: &Scope, request: &SwapRequest) -> Result<SwapReport> {
    let place = store.server.place()?;
    let live = place.database.clone();
    let book = Book::open(&store.state, &store.file_stem(), !request.dry_run)?;
    let mut avoid = vec![live.clone()];
    if let SwapAct::Apply { database } = &request.act {
        avoid.push(database.clone());
    }
    avoid.extend(book.record.swap.iter().flat_map(|swap| [swap.aside.clone(), swap.new_name.clone()]));
    let (_, session) = restore::beside(store, scope, &avoid).await?;
    let server = Server::ask(&session).await?;
    if let Some(swap) = &book.record.swap
        && swap.system != server.system
    {
        let message = format!("a swap of {:?} was begun on another server than that of the settings", swap.live);
        return Err(Error::new(ErrorKind::Refused, message)
            .with_hint("set url to that server, and finish or undo the swap")
            .with_context("system_identifier", &swap.system));
    }
    let mut work = Work { store, scope, request, session, server, book, live, avoid };
    let done = match &request.act {
        SwapAct::Apply { database } => work.apply(database).await,
        SwapAct::Undo => work.undo().await,
        SwapAct::Discard => work.discard().await,
    };
    work.session.close().await;
    done
}

/// Remembers that a database was restored and how that went; only such a one is swapped in.
///
/// # Errors
/// When that cannot be asked or written.
pub(super) async fn remember(
    store: &PostgresStore,
    scope: &Scope,
    session: &Session,
    name: &str,
    ok: bool,
) -> Result<()> {
    let server = Server::ask(session).await?;
    let Some(database) = server.named(name) else {
        return Err(Error::internal(format!("the database {name:?} is gone")));
    };
    let verified = Verified { system: server.system.clone(), oid: database.oid, ok, time: scope.clock.now() };
    Book::open(&store.state, &store.file_stem(), true)?.note(verified)
}

/// What is to happen to the databases.
struct Trade {
    /// The databases that nobody may be connected to.
    closed: Vec<Database>,
    /// What is done in one transaction once nobody is.
    statements: String,
    /// The database that has the live name afterwards.
    comes_in: i64,
    /// Statements that make everything as it was when that did not happen.
    reopen: Vec<(i64, bool)>,
}

struct Work<'a> {
    store: &'a PostgresStore,
    scope: &'a Scope,
    request: &'a SwapRequest,
    session: Session,
    server: Server,
    book: Book,
    live: String,
    avoid: Vec<String>,
}

impl Work<'_> {
    /// Whether the live name is that of the database that came in.
    fn is_swapped(&self, swap: &Swap) -> bool {
        self.server.named(&swap.live).is_some_and(|it| it.oid == swap.new)
    }

    async fn apply(&mut self, database: &str) -> Result<SwapReport> {
        if database == self.live {
            return Err(Error::invalid(format!("{database:?} is the live database itself"))
                .with_hint("name the database that restore.database made"));
        }
        if let Some(done) = self.unfinished(database)? {
            return Ok(done);
        }
        let new = self.server.named(database).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no database {database:?} on the server"))
                .with_hint("restore.database makes it; psql -l lists those that there are")
        })?;
        let old = self.server.named(&self.live).cloned();
        let mut report =
            SwapReport { live: self.live.clone(), comes_in: Some(new.name.clone()), ..SwapReport::default() };
        match self.book.verdict(&self.server.system, new.oid) {
            Some(true) => {}
            Some(false) => report
                .obstacles
                .push(format!("the database {} is not as the snapshot has it: restore another", quoted(&new.name))),
            None => report.obstacles.push(format!(
                "nobody has held the database {} against a snapshot: restore it by restore.database",
                quoted(&new.name)
            )),
        }
        let begun = self.book.record.swap.clone();
        let aside = begun.as_ref().map_or_else(|| self.aside(), |swap| swap.aside.clone());
        let both: Vec<Database> = old.iter().chain([&new]).cloned().collect();
        let (mut statements, mut lacking, mut carried) = (String::new(), Vec::new(), None);
        match &old {
            None => report.notes.push(format!(
                "there is no database {}: nothing is put aside, and nothing carried over",
                quoted(&self.live)
            )),
            Some(old) => {
                let all = carry::over(&self.session, &self.server.user, old, &new).await?;
                carried = Some(all.statements.clone());
                (statements, lacking) = (all.statements, all.obstacles);
                report.carried = all.told;
                report.notes.extend(all.notes);
                report.goes_out = Some(aside.clone());
                statements.push_str(&format!("ALTER DATABASE {} RENAME TO {};\n", quoted(&self.live), quoted(&aside)));
            }
        }
        let live = quoted(&self.live);
        statements.push_str(&format!(
            "ALTER DATABASE {} RENAME TO {live};\nALTER DATABASE {live} ALLOW_CONNECTIONS true",
            quoted(&new.name)
        ));
        self.look(&both, &mut report).await?;
        report.obstacles.extend(lacking);
        if let Some(carried) = carried.filter(|_| report.obstacles.is_empty()) {
            report.obstacles.extend(self.tried(&carried).await?);
        }
        if self.request.dry_run {
            return Ok(report);
        }
        refuse(&report)?;
        let was_open = begun.as_ref().map_or_else(|| old.as_ref().is_none_or(|old| old.open), |swap| swap.was_open);
        self.book.keep(Some(Swap {
            system: self.server.system.clone(),
            live: self.live.clone(),
            old: old.as_ref().map(|old| old.oid),
            was_open,
            aside,
            new: new.oid,
            new_name: new.name.clone(),
            undoing: false,
            time: self.scope.clock.now(),
        }))?;
        let reopen = old.iter().map(|old| (old.oid, was_open)).chain([(new.oid, true)]).collect();
        let trade = Trade { closed: both, statements, comes_in: new.oid, reopen };
        if let Err((error, as_before)) = self.carry_out(&trade, &mut report).await {
            if as_before {
                self.book.keep(None)?;
            }
            return Err(error);
        }
        report.done = true;
        if let Some(aside) = &report.goes_out {
            report
                .notes
                .push(format!("{} is kept, and lets nobody in: undo brings it back, discard drops it", quoted(aside)));
        }
        Ok(report)
    }

    /// Looks at a swap that was begun before: what came to its end is said; what did not is refused unless it is this one.
    fn unfinished(&mut self, database: &str) -> Result<Option<SwapReport>> {
        let Some(swap) = self.book.record.swap.clone() else { return Ok(None) };
        let swapped = self.is_swapped(&swap);
        let refuse =
            |message: String, hint: &str| Err(Error::new(ErrorKind::Refused, message).with_hint(hint.to_owned()));
        match (swap.undoing, swapped) {
            (true, true) => refuse(
                format!("the swap of {:?} is being undone, and that was interrupted", swap.live),
                "ask for the undo again",
            ),
            (true, false) => {
                if !self.request.dry_run {
                    self.book.keep(None)?;
                } else {
                    self.book.record.swap = None;
                }
                Ok(None)
            }
            (false, true) if self.server.named(database).is_none() && swap.new_name == database => {
                Ok(Some(SwapReport {
                    live: swap.live.clone(),
                    comes_in: Some(swap.new_name.clone()),
                    goes_out: swap.old.map(|_| swap.aside.clone()),
                    done: true,
                    notes: vec![format!("it was done before: {} is the live database", quoted(&swap.new_name))],
                    ..SwapReport::default()
                }))
            }
            (false, true) => refuse(
                format!("what an earlier swap put aside, {:?}, is still there, and only one is kept", swap.aside),
                "undo that swap, or discard what it put aside",
            ),
            (false, false) => {
                if self.server.named(database).is_some_and(|it| it.oid == swap.new) && swap.live == self.live {
                    return Ok(None);
                }
                refuse(
                    format!("a swap of {:?} with {:?} was begun, and did not end", swap.live, swap.new_name),
                    "ask for that one again, or undo it",
                )
            }
        }
    }

    async fn undo(&mut self) -> Result<SwapReport> {
        let swap = self.begun()?;
        let (live, aside) = (swap.live.clone(), swap.aside.clone());
        let mut report = SwapReport {
            live: live.clone(),
            comes_in: swap.old.map(|_| aside.clone()),
            goes_out: Some(swap.new_name.clone()),
            ..SwapReport::default()
        };
        if !self.is_swapped(&swap) {
            // It came to nothing, or this undo came to its end: only the doors may still be closed.
            report.notes.push(format!("no name was changed: {} is what it was", quoted(&live)));
            if !self.request.dry_run {
                let doors =
                    swap.old.iter().map(|old| (*old, swap.was_open)).chain([(swap.new, true)]).collect::<Vec<_>>();
                self.reopen(&doors).await?;
                self.book.keep(None)?;
                report.done = true;
            }
            return Ok(report);
        }
        let new = self.server.numbered(swap.new).cloned().ok_or_else(|| Error::internal("a database is gone"))?;
        let old = match swap.old {
            None => None,
            Some(oid) => Some(self.server.numbered(oid).cloned().ok_or_else(|| gone(&aside))?),
        };
        if let Some(taken) = self.server.named(&swap.new_name) {
            let name = quoted(&taken.name);
            report.obstacles.push(format!("there is another database {name} by now: rename or drop it"));
        }
        let both: Vec<Database> = old.iter().chain([&new]).cloned().collect();
        self.look(&both, &mut report).await?;
        if self.request.dry_run {
            return Ok(report);
        }
        refuse(&report)?;
        let (quoted_live, back) = (quoted(&live), quoted(&swap.new_name));
        let mut statements =
            format!("ALTER DATABASE {quoted_live} RENAME TO {back};\nALTER DATABASE {back} ALLOW_CONNECTIONS true");
        if let Some(old) = &old {
            statements.push_str(&format!(
                ";\nALTER DATABASE {} RENAME TO {quoted_live};\nALTER DATABASE {quoted_live} ALLOW_CONNECTIONS {}",
                quoted(&old.name),
                swap.was_open
            ));
        }
        self.book.keep(Some(Swap { undoing: true, ..swap.clone() }))?;
        let trade = Trade {
            comes_in: old.as_ref().map_or(0, |old| old.oid),
            closed: both,
            statements,
            reopen: vec![(new.oid, true)],
        };
        if let Err((error, as_before)) = self.carry_out(&trade, &mut report).await {
            if as_before {
                self.book.keep(Some(swap))?;
            }
            return Err(error);
        }
        self.book.keep(None)?;
        report.done = true;
        Ok(report)
    }

    async fn discard(&mut self) -> Result<SwapReport> {
        let swap = self.begun()?;
        if swap.undoing || !self.is_swapped(&swap) {
            return Err(Error::new(ErrorKind::Refused, format!("the swap of {:?} did not come to its end", swap.live))
                .with_hint("ask for it again, or undo it: until then nothing is dropped"));
        }
        let mut report = SwapReport { live: swap.live.clone(), ..SwapReport::default() };
        let old = swap.old.and_then(|oid| self.server.numbered(oid)).cloned();
        let Some(old) = old else {
            report.notes.push(format!("{} is not there any more", quoted(&swap.aside)));
            if !self.request.dry_run {
                self.book.keep(None)?;
                report.done = true;
            }
            return Ok(report);
        };
        report.dropped = Some(old.name.clone());
        self.look(std::slice::from_ref(&old), &mut report).await?;
        if self.request.dry_run {
            return Ok(report);
        }
        refuse(&report)?;
        // A session of before it was closed.
        self.drain(std::slice::from_ref(&old), &mut report).await?;
        self.session
            .run("drop the database that was put aside", &format!("DROP DATABASE {}", quoted(&old.name)))
            .await?;
        self.book.keep(None)?;
        report.done = true;
        Ok(report)
    }

    fn begun(&self) -> Result<Swap> {
        self.book.record.swap.clone().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no swap of {:?} is remembered", self.live))
                .with_hint("psql -l lists the databases; ALTER DATABASE … RENAME TO … is what a swap does")
        })
    }

    /// Tries what is to be carried over, and takes it back: some rights show in no other way.
    async fn tried(&self, statements: &str) -> Result<Option<String>> {
        const DOING: &str = "carry over what the database has";
        let tried =
            self.session.run(DOING, &format!("BEGIN; SET LOCAL lock_timeout = 5000;\n{statements}ROLLBACK")).await;
        let Err(error) = tried else { return Ok(None) };
        self.session.run("take an attempt back", "ROLLBACK").await?;
        Ok(Some(format!("{}: {}", error.message(), error.hint().unwrap_or("look at the server's log"))))
    }

    /// A name for what goes out.
    fn aside(&self) -> String {
        let tail = format!("_before_{}", self.scope.clock.now().strftime("%Y%m%dt%H%M%Sz"));
        let mut name = String::new();
        for c in self.live.chars() {
            // The longest name has 63 bytes; two are left for a number.
            if name.len() + c.len_utf8() + tail.len() > 61 {
                break;
            }
            name.push(c);
        }
        name.push_str(&tail);
        let numbered = (2..10).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| self.server.named(name).is_none());
        free.unwrap_or(name)
    }

    /// Looks who and what is in the way.
    async fn look(&self, databases: &[Database], report: &mut SwapReport) -> Result<()> {
        let oids: Vec<i64> = databases.iter().map(|it| it.oid).collect();
        let databases: Vec<&Database> = databases.iter().collect();
        let sessions = look::connected(&self.session, &oids).await?;
        report.sessions = look::told(&sessions);
        report.obstacles.extend(self.server.lacking(&databases));
        report.obstacles.extend(look::bound(&self.session, &databases).await?);
        if !sessions.is_empty() {
            if !self.request.drain {
                report.obstacles.push(format!(
                    "{} sessions are open ({}): stop the service, or ask with drain",
                    sessions.len(),
                    who(&sessions)
                ));
            }
            for lacking in sessions.iter().filter_map(|it| it.lacking(&self.server.user)) {
                if !report.obstacles.contains(&lacking) {
                    report.obstacles.push(lacking);
                }
            }
        }
        Ok(())
    }

    /// Closes, drains, trades. With an error it says whether everything is as before.
    async fn carry_out(&mut self, trade: &Trade, report: &mut SwapReport) -> std::result::Result<(), (Error, bool)> {
        let live = report.live.clone();
        let Err(error) = self.trade(trade, report).await else { return Ok(()) };
        // Whether the renames were done is not known when the connection broke: the server knows.
        let settled = async {
            let (_, session) =
                restore::beside(self.store, &Scope { cancel: Default::default(), ..self.scope.clone() }, &self.avoid)
                    .await?;
            let broken = std::mem::replace(&mut self.session, session);
            broken.close().await;
            self.server = Server::ask(&self.session).await?;
            let there = self.server.named(&live).map_or(0, |it| it.oid);
            if there == trade.comes_in {
                return Ok(true);
            }
            self.reopen(&trade.reopen).await.map(|()| false)
        };
        match settled.await {
            Ok(true) => Ok(()),
            Ok(false) => Err((error, true)),
            Err(left) => {
                let left: Error = left;
                let what = format!("{live:?} may let nobody in; undo the swap to open it: {}", left.message());
                Err((error.with_context("left", what), false))
            }
        }
    }

    async fn trade(&mut self, trade: &Trade, report: &mut SwapReport) -> Result<()> {
        const DOING: &str = "rename the databases";
        self.scope.progress.stage(format!("swapping database {}", report.live));
        let until = self.scope.clock.monotonic() + self.request.patience;
        loop {
            self.drain_until(&trade.closed, report, until).await?;
            let limit = self.request.patience.as_millis().clamp(1000, 60_000);
            let whole =
                format!("SET LOCAL lock_timeout = {limit}; SET LOCAL statement_timeout = 0;\n{}", trade.statements);
            match self.session.run(DOING, &whole).await {
                // Somebody came in while the door was being closed.
                Err(error) if is_in_use(&error) && self.scope.clock.monotonic() < until => {}
                done => return done,
            }
        }
    }

    async fn drain(&self, databases: &[Database], report: &mut SwapReport) -> Result<()> {
        let until = self.scope.clock.monotonic() + self.request.patience;
        self.drain_until(databases, report, until).await
    }

    /// Closes the databases, and ends who is connected. Returns when nobody is.
    async fn drain_until(&self, databases: &[Database], report: &mut SwapReport, until: Duration) -> Result<()> {
        const DOING: &str = "end the sessions";
        for database in databases {
            let close = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", quoted(&database.name));
            self.session.run("close the database", &close).await?;
        }
        let oids: Vec<i64> = databases.iter().map(|it| it.oid).collect();
        loop {
            self.scope.cancel.check()?;
            let sessions = look::connected(&self.session, &oids).await?;
            if sessions.is_empty() {
                return Ok(());
            }
            for session in look::told(&sessions) {
                let known = report.sessions.iter().any(|other| {
                    (&other.application_name, &other.user, &other.address)
                        == (&session.application_name, &session.user, &session.address)
                });
                if !known {
                    report.sessions.push(session);
                }
            }
            if !self.request.drain {
                // They came between the look and the closing.
                let message = format!("{} sessions were opened meanwhile: {}", sessions.len(), who(&sessions));
                return Err(Error::new(ErrorKind::Refused, message).with_hint("stop the service, or ask with drain"));
            }
            if self.scope.clock.monotonic() >= until {
                let seconds = self.request.patience.as_secs_f64();
                let message = format!("{} sessions did not end within {seconds} s: {}", sessions.len(), who(&sessions));
                return Err(Error::new(ErrorKind::Busy, message)
                    .with_hint("look in pg_stat_activity what they wait for; the databases are as they were"));
            }
            let pids: Vec<String> = sessions.iter().map(|it| format!("pg_terminate_backend({})", it.pid)).collect();
            let _: Vec<serde_json::Value> = self.session.ask(DOING, &format!("SELECT {}", pids.join(", "))).await?;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.scope.cancel.cancelled() => {}
            }
        }
    }

    /// Lets people in again, where they were let in before.
    async fn reopen(&self, doors: &[(i64, bool)]) -> Result<()> {
        let now = Server::ask(&self.session).await?;
        for (oid, _) in doors.iter().filter(|(_, open)| *open) {
            if let Some(database) = now.numbered(*oid).filter(|it| !it.open) {
                let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", quoted(&database.name));
                self.session.run("open the database again", &open).await?;
            }
        }
        Ok(())
    }
}

fn is_in_use(error: &Error) -> bool {
    error.context().iter().any(|(name, code)| name == "sqlstate" && code == IN_USE)
}

fn gone(aside: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the database {aside:?}, which the swap put aside, is gone"))
        .with_hint("restore another snapshot beside the live database, and swap that")
}

/// Who is connected, in one line.
fn who(sessions: &[Connected]) -> String {
    let each = look::told(sessions).into_iter().map(|it| {
        let from = if it.address.is_empty() { String::new() } else { format!(" from {}", it.address) };
        let name = if it.application_name.is_empty() { "?" } else { &it.application_name };
        format!("{} x {name} of {}{from}", it.sessions, if it.user.is_empty() { "the server" } else { &it.user })
    });
    each.take(10).collect::<Vec<_>>().join(", ")
}

/// The error that obstacles are, when it is not only asked what would happen.
fn refuse(report: &SwapReport) -> Result<()> {
    let Some(first) = report.obstacles.first() else { return Ok(()) };
    let (what, hint) = first.rsplit_once(": ").unwrap_or((first, "ask with dry_run to see everything"));
    let rights = ["ALTER ROLE", "GRANT", "only a superuser"].iter().any(|word| hint.starts_with(word));
    let kind = if rights { ErrorKind::Denied } else { ErrorKind::Refused };
    let error = Error::new(kind, format!("the swap of {:?} was not begun: {what}", report.live)).with_hint(hint);
    let others = report.obstacles.iter().skip(1);
    Err(others.fold(error, |error, other| error.with_context("also", other)))
}
