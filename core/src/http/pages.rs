//! The last answers of `/health`, so that a flood of them costs one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::Response;

/// How long an answer is told again, unless a check answers anew before: the ages in it are late by no more than that.
const KEPT: Duration = Duration::from_millis(250);
/// How many different questions are remembered.
const MOST: usize = 16;

/// What was asked: the group, whether only of critical checks, and whether in the words of the draft.
pub(super) type Asked = (Option<String>, bool, bool);

/// Answers by question.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Vec<Page>>);

#[derive(Debug)]
struct Page {
    asked: Asked,
    generation: u64,
    until: Duration,
    response: Response,
}

impl Pages {
    /// The answer to the same question, while it counts.
    pub(super) fn find(&self, asked: &Asked, generation: u64, now: Duration) -> Option<Response> {
        let pages = self.lock();
        let page = pages.iter().find(|page| page.asked == *asked)?;
        (page.generation == generation && now < page.until).then(|| page.response.clone())
    }

    pub(super) fn keep(&self, asked: Asked, generation: u64, now: Duration, response: &Response) {
        let mut pages = self.lock();
        pages.retain(|page| page.asked != asked && page.generation == generation && now < page.until);
        if pages.len() < MOST {
            pages.push(Page { asked, generation, until: now + KEPT, response: response.clone() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_until_a_check_answers_or_time_has_passed() {
        let (pages, at) = (Pages::default(), Duration::from_secs(1));
        let asked = |group: &str| (Some(group.to_owned()), false, false);
        pages.keep(asked("a"), 1, at, &Response::empty(200));
        assert!(pages.find(&asked("a"), 1, at).is_some());
        assert!(pages.find(&asked("b"), 1, at).is_none());
        assert!(pages.find(&asked("a"), 2, at).is_none());
        assert!(pages.find(&asked("a"), 1, at + KEPT).is_none());
        for number in 0..100 {
            pages.keep(asked(&number.to_string()), 2, at, &Response::empty(200));
        }
        assert_eq!(pages.lock().len(), MOST);
    }
}
