//! The reports: what people and other programs get to read of a run.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

mod committed_schema;
mod compare;
mod consumers;
mod expectations;
mod formats;
mod iterations;
mod join;
mod join_nodes;
mod metrics;
mod properties;
mod sample;
mod schemas;
mod xml;
