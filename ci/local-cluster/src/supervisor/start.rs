//! The start of a cluster, step by step.

use std::time::Duration;

use tokio::sync::watch;

use super::{
    Request, Supervisor, files, listen_to_the_host,
    report::{self, Report},
};
use crate::{
    artifacts::{Artifacts, bootstrap_cache},
    cgroup,
    client::{Admin, Server},
    components::{CONFIG, NODE_NAME, control_plane, device_plugin, kubelet, openshift},
    error::Error,
    network::{self, Claim, Subnet},
    node::{place::Place, protocol::Program, session::Session},
    openshift::Objects,
    operator::{Operator, double, real},
    settings::{Distribution, RealProgram, Settings, User},
    storage::{self, VOLUMES_DATA},
};

/// How long a component may take to say that it is ready. On an idle machine it is seconds; a busy
/// one may be ten times as slow.
pub(super) const COMPONENT: Duration = Duration::from_secs(60);

/// How long the node may take from the kubelet's start until it is ready.
pub(super) const NODE: Duration = Duration::from_secs(90);

/// How long the DevWorkspace Operator may take to be made and to answer.
const OPERATOR: Duration = Duration::from_secs(60);

/// How long a command in the node may take.
pub(super) const COMMAND: Duration = Duration::from_secs(20);

impl Supervisor {
    /// Acquires everything and starts every component.
    pub(super) async fn start(&mut self, request: &Request) -> Result<Session, Error> {
        // The session first: from here on it receives the end of `up`.
        let mut session = Session::open(self.state.name.as_str(), &self.folder)?;
        listen_to_the_host(&session.sender())?;
        // On the heap: the steps' clients are large.
        let started = Box::pin(self.start_in(&mut session, request)).await;
        self.state.components.clone_from(session.components());
        started.map(|()| session)
    }

    async fn start_in(&mut self, session: &mut Session, request: &Request) -> Result<(), Error> {
        let subnet = self.acquire(session)?;
        let settings = self.state.settings;
        let real = settings.real;
        let runtime = settings.runtime();
        let artifacts = &request.artifacts;
        // The image stores are copied while the control plane starts.
        let targets = self.image_stores()?;
        let source = artifacts.bootstrap_cache.clone();
        let installing = tokio::task::spawn_blocking(move || {
            targets.iter().try_for_each(|it| bootstrap_cache::install(runtime, &source, it))
        });

        files::write(&self.folder, &self.state, subnet)?;
        let spec = files::node_spec(&self.folder, &self.state, artifacts, Place::FIRST);
        session.set_up(spec).await?;
        self.connect(session, subnet).await?;
        self.set_up_others(session, artifacts).await?;

        step("starting the control plane");
        session.start(control_plane::etcd())?;
        session.until_ready("etcd", COMPONENT).await?;
        session.start(apiserver(settings, subnet))?;
        let installed =
            async { installing.await.map_err(|error| Error::other(error.to_string()))? };
        session.during("images not copied", COMPONENT, installed).await?;
        session.start(runtime.program())?;
        self.start_runtimes_of_others(session)?;
        session.until_ready("kube-apiserver", COMPONENT).await?;
        let admin = Admin::from_kubeconfig(&self.folder.kubeconfig(User::Admin)).await?;
        let ready = admin.healthy(Server::Apiserver, subnet);
        session.during("`/readyz` of kube-apiserver not ok", COMPONENT, ready).await?;
        session.start(control_plane::controller_manager(subnet, real))?;
        session.start(control_plane::scheduler(subnet, real))?;

        step("starting the node");
        session.until_ready(runtime.name, COMPONENT).await?;
        session.start(kubelet::program(Place::FIRST, subnet, real))?;
        self.start_kubelets_of_others(session, subnet).await?;
        let objects = Box::pin(start_openshift(session, &admin, &settings, artifacts)).await?;
        let ready = Box::pin(await_cluster(&admin, subnet, objects.as_ref()));
        session.during("node not ready", NODE, ready).await?;
        self.await_others(session, &admin).await?;
        storage::provision(&admin, self.folder.data(VOLUMES_DATA));
        if settings.with.device_plugin {
            session.start(device_plugin::program())?;
            session.until_ready(device_plugin::NAME, COMPONENT).await?;
        }
        self.start_operator(session, &admin, subnet, artifacts).await
    }

