//! Trial after trial, many at once, and what they came to.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    process::ExitCode,
    sync::Mutex,
    time::Instant,
};

use futures::{StreamExt, stream};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    Arguments, OutputFormat, Result,
    inventory::Inventory,
    nestcheck::Nestcheck,
    proxy::Upstream,
    schedule::{Next, Schedule},
    signals,
    summary::Summary,
    trial::{self, End, Laboratory, Subject, Trial},
};

/// How often the progress is told: this many times in all.
const PROGRESS: u64 = 10;

/// Makes all trials and prints what they came to. A first signal ends them early.
pub(crate) async fn conduct(arguments: Arguments) -> Result<ExitCode> {
    let stop = CancellationToken::new();
    let interrupted = OnceCell::new();
    let code = tokio::select! {
        code = all_trials(&arguments, stop.clone()) => code?,
        second = signals::heed(stop.clone(), &interrupted) => second?,
    };
    Ok(ExitCode::from(interrupted.get().copied().unwrap_or(code)))
}

async fn all_trials(arguments: &Arguments, stop: CancellationToken) -> Result<u8> {
    fs::create_dir_all(&arguments.output_dir)?;
    let nestcheck = Nestcheck {
        program: fs::canonicalize(&arguments.nestcheck)?,
        kubeconfig: fs::canonicalize(&arguments.kubeconfig)?,
    };
    let laboratory = Laboratory {
        upstream: Upstream::new(&nestcheck.kubeconfig).await?,
        inventory: Inventory::new(&nestcheck.kubeconfig).await?,
        output: fs::canonicalize(&arguments.output_dir)?,
        nestcheck,
        stop,
    };
    let before = laboratory.inventory.runs().await?;
    let subjects = subjects(&laboratory, arguments).await?;
    let schedule = schedule(&subjects, arguments);
    let mut campaign = Campaign::new(&laboratory, schedule);
    let made = campaign.run(&subjects, usize::from(arguments.jobs)).await;
    let compared = campaign.compare(&before).await;
    // What is known is worth telling, whatever came after.
    print(&campaign.summary, arguments.output)?;
    made.and(compared)?;
    Ok(u8::from(!campaign.summary.all.are_good()))
}

fn schedule(subjects: &[Subject], arguments: &Arguments) -> Schedule {
    let requests = subjects.iter().map(|subject| subject.requests);
    match arguments.kills {
        Some(kills) => {
            let dear = subjects.iter().map(|subject| arguments.once.contains(&subject.name));
            let subjects: Vec<_> = requests.zip(dear).collect();
            Schedule::random(&subjects, &arguments.faults, kills, arguments.seed)
        }
        None => Schedule::every(&requests.collect::<Vec<_>>(), &arguments.faults),
    }
}

/// The runs that are struck, each made once without a fault.
async fn subjects(laboratory: &Laboratory, arguments: &Arguments) -> Result<Vec<Subject>> {
    let mut selection = arguments.filters.clone();
    if let Some(profile) = &arguments.profile {
        selection.extend(["--profile".to_owned(), profile.clone()]);
    }
    let mut subjects = Vec::new();
    if arguments.by_suite {
        for suite in laboratory.nestcheck.suites(&selection).await? {
            let selection = [&selection[..], std::slice::from_ref(&suite)].concat();
            subjects.push(Subject { name: suite, selection, ..Subject::default() });
        }
    } else {
        let name = arguments.profile.clone().unwrap_or_else(|| "all".to_owned());
        subjects.push(Subject { name, selection, ..Subject::default() });
    }
    for subject in &mut subjects {
        let whole = trial::conduct(laboratory, subject, None).await?;
        let End::Exited(0..=3) = whole.end else {
            return Err(unfit(&whole).into());
        };
        if !whole.violations.is_empty() {
            return Err(unfit(&whole).into());
        }
        tell(&format!(
            "`{}` makes {} requests in {:.1} s without a fault",
            subject.name, whole.seen.requests, whole.run_seconds
        ));
        subject.requests = whole.seen.requests;
        subject.expected = whole.verdicts;
    }
    Ok(subjects)
}

