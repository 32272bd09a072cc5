//! `nestcheck inside`: the cases that need no API, on the machine of nestcheck itself.

use std::{
    cell::RefCell,
    io::{self, IsTerminal},
};

use futures::StreamExt;
use harness::{
    Result,
    engine::{
        RunConfig,
        inside::{self, Here},
        plan::{Filters, Selection},
    },
    report::{Style, Terminal, directory::ReportDir},
    sandbox::SandboxConfig,
    verdict::{Outcome, event::Event},
};

use super::{
    arguments::InsideArguments,
    color,
    run::{Delivery, report_progress},
};
use crate::{
    cases,
    fixtures::{self, NESTED_POD, STORAGE},
    signals::{questions, signals},
};

pub(super) async fn execute(arguments: InsideArguments) -> Result<u8> {
    let cases = cases();
    let filters = Filters::parse(&arguments.filters, &cases)?;
    let picked = Selection { filters, ..Selection::default() }.pick(&cases);
    let (mut signals, questions) = (signals()?, questions()?);
    let mut config = config(&arguments);
    // All that can be wrong is found before there is a report.
    let here = tokio::select! {
        here = Here::look_around(&config.sandbox, &NESTED_POD, STORAGE) => here?,
        Some(signal) = signals.next() => return Ok(Outcome::Interrupted { signal }.exit_code()),
    };
    let mut directory = match ReportDir::create(&arguments.report_dir) {
        Ok(directory) => directory,
        Err(error) => {
            here.leave().await;
            return Err(error);
        }
    };
    config.diagnostics = directory.diagnostics();
    config.sandbox.image = here.image.clone().unwrap_or_default();
    let plan = here.plan(picked);
    let style = Style { color: color(), progress: io::stderr().is_terminal() };
    let terminal = RefCell::new(Terminal::new(io::stderr(), style));
    let observe = |event: &Event| {
        directory.append(event);
        terminal.borrow_mut().event(event);
    };
    let run = inside::run(here, plan, config, signals, observe);
    let outcome = report_progress(run, &terminal, questions).await;
    terminal.borrow_mut().finish();
    Ok(Delivery::to_directory().deliver(directory, outcome).exit_code())
}

/// The configuration of a run with these arguments.
fn config(arguments: &InsideArguments) -> RunConfig {
    let config = RunConfig::new(None, fixtures::files());
    RunConfig {
        jobs: usize::from(arguments.jobs),
        fail_fast: arguments.extent.fail_fast,
        repeat: arguments.extent.repeat,
        sandbox: SandboxConfig { run_timeout: arguments.timeout, ..config.sandbox },
        ..config
    }
}
