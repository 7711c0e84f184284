use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;
use crate::clock::Timestamp;
use crate::testing::random::{self, Rng};

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|error: Error| panic!("{text}: {error} ({:?})", error.hint()))
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The next `count` times after `after`, as the clocks of the zone show them, with the offset.
fn times(text: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (cron(text), zone(zone_name));
    let mut at: Timestamp = after.parse().unwrap();
    let mut times = Vec::new();
    for _ in 0..count {
        at = cron.next_after(at, &zone).unwrap();
        times.push(at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    }
    times
}

#[test]
fn fields_are_read_as_crontab_has_them() {
    let values = |text: &str| -> Vec<Vec<i8>> {
        let cron = cron(text);
        [cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays].map(|field| field.values().collect()).to_vec()
    };
    let all = values("* * * * *");
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [60, 24, 31, 12, 7]);
    let some = values("*/20,5 8-18/5 1,15 JAN,dec-12 mon-Fri");
    assert_eq!(some, [vec![0, 5, 20, 40], vec![8, 13, 18], vec![1, 15], vec![1, 12], vec![1, 2, 3, 4, 5]]);
    for sundays in ["0", "7", "sun", "0,7"] {
        assert_eq!(values(&format!("0 0 * * {sundays}"))[4], [0], "{sundays}");
    }
    assert_eq!(values("0 0 * * 5-7")[4], [0, 5, 6]);
    assert_eq!(values("0 0 * * fri-sun")[4], [0, 5, 6]);
    assert_eq!(values("0 0 * * */2")[4], [0, 2, 4, 6]);
    assert_eq!(values("0 0 * * 0-7/7")[4], [0]);
    for (nickname, meant) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        assert_eq!(values(nickname), values(meant));
        assert_eq!(cron(nickname).to_string(), nickname);
    }
    assert_eq!(cron(" 0  2\t* * * ").to_string(), "0 2 * * *");
    assert_eq!(cron("*/15 0 2 * * *").seconds.unwrap().values().collect::<Vec<_>>(), [0, 15, 30, 45]);
}

#[test]
fn what_is_wrong_is_named_with_what_was_meant() {
    for (text, message, hint) in [
        ("", "0 fields, not 5", "0 2 * * *"),
        ("0 2 * *", "4 fields, not 5", "0 2 * * *"),
        ("0 2 * * * * *", "7 fields", "minute, hour"),
        ("daily", "1 field", "did you mean @daily?"),
        ("@dayly", "no schedule", "did you mean @daily?"),
        ("@reboot", "no schedule", "@daily"),
        ("@every 5m", "no schedule", "*/15"),
        ("@often", "no schedule", "@hourly"),
        ("60 2 * * *", "in the field minute, 60 is out of range", "0 to 59"),
        ("0 24 * * *", "in the field hour, 24 is out of range", "0 to 23"),
        ("0 0 0 * *", "in the field day of the month, 0 is out of range", "1 to 31"),
        ("0 0 * 13 *", "in the field month", "jan to dec"),
        ("0 0 * * 8", "in the field weekday", "sun to sat"),
        ("0 0 * * monday", "\"monday\" is no value", "did you mean mon?"),
        ("0 0 * sept *", "\"sept\" is no value", "did you mean sep?"),
        ("0 0 * * mno", "\"mno\" is no value", "did you mean mon?"),
        ("0 0 * * fri-mon", "the range fri-mon goes backwards", "write fri-6,0-mon"),
        ("0 22-2 * * *", "the range 22-2 goes backwards", "write 22-23,0-2"),
        ("5/15 * * * *", "the step in 5/15 needs a range", "write 5-59/15"),
        ("*/0 * * * *", "\"0\" is no step", "1 to 59"),
        ("*/60 * * * *", "\"60\" is no step", "1 to 59"),
        ("*/-1 * * * *", "\"-1\" is no step", "such as */2"),
        ("+1 * * * *", "\"+1\" is no value", "0 to 59"),
        ("1, * * * *", "a value is missing", "0 to 59"),
        ("-5 * * * *", "a value is missing", "0 to 59"),
        ("0 0 ? * *", "\"?\" is no value", "write * instead"),
        ("0 0 L * *", "\"L\" is no value", "unknown to crontab(5)"),
        ("0 0 * * mon#2", "\"mon#2\" is no value", "did you mean mon?"),
        ("0 0 15W * *", "\"15W\" is no value", "unknown to crontab(5)"),
        ("0 0 * * 1;reboot", "is no value", ""),
        ("0 0 30 2 *", "a date that never comes", "day of the month"),
        ("0 0 31 4,6,9,11 *", "a date that never comes", "day of the month"),
        ("999999999999999999999 * * * *", "out of range", "0 to 59"),
        ("\u{661} * * * *", "is no value", "0 to 59"),
    ] {
        let error = text.parse::<Cron>().unwrap_err();
        assert!(error.message().contains(message), "{text}: {}", error.message());
        assert!(error.hint().unwrap().contains(hint), "{text}: {:?}", error.hint());
    }
    assert!("1,".repeat(10_000).parse::<Cron>().is_err());
}

