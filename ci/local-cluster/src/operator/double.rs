//! The test double of the DevWorkspace Operator.

use std::path::Path;

use crate::client::Admin;
use crate::components::{CONFIG, KUBERNETES, control_plane};
use crate::error::Error;
use crate::network::Subnet;
use crate::node::protocol::Program;

pub const SERVICES: [&str; 0] = [];

pub fn program(_subnet: Subnet) -> Program {
    Program {
        name: "devworkspace-controller".to_owned(),
        command: vec![
            format!("{KUBERNETES}/devworkspace-controller"),
            format!("--kubeconfig={CONFIG}/{}", control_plane::KUBECONFIG),
        ],
        notifies: false,
    }
}

pub async fn install(_admin: &Admin, _artifact: &Path, _pki: &Path) -> Result<(), Error> {
    Ok(())
}
