//! Cron expressions: `30 2 * * mon-fri`, as crontab(5) has them.
//!
//! Five fields: minute, hour, day of the month, month, weekday. A field is `*`, a number, a name (`jan`, `mon`), a
//! range, a list of these, and `*` or a range with a step (`*/15`, `8-18/2`). Sunday is 0 and 7. Six fields begin
//! with the second. `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly`, `@yearly` (`@annually`) stand for
//! five fields.
//!
//! When both the day of the month and the weekday are restricted, which means that neither begins with `*`, either
//! of them is enough: `0 0 1 * mon` is the first of the month and every Monday.
//!
//! What the clocks do when they change is in [`next`](Cron::next_after).

mod next;
mod parse;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::error::Error;

/// A cron expression. Prints as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// `None` for five fields: the second is 0, and nobody spoke of it.
    seconds: Option<Field>,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The values that a field takes, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it was written with a `*` at its beginning: crontab(5) calls that unrestricted, also in `*/2`.
    star: bool,
}

impl Field {
    const ZERO: Self = Self { bits: 1, star: false };

    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| value < 64 && self.bits >> value & 1 == 1)
    }

    /// The smallest value that is at least `from`.
    fn at_least(self, from: i8) -> Option<i8> {
        let from = u32::try_from(from).ok().filter(|from| *from < 64)?;
        let rest = self.bits >> from << from;
        (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).unwrap_or(i8::MAX))
    }

    /// The smallest value. No field is empty.
    fn first(self) -> i8 {
        self.at_least(0).unwrap_or(0)
    }

    /// The values in order.
    fn values(self) -> impl Iterator<Item = i8> {
        (0..64).filter(move |value| self.has(*value))
    }
}

impl Cron {
    fn second(&self) -> Field {
        self.seconds.unwrap_or(Field::ZERO)
    }

    /// Whether every hour of the day is meant: then the schedule follows the time that passes, and not the hands of
    /// the clock.
    fn every_hour(&self) -> bool {
        self.hours.values().count() == 24
    }

    fn has_date(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let either = !self.days.star && !self.weekdays.star;
        self.months.has(date.month()) && if either { day || weekday } else { day && weekday }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cron {
    type Err = Error;

    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) that names the field and what it takes, with what was
    /// probably meant; so for a date that never comes, such as February 30.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse::parse(text)
    }
}
