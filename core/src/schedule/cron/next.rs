//! When a schedule comes next, also across changes of the clocks.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::AmbiguousOffset;

use super::Cron;
use crate::clock::{TimeZone, Timestamp};

/// The calendar repeats after so many years: what does not come within them never comes.
const CYCLE_YEARS: i16 = 400;

impl Cron {
    /// The first time after `after`, in `zone`. `None` only near the end of the calendar, in the year 9999.
    ///
    /// A schedule that names hours follows the hands of the clock, and each time that it names comes once:
    /// - what lies in a gap, where the clocks are put forward, comes at the first moment after it, and once however
    ///   many times of the schedule lie in the gap;
    /// - what lies in an overlap, where the clocks are put back, comes the first time that the clock shows it.
    ///
    /// A schedule of every hour (`*/15 * * * *`, `30 * * * *`) follows the time that passes: in an overlap it comes in
    /// both passes, and for a gap, where no time passes, nothing is made up.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.every_hour() { self.next_by_time(after, zone) } else { self.next_by_clock(after, zone) }
    }

    fn next_by_clock(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Moments grow with the times that the clock shows, so the first that is late enough is the one. In the
        // second pass of an overlap those of the first are passed by.
        let mut candidate = self.next_local(whole_second(zone.to_datetime(after)))?;
        loop {
            let moment = first_moment(candidate, zone)?;
            if moment > after {
                return Some(moment);
            }
            candidate = self.next_local(candidate.checked_add(1.second()).ok()?)?;
        }
    }

    fn next_by_time(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // From one change of the clocks to the next, local time is a fixed distance away.
        let mut from = after.checked_add(1.second()).ok()?;
        loop {
            let offset = zone.to_offset(from);
            let change = zone.following(from).next().map(|change| change.timestamp());
            let candidate = self.next_local(whole_second(offset.to_datetime(from)))?;
            let moment = offset.to_timestamp(candidate).ok()?;
            match change {
                Some(change) if moment >= change => from = change,
                _ => return Some(moment),
            }
        }
    }

    /// The first time at or after `from` that the expression names, as the clock shows it.
    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.has_date(today)
            && let Some(time) = self.next_time(from.time())
        {
            return Some(today.to_datetime(time));
        }
        let date = self.next_date(today.tomorrow().ok()?)?;
        Some(date.to_datetime(self.next_time(Time::midnight())?))
    }

    /// The first date at or after `from`.
    pub(super) fn next_date(&self, from: Date) -> Option<Date> {
        let last = from.year().saturating_add(CYCLE_YEARS);
        let mut date = from;
        while date.year() <= last {
            if !self.months.has(date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.has_date(date) {
                return Some(date);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    /// The first time of a day at or after `from`.
    fn next_time(&self, from: Time) -> Option<Time> {
        let seconds = self.second();
        let (mut hour, mut minute, mut second) = (from.hour(), from.minute(), from.second());
        // Each field that has no value left carries into the one before it.
        loop {
            let found = self.hours.at_least(hour)?;
            if found > hour {
                return Time::new(found, self.minutes.first(), seconds.first(), 0).ok();
            }
            match self.minutes.at_least(minute) {
                Some(found) if found > minute => return Time::new(hour, found, seconds.first(), 0).ok(),
                Some(_) => match seconds.at_least(second) {
                    Some(found) => return Time::new(hour, minute, found, 0).ok(),
                    None => (minute, second) = (minute + 1, 0),
                },
                None => (hour, minute, second) = (hour + 1, 0, 0),
            }
        }
    }
}

fn whole_second(time: DateTime) -> DateTime {
    let clock = time.time();
    // The parts come from a time, so they make one.
    let whole = Time::new(clock.hour(), clock.minute(), clock.second(), 0).unwrap_or(clock);
    time.date().to_datetime(whole)
}

/// The first moment at which the clock shows `local`, or has passed it.
fn first_moment(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // By the offset of after the gap, `local` is a moment shortly before it.
            let before = after.to_timestamp(local).ok()?;
            zone.following(before).next().map(|change| change.timestamp())
        }
    }
}