#[test]
fn either_the_day_or_the_weekday_is_enough_when_both_are_restricted() {
    assert_eq!(
        times("0 12 13 * fri", "UTC", "2026-03-10T00:00:00Z", 4),
        [
            "2026-03-13T12:00:00+00:00",
            "2026-03-20T12:00:00+00:00",
            "2026-03-27T12:00:00+00:00",
            "2026-04-03T12:00:00+00:00"
        ]
    );
    // What begins with a star is not restricted: both have to hold.
    assert_eq!(
        times("0 12 */2 * fri", "UTC", "2026-03-10T00:00:00Z", 2),
        ["2026-03-13T12:00:00+00:00", "2026-03-27T12:00:00+00:00"]
    );
}

#[test]
fn leap_days() {
    let (cron, utc) = (cron("0 0 29 2 *"), TimeZone::UTC);
    let next = |after: &str| cron.next_after(after.parse().unwrap(), &utc).unwrap().to_string();
    assert_eq!(next("2026-03-01T00:00:00Z"), "2028-02-29T00:00:00Z");
    // 2100 is no leap year.
    assert_eq!(next("2096-02-29T00:00:00Z"), "2104-02-29T00:00:00Z");
    assert_eq!(times("0 0 29 2 */7", "UTC", "2026-01-01T00:00:00Z", 1), ["2032-02-29T00:00:00+00:00"]);
    assert_eq!(
        times("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", 2),
        ["2026-03-31T00:00:00+00:00", "2026-05-31T00:00:00+00:00"]
    );
}

