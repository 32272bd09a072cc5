//! The throwaway namespaces of a run.

use std::fmt;

use futures::{FutureExt, future::BoxFuture};
use kube::Client;
use tokio::sync::OnceCell;

use super::{
    create::Creator,
    identities::{UNGRANTED_USER, USER},
};
use crate::{Error, Result};

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSecurity {
    /// Everything is allowed.
    Privileged,
    /// Known ways to more privilege are refused.
    Baseline,
    /// Only hardened pods are allowed.
    Restricted,
}

impl fmt::Display for PodSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// What a user may do in a namespace besides what `edit` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Use the run's SCC.
    UseScc,
    /// No more.
    Nothing,
}

/// The namespaces of a run. The main one exists from the beginning; others are created when a case
/// asks for them.
pub struct Namespaces {
    creator: Creator,
    user: Client,
    main: String,
    has_scc: bool,
    baseline: OnceCell<String>,
    restricted: OnceCell<String>,
}

impl Namespaces {
    pub(super) fn new(creator: Creator, user: Client, has_scc: bool) -> Self {
        let main = creator.name();
        let (baseline, restricted) = (OnceCell::new(), OnceCell::new());
        Self { creator, user, main, has_scc, baseline, restricted }
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn main(&self) -> &str {
        &self.main
    }

    /// A second namespace that enforces a Pod Security level, in which the user has the same
    /// rights. Cases that ask for the same level share it.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn enforcing(&self, level: PodSecurity) -> Result<String> {
        let cell = match level {
            PodSecurity::Privileged => return Ok(self.main.clone()),
            PodSecurity::Baseline => &self.baseline,
            PodSecurity::Restricted => &self.restricted,
        };
        let create = || self.create(level.to_string(), level, Grant::UseScc);
        cell.get_or_try_init(create).await.cloned()
    }

    /// A namespace of one case's own, in which anything is allowed. `grant` tells whether the user
    /// may use the run's SCC there.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn of_case(&self, case: &str, grant: Grant) -> Result<String> {
        self.create(case.to_ascii_lowercase(), PodSecurity::Privileged, grant).await
    }

    /// On the heap: it is a part of every case's future.
    fn create(
        &self,
        suffix: String,
        level: PodSecurity,
        grant: Grant,
    ) -> BoxFuture<'_, Result<String>> {
        self.created(suffix, level, grant).boxed()
    }

    async fn created(&self, suffix: String, level: PodSecurity, grant: Grant) -> Result<String> {
        if self.creator.config.home.given().is_some() {
            // The plan blocks cases that ask for one.
            return Err(Error::infrastructure("a run in a given namespace creates no namespace"));
        }
        let namespace = format!("{}-{suffix}", self.main);
        self.creator.namespace(&namespace, level).await?;
        tokio::try_join!(
            self.creator.account(&namespace, USER),
            self.creator.edit(&namespace, &[USER, UNGRANTED_USER]),
            async {
                if !self.has_scc {
                    return Ok(());
                }
                self.creator.await_allocations(&namespace).await?;
                match grant {
                    Grant::UseScc => self.creator.grant(&namespace, &[USER]).await,
                    Grant::Nothing => Ok(()),
                }
            },
        )?;
        self.creator.pull_secret(&self.user, &namespace).await?;
        Ok(namespace)
    }
}
