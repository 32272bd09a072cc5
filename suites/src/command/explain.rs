//! `nestcheck explain`: what a case asserts, why, and what to do when it fails. Needs no cluster.

use std::fmt::Write;

use harness::{
    Result,
    engine::{
        Case,
        plan::{Filters, Selection},
    },
};

use super::{
    arguments::{ExplainArguments, ExplainFormat},
    print,
};
use crate::{cases, catalogue};

pub(super) fn execute(arguments: &ExplainArguments) -> Result<u8> {
    let cases = cases();
    let filters = Filters::parse(&arguments.filters, &cases)?;
    let mut picked = Selection { filters, ..Selection::default() }.pick(&cases);
    picked.sort_by_key(|case| (case.suite, case.id));
    let text = match arguments.output {
        ExplainFormat::Text => {
            let texts: Vec<_> = picked.iter().map(text).collect();
            texts.join("\n")
        }
        ExplainFormat::Markdown => catalogue::page(&picked),
    };
    print(text.as_bytes())
}

fn text(case: &Case) -> String {
    let mut text = format!("{}  {}\n{}\n\n", case.id, case.path(), case.title);
    for (name, value) in [
        ("level", &catalogue::level(case.level)),
        ("clusters", &catalogue::clusters(case)),
        ("needs", &catalogue::needs(case)),
    ] {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name:10}{value}");
    }
    let _ = write!(text, "\n{}\n\nWhat to do when it fails\n{}\n", case.why, case.fix);
    text
}
