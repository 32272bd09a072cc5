//! Which request of which run gets the next fault. Pure.

use crate::fault::{Fault, FaultKind};

/// The next trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The index of the target.
    pub(crate) target: usize,
    pub(crate) fault: Fault,
    /// How often this was tried, this time included.
    pub(crate) round: u64,
}

impl Next {
    /// A name that no other trial of the target has.
    pub(crate) fn name(&self) -> String {
        let Self { fault: Fault { kind, at }, round, .. } = self;
        match round {
            1 => format!("{kind}-{at}"),
            _ => format!("{kind}-{at}-again-{round}"),
        }
    }
}

/// Hands out faults and learns their results.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// Every request of every target once with every fault.
    Every(Vec<Pair>),
    /// Requests in random order until enough faults had their effect. Each request gets every fault
    /// once before one repeats.
    Random(Random),
}

/// A target and a kind of fault.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    target: usize,
    kind: FaultKind,
    /// The next request.
    next: u64,
    /// The last request that a run is known to make. Runs differ by a few requests, because they
    /// watch events only while a pod is slow, so one short run is not the end.
    known: u64,
}

/// Draws at random.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    /// The faults of every round.
    all: Vec<(usize, Fault)>,
    /// The remaining faults of this round.
    rest: Vec<(usize, Fault)>,
    round: u64,
    wanted: u64,
    struck: u64,
    under_way: u64,
    draws_left: u64,
    generator: Generator,
}

/// Random numbers, the same for a seed: `SplitMix64` (Steele, Lea, Flood 2014), good enough to draw
/// with.
#[derive(Clone, Debug)]
pub(crate) struct Generator(pub(crate) u64);

impl Generator {
    /// A number less than this one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// The index of one of so many things.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        usize::try_from(self.below(count)).unwrap_or_default()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Schedule {
    /// Every request of the targets with every fault; `counts` are the numbers of their requests, and
    /// of those among them that are for commands.
    pub(crate) fn every(counts: &[(u64, u64)], faults: &[FaultKind]) -> Self {
        let targets = counts.iter().enumerate();
        let pairs = targets.flat_map(|(target, (requests, commands))| {
            let pair = |kind: &FaultKind| {
                let known = if kind.is_of_commands() { *commands } else { *requests };
                Pair { target, kind: *kind, next: 1, known }
            };
            faults.iter().map(pair).collect::<Vec<_>>()
        });
        Self::Every(pairs.collect())
    }

    /// `wanted` requests in random order. `targets` has each target's number of requests, and
    /// whether it is costly: then each of its requests comes once, with one of the faults in turn.
    pub(crate) fn random(
        targets: &[(u64, bool)],
        faults: &[FaultKind],
        wanted: u64,
        seed: u64,
    ) -> Self {
        let (mut all, mut costly) = (Vec::new(), Vec::new());
        for (target, (requests, is_costly)) in targets.iter().enumerate() {
            for at in 1..=*requests {
                let faults = faults.iter().map(|kind| (target, Fault { kind: *kind, at }));
                if *is_costly {
                    let turn = usize::try_from(at).unwrap_or_default() % faults.len().max(1);
                    costly.extend(faults.skip(turn).take(1));
                } else {
                    all.extend(faults);
                }
            }
        }
        Self::Random(Random {
            rest: [&all[..], &costly].concat(),
            all,
            round: 1,
            wanted,
            struck: 0,
            under_way: 0,
            // A run with fewer requests than usual may end before the chosen one.
            draws_left: wanted.saturating_mul(2).saturating_add(100),
            generator: Generator(seed),
        })
    }

    /// The next fault. `None` if all known requests are active; those may reveal more.
    pub(crate) fn next(&mut self) -> Option<Next> {
        match self {
            Self::Every(pairs) => pairs.iter_mut().find_map(Pair::next),
            Self::Random(random) => random.next(),
        }
    }

