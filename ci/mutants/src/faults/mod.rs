//! The kinds of faults, each in its own file.

mod cluster;
mod file;
mod pod;
mod programs;
mod scc;

pub(crate) use cluster::CreateObjects;
pub(crate) use file::PutFile;
pub(crate) use pod::{EditPod, SubstitutePod};
pub(crate) use programs::{PROGRAMS, SpoilPrograms};
pub(crate) use scc::ReplaceScc;
