//! Who acts in a run, each with a client of its own.

use kube::Client;
use tokio::sync::OnceCell;

use super::create::Creator;
use crate::{Error, Result, cluster::Cluster};

/// The name of the ordinary user's service account: it has the rights of ClusterRole `edit` in the
/// run's namespaces, may use the run's SCC there, and has no rights elsewhere.
pub const USER: &str = "workspace-user";

/// The name of a second ordinary user's service account, which may not use the run's SCC.
pub const UNGRANTED_USER: &str = "workspace-stranger";

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The ordinary user that every case acts as unless it says otherwise.
    User,
    /// An ordinary user who may not use the run's SCC.
    Ungranted,
    /// The administrator whose kubeconfig was given.
    Administrator,
}

/// The clients of a run.
pub(super) struct Identities {
    cluster: Cluster,
    creator: Creator,
    user: Client,
    ungranted_user: OnceCell<Client>,
}

impl Identities {
    /// Creates the ordinary user.
    pub(super) async fn create(cluster: &Cluster, creator: &Creator) -> Result<Self> {
        let user = create_user(cluster, creator, USER).await?;
        Ok(Self::of(cluster.clone(), creator.clone(), user))
    }

    /// With the ordinary user's client.
    pub(super) fn of(cluster: Cluster, creator: Creator, user: Client) -> Self {
        Self { cluster, creator, user, ungranted_user: OnceCell::new() }
    }

    pub(super) fn user(&self) -> &Client {
        &self.user
    }

    pub(super) fn admin(&self) -> &Client {
        self.cluster.admin()
    }

    /// The account of the ungranted user is created when it is first asked for.
    pub(super) async fn client(&self, identity: Identity) -> Result<&Client> {
        match identity {
            Identity::User => Ok(&self.user),
            Identity::Administrator => Ok(self.cluster.admin()),
            Identity::Ungranted => {
                let create = || create_user(&self.cluster, &self.creator, UNGRANTED_USER);
                self.ungranted_user.get_or_try_init(create).await
            }
        }
    }
}

async fn create_user(cluster: &Cluster, creator: &Creator, account: &str) -> Result<Client> {
    if creator.config.home.given().is_some() {
        // The plan blocks cases that ask for one.
        return Err(Error::infrastructure("a run in a given namespace creates no user"));
    }
    let namespace = creator.name();
    creator.account(&namespace, account).await?;
    cluster.as_token(creator.token(&namespace, account).await?)
}