    /// Starts the DevWorkspace Operator, if the cluster is to have it.
    async fn start_operator(
        &self,
        session: &mut Session,
        admin: &Admin,
        subnet: Subnet,
        artifacts: &Artifacts,
    ) -> Result<(), Error> {
        let Some(kind) = Operator::of(self.state.settings) else {
            return Ok(());
        };
        step("starting the DevWorkspace Operator");
        let artifact = artifacts.operator.as_deref();
        let artifact =
            artifact.ok_or_else(|| Error::other("the artifacts have no DevWorkspace Operator"))?;
        let flavour = self.state.settings.distribution.flavour();
        if kind == Operator::Double {
            session.start(double::program(subnet, flavour))?;
        }
        let pki = self.folder.pki();
        let (printed, last) = watch::channel(String::new());
        let ready = Box::pin(async {
            match kind {
                Operator::Double => double::install(admin, artifact, flavour, &printed).await,
                Operator::Real => real::install(admin, artifact, &pki, &printed).await,
            }
        });
        let ready = session.during("the DevWorkspace Operator not ready", OPERATOR, ready);
        ready.await.map_err(|error| {
            let last = last.borrow().clone();
            if last.is_empty() { error } else { error.with_details(vec![last]) }
        })?;
        match kind {
            Operator::Double => session.until_ready(double::NAME, double::READY).await,
            Operator::Real => Ok(()),
        }
    }

    /// Takes names and addresses, writes them down, and only then makes what they stand for.
    fn acquire(&mut self, session: &mut Session) -> Result<Subnet, Error> {
        self.state.node = Some(session.node(Place::FIRST)?);
        for place in Place::others(self.state.settings) {
            let label = format!("{}/{}", self.state.name, place.name());
            self.state.other_nodes.push(session.add_node(&label)?);
        }
        let claim = Claim::first_free()?;
        let subnet = claim.subnet();
        self.claim = Some(claim);
        self.state.subnet = Some(subnet);
        self.state.interface = Some(self.state.interface_name());
        let group = self.state.cgroup_name();
        self.state.cgroup = Some(group.clone());
        self.save()?;
        cgroup::create(&self.state.hierarchies, &group)?;
        for place in Place::others(self.state.settings) {
            cgroup::create(&self.state.hierarchies, &place.cgroup(&group))?;
        }
        Ok(subnet)
    }

    async fn connect(&self, session: &mut Session, subnet: Subnet) -> Result<(), Error> {
        network::connect(&self.state.interface_name(), subnet, session.node(Place::FIRST)?.pid)?;
        session.run(ip_batch(Place::FIRST, files::NETWORK), COMMAND).await?;
        if Operator::of(self.state.settings) != Some(Operator::Real) {
            return Ok(());
        }
        let program = Program {
            name: "api-service".to_owned(),
            command: network::api_service(subnet),
            notifies: false,
        };
        session.run(program, COMMAND).await
    }
}

/// The program that does what a file of the configuration says about the network of a node.
pub(super) fn ip_batch(place: Place, file: &str) -> Program {
    Program {
        name: place.component(file),
        command: vec!["ip".to_owned(), "-batch".to_owned(), format!("{CONFIG}/{file}")],
        notifies: false,
    }
}

/// The API server of a flavour.
fn apiserver(settings: Settings, subnet: Subnet) -> Program {
    let gates = settings.gates.apiserver();
    match settings.distribution {
        Distribution::Kubernetes { kubernetes } => {
            control_plane::apiserver(subnet, gates, kubernetes)
        }
        Distribution::Openshift { .. } if settings.real.has(RealProgram::Apiserver) => {
            openshift::real_apiserver()
        }
        Distribution::Openshift { release, .. } => {
            openshift::apiserver(subnet, gates, release, settings.with)
        }
    }
}

/// Makes the API server one of OpenShift, if the cluster is to be one, and starts the controller
/// that only such a cluster has. Returns what is left to be made.
async fn start_openshift(
    session: &mut Session,
    admin: &Admin,
    settings: &Settings,
    artifacts: &Artifacts,
) -> Result<Option<Objects>, Error> {
    let Distribution::Openshift { release, feature_set, z_stream } = settings.distribution else {
        return Ok(None);
    };
    step("making the objects of OpenShift");
    let objects = Objects::read(artifacts, release, feature_set, z_stream, settings.real)?;
    let created = Box::pin(objects.create_for_pods(admin));
    session.during("objects of OpenShift not made", COMPONENT, created).await?;
    session.start(openshift::policy_controller(release, settings.real))?;
    Ok(Some(objects))
}

/// Waits for everything that the first pod, and the first user, needs.
async fn await_cluster(
    admin: &Admin,
    subnet: Subnet,
    objects: Option<&Objects>,
) -> Result<(), Error> {
    tokio::try_join!(
        admin.healthy(Server::ControllerManager, subnet),
        admin.healthy(Server::Scheduler, subnet),
        admin.healthy(Server::Kubelet, subnet),
        admin.node_ready(NODE_NAME),
        admin.default_service_account(),
        admin.aggregated_roles(),
        storage::create_class(admin),
        finish(admin, objects),
    )?;
    Ok(())
}

/// What the flavours do while the node starts.
async fn finish(admin: &Admin, objects: Option<&Objects>) -> Result<(), Error> {
    match objects {
        None => admin.create_runtime_class().await,
        Some(objects) => {
            objects.create_configuration(admin).await?;
            admin.default_namespace_ranges().await
        }
    }
}

fn step(text: &str) {
    report::send(&Report::Step { text: text.to_owned() });
}
