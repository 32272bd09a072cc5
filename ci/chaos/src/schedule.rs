//! Which request of which run is struck next. Pure.

use crate::fault::{Fault, Strike};

/// What to try next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The index of the subject.
    pub(crate) subject: usize,
    pub(crate) strike: Strike,
    /// How often this is tried, this time included.
    pub(crate) round: u64,
}

impl Next {
    /// A name that no other trial of a subject has.
    pub(crate) fn name(&self) -> String {
        let Self { strike: Strike { fault, at }, round, .. } = self;
        match round {
            1 => format!("{fault}-{at}"),
            _ => format!("{fault}-{at}-again-{round}"),
        }
    }
}

/// Gives out strikes and learns what came of them.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// Every request of every subject once with every fault.
    Every(Vec<Pair>),
    /// Requests in random order until so many were struck; each comes once with every fault before
    /// one comes again.
    Random(Random),
}

/// A subject and a fault.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    subject: usize,
    fault: Fault,
    /// The next request to strike.
    next: u64,
    /// The last request that is known to be made. Runs differ by a few requests, as they watch for
    /// events only where a pod takes its time, so one that ends early is not the end.
    known: u64,
}

/// Draws at random.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    /// What is struck in every round.
    all: Vec<(usize, Strike)>,
    /// What was not drawn in this round.
    rest: Vec<(usize, Strike)>,
    round: u64,
    wanted: u64,
    struck: u64,
    under_way: u64,
    draws_left: u64,
    state: u64,
}

impl Schedule {
    /// Every request of the subjects, which make so many, with every fault.
    pub(crate) fn every(requests: &[u64], faults: &[Fault]) -> Self {
        let subjects = requests.iter().enumerate();
        let pairs = subjects.flat_map(|(subject, known)| {
            let pair = |fault: &Fault| Pair { subject, fault: *fault, next: 1, known: *known };
            faults.iter().map(pair).collect::<Vec<_>>()
        });
        Self::Every(pairs.collect())
    }

    /// So many requests of the subjects in random order, which make so many, and of which some
    /// are dear: each of their requests comes once, with one of the faults in turn.
    pub(crate) fn random(
        subjects: &[(u64, bool)],
        faults: &[Fault],
        wanted: u64,
        seed: u64,
    ) -> Self {
        let (mut all, mut dear) = (Vec::new(), Vec::new());
        for (subject, (requests, is_dear)) in subjects.iter().enumerate() {
            for at in 1..=*requests {
                let strikes = faults.iter().map(|fault| (subject, Strike { fault: *fault, at }));
                if *is_dear {
                    let turn = usize::try_from(at).unwrap_or_default() % faults.len().max(1);
                    dear.extend(strikes.skip(turn).take(1));
                } else {
                    all.extend(strikes);
                }
            }
        }
        Self::Random(Random {
            rest: [&all[..], &dear].concat(),
            all,
            round: 1,
            wanted,
            struck: 0,
            under_way: 0,
            // A run that makes fewer requests than usual may end before the one that was drawn.
            draws_left: wanted.saturating_mul(2).saturating_add(100),
            state: seed,
        })
    }

    /// The next strike. None where everything that is known to be there is under way: what is
    /// under way may bring up more.
    pub(crate) fn next(&mut self) -> Option<Next> {
        match self {
            Self::Every(pairs) => pairs.iter_mut().find_map(Pair::next),
            Self::Random(random) => random.next(),
        }
    }

    /// Learns whether the request was made and the fault did what it is to do.
    pub(crate) fn learn(&mut self, next: Next, is_hit: bool) {
        match self {
            Self::Every(pairs) => {
                let is_meant = |pair: &&mut Pair| {
                    pair.subject == next.subject && pair.fault == next.strike.fault
                };
                if let Some(pair) = pairs.iter_mut().find(is_meant).filter(|_| is_hit) {
                    pair.known = pair.known.max(next.strike.at);
                }
            }
            Self::Random(random) => {
                random.under_way -= 1;
                random.struck += u64::from(is_hit);
            }
        }
    }

    /// About how many trials there are, for the progress.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Every(pairs) => pairs.iter().map(|pair| pair.known + 1).sum(),
            Self::Random(random) => random.wanted,
        }
    }
}

impl Pair {
    fn next(&mut self) -> Option<Next> {
        // One more than is known to be there: if a run makes it, there may be yet another.
        if self.next > self.known + 1 {
            return None;
        }
        let strike = Strike { fault: self.fault, at: self.next };
        self.next += 1;
        Some(Next { subject: self.subject, strike, round: 1 })
    }
}

