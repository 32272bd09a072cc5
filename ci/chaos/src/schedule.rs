//! Which request of which run is struck next. Pure.

use crate::fault::{Fault, Strike};

/// What to try next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The index of the subject.
    pub(crate) subject: usize,
    pub(crate) strike: Strike,
}

/// Gives out strikes and learns what came of them.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// Every request of every subject once with every fault.
    Every(Vec<Pair>),
    /// Requests drawn at random until so many were struck.
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
    /// The requests of each subject.
    requests: Vec<u64>,
    faults: Vec<Fault>,
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

    /// So many requests at random; the more a subject makes, the more often it is drawn.
    pub(crate) fn random(requests: &[u64], faults: &[Fault], wanted: u64, seed: u64) -> Self {
        Self::Random(Random {
            requests: requests.to_vec(),
            faults: faults.to_vec(),
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

    /// Learns whether the request was made.
    pub(crate) fn learn(&mut self, next: Next, is_struck: bool) {
        match self {
            Self::Every(pairs) => {
                let is_meant = |pair: &&mut Pair| {
                    pair.subject == next.subject && pair.fault == next.strike.fault
                };
                if let Some(pair) = pairs.iter_mut().find(is_meant).filter(|_| is_struck) {
                    pair.known = pair.known.max(next.strike.at);
                }
            }
            Self::Random(random) => {
                random.under_way -= 1;
                random.struck += u64::from(is_struck);
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
        Some(Next { subject: self.subject, strike })
    }
}

impl Random {
    fn next(&mut self) -> Option<Next> {
        let all: u64 = self.requests.iter().sum();
        let is_done = self.struck + self.under_way >= self.wanted;
        if is_done || self.draws_left == 0 || all == 0 || self.faults.is_empty() {
            return None;
        }
        self.draws_left -= 1;
        self.under_way += 1;
        let mut at = self.draw() % all;
        let mut subject = 0;
        while at >= self.requests[subject] {
            at -= self.requests[subject];
            subject += 1;
        }
        let faults = u64::try_from(self.faults.len()).unwrap_or(u64::MAX);
        let fault = usize::try_from(self.draw() % faults).unwrap_or_default();
        Some(Next { subject, strike: Strike { fault: self.faults[fault], at: at + 1 } })
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
        let mut schedule = Schedule::random(&[3, 0, 7], &[Fault::Cut], 100, 1);
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
    fn drawing_ends_even_if_nothing_is_ever_struck() {
        let mut schedule = Schedule::random(&[1], &[Fault::Cut], 1, 1);
        let mut draws = 0;
        while let Some(next) = schedule.next() {
            draws += 1;
            schedule.learn(next, false);
        }
        assert_eq!(draws, 102);
    }
}
