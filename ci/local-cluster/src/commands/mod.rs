//! What the subcommands do.

pub mod build;
pub mod derive;
pub mod disturb;
pub mod down;
pub mod export_image;
pub mod inspect;
pub mod load;
mod lock;
pub mod restart;
pub mod up;
