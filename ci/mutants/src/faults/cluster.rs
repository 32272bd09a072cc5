//! Faults of the cluster around a run.

use harness::Result;

use crate::{
    external_writer::ExternalWriter,
    inputs::{Fault, RunInputs},
    object_patch::ObjectPatch,
    policy::Policy,
};

/// Creates cluster-scoped objects, given as manifests.
#[derive(Debug)]
pub(crate) struct CreateObjects(pub(crate) &'static [&'static str]);

impl Fault for CreateObjects {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.objects.extend(self.0);
        Ok(())
    }
}

impl Fault for Policy {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.objects.extend(self.manifests());
        Ok(())
    }
}

impl Fault for ObjectPatch {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.patches.push(*self);
        Ok(())
    }
}

impl Fault for ExternalWriter {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.writer = Some(*self);
        Ok(())
    }
}
