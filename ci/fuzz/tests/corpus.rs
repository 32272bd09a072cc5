//! The fuzz targets on stable: each reads its corpus, and each input of it damaged in many ways.
//!
//! The damage is the same each time, so what fails here can be tried again. An input on which a
//! target failed belongs into `fuzz/corpus/TARGET`, whoever found it.

#![expect(clippy::expect_used, reason = "a test that can't go on has failed")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use fastrand::Rng;
use fuzz::{TARGETS, Target};

/// How many damaged inputs a target reads, shared by its seeds.
const ROUNDS: usize = 2000;

/// A kubeconfig becomes a client with TLS, which takes a millisecond.
const SLOW_ROUNDS: usize = 300;

/// The longest damaged input, in bytes.
const LIMIT: usize = 64 * 1024;

fn fuzz_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The inputs of a target, with their names. The probe's own tests have more of them.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let probe = fuzz_directory().join("../fixtures/probe/tests/corpus");
    let more: &[&str] = match target {
        "probe_documents" => &[
            "attempt",
            "facts",
            "file_capabilities",
            "fresh_proc",
            "id_map",
            "mountinfo",
            "passwd",
            "status",
            "subordinate_ranges",
        ],
        "probe_messages" => &["dns", "http"],
        _ => &[],
    };
    let own = fuzz_directory().join("corpus").join(target);
    let mut paths: Vec<PathBuf> = more
        .iter()
        .map(|parser| probe.join(parser))
        .chain([own])
        .flat_map(|directory| fs::read_dir(directory).expect("a corpus"))
        .map(|entry| entry.expect("a seed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a seed")))
        .collect()
}

/// Damages an input at one to four places.
fn mutate(rng: &mut Rng, seed: &[u8], others: &[(String, Vec<u8>)]) -> Vec<u8> {
    const BYTES: &[u8] = b"\0\n\r\t \"'#%-./09:;=@[\\]{}\x1b\x7f\x80\xff";
    let mut input = seed.to_vec();
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(0..=input.len());
        let to = (at + rng.usize(0..=16)).min(input.len());
        match rng.u8(0..8) {
            0 if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
            1 if at < input.len() => input[at] = BYTES[rng.usize(..BYTES.len())],
            2 => input.insert(at, BYTES[rng.usize(..BYTES.len())]),
            3 => drop(input.drain(at..to)),
            4 => input.truncate(at),
            // A part of it again, once or often.
            5 => {
                let part = input[at..to].repeat(rng.usize(1..=64));
                input.splice(at..at, part);
            }
            // A number at a limit.
            6 => {
                let number = [0, 1, 255, 65_536, u64::from(u32::MAX), u64::MAX][rng.usize(0..6)];
                input.splice(at..to, number.to_string().into_bytes());
            }
            // A part of another seed.
            _ => {
                let (_, other) = &others[rng.usize(..others.len())];
                let from = rng.usize(0..=other.len());
                let part = &other[from..(from + rng.usize(0..=64)).min(other.len())];
                input.splice(at..to, part.iter().copied());
            }
        }
    }
    input.truncate(LIMIT);
    input
}

/// Has a target read an input. An error is the input on which it fails.
fn read(target: Target, seed: &str, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| target(input)))
        .map_err(|_panic| format!("made of {seed}:\n{}", input.escape_ascii()))
}

/// Has a target read its seeds and damaged copies of them, up to the first on which it fails.
fn read_all(name: &str, target: Target) -> Result<(), String> {
    let seeds = seeds(name);
    let rounds = if name == "kubeconfig" { SLOW_ROUNDS } else { ROUNDS };
    for (index, (path, seed)) in seeds.iter().enumerate() {
        read(target, path, seed)?;
        let mut rng = Rng::with_seed(index as u64);
        for _ in 0..rounds / seeds.len() {
            read(target, path, &mutate(&mut rng, seed, &seeds))?;
        }
    }
    Ok(())
}

/// One test, since secrets that one target learns would change what another one redacts.
#[test]
fn the_targets_hold_on_damaged_inputs() {
    let failures: Vec<_> = TARGETS
        .into_iter()
        .filter_map(|(name, target)| Some((name, read_all(name, target).err()?)))
        .map(|(name, input)| format!("{name} fails on this input, {input}"))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Otherwise the targets would see errors only.
#[test]
fn the_seeds_of_the_event_log_are_events() {
    for (path, seed) in seeds("event_log") {
        let text = String::from_utf8(seed).expect("a text");
        let events = harness::verdict::event::read_log(&text).expect("a log");
        assert_eq!(events.len(), text.lines().count(), "{path}");
    }
}

#[test]
fn every_target_is_one_of_cargo_fuzz() {
    let manifest = fs::read_to_string(fuzz_directory().join("Cargo.toml")).expect("a manifest");
    for (name, _) in TARGETS {
        let declared = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&declared), "{name}");
        let path = fuzz_directory().join(format!("fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(path).expect("a target");
        assert!(source.contains(&format!("fuzz::{name}(data)")), "{source}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

#[test]
fn a_target_that_fails_is_noticed_with_its_input() {
    let input = read(|_| panic!("always"), "seed", b"a\x00b").expect_err("a failure");
    assert_eq!(input, "made of seed:\na\\x00b");
}
