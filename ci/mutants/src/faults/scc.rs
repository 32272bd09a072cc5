//! The SCC of the run.

use harness::{Result, sandbox::Scc};

use crate::inputs::{Fault, RunInputs};

/// Replaces the run's SCC with the one of a manifest.
#[derive(Debug)]
pub(crate) struct ReplaceScc(pub(crate) &'static str);

impl Fault for ReplaceScc {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.scc = Some(Scc::parse("a mutant's SCC", self.0)?);
        Ok(())
    }
}
