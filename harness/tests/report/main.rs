//! The reports: what people and other programs get to read of a run.

#![expect(clippy::expect_used, reason = "a test that can't go on has failed")]

mod committed_schema;
mod compare;
mod consumers;
mod formats;
mod join;
mod properties;
mod sample;
mod schemas;
mod xml;
