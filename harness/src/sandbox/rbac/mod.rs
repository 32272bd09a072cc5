//! What a run may do: the rights it needs, whether the caller has them, and roles that grant them.
//!
//! The cases use none of these rights: they act as a service account that the run makes.

mod addition;
mod cluster_role;
mod guard;
mod in_namespace;
mod permissions;
mod preamble;
mod review;

pub use addition::Addition;
pub(crate) use cluster_role::role_and_binding;
pub use cluster_role::{ACCOUNT, objects, role};
pub(crate) use in_namespace::use_of;
pub use in_namespace::{
    SHIPPED_SCC, check_namespace, objects_in_namespace, permissions_in_namespace,
};
pub use permissions::{of_run_with, permissions};
pub use review::{lacking, missing, review, review_in};