/// Why a run can't be judged with a fault: it is not good without one.
fn unfit(whole: &Trial) -> String {
    let reasons: Vec<_> = whole.violations.iter().map(|violation| &*violation.what).collect();
    format!(
        "`{}` is not good even without a fault ({:?}): {}; see `{}`",
        whole.subject,
        whole.end,
        reasons.join("; "),
        whole.folder.display()
    )
}

struct Campaign<'a> {
    laboratory: &'a Laboratory,
    schedule: Mutex<Schedule>,
    summary: Summary,
    started: Instant,
    /// Between two tellings of the progress.
    interval: u64,
}

impl<'a> Campaign<'a> {
    fn new(laboratory: &'a Laboratory, schedule: Schedule) -> Self {
        let interval = (schedule.size() / PROGRESS).max(1);
        Self {
            laboratory,
            schedule: Mutex::new(schedule),
            summary: Summary::default(),
            started: Instant::now(),
            interval,
        }
    }

    async fn run(&mut self, subjects: &[Subject], jobs: usize) -> Result<()> {
        let mut failure = None;
        // The schedule runs dry while what is under way may still bring up more.
        while let Some(first) = self.next() {
            let laboratory = self.laboratory;
            let schedule = &self.schedule;
            let next = || stream::iter(std::iter::once(first)).chain(drawn(laboratory, schedule));
            let mut trials = next()
                .map(|next: Next| async move {
                    let subject = &subjects[next.subject];
                    (next, trial::conduct(laboratory, subject, Some(next)).await)
                })
                .buffer_unordered(jobs)
                .boxed_local();
            while let Some((next, trial)) = trials.next().await {
                let trial = match trial {
                    Ok(trial) => trial,
                    Err(error) => {
                        // The others end early too, and sweep what their runs left behind.
                        laboratory.stop.cancel();
                        failure.get_or_insert(error);
                        continue;
                    }
                };
                lock(schedule).learn(next, trial.is_hit());
                if trial.end == End::Stopped {
                    continue;
                }
                for told in self.summary.add(&trial) {
                    tell(&told.to_string());
                }
                tell_progress(&self.summary, self.interval, self.started);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn next(&self) -> Option<Next> {
        draw(self.laboratory, &self.schedule)
    }

    /// Looks for runs that left something behind and that no trial knew of.
    async fn compare(&mut self, before: &BTreeSet<String>) -> Result<()> {
        let after = self.laboratory.inventory.runs().await?;
        for run in after.difference(before) {
            let what = format!("run `{run}` has objects at the end");
            tell(&what);
            self.summary.add_leak(what);
        }
        Ok(())
    }
}

fn lock(schedule: &Mutex<Schedule>) -> std::sync::MutexGuard<'_, Schedule> {
    schedule.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn draw(laboratory: &Laboratory, schedule: &Mutex<Schedule>) -> Option<Next> {
    if laboratory.stop.is_cancelled() { None } else { lock(schedule).next() }
}

fn drawn<'a>(
    laboratory: &'a Laboratory,
    schedule: &'a Mutex<Schedule>,
) -> impl futures::Stream<Item = Next> + 'a {
    stream::iter(std::iter::from_fn(move || draw(laboratory, schedule)))
}

fn tell_progress(summary: &Summary, interval: u64, started: Instant) {
    let all = &summary.all;
    if all.struck.is_multiple_of(interval) {
        tell(&format!(
            "[{:4}s] {} struck, {} kills, {} leaks, {} invalid reports, {} lost verdicts, {} misjudged, \
             {} wrong endings",
            started.elapsed().as_secs(),
            all.struck,
            all.kills,
            all.leaks,
            all.invalid_reports,
            all.lost_verdicts,
            all.misjudged,
            all.wrong_endings
        ));
    }
}

/// Says what happens, on standard error.
fn tell(text: &str) {
    let _ = io::stderr().write_all(format!("chaos: {text}\n").as_bytes());
}

fn print(summary: &Summary, format: OutputFormat) -> Result<()> {
    let text = match format {
        OutputFormat::Text => summary.to_string(),
        OutputFormat::Json => serde_json::to_string_pretty(summary)? + "\n",
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
