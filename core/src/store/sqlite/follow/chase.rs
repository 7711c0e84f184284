//! Reading on, as the database is written: what is found at each look at the log, and what it proves.

use std::sync::Arc;
use std::time::Duration;

use super::super::Database;
use super::super::blocking::Task;
use super::cache::Known;
use super::emit::Emit;
use super::position::Position;
use super::scan;
use super::shared::Shared;
use super::sitting::Sitting;
use super::wal::{Head, LogHeader, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::{Continuity, Resume};

/// How often the log is looked at. To be told of each write would cost the writer more than this costs us, and a tenth of a
/// second is a tenth of what may be lost.
const EACH: Duration = Duration::from_millis(100);
/// The same while nothing holds the log.
const EACH_RELEASED: Duration = Duration::from_millis(5);
/// After how many looks that found nothing it is looked at as seldom as ever.
const LOOKS_RELEASED: u32 = 100;
/// How often the read mark moves when the writer does not rest.
const MARK_EACH: Duration = Duration::from_secs(1);
/// How often a look is tried again when the log starts over under it.
const ATTEMPTS: usize = 8;
/// How many looks in a row may find a torn header: it is one small write.
const TORN: u32 = 50;

/// What a look came to.
enum Look {
    /// Everything that is committed is read.
    Read,
    /// What was read before cannot be proven to be what comes before what is there.
    Lost(String),
}

/// What is known of the state at the place.
enum Knowledge {
    /// Nothing: with the reason.
    Nothing(String),
    /// Where it was in the log, and no more.
    Place,
    /// All of it.
    All(super::Identity),
}

/// A database that is followed.
pub(super) struct Chase {
    database: Arc<Database>,
    shared: Arc<Shared>,
    emit: Emit,
    knowledge: Knowledge,
    log_limit: u64,
    torn: u32,
}

impl Chase {
    pub(super) fn new(
        database: Arc<Database>,
        shared: Arc<Shared>,
        mut emit: Emit,
        resume: Option<&Resume>,
        log_limit: u64,
    ) -> Self {
        let knowledge = match resume {
            None => Knowledge::Nothing("it is followed from here on".to_owned()),
            Some(resume) => match Position::parse(&resume.position) {
                Err(error) => Knowledge::Nothing(error.message().to_owned()),
                Ok(position) => {
                    emit.go_on(&position);
                    match emit.cache.load(&resume.position) {
                        Some(Known { identity, table, checksum }) if checksum == resume.checksum => {
                            emit.resume(table, checksum);
                            Knowledge::All(identity)
                        }
                        _ => Knowledge::Place,
                    }
                }
            },
        };
        Self { database, shared, emit, knowledge, log_limit, torn: 0 }
    }

    /// Follows until it is cancelled. What keeps it from following it says, and tries again.
    pub(super) fn run(mut self, task: &Task) {
        let mut pause = Duration::from_secs(1);
        loop {
            let number = self.emit.number;
            let ended = Sitting::open(task, &self.database).and_then(|mut sitting| {
                let ended = self.sit(task, &mut sitting);
                sitting.close();
                ended
            });
            self.emit.abandon();
            match ended {
                Err(error) if error.kind() == ErrorKind::Cancelled || task.check().is_err() => break,
                Err(error) => {
                    if self.emit.number > number {
                        pause = Duration::from_secs(1);
                    }
                    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                    self.shared.standing(|standing| standing.waits_for = Some(format!("{}{hint}", error.message())));
                    if self.shared.wait(pause) {
                        break;
                    }
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
                Ok(()) => {}
            }
        }
        self.save_if_stored();
    }

    /// Follows through one set of connections.
    fn sit(&mut self, task: &Task, sitting: &mut Sitting) -> Result<()> {
        self.establish(task, sitting)?;
        // The salts of the log when it was let go of, and how often it was looked at since.
        let mut released = None;
        let mut looks = 0_u32;
        let mut dirty = true;
        loop {
            let before = self.emit.place;
            self.catch_up(task, sitting)?;
            self.shared.looked(self.emit.until());
            sitting.mark.stored(self.shared.stored(), &sitting.file)?;
            let (moved, place) = (self.emit.place != before, self.emit.place);
            dirty |= moved;
            let long = sitting.log_bytes(&place) > self.log_limit;
            if sitting.mark.protects() {
                let since = task.scope.clock.monotonic().saturating_sub(sitting.mark.since);
                if long {
                    sitting.mark.release(&sitting.file)?;
                    (released, looks) = (Some(place.salts), 0);
                } else if (!moved && dirty) || since >= MARK_EACH || sitting.may_start_over() {
                    self.move_mark(task, sitting)?;
                    dirty = moved;
                }
            } else if released != Some(place.salts) || !long {
                self.move_mark(task, sitting)?;
                released = None;
            }
            // Where everything was stored already, the older transaction need not wait for the next look.
            sitting.mark.stored(self.shared.stored(), &sitting.file)?;
            self.tell(sitting);
            if self.emit.cache.is_long(&self.emit.table) {
                self.save_if_stored();
            }
            // While the log is held by nobody it may go round before we look again. A host that rests, or that does not
            // checkpoint, is not looked at so often for long.
            looks = if moved { looks.min(1) } else { looks.saturating_add(1) };
            let pause = if released.is_some() && looks < LOOKS_RELEASED { EACH_RELEASED } else { EACH };
            if self.shared.wait(pause) {
                return task.check().and(Err(Error::new(ErrorKind::Cancelled, "cancelled: nobody follows any more")));
            }
        }
    }

    fn tell(&self, sitting: &Sitting) {
        self.shared.standing(|standing| {
            standing.position.clone_from(&self.emit.position);
            standing.log_bytes = sitting.log_bytes(&self.emit.place);
            standing.waits_for = None;
        });
    }

    fn save_if_stored(&mut self) {
        let Knowledge::All(identity) = self.knowledge else { return };
        if self.emit.cache.is_changed() && self.shared.stored() >= self.emit.number {
            // Without it the changes stay, and say the same.
            let _ = self.emit.save(identity);
        }
    }

    /// Connects what is known to what is there.
    fn establish(&mut self, task: &Task, sitting: &mut Sitting) -> Result<()> {
        sitting.mark.begin(task, &self.database, &sitting.file)?;
        let identity = sitting.file.identity;
        match &self.knowledge {
            Knowledge::Nothing(reason) => {
                let reason = reason.clone();
                self.begin_anew(task, sitting, reason)?;
            }
            Knowledge::Place => self.bridge(task, sitting)?,
            Knowledge::All(known) if *known != identity => {
                self.begin_anew(task, sitting, "another file is in the place of the database".to_owned())?;
            }
            Knowledge::All(_) if self.emit.table.page_size != sitting.page_size => {
                let (before, now) = (self.emit.table.page_size, sitting.page_size);
                self.begin_anew(task, sitting, format!("its page size changed from {before} to {now} bytes"))?;
            }
            Knowledge::All(_) => {
                // What was noted after the position that we go on from was stored nowhere.
                self.emit.save(identity)?;
                if self.emit.has_parts() {
                    self.difference(task, sitting, "a transaction was cut off while it was handed over")?;
                } else {
                    self.catch_up(task, sitting)?;
                }
            }
        }
        self.knowledge = Knowledge::All(identity);
        sitting.mark.read_up_to(self.emit.number);
        Ok(())
    }

    /// Where only the place is known: everything behind it in the log, and the state at its end.
    fn bridge(&mut self, task: &Task, sitting: &mut Sitting) -> Result<()> {
        let Head::Is(header) = sitting.log.head()? else {
            return self.begin_anew(task, sitting, UNKNOWN.to_owned());
        };
        let place = self.emit.place;
        if header.salts != place.salts || !sitting.log.holds(&header, &place)? {
            return self.begin_anew(task, sitting, UNKNOWN.to_owned());
        }
        let (table, end) = sitting.table(task, &self.database)?;
        if end.salts != place.salts || end.frame < place.frame {
            return self.begin_anew(task, sitting, UNKNOWN.to_owned());
        }
        self.emit.resume(table, None);
        // The table is that of the end: there is one point, there.
        self.emit.found = None;
        self.frames(task, sitting, &header, end.frame, false)?;
        self.emit.save(sitting.file.identity)
    }

    fn begin_anew(&mut self, task: &Task, sitting: &mut Sitting, reason: String) -> Result<()> {
        (self.emit.looked, self.emit.found) = (task.scope.clock.now(), None);
        let (table, place) = sitting.table(task, &self.database)?;
        self.emit.begin(task, sitting.file.identity, table, place, reason)?;
        self.knowledge = Knowledge::All(sitting.file.identity);
        Ok(())
    }

    /// Reads everything that is committed, one way or the other.
    fn catch_up(&mut self, task: &Task, sitting: &mut Sitting) -> Result<()> {
        match self.look(task, sitting)? {
            Look::Read => Ok(()),
            Look::Lost(reason) => self.difference(task, sitting, &reason),
        }
    }

    /// The next read transaction begins, and what is before it is read.
    fn move_mark(&mut self, task: &Task, sitting: &mut Sitting) -> Result<()> {
        if sitting.mark.begin(task, &self.database, &sitting.file)? {
            self.catch_up(task, sitting)?;
            sitting.mark.read_up_to(self.emit.number);
        }
        Ok(())
    }

    /// Reads what is in the log behind the place.
    fn look(&mut self, task: &Task, sitting: &mut Sitting) -> Result<Look> {
        let lost = |what: &str| Ok(Look::Lost(what.to_owned()));
        for _ in 0..ATTEMPTS {
            self.emit.looked = task.scope.clock.now();
            let head = sitting.log.head()?;
            let extent = sitting.mark.observe(task, &self.database, &sitting.file)?;
            let len = sitting.log.len()?;
            if sitting.log.head()? != head {
                continue;
            }
            // What this look finds was committed before this, however long it takes to read it.
            self.emit.found = Some(task.scope.clock.now());
            sitting.extent = extent;
            sitting.require_files()?;
            let (place, held) = (self.emit.place, sitting.mark.protects());
            match head {
                Head::Torn if self.torn > TORN => return Err(super::damaged_log(&sitting.file.path, 0)),
                Head::Torn => {
                    self.torn += 1;
                    return Ok(Look::Read);
                }
                // Held, it was read before it was emptied.
                Head::Empty if held => {
                    self.nothing_more(task, Place::default())?;
                    return Ok(Look::Read);
                }
                Head::Empty => return lost("the log was emptied while nothing held it"),
                Head::Is(header) if header.salts == place.salts => {
                    self.torn = 0;
                    sitting.longest = sitting.longest.max(len);
                    if !sitting.log.holds(&header, &place)? {
                        return lost("the log is not the one that was read before");
                    }
                    if extent.committed >= place.frame {
                        if !self.frames(task, sitting, &header, extent.committed, true)? {
                            if sitting.log.head()? != head {
                                continue;
                            }
                            return lost("the log is damaged behind what was read before");
                        }
                    } else if !held {
                        // It starts over, and the new header is not written yet.
                        self.tail(task, sitting, &header)?;
                    }
                    return Ok(Look::Read);
                }
                Head::Is(header) if held => {
                    // Held, it was read before it started over.
                    self.torn = 0;
                    // What the new log has may be older than this look, and is yet to come.
                    self.emit.looked = self.emit.until();
                    sitting.longest = len;
                    self.nothing_more(task, header.place())?;
                }
                Head::Is(header) => {
                    let once = place.frame > 0 && header.salts[0] == place.salts[0].wrapping_add(1);
                    if !once || len < sitting.longest || !sitting.log.holds(&header, &place)? {
                        return lost("the log started over while nothing held it, and its old end is gone");
                    }
                    self.emit.looked = self.emit.until();
                    let whole = self.tail(task, sitting, &header)?;
                    let place = self.emit.place;
                    // Still there, nothing behind it was written over while it was read.
                    if !whole || !sitting.log.holds(&header, &place)? || sitting.log.head()? != head {
                        return lost("the log started over while nothing held it, and its old end is not whole");
                    }
                    sitting.longest = len;
                    self.nothing_more(task, header.place())?;
                }
            }
        }
        Ok(Look::Read)
    }

    /// Nothing that is not read is before `place`.
    fn nothing_more(&mut self, task: &Task, place: Place) -> Result<()> {
        let size = self.emit.table.size();
        self.emit.commit(task, place, size)
    }

    /// Reads the commits that a log that started over had behind the place, and says whether its end can be seen.
    fn tail(&mut self, task: &Task, sitting: &Sitting, header: &LogHeader) -> Result<bool> {
        let mut walk = sitting.log.walk(header, self.emit.place);
        let mut end = self.emit.place.frame;
        while let Some(frame) = walk.next(u32::MAX)? {
            if frame.commit > 0 {
                end = walk.place().frame;
            }
        }
        let read = self.frames(task, sitting, header, end, true)?;
        // A frame that is cut off: somebody limits the length of the log, and more may have been there.
        let (len, last) = (sitting.log.len()?, walk.place().frame);
        Ok(read && (len <= header.end_of(last) || len >= header.end_of(last + 1)))
    }

    /// Reads the frames up to `limit`, which ends a commit. False where their chain breaks before. With `points`, an increment
    /// that is full ends with a commit where it can.
    fn frames(&mut self, task: &Task, sitting: &Sitting, header: &LogHeader, limit: u32, points: bool) -> Result<bool> {
        let mut walk = sitting.log.walk(header, self.emit.place);
        // Behind the last commit, and its pages.
        let mut boundary = (self.emit.place, self.emit.table.size());
        while let Some(frame) = walk.next(limit)? {
            if !self.emit.fits(frame.page) {
                let whole = boundary.0.frame > self.emit.place.frame && !self.emit.within_transaction;
                if whole && points {
                    self.emit.commit_some(task, boundary.0, boundary.1)?;
                } else {
                    self.emit.part(task)?;
                }
            }
            self.emit.page(frame.page, frame.bytes);
            let size = frame.commit;
            self.emit.within_transaction = size == 0;
            if size > 0 {
                self.emit.shrink(size);
                boundary = (walk.place(), size);
            }
        }
        if walk.place().frame < limit || self.emit.within_transaction {
            self.emit.abandon();
            return Ok(false);
        }
        self.emit.commit(task, boundary.0, boundary.1)?;
        Ok(true)
    }

    /// Reads the whole database and hands over what differs from what was handed over.
    fn difference(&mut self, task: &Task, sitting: &mut Sitting, reason: &str) -> Result<()> {
        if !sitting.mark.protects() {
            sitting.mark.begin(task, &self.database, &sitting.file)?;
        }
        self.emit.abandon();
        (self.emit.looked, self.emit.found) = (task.scope.clock.now(), None);
        let emit = std::cell::RefCell::new(&mut self.emit);
        let differs = || Continuity::Difference { reason: reason.to_owned() };
        let mut said = false;
        let whole = scan::Whole { main: &sitting.main, log: &sitting.log, path: &sitting.file.path };
        let (place, size) = whole.read(
            task,
            || sitting.mark.observe(task, &self.database, &sitting.file),
            |_| {
                emit.borrow_mut().abandon();
                Ok(())
            },
            |page, bytes| {
                let mut emit = emit.borrow_mut();
                let is_known = emit.table.get(page) == super::hashes::hash(page, bytes);
                if is_known {
                    return Ok(());
                }
                if !said {
                    emit.say(differs());
                    said = true;
                }
                if !emit.fits(page) {
                    emit.part(task)?;
                }
                emit.page(page, bytes);
                Ok(())
            },
        )?;
        if !said && size != self.emit.table.size() {
            self.emit.say(differs());
        }
        self.emit.commit(task, place, size)?;
        sitting.mark.read_up_to(self.emit.number);
        sitting.longest = 0;
        Ok(())
    }
}

/// Why nothing can be added to what was stored before.
const UNKNOWN: &str = "the state that was stored last is no longer known, and the log does not go on from it";
