//! What is run in a pod, and how messages name it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::base::text::{self, one_line};

/// How long a command may run unless it says otherwise.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// A command to run in a pod.
///
/// ```
/// use std::time::Duration;
///
/// use harness::workload::Command;
///
/// let pull = Command::new(["podman", "pull", "image"]).within(Duration::from_secs(90));
/// assert_eq!(pull.display(), "podman pull image");
///
/// // Messages show the name of a script instead of its text.
/// let count = Command::shell("count files", "ls \"$1\" | wc -l", ["/etc"]);
/// assert_eq!(count.display(), "count files");
/// assert_eq!(count.arguments().last().map(String::as_str), Some("/etc"));
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    arguments: Vec<String>,
    name: Option<String>,
    container: Option<String>,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) deadline: Duration,
}

impl Command {
    /// A command of program and arguments; no shell is involved.
    pub fn new<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            name: None,
            container: None,
            stdin: None,
            deadline: COMMAND_DEADLINE,
        }
    }

    /// A script for the image's `sh`, with arguments as `$1`, `$2` and so on; the first failing
    /// command ends it. `name` stands for it in messages.
    pub fn shell<S: Into<String>>(
        name: impl Into<String>,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let name = name.into();
        let head = ["sh", "-euc", script, &name].map(str::to_owned);
        let all = head.into_iter().chain(arguments.into_iter().map(Into::into));
        Self { name: Some(name), ..Self::new(all) }
    }

    /// Runs in this container instead of the first one.
    #[must_use]
    pub fn in_container(mut self, name: impl Into<String>) -> Self {
        self.container = Some(name.into());
        self
    }

    /// As [`Self::in_container`], unless it names one already.
    #[must_use]
    pub(super) fn or_in_container(self, name: Option<&str>) -> Self {
        let container = self.container.or_else(|| name.map(str::to_owned));
        Self { container, ..self }
    }

    /// Gives the command this standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Lets the command run for this long.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets the command run this many times as long.
    #[must_use]
    pub(super) fn slower(self, factor: u32) -> Self {
        Self { deadline: self.deadline * factor, ..self }
    }

    /// How long the command may run.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The container that it runs in: the first one unless it names another.
    pub(super) fn container_in<'a>(&'a self, pod: &'a Pod) -> Option<&'a str> {
        let first = || Some(pod.spec.as_ref()?.containers.first()?.name.as_str());
        self.container.as_deref().or_else(first)
    }

    /// Program and arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The command in messages: a script's name, or program and arguments on one line, bounded.
    #[must_use]
    pub fn display(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => text::bound(&one_line(&self.arguments.join(" ")), 200),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_cluster_gives_each_command_more_time() {
        let wait = || Command::new(["sleep"]);
        assert_eq!(wait().slower(1).deadline(), COMMAND_DEADLINE);
        let limit = Duration::from_secs(90);
        assert_eq!(wait().within(limit).slower(20).deadline(), Duration::from_secs(1800));
    }
}
