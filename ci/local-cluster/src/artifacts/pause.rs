//! The program of the pause image, which holds a pod's namespaces open.

use std::process::Command;

use super::store::{Build, Recipe};
use crate::{command, error::Error};

const SOURCE: &str = include_str!("../../recipes/pause/pause.c");

/// The file name of the program in the artifact and in the image.
pub const PROGRAM: &str = "pause";

/// The recipe.
pub fn recipe() -> Recipe {
    Recipe::new("pause", "the pause program", "a second", &[SOURCE])
}

/// Builds the program.
pub fn build(build: &Build) -> Result<(), Error> {
    let source = build.scratch_file("pause.c", SOURCE)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-Os", "-static", "-s", "-o"]).arg(build.output.join(PROGRAM)).arg(source);
    command::logged(&mut compiler, &build.log)
}
