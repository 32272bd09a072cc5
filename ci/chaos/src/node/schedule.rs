//! Which fault comes next, and when. Pure, and the same for a seed.

use std::{collections::BTreeMap, time::Duration};

use super::fault::Kind;
use crate::{fault::Fault, schedule::Generator};

/// How many commands of one run lose their stream.
const STREAMS_A_RUN: usize = 3;

/// The size of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many faults there are at least.
    pub(crate) faults: u64,
    /// How long one takes at most, in seconds.
    pub(crate) longest: u32,
    /// How long the mean pause between two is, in seconds.
    pub(crate) pause: u32,
}

/// Hands out faults: each kind once, in random order, before one repeats.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: Limits,
    generator: Generator,
    timed: Deck,
    streams: Deck,
}

#[derive(Debug)]
struct Deck {
    kinds: Vec<Kind>,
    rest: Vec<Kind>,
    /// How many there will be in all, and never more.
    left: u64,
}

impl Deck {
    fn new(kinds: &[Kind], faults: u64) -> Self {
        let least = u64::try_from(kinds.len()).unwrap_or(u64::MAX);
        Self { kinds: kinds.to_vec(), rest: Vec::new(), left: faults.max(least) }
    }

    fn draw(&mut self, generator: &mut Generator) -> Option<Kind> {
        self.left = self.left.checked_sub(1)?;
        if self.rest.is_empty() {
            self.rest.clone_from(&self.kinds);
        }
        Some(self.rest.swap_remove(generator.index(self.rest.len())))
    }

    fn put_back(&mut self, kind: Kind) {
        self.left += 1;
        self.rest.push(kind);
    }
}

impl Schedule {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        // Every second run goes through the proxy and has some of them besides the others.
        let streams = limits.faults / 6;
        Self {
            limits,
            generator: Generator(seed),
            timed: Deck::new(&Kind::TIMED, limits.faults - streams),
            streams: Deck::new(&Kind::STREAMS, streams),
        }
    }

    /// Whether there were enough faults.
    pub(crate) fn is_done(&self) -> bool {
        self.timed.left == 0 && self.streams.left == 0
    }

    /// The next fault at a time, and how many seconds it takes: as many short ones as long ones, by
    /// orders of magnitude.
    pub(crate) fn next_timed(&mut self) -> Option<(Kind, u32)> {
        let kind = self.timed.draw(&mut self.generator)?;
        let exponent = Duration::from_millis(self.generator.below(1001)).as_secs_f64();
        let seconds = f64::from(self.limits.longest).powf(exponent).round();
        let seconds = Duration::from_secs_f64(seconds).as_secs();
        Some((kind, u32::try_from(seconds).unwrap_or(self.limits.longest)))
    }

    /// How long the run is left alone now.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let half = u64::from(self.limits.pause) * 500;
        Duration::from_millis(half + self.generator.below(2 * half + 1))
    }

    /// The faults of single commands of a run that starts so many.
    pub(crate) fn next_streams(&mut self, commands: u64) -> Vec<Fault> {
        let mut faults = BTreeMap::new();
        for _ in 0..STREAMS_A_RUN {
            let at = self.generator.below(commands) + 1;
            if faults.contains_key(&at) {
                continue;
            }
            if let Some(Kind::Stream(kind)) = self.streams.draw(&mut self.generator) {
                faults.insert(at, Fault { kind, at });
            }
        }
        faults.into_values().collect()
    }

    /// Takes back the fault of a command that was never started.
    pub(crate) fn put_back(&mut self, fault: Fault) {
        self.streams.put_back(Kind::Stream(fault.kind));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LIMITS: Limits = Limits { faults: 60, longest: 40, pause: 10 };

    fn timed(schedule: &mut Schedule) -> Vec<(Kind, u32)> {
        std::iter::from_fn(|| schedule.next_timed()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_seed_others() {
        let faults = |seed| timed(&mut Schedule::new(LIMITS, seed));

        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
    }

    #[test]
    fn each_kind_comes_once_before_one_repeats_also_in_a_small_schedule() {
        let mut schedule = Schedule::new(Limits { faults: 1, ..LIMITS }, 3);
        let drawn = timed(&mut schedule);
        let kinds: BTreeSet<_> = drawn.iter().map(|(kind, _)| *kind).collect();
        assert_eq!((drawn.len(), kinds.len()), (Kind::TIMED.len(), Kind::TIMED.len()));

        assert!(!schedule.is_done(), "no stream was ended yet");
        while !schedule.is_done() {
            schedule.next_streams(100);
        }
    }

    #[test]
    fn faults_and_pauses_stay_in_their_limits_and_reach_them() {
        let mut schedule = Schedule::new(Limits { faults: 1000, ..LIMITS }, 5);
        let seconds: BTreeSet<_> = timed(&mut schedule).iter().map(|(_, taken)| *taken).collect();
        assert_eq!((seconds.first(), seconds.last()), (Some(&1), Some(&40)));
        for _ in 0..100 {
            let pause = schedule.next_pause();
            assert!((5.0..=15.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
    }

    #[test]
    fn a_fault_that_never_came_comes_again() {
        let mut schedule = Schedule::new(LIMITS, 1);
        let faults = schedule.next_streams(4);
        assert!(faults.iter().all(|fault| (1..=4).contains(&fault.at)), "{faults:?}");
        for fault in faults {
            schedule.put_back(fault);
        }
        assert_eq!(schedule.streams.left, 10);
    }
}
