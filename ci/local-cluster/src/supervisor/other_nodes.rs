//! The start of the nodes beyond the first.

use std::path::PathBuf;

use super::{
    Supervisor, files,
    start::{COMMAND, COMPONENT, NODE, ip_batch},
};
use crate::{
    artifacts::Artifacts,
    client::Admin,
    components::kubelet,
    error::Error,
    network::{self, Subnet},
    node::{place::Place, session::Session},
};

impl Supervisor {
    fn others(&self) -> impl Iterator<Item = Place> + use<> {
        Place::others(self.state.settings)
    }

    /// Makes the folders of the image stores of all nodes.
    pub(super) fn image_stores(&self) -> Result<Vec<PathBuf>, Error> {
        let name = self.state.settings.runtime().name;
        let places = [Place::FIRST].into_iter().chain(self.others());
        let stores: Vec<_> = places.map(|place| place.folder(&self.folder).data(name)).collect();
        for store in &stores {
            std::fs::create_dir_all(store).map_err(|source| Error::path("make", store, source))?;
        }
        Ok(stores)
    }

    /// Makes the worlds of the other nodes, and their links with the first one.
    pub(super) async fn set_up_others(
        &self,
        session: &mut Session,
        artifacts: &Artifacts,
    ) -> Result<(), Error> {
        let first = session.node(Place::FIRST)?.pid;
        for place in self.others() {
            let spec = files::node_spec(&self.folder, &self.state, artifacts, place);
            session.set_up_in(place, spec).await?;
            network::connect_nodes(place, first, session.node(place)?.pid)?;
            session.run_in(place, ip_batch(place, files::NETWORK), COMMAND).await?;
        }
        if self.others().next().is_some() {
            session.run(ip_batch(Place::FIRST, files::LINKS), COMMAND).await?;
        }
        Ok(())
    }

    /// Starts their runtimes, whose image stores are there.
    pub(super) fn start_runtimes_of_others(&self, session: &mut Session) -> Result<(), Error> {
        self.others().try_for_each(|place| {
            let mut program = self.state.settings.runtime().program();
            program.name = place.component(&program.name);
            session.start_in(place, program)
        })
    }

    /// Starts their kubelets, once their runtimes are ready.
    pub(super) async fn start_kubelets_of_others(
        &self,
        session: &mut Session,
        subnet: Subnet,
    ) -> Result<(), Error> {
        let settings = self.state.settings;
        for place in self.others() {
            let runtime = place.component(settings.runtime().name);
            session.until_ready(&runtime, COMPONENT).await?;
            session.start_in(place, kubelet::program(place, subnet, settings.real))?;
        }
        Ok(())
    }

    /// Waits until they take pods.
    pub(super) async fn await_others(
        &self,
        session: &mut Session,
        admin: &Admin,
    ) -> Result<(), Error> {
        for place in self.others() {
            let name = place.name();
            let ready = Box::pin(admin.node_ready(&name));
            session.during(&format!("{name} not ready"), NODE, ready).await?;
        }
        Ok(())
    }
}
