//! The rules: what each keeps, newest first.
//!
//! A rule with a bucket (day, week, …) keeps the newest snapshot of each, for the newest so many buckets that have
//! one, as `restic forget --keep-daily` and its like do (restic.readthedocs.io, "Removing snapshots according to a
//! policy"). Buckets without a snapshot are not counted, so nothing is lost because time passes.

use std::collections::BTreeSet;

use jiff::{Span, Zoned};

use super::plan::{Item, Rule};
use super::policy::Policy;

/// The name of the bucket that a moment is in.
type Bucket = fn(&Zoned) -> String;

/// One rule over the snapshots that it concerns.
struct Walk {
    rule: Rule,
    /// How many buckets it keeps one of.
    count: u32,
    /// What it is called in reasons: `daily`.
    word: String,
    /// `None` when every snapshot is a bucket of its own.
    bucket: Option<Bucket>,
}

/// Notes on each of `items`, which are sorted from the newest to the oldest, which rules keep it.
pub(super) fn apply(policy: &Policy, items: &mut [Item<'_>]) {
    let rules = policy.rules();
    let local: Vec<Zoned> = items.iter().map(|item| item.listed.time.to_zoned(policy.zone().clone())).collect();
    for (rule, count, word, bucket) in [
        (Rule::KeepLast, rules.keep_last, "last", None),
        (Rule::Hourly, rules.hourly, "hourly", Some(hour as Bucket)),
        (Rule::Daily, rules.daily, "daily", Some(day as Bucket)),
        (Rule::Weekly, rules.weekly, "weekly", Some(week as Bucket)),
        (Rule::Monthly, rules.monthly, "monthly", Some(month as Bucket)),
        (Rule::Yearly, rules.yearly, "yearly", Some(year as Bucket)),
    ] {
        Walk { rule, count, word: word.to_owned(), bucket }.over(items, &local, |_| true);
    }
    within(rules.within_days, items, &local);
    for item in items.iter_mut() {
        for tag in item.listed.tags.iter().filter(|tag| rules.tags.contains(tag)) {
            item.reasons.push(Rule::Tag.because(format!("it has the tag {tag:?}")));
        }
    }
    let labels: BTreeSet<&str> = items.iter().filter_map(|item| item.listed.label.as_deref()).collect();
    for label in labels {
        let (count, word) = (rules.per_label, format!("label {label:?}"));
        let walk = Walk { rule: Rule::PerLabel, count, word, bucket: None };
        walk.over(items, &local, |item| item.listed.label.as_deref() == Some(label));
    }
    let tags: BTreeSet<&String> = items.iter().flat_map(|item| &item.listed.tags).collect();
    for tag in tags {
        let (count, word) = (rules.per_tag, format!("tag {tag:?}"));
        let walk = Walk { rule: Rule::PerTag, count, word, bucket: None };
        walk.over(items, &local, |item| item.listed.tags.contains(tag));
    }
}

impl Walk {
    /// Keeps the newest item of each of the first `count` buckets that a complete item is in. A partial item stands
    /// in for a bucket without a complete one, as far back as the rule reaches, and takes no complete one's place.
    fn over(&self, items: &mut [Item<'_>], local: &[Zoned], concerns: impl Fn(&Item<'_>) -> bool) {
        let Self { rule, count, word, .. } = self;
        let counted = (0..items.len()).filter(|at| items[*at].counts && concerns(&items[*at]));
        let (complete, partial): (Vec<usize>, Vec<usize>) = counted.partition(|at| items[*at].is_complete());
        let bucket_of = |at: usize| self.bucket.map_or_else(|| at.to_string(), |bucket| bucket(&local[at]));
        let suffix = |name: &str| if self.bucket.is_some() { format!(", {name}") } else { String::new() };
        let mut with_complete = BTreeSet::new();
        let mut kept = 0;
        let mut reach = items.len();
        for at in complete {
            let name = bucket_of(at);
            if with_complete.insert(name.clone()) && kept < *count {
                kept += 1;
                items[at].reasons.push(rule.because(format!("{word} {kept} of {count}{}", suffix(&name))));
                if kept == *count {
                    reach = at;
                }
            }
        }
        let mut stood_in = 0;
        for at in partial {
            let name = bucket_of(at);
            if stood_in < *count && at < reach && with_complete.insert(name.clone()) {
                stood_in += 1;
                let text = format!("{word}{}: it is partial, and nothing complete is in its place", suffix(&name));
                items[at].reasons.push(rule.because(text));
            }
        }
    }
}

/// Keeps what is at most so many days older than the newest complete item, on the calendar of the zone.
fn within(days: u32, items: &mut [Item<'_>], local: &[Zoned]) {
    let newest = items.iter().position(|item| item.counts && item.is_complete());
    let (Some(newest), true) = (newest, days > 0) else { return };
    // More days than a calendar has: everything is within.
    let from = Span::new().try_days(days).and_then(|days| local[newest].checked_sub(days));
    let from = from.map(|from| from.timestamp()).ok();
    for item in items.iter_mut().filter(|item| from.is_none_or(|from| item.listed.time >= from)) {
        item.reasons.push(Rule::Within.because(format!("within {days} days of the newest")));
    }
}

/// Real hours: when the clocks go back, the hour that comes twice is two.
fn hour(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d %H:00 %:z").to_string()
}

fn day(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// Weeks of ISO 8601 begin on Monday, and belong to the year of their Thursday.
fn week(time: &Zoned) -> String {
    time.strftime("%G-W%V").to_string()
}

fn month(time: &Zoned) -> String {
    time.strftime("%Y-%m").to_string()
}

fn year(time: &Zoned) -> String {
    time.strftime("%Y").to_string()
}
