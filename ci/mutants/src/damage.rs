//! What a scenario does to a cluster, and how it is undone.

use harness::Result;
use kube::Client;

use crate::{alteration::Altered, objects::Created, stage::Props};

/// The objects of a scenario that are in the cluster, and those of the cluster that are altered.
/// Nothing undoes it but [`Damage::undo`].
pub(crate) struct Damage {
    created: Created,
    altered: Vec<Altered>,
    client: Client,
}

impl Damage {
    /// None yet.
    pub(crate) fn none(client: Client) -> Self {
        Self { created: Created::nothing(client.clone()), altered: Vec::new(), client }
    }

    /// Breaks the cluster. Where that breaks off, there is something to undo all the same.
    ///
    /// # Errors
    ///
    /// An object that can't be created or altered.
    pub(crate) async fn inflict(&mut self, props: &Props) -> Result<()> {
        self.created.create(&props.objects).await?;
        for change in &props.changes {
            change.make(&self.client, &mut self.altered).await?;
        }
        Ok(())
    }

    /// Makes the cluster as it was, as far as it can be.
    ///
    /// # Errors
    ///
    /// The first of what went wrong.
    pub(crate) async fn undo(self) -> Result<()> {
        let mut outcome = Ok(());
        for one in self.altered.into_iter().rev() {
            outcome = outcome.and(one.undo().await);
        }
        outcome.and(self.created.delete().await)
    }
}
