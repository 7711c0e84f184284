//! The search itself. Pure but for the probes that it asks for.
//!
//! It takes for granted that what once broke stayed broken: of the snapshots in order, the older ones hold and the newer
//! ones do not. That can be wrong, so at the end it asks the neighbours of what it found.

use std::collections::BTreeMap;

use crate::error::Result;

/// What a probe says about a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Fails,
    /// It could not be asked.
    Unreadable,
}

/// Where the search ended. Numbers count from the newest snapshot, which is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// The newest that holds.
    pub(super) good: Option<usize>,
    /// The oldest above it that does not.
    pub(super) bad: Option<usize>,
    /// One below it that does not: it contradicts what the search takes for granted.
    pub(super) contradicts: Option<usize>,
    /// Every verdict.
    pub(super) verdicts: BTreeMap<usize, Verdict>,
}

/// Asks the snapshots.
pub(super) trait Prober: Send {
    /// Asks one.
    fn probe(&mut self, at: usize) -> impl Future<Output = Result<Verdict>> + Send;
}

/// Searches `count` snapshots, newest first. Each is probed once at most.
pub(super) async fn search(count: usize, prober: &mut impl Prober) -> Result<Ended> {
    let mut known = Known { verdicts: BTreeMap::new() };
    let (mut good, mut bad) = (None, None);
    // The newest that can be asked: mostly all is well there, and nothing else needs to be.
    let newest = known.first(0..count, prober).await?;
    match newest {
        Some((at, Verdict::Holds)) => good = Some(at),
        Some((at, _)) => {
            bad = Some(at);
            // All newer than `newer` fail, `good` and all older hold, as far as they can be asked.
            let (mut newer, mut older) = (at + 1, count);
            while newer < older {
                // From the middle outwards: what cannot be asked is passed over.
                let middle = newer + (older - newer) / 2;
                let outwards = (middle..older).chain((newer..middle).rev());
                match known.first(outwards, prober).await? {
                    Some((at, Verdict::Holds)) => {
                        good = Some(at);
                        older = at;
                    }
                    Some((at, _)) => {
                        bad = Some(at);
                        newer = at + 1;
                    }
                    None => break,
                }
            }
        }
        None => {}
    }
    if let Some(good) = good {
        known.first(good + 1..count, prober).await?;
    }
    if let Some(bad) = bad {
        known.first((0..bad).rev(), prober).await?;
    }
    Ok(known.summed_up())
}

struct Known {
    verdicts: BTreeMap<usize, Verdict>,
}

impl Known {
    /// Where the search ended: of all that is known, which is as searched where nothing contradicts.
    fn summed_up(self) -> Ended {
        let of = |wanted| self.verdicts.iter().filter(move |(_, verdict)| **verdict == wanted).map(|(at, _)| *at);
        let good = of(Verdict::Holds).next();
        let bad = of(Verdict::Fails).take_while(|at| good.is_none_or(|good| *at < good)).last();
        let contradicts = good.and_then(|good| of(Verdict::Fails).find(|at| *at > good));
        Ended { good, bad, contradicts, verdicts: self.verdicts }
    }

    /// The first of `candidates` that can be asked, and what it says.
    async fn first(
        &mut self,
        candidates: impl Iterator<Item = usize> + Send,
        prober: &mut impl Prober,
    ) -> Result<Option<(usize, Verdict)>> {
        for at in candidates {
            let verdict = match self.verdicts.get(&at) {
                Some(verdict) => *verdict,
                None => prober.probe(at).await?,
            };
            self.verdicts.insert(at, verdict);
            if verdict != Verdict::Unreadable {
                return Ok(Some((at, verdict)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from a list, and counts.
    struct Listed<'a>(&'a [Verdict], usize);

    impl Prober for Listed<'_> {
        async fn probe(&mut self, at: usize) -> Result<Verdict> {
            self.1 += 1;
            Ok(self.0[at])
        }
    }

    async fn run(verdicts: &[Verdict]) -> (Ended, usize) {
        let mut listed = Listed(verdicts, 0);
        let ended = search(verdicts.len(), &mut listed).await.unwrap();
        assert_eq!(listed.1, ended.verdicts.len(), "one was probed twice");
        (ended, listed.1)
    }

    #[tokio::test]
    async fn it_finds_the_place_whatever_it_is_and_whatever_cannot_be_read() {
        // Every length, every place of the fault, and a pattern of what cannot be read for each.
        for count in 0..40_usize {
            for fault in 0..=count {
                for pattern in [0, 0x5555_5555_u64, 0x0f0f_0f0f, 0x1234_5678, 0x77, u64::MAX - 0x8421] {
                    let readable = |at: usize| pattern >> (at % 32) & 1 == 0;
                    let verdict = |at: usize| match (readable(at), at < fault) {
                        (false, _) => Verdict::Unreadable,
                        (true, true) => Verdict::Fails,
                        (true, false) => Verdict::Holds,
                    };
                    let verdicts: Vec<Verdict> = (0..count).map(verdict).collect();
                    let (ended, probes) = run(&verdicts).await;
                    let case = format!("{count} snapshots, fault at {fault}, pattern {pattern:x}: {ended:?}");
                    assert_eq!(ended.good, (fault..count).find(|at| readable(*at)), "{case}");
                    assert_eq!(ended.bad, (0..fault).rev().find(|at| readable(*at)), "{case}");
                    assert_eq!(ended.contradicts, None, "{case}");
                    let unreadable = ended.verdicts.values().filter(|v| **v == Verdict::Unreadable).count();
                    let log = count.next_power_of_two().trailing_zeros() as usize;
                    assert!(probes - unreadable <= 1 + log + 2, "{probes} probes: {case}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_neighbour_that_contradicts_is_told() {
        use Verdict::{Fails, Holds, Unreadable};
        // Newest first.
        let (ended, _) = run(&[Holds, Fails, Holds]).await;
        assert_eq!((ended.good, ended.contradicts), (Some(0), Some(1)));
        let (ended, _) = run(&[Fails, Fails, Holds, Fails, Holds, Holds]).await;
        assert!(ended.contradicts.is_some() || ended.good == Some(4), "{ended:?}");
        let (ended, _) = run(&[Fails, Holds, Unreadable, Fails]).await;
        assert_eq!((ended.good, ended.bad, ended.contradicts), (Some(1), Some(0), Some(3)));
    }
}
