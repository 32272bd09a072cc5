//! Which cases a command is about.

use clap::Args;
use harness::{
    Error, Result,
    engine::{
        Case, Profile,
        plan::{Filters, Selection, Shard},
    },
    verdict::Level,
};

use super::arguments::{profile, shard};

/// Which cases.
#[derive(Debug, Args)]
pub(super) struct SelectionArguments {
    /// The set of cases: openshift, microshift, kubernetes, smoke, as-configured or inside [default:
    /// the cluster's own]
    #[arg(long, value_name = "NAME", value_parser = profile)]
    pub(super) profile: Option<Profile>,
    /// Select cases of these levels: core, extended or informing; several with commas [default: all]
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', value_parser = level)]
    pub(super) level: Vec<Level>,
    /// Select one part of the cases, such as 1/3
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(super) shard: Option<Shard>,
    /// A case's id (`POD-03`), a suite (`podman`) or the beginning of a name (`podman::build`);
    /// `!` excludes
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<String>,
}

impl SelectionArguments {
    /// What is selected of these cases.
    ///
    /// # Errors
    ///
    /// A filter that fits no case, and levels that leave none.
    pub(super) fn read(&self, cases: &[Case]) -> Result<Selection> {
        let selection = Selection {
            profile: self.profile,
            filters: Filters::parse(&self.filters, cases)?,
            levels: self.level.clone(),
            shard: self.shard,
        };
        selection.check_levels(cases)?;
        Ok(selection)
    }
}

fn level(text: &str) -> std::result::Result<Level, String> {
    text.parse().map_err(|error: Error| error.with_hint_line())
}
