//! Files of the pods.

use harness::Result;

use crate::inputs::{Fault, RunInputs};

/// Adds a file to every pod, or replaces it: its path and its content.
#[derive(Debug)]
pub(crate) struct PutFile(pub(crate) &'static str, pub(crate) &'static str);

impl Fault for PutFile {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.put_file(self.0, self.1);
        Ok(())
    }
}
