//! The reports: what people and other programs get to read of a run.

mod consumers;
mod formats;
mod properties;
mod sample;
mod xml;
