//! What a scenario changes in a cluster, and how it is undone.

use harness::Result;
use kube::Client;

use crate::{inputs::RunInputs, object_patch::Patched, objects::Created};

/// The objects that a scenario created in the cluster, and those that it patched. Only
/// [`ClusterChanges::undo`] undoes it.
pub(crate) struct ClusterChanges {
    created: Created,
    patched: Vec<Patched>,
    client: Client,
}

impl ClusterChanges {
    /// No change yet.
    pub(crate) fn none(client: Client) -> Self {
        Self { created: Created::nothing(client.clone()), patched: Vec::new(), client }
    }

    /// Makes the changes. If that fails halfway, there is still something to undo.
    ///
    /// # Errors
    ///
    /// An object that can't be created or patched.
    pub(crate) async fn make(&mut self, inputs: &RunInputs) -> Result<()> {
        self.created.create(&inputs.objects).await?;
        for patch in &inputs.patches {
            patch.make(&self.client, &mut self.patched).await?;
        }
        Ok(())
    }

    /// Restores the cluster, as far as that is possible.
    ///
    /// # Errors
    ///
    /// The first error.
    pub(crate) async fn undo(self) -> Result<()> {
        let mut outcome = Ok(());
        for one in self.patched.into_iter().rev() {
            outcome = outcome.and(one.undo().await);
        }
        outcome.and(self.created.delete().await)
    }
}