#[test]
fn a_time_in_the_gap_comes_once_right_after_it() {
    // 02:00 becomes 03:00.
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    // However many times lie in it.
    assert_eq!(
        times("*/15 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
    );
    // And once where another time comes there as well.
    assert_eq!(
        times("0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
    );
    // At midnight, by half an hour, and by a whole day.
    assert_eq!(times("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", 1), ["2018-11-04T01:00:00-02:00"]);
    assert_eq!(times("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", 1), ["2026-10-04T02:30:00+11:00"]);
    assert_eq!(times("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 1), ["2011-12-31T00:00:00+14:00"]);
}

#[test]
fn a_time_in_the_overlap_comes_once() {
    // 03:00 becomes 02:00.
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    // Also when it is asked for in the second pass.
    assert_eq!(times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1), ["2026-10-26T02:30:00+01:00"]);
}

#[test]
fn what_runs_every_hour_follows_the_time_that_passes() {
    assert_eq!(
        times("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-29T04:30:00+02:00"]
    );
    assert_eq!(
        times("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 3),
        ["2026-10-25T01:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    );
}

#[test]
fn seconds() {
    assert_eq!(
        times("*/30 59 1 * * *", "Europe/Berlin", "2026-03-29T00:59:00Z", 2),
        ["2026-03-29T01:59:30+01:00", "2026-03-30T01:59:00+02:00"]
    );
    assert_eq!(times("7 * * * * *", "UTC", "2026-03-29T00:59:07.5Z", 1), ["2026-03-29T01:00:07+00:00"]);
    assert_eq!(times("* * * * * *", "UTC", "2026-03-29T00:59:07.5Z", 1), ["2026-03-29T00:59:08+00:00"]);
}

#[test]
fn the_calendar_ends() {
    assert_eq!(cron("0 0 1 1 *").next_after(Timestamp::MAX, &TimeZone::UTC), None);
    assert_eq!(cron("* * * * *").next_after(Timestamp::MAX, &TimeZone::UTC), None);
}

#[test]
fn words() {
    for (text, words) in [
        ("0 2 * * *", "every day at 02:00"),
        ("@daily", "every day at 00:00"),
        ("@hourly", "every hour"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("30 * * * *", "every hour at minute 30"),
        ("0 */6 * * *", "every day at 00:00, 06:00, 12:00 and 18:00"),
        ("0 */2 * * *", "every 2 hours"),
        ("*/10 8-18 * * mon-fri", "every 10 minutes from 08:00 to 18:59 on Monday to Friday"),
        ("30 8 * * mon,thu", "on Monday and Thursday at 08:30"),
        ("0 5 1 * *", "on day 1 of the month at 05:00"),
        ("0 5 1 1,7 *", "on day 1 of the month in January and July at 05:00"),
        ("0 0 1 * mon", "on day 1 of the month and on Monday at 00:00"),
        (
            "0 0 */2 * fri",
            "on Friday if it is day 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29 and 31 of the month at 00:00",
        ),
        ("0 0 * jun *", "every day in June at 00:00"),
        ("*/5 * * * * *", "every 5 seconds"),
        ("0 30 2 * * *", "every day at 02:30"),
        ("0 0 1-31 * mon", "every day at 00:00"),
    ] {
        assert_eq!(cron(text).in_words(), words, "{text}");
    }
}

/// A field of an expression, and the values it stands for. It is `*` in all but one of `star` cases.
fn field(random: &mut Rng, min: u64, max: u64, star: u64) -> (String, Vec<i8>) {
    if random.u64(..star) != 0 {
        return ("*".to_owned(), (min..=max).map(|value| value as i8).collect());
    }
    match random.u8(..3) {
        0 => {
            let step = random.u64(1..=max);
            (format!("*/{step}"), (min..=max).step_by(step as usize).map(|value| value as i8).collect())
        }
        1 => {
            let first = random.u64(min..=max);
            let last = random.u64(first..=max);
            (format!("{first}-{last}"), (first..=last).map(|value| value as i8).collect())
        }
        _ => {
            let values: Vec<u64> = (0..random.u8(1..=3)).map(|_| random.u64(min..=max)).collect();
            let text = values.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            (text, values.into_iter().map(|value| value as i8).collect())
        }
    }
}

/// An expression with its meaning, which nothing of ours has read.
struct Meant {
    text: String,
    bits: [u64; 5],
    stars: [bool; 5],
}

/// A time that a clock shows, taken apart once for all expressions.
#[derive(Clone, Copy)]
struct Shown([i8; 5]);

impl Shown {
    fn new(at: DateTime) -> Self {
        Self([at.minute(), at.hour(), at.day(), at.month(), at.weekday().to_sunday_zero_offset()])
    }
}

impl Meant {
    fn draw(random: &mut Rng) -> Self {
        let drawn = [
            field(random, 0, 59, 1),
            field(random, 0, 23, 2),
            field(random, 1, 31, 4),
            field(random, 1, 12, 6),
            field(random, 0, 6, 4),
        ];
        let text = drawn.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" ");
        let stars = [0, 1, 2, 3, 4].map(|at: usize| drawn[at].0.starts_with('*'));
        Self { text, bits: drawn.map(|(_, values)| values.iter().fold(0, |bits, value| bits | 1 << value)), stars }
    }

    fn every_hour(&self) -> bool {
        self.bits[1] == (1 << 24) - 1
    }

    fn has(&self, Shown(parts): Shown) -> bool {
        let has = |at: usize| self.bits[at] >> parts[at] & 1 == 1;
        let date = if self.stars[2] || self.stars[4] { has(2) && has(4) } else { has(2) || has(4) };
        has(0) && has(1) && has(3) && date
    }
}

/// Looks at every minute of more than a year, as a daemon would that wakes every minute and sees what the clock shows.
#[test]
fn every_minute_of_years_in_many_zones_agrees() {
    let mut random = random::seeded("every_minute_of_years_in_many_zones_agrees");
    for (name, from) in [
        ("Europe/Berlin", "2025-12-31T23:00:00Z"),
        ("America/New_York", "2006-12-31T00:00:00Z"),
        ("Australia/Lord_Howe", "2023-06-01T00:00:00Z"),
        ("Pacific/Apia", "2011-06-01T00:00:00Z"),
        ("America/Sao_Paulo", "2017-06-01T00:00:00Z"),
        ("Asia/Kathmandu", "1985-10-01T00:00:00Z"),
        ("Africa/Casablanca", "2024-01-01T00:00:00Z"),
        ("Antarctica/Troll", "2024-01-01T00:00:00Z"),
    ] {
        let zone = zone(name);
        let start: Timestamp = from.parse().unwrap();
        let mut last = zone.to_datetime(start);
        let end = start + jiff::SignedDuration::from_hours(400 * 24);
        // What it shows each minute; and what it shows for the first time, all that it jumps over included.
        let (mut shown, mut first_shown) = (Vec::new(), Vec::new());
        let mut at = start;
        while at < end {
            at += jiff::SignedDuration::from_mins(1);
            let local = zone.to_datetime(at);
            shown.push((at, Shown::new(local)));
            while last < local {
                last = last.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
                first_shown.push((at, Shown::new(last)));
            }
        }
        for _ in 0..10 {
            let meant = Meant::draw(&mut random);
            // One that never comes is refused, and is none of this test's.
            let Ok(cron) = meant.text.parse::<Cron>() else { continue };
            let looked_at = if meant.every_hour() { &shown } else { &first_shown };
            let mut expected: Vec<Timestamp> =
                looked_at.iter().filter(|(_, local)| meant.has(*local)).map(|(at, _)| *at).collect();
            expected.dedup();
            let mut found = Vec::new();
            let mut at = start;
            while let Some(next) = cron.next_after(at, &zone).filter(|next| *next <= end) {
                found.push(next);
                at = next;
            }
            let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            assert_eq!(differs, None, "{} in {name}", meant.text);
            assert_eq!(found.len(), expected.len(), "{} in {name}", meant.text);
        }
    }
}
