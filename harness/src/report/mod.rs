//! Reports: what a run came to, for people and for machines.
//!
//! Every report is a pure function of the [event log](crate::verdict::event): [`summarize`] turns the
//! events into a [`Report`], in which every text is clean and bounded, and the formats print that.
//! So a report can be made again from the log, after a crash, in another format.

mod archive;
mod causes;
pub mod compare;
mod details;
pub mod directory;
mod disruptions;
mod expect;
mod html;
mod in_toto;
pub mod input;
mod iterations;
mod join;
mod json;
mod junit;
mod markdown;
mod model;
mod prometheus;
mod rerun;
mod sentence;
mod shown;
mod terminal;
mod text;
mod trace;

pub use archive::{ARCHIVE_LINE, write_archive, write_archive_without};
pub use details::details as case_details;
pub use disruptions::DisruptionReport;
pub use expect::{DraftBy, draft_expectations};
pub use html::html;
pub use in_toto::in_toto;
pub use join::{JoinError, join};
pub use json::{json, json_schema};
pub use junit::{Dialect, junit};
pub use markdown::markdown;
pub use model::{CaseReport, Counts, IterationReport, NamedReport, OtherResult, Report, summarize};
pub use prometheus::prometheus;
pub use rerun::cases_to_rerun;
pub use sentence::{
    BlockedGroup, Headline, blocked_groups, disruptions, expectations, headline, reasons,
};
pub use terminal::{Style, Terminal};
