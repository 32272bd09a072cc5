//! Disturbances of a running cluster.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Session;
use crate::{
    disturbance::Disturbance,
    error::Error,
    node::protocol::{Program, Request},
    timeout::Deadline,
};

/// How long it may take to begin or to end a disturbance.
const COMMAND: Duration = Duration::from_secs(20);

impl Session {
    /// Disturbs the cluster for some time. Components may end meanwhile, which is noted. The end of the
    /// cluster ends a disturbance, because all of it is in the node.
    pub async fn disturb(
        &mut self,
        disturbance: &Disturbance,
        time: Duration,
    ) -> Result<(), Error> {
        let begun = self.begin(disturbance).await;
        let waited = match &begun {
            Ok(()) => self.wait(time).await,
            Err(_) => Ok(()),
        };
        // Whatever failed: half of it may have begun.
        let ended = self.end(disturbance).await;
        begun.and(waited).and(ended)
    }

    async fn begin(&mut self, disturbance: &Disturbance) -> Result<(), Error> {
        for name in disturbance.components() {
            self.program(name)?;
            self.node_of(name)?.request(&Request::Freeze { name: name.clone() })?;
        }
        self.run_meanwhile(disturbance.beginning()).await
    }

    async fn end(&mut self, disturbance: &Disturbance) -> Result<(), Error> {
        for name in disturbance.components() {
            self.node_of(name)?.request(&Request::Thaw { name: name.clone() })?;
        }
        self.run_meanwhile(disturbance.end()).await
    }

    async fn wait(&mut self, time: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + time;
        while let Ok(message) = timeout_at(deadline, self.messages.recv()).await {
            self.note(message.ok_or_else(|| Error::other("the node's messages have ended"))?)?;
        }
        Ok(())
    }

    /// Runs a program to its end, whatever else ends meanwhile.
    async fn run_meanwhile(&mut self, program: Option<Program>) -> Result<(), Error> {
        let Some(program) = program else { return Ok(()) };
        let name = program.name.clone();
        self.tasks.insert(name.clone(), None);
        self.start_program(program)?;
        let deadline = Deadline::begin(COMMAND);
        loop {
            if let Some(Some(outcome)) = self.tasks.get(&name) {
                let outcome = outcome.clone();
                let failed = || self.with_log(Error::component(&name, outcome.text), &name);
                return if outcome.success { Ok(()) } else { Err(failed()) };
            }
            self.recv(deadline, &format!("{name} not done")).await?;
        }
    }
}
