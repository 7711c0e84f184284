//! An expression as a person would say it.

use super::{Cron, Field};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Longer lists are not spelt out.
const TOLD: usize = 6;

impl Cron {
    /// `every day at 02:00`, `every 15 minutes`, `on Monday and Thursday at 08:30`.
    pub fn in_words(&self) -> String {
        let (days, times) = (self.days_in_words(), self.times_in_words());
        match (days.as_deref(), times.starts_with("at ")) {
            (None, true) => format!("every day {times}"),
            (None, false) => times,
            (Some(days), true) => format!("{days} {times}"),
            (Some(days), false) => format!("{times} {days}"),
        }
    }

    /// `None` for every day.
    fn days_in_words(&self) -> Option<String> {
        let month = (self.months.values().count() < 12).then(|| listed(self.months, |month| name(&MONTHS, month - 1)));
        let day =
            (self.days.values().count() < 31).then(|| format!("day {}", listed(self.days, |day| day.to_string())));
        let weekday =
            (self.weekdays.values().count() < 7).then(|| listed(self.weekdays, |weekday| name(&WEEKDAYS, weekday)));
        let either = !self.days.star && !self.weekdays.star;
        let days = match (day, weekday) {
            // One of them is every day, and either of them is enough.
            (None, Some(_)) | (Some(_), None) if either => None,
            (None, None) => None,
            (Some(day), None) => Some(format!("on {day} of the month")),
            (None, Some(weekday)) => Some(format!("on {weekday}")),
            (Some(day), Some(weekday)) if either => Some(format!("on {day} of the month and on {weekday}")),
            (Some(day), Some(weekday)) => Some(format!("on {weekday} if it is {day} of the month")),
        };
        match (days, month) {
            (None, None) => None,
            (Some(days), None) => Some(days),
            (None, Some(month)) => Some(format!("every day in {month}")),
            (Some(days), Some(month)) => Some(format!("{days} in {month}")),
        }
    }

    fn times_in_words(&self) -> String {
        let second = self.seconds.filter(|seconds| *seconds != Field::ZERO);
        let count = |field: Field| field.values().count();
        let hours = (!self.every_hour()).then(|| match run(self.hours) {
            Some((first, last)) if last > first => format!("from {first:02}:00 to {last:02}:59"),
            _ => format!("in hour {}", listed(self.hours, |hour| hour.to_string())),
        });
        let during = |text: String| match &hours {
            Some(hours) => format!("{text} {hours}"),
            None => text,
        };
        if let Some(second) = second {
            let seconds = every(second, 60, "second")
                .unwrap_or_else(|| format!("at second {}", listed(second, |second| second.to_string())));
            let minutes = match every(self.minutes, 60, "minute") {
                Some(each) if each == "every minute" => None,
                Some(each) => Some(each),
                None => Some(format!("in minute {}", listed(self.minutes, |minute| minute.to_string()))),
            };
            return during(minutes.map_or(seconds.clone(), |minutes| format!("{seconds} {minutes}")));
        }
        if !self.every_hour() && count(self.hours) * count(self.minutes) <= TOLD {
            let times: Vec<String> = self
                .hours
                .values()
                .flat_map(|hour| self.minutes.values().map(move |minute| format!("{hour:02}:{minute:02}")))
                .collect();
            return format!("at {}", and(&times));
        }
        if let Some(each) = every(self.minutes, 60, "minute") {
            return during(each);
        }
        let minute = listed(self.minutes, |minute| minute.to_string());
        match (every(self.hours, 24, "hour"), count(self.minutes)) {
            (Some(each), 1) if self.minutes.first() == 0 => each,
            (Some(each), _) => format!("{each} at minute {minute}"),
            (None, _) => during(format!("at minute {minute}")),
        }
    }
}

/// `every 15 minutes` for the values 0, 15, 30 and 45.
fn every(field: Field, cycle: usize, unit: &str) -> Option<String> {
    let values: Vec<i8> = field.values().collect();
    let step = cycle / values.len();
    let even =
        step * values.len() == cycle && values.iter().enumerate().all(|(at, value)| *value as usize == at * step);
    even.then(|| if step == 1 { format!("every {unit}") } else { format!("every {step} {unit}s") })
        .filter(|_| values.len() > 1)
}

/// The ends of values without a gap.
fn run(field: Field) -> Option<(i8, i8)> {
    let (first, last) = (field.first(), field.values().last()?);
    (field.values().count() == usize::try_from(last - first).ok()? + 1).then_some((first, last))
}

fn listed(field: Field, show: impl Fn(i8) -> String) -> String {
    let count = field.values().count();
    match run(field) {
        Some((first, last)) if count > 2 => format!("{} to {}", show(first), show(last)),
        _ => and(&field.values().map(show).collect::<Vec<_>>()),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn name(names: &[&str], at: i8) -> String {
    usize::try_from(at).ok().and_then(|at| names.get(at)).map_or_else(|| at.to_string(), |name| (*name).to_owned())
}