    /// Learns whether the fault had its effect.
    pub(crate) fn learn(&mut self, next: Next, is_hit: bool) {
        match self {
            Self::Every(pairs) => {
                let matches =
                    |pair: &&mut Pair| pair.target == next.target && pair.kind == next.fault.kind;
                if let Some(pair) = pairs.iter_mut().find(matches).filter(|_| is_hit) {
                    pair.known = pair.known.max(next.fault.at);
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
        // One more than known: if a run makes it, there may be yet another.
        if self.next > self.known + 1 {
            return None;
        }
        let fault = Fault { kind: self.kind, at: self.next };
        self.next += 1;
        Some(Next { target: self.target, fault, round: 1 })
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
        let (target, fault) = self.rest.swap_remove(self.generator.index(self.rest.len()));
        Some(Next { target, fault, round: self.round })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn run(schedule: &mut Schedule, requests: u64) -> Vec<(FaultKind, u64)> {
        let mut struck = Vec::new();
        while let Some(next) = schedule.next() {
            let is_struck = next.fault.at <= requests;
            if is_struck {
                struck.push((next.fault.kind, next.fault.at));
            }
            schedule.learn(next, is_struck);
        }
        struck
    }

    #[test]
    fn every_request_is_struck_once_with_every_fault() {
        let mut schedule = Schedule::every(&[(3, 0)], &[FaultKind::Cut, FaultKind::Drop]);
        let struck = run(&mut schedule, 3);
        let each = |kind| (1..=3).map(move |at| (kind, at));
        assert!(struck.into_iter().eq(each(FaultKind::Cut).chain(each(FaultKind::Drop))));
    }

    #[test]
    fn a_run_that_makes_more_requests_than_thought_is_followed_to_its_end() {
        let mut schedule = Schedule::every(&[(2, 0)], &[FaultKind::Cut]);
        assert_eq!(run(&mut schedule, 5).len(), 5);
        let mut schedule = Schedule::every(&[(5, 0)], &[FaultKind::Cut]);
        assert_eq!(run(&mut schedule, 2).len(), 2);
        let mut schedule = Schedule::every(&[(90, 2)], &[FaultKind::FalseSuccess]);
        assert_eq!(run(&mut schedule, 3).len(), 3, "commands alone");
    }

    #[test]
    fn no_more_is_drawn_than_wanted_and_nothing_out_of_range() {
        let mut schedule =
            Schedule::random(&[(3, false), (0, false), (7, false)], &[FaultKind::Cut], 100, 1);
        let mut remaining = Vec::new();
        while let Some(next) = schedule.next() {
            remaining.push(next);
        }
        assert_eq!(remaining.len(), 100, "all that is wanted may be under way at once");
        for next in &remaining {
            let most = [3, 0, 7][next.target];
            assert!((1..=most).contains(&next.fault.at), "{next:?}");
        }
        for (index, next) in remaining.into_iter().enumerate() {
            schedule.learn(next, index != 0);
        }
        assert!(schedule.next().is_some(), "one was not struck");
    }

    #[test]
    fn each_request_is_drawn_once_with_every_fault_before_one_is_drawn_again() {
        let mut schedule =
            Schedule::random(&[(3, false), (1, false)], &[FaultKind::Cut, FaultKind::Drop], 12, 1);
        let remaining: Vec<_> = std::iter::from_fn(|| schedule.next()).collect();
        let reports = |next: &Next| (next.target, next.name());
        let first: BTreeSet<_> = remaining[..8].iter().map(reports).collect();
        assert_eq!(first.len(), 8, "{first:?}");
        assert!(remaining[..8].iter().all(|next| next.round == 1));
        assert!(remaining[8..].iter().all(|next| next.round == 2));
    }

    #[test]
    fn each_request_of_a_dear_run_comes_once_with_the_faults_in_turn() {
        let faults = [FaultKind::Cut, FaultKind::Drop];
        let mut schedule = Schedule::random(&[(4, true), (1, false)], &faults, 20, 1);
        let remaining: Vec<_> = std::iter::from_fn(|| schedule.next()).collect();
        let costly = remaining.iter().filter(|next| next.target == 0);
        let costly: BTreeSet<_> = costly.map(|next| (next.fault.at, next.fault.kind)).collect();
        let expected =
            [(1, FaultKind::Drop), (2, FaultKind::Cut), (3, FaultKind::Drop), (4, FaultKind::Cut)];
        assert!(costly.into_iter().eq(expected));
        assert_eq!(remaining.iter().filter(|next| next.target == 1).count(), 16);
    }

    #[test]
    fn no_two_trials_share_a_name() {
        let mut schedule = Schedule::random(&[(2, false)], &[FaultKind::Cut], 50, 1);
        let names: Vec<_> =
            std::iter::from_fn(|| schedule.next()).map(|next| next.name()).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "each has files of its own: {names:?}");
    }

    #[test]
    fn drawing_ends_even_if_nothing_is_ever_struck() {
        let mut schedule = Schedule::random(&[(1, false)], &[FaultKind::Cut], 1, 1);
        let mut draws = 0;
        while let Some(next) = schedule.next() {
            draws += 1;
            schedule.learn(next, false);
        }
        assert_eq!(draws, 102);
    }
}
