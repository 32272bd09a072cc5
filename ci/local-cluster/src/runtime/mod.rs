//! Container runtimes: what differs between the flavours of a node. So far
//! there is containerd, for flavour `kubernetes`.

pub mod containerd;