impl Random {
    fn next(&mut self) -> Option<Next> {
        let is_done = self.struck + self.under_way >= self.wanted;
        if is_done || self.draws_left == 0 {
            return None;
        }
        if self.rest.is_empty() {
            self.rest.clone_from(&self.all);
            self.round += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        self.draws_left -= 1;
        self.under_way += 1;
        let count = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(self.draw() % count).unwrap_or_default();
        let (subject, strike) = self.rest.swap_remove(index);
        Some(Next { subject, strike, round: self.round })
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014): good enough to draw with, and the same for a seed.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn run(schedule: &mut Schedule, requests: u64) -> Vec<(Fault, u64)> {
        let mut struck = Vec::new();
        while let Some(next) = schedule.next() {
            let is_struck = next.strike.at <= requests;
            if is_struck {
                struck.push((next.strike.fault, next.strike.at));
            }
            schedule.learn(next, is_struck);
        }
        struck
    }

    #[test]
    fn every_request_is_struck_once_with_every_fault() {
        let mut schedule = Schedule::every(&[3], &[Fault::Cut, Fault::Drop]);
        let struck = run(&mut schedule, 3);
        let each = |fault| (1..=3).map(move |at| (fault, at));
        assert!(struck.into_iter().eq(each(Fault::Cut).chain(each(Fault::Drop))));
    }

    #[test]
    fn a_run_that_makes_more_requests_than_thought_is_followed_to_its_end() {
        let mut schedule = Schedule::every(&[2], &[Fault::Cut]);
        assert_eq!(run(&mut schedule, 5).len(), 5);
        let mut schedule = Schedule::every(&[5], &[Fault::Cut]);
        assert_eq!(run(&mut schedule, 2).len(), 2);
    }

    #[test]
    fn no_more_is_drawn_than_wanted_and_nothing_out_of_range() {
        let mut schedule =
            Schedule::random(&[(3, false), (0, false), (7, false)], &[Fault::Cut], 100, 1);
        let mut drawn = Vec::new();
        while let Some(next) = schedule.next() {
            drawn.push(next);
        }
        assert_eq!(drawn.len(), 100, "all that is wanted may be under way at once");
        for next in &drawn {
            let most = [3, 0, 7][next.subject];
            assert!((1..=most).contains(&next.strike.at), "{next:?}");
        }
        for (index, next) in drawn.into_iter().enumerate() {
            schedule.learn(next, index != 0);
        }
        assert!(schedule.next().is_some(), "one was not struck");
    }

    #[test]
    fn each_request_is_drawn_once_with_every_fault_before_one_is_drawn_again() {
        let mut schedule =
            Schedule::random(&[(3, false), (1, false)], &[Fault::Cut, Fault::Drop], 12, 1);
        let drawn: Vec<_> = std::iter::from_fn(|| schedule.next()).collect();
        let told = |next: &Next| (next.subject, next.name());
        let first: BTreeSet<_> = drawn[..8].iter().map(told).collect();
        assert_eq!(first.len(), 8, "{first:?}");
        assert!(drawn[..8].iter().all(|next| next.round == 1));
        assert!(drawn[8..].iter().all(|next| next.round == 2));
    }

    #[test]
    fn each_request_of_a_dear_run_comes_once_with_the_faults_in_turn() {
        let faults = [Fault::Cut, Fault::Drop];
        let mut schedule = Schedule::random(&[(4, true), (1, false)], &faults, 20, 1);
        let drawn: Vec<_> = std::iter::from_fn(|| schedule.next()).collect();
        let dear = drawn.iter().filter(|next| next.subject == 0);
        let dear: BTreeSet<_> = dear.map(|next| (next.strike.at, next.strike.fault)).collect();
        let expected = [(1, Fault::Drop), (2, Fault::Cut), (3, Fault::Drop), (4, Fault::Cut)];
        assert!(dear.into_iter().eq(expected));
        assert_eq!(drawn.iter().filter(|next| next.subject == 1).count(), 16);
    }

    #[test]
    fn no_two_trials_share_a_name() {
        let mut schedule = Schedule::random(&[(2, false)], &[Fault::Cut], 50, 1);
        let names: Vec<_> =
            std::iter::from_fn(|| schedule.next()).map(|next| next.name()).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "each has files of its own: {names:?}");
    }

    #[test]
    fn drawing_ends_even_if_nothing_is_ever_struck() {
        let mut schedule = Schedule::random(&[(1, false)], &[Fault::Cut], 1, 1);
        let mut draws = 0;
        while let Some(next) = schedule.next() {
            draws += 1;
            schedule.learn(next, false);
        }
        assert_eq!(draws, 102);
    }
}
