//! Reading an expression, and saying what is wrong with one.

use jiff::civil::date;

use super::{Cron, Field};
use crate::error::{Error, Result};

/// What a field may hold.
struct Shape {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const SECOND: Shape = Shape { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Shape = Shape { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Shape = Shape { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Shape = Shape { name: "day of the month", min: 1, max: 31, names: &[] };
const MONTH: Shape = Shape { name: "month", min: 1, max: 12, names: &MONTHS };
const WEEKDAY: Shape = Shape { name: "weekday", min: 0, max: 7, names: &WEEKDAYS };

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Longer text is no expression that a person wrote.
const MAX_LEN: usize = 1000;

pub(super) fn parse(text: &str) -> Result<Cron> {
    let text = text.trim();
    if text.len() > MAX_LEN {
        return Err(Error::invalid("the cron expression is longer than 1000 characters")
            .with_hint("write ranges and steps, such as 8-18/2"));
    }
    let plain = if text.starts_with('@') { nickname(text)? } else { text };
    let words: Vec<&str> = plain.split_whitespace().collect();
    let (seconds, five) = match *words.as_slice() {
        [minute, hour, day, month, weekday] => (None, [minute, hour, day, month, weekday]),
        [second, minute, hour, day, month, weekday] => (Some(second), [minute, hour, day, month, weekday]),
        _ => return Err(wrong_count(text, words.len())),
    };
    let read = |shape: &Shape, word: &str| shape.read(word).map_err(|error| error.while_doing(format!("{text:?}")));
    let mut weekdays = read(&WEEKDAY, five[4])?;
    // 7 is Sunday as well.
    weekdays.bits = (weekdays.bits | weekdays.bits >> 7) & 0x7f;
    let cron = Cron {
        text: words_of(text),
        seconds: seconds.map(|word| read(&SECOND, word)).transpose()?,
        minutes: read(&MINUTE, five[0])?,
        hours: read(&HOUR, five[1])?,
        days: read(&DAY, five[2])?,
        months: read(&MONTH, five[3])?,
        weekdays,
    };
    // The calendar repeats after 400 years.
    if cron.next_date(date(2000, 1, 1)).is_none() {
        return Err(Error::invalid(format!("{text:?} names a date that never comes"))
            .with_hint("correct the day of the month, which that month does not have"));
    }
    Ok(cron)
}

/// With single spaces.
fn words_of(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn nickname(text: &str) -> Result<&'static str> {
    let lower = text.to_ascii_lowercase();
    if let Some((_, meant)) = NICKNAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(meant);
    }
    let hint = match lower.split_whitespace().next().unwrap_or_default() {
        "@reboot" => "a job that was missed runs once after a start by itself; name a time, such as @daily".to_owned(),
        "@every" => "write minutes or hours, such as */15 * * * * for every 15 minutes".to_owned(),
        word => match near(word, NICKNAMES.iter().map(|(name, _)| *name)) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "use @hourly, @daily, @weekly, @monthly, @yearly or five fields".to_owned(),
        },
    };
    Err(Error::invalid(format!("{text:?} is no schedule")).with_hint(hint))
}

fn wrong_count(text: &str, count: usize) -> Error {
    let known = NICKNAMES.iter().map(|(name, _)| &name[1..]);
    let hint = match near(&text.to_ascii_lowercase(), known) {
        Some(name) if count == 1 => format!("did you mean @{name}?"),
        _ => "write minute, hour, day of the month, month and weekday, such as 0 2 * * * for every day at 02:00".into(),
    };
    let fields = if count == 1 { "1 field".to_owned() } else { format!("{count} fields") };
    Error::invalid(format!("{text:?} is no cron expression: it has {fields}, not 5")).with_hint(hint)
}

fn near<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::normalized_damerau_levenshtein(name, word), name))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

impl Shape {
    fn read(&self, word: &str) -> Result<Field> {
        let mut bits = 0;
        for part in word.split(',') {
            bits |= self.part(part)?;
        }
        Ok(Field { bits, star: word.starts_with('*') })
    }

    /// `*`, `5`, `1-5`, `*/2`, `1-10/3`.
    fn part(&self, part: &str) -> Result<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (part, None),
        };
        let (first, last) = if range == "*" {
            (self.min, self.top())
        } else if let Some((first, last)) = range.split_once('-') {
            let (low, high) = (self.value(first)?, self.value(last)?);
            // `fri-sun`
            let high = if self.max == 7 && high == 0 && low > 0 { 7 } else { high };
            if low > high {
                let parts = format!("write {first}-{},{}-{last}", self.top(), self.min);
                return Err(self.wrong(&format!("the range {range} goes backwards"), &parts));
            }
            (low, high)
        } else {
            let value = self.value(range)?;
            if step.is_some() {
                let meant = format!("write {range}-{}/{}", self.top(), step.unwrap_or(1));
                return Err(self.wrong(&format!("the step in {part} needs a range"), &meant));
            }
            (value, value)
        };
        Ok((first..=last).step_by(usize::from(step.unwrap_or(1))).fold(0, |bits, value| bits | 1 << value))
    }

    /// The largest value, with Sunday as 0.
    fn top(&self) -> u8 {
        if self.max == 7 { 6 } else { self.max }
    }

    fn step(&self, text: &str) -> Result<u8> {
        let step = text.parse::<u8>().ok().filter(|step| (1..=self.max).contains(step) && digits(text));
        step.ok_or_else(|| {
            self.wrong(&format!("{text:?} is no step"), &format!("write a step from 1 to {}, such as */2", self.max))
        })
    }

    fn value(&self, text: &str) -> Result<u8> {
        if digits(text) {
            let value = text.parse::<u8>().ok().filter(|value| (self.min..=self.max).contains(value));
            return value.ok_or_else(|| self.wrong(&format!("{text} is out of range"), &self.takes()));
        }
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.names.iter().position(|name| *name == lower) {
            return Ok(self.min + u8::try_from(at).unwrap_or(0));
        }
        // `monday`, `sept`: the first three letters name it.
        let meant = self.names.iter().find(|name| lower.starts_with(*name) && lower.len() > 3);
        let meant = meant.copied().or_else(|| near(&lower, self.names.iter().copied()));
        let hint = match (meant, text) {
            (Some(meant), _) => format!("did you mean {meant}?"),
            (None, "?") => "write * instead".to_owned(),
            (None, "*") => "write * or a list, not both".to_owned(),
            _ if lower.contains(['l', 'w', '#'])
                && lower.len() <= 4
                && lower.contains(|c: char| !c.is_alphabetic())
                || lower == "l" =>
            {
                format!("L, W and # of other schedulers are unknown to crontab(5); {}", self.takes())
            }
            _ => self.takes(),
        };
        let found = if text.is_empty() { "a value is missing".to_owned() } else { format!("{text:?} is no value") };
        Err(self.wrong(&found, &hint))
    }

    fn takes(&self) -> String {
        let names = match self.names {
            [] => String::new(),
            [first, .., last] => format!(", or {first} to {last}"),
            [only] => format!(", or {only}"),
        };
        format!("write * or {} to {}{names}", self.min, self.max)
    }

    fn wrong(&self, message: &str, hint: &str) -> Error {
        Error::invalid(format!("in the field {}, {message}", self.name)).with_hint(hint)
    }
}

/// `parse` would take a sign.
fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
