//! A node: a tree of processes in their own mount, process, network, host name and IPC namespaces,
//! with a Debian tree as their root file system.
//!
//! [`init`] is the first process in the namespaces. It makes the node's world
//! ([`mounts`]), starts components and reports on them; it decides nothing.
//! [`handle`] is the other end of its pipe, [`session`] a conversation over it.
//! What they say is in [`protocol`].

mod handle;
pub mod init;
pub mod mounts;
pub mod notify;
pub mod place;
pub mod protocol;
pub mod session;
