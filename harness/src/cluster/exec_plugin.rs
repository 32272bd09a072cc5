//! The program of a kubeconfig that prints a user's credential (client-go's exec plugins,
//! `client.authentication.k8s.io`), such as `kubelogin` or `oc get-token`.
//!
//! kube runs plugins too, but without a deadline, on a thread of its runtime, and lets them write to
//! the terminal as they like.

use std::{
    fmt,
    io::{self, IsTerminal},
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::tokens::Token;
use crate::{
    Error, Result,
    base::{redact::keep_secret, text::bound},
};

/// How long a plugin may take that asks nobody: longer than a cloud's program needs, shorter than a
/// request may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long a plugin may take that asks a person at the terminal.
const DEADLINE_WITH_PERSON: Duration = Duration::from_secs(120);

/// The most that is shown of what a plugin writes to standard error, in bytes.
const SHOWN: usize = 400;

/// A plugin, as the kubeconfig has it.
#[derive(Clone, Debug)]
pub(super) struct Plugin(ExecConfig);

/// What a plugin printed.
#[derive(Debug)]
pub(super) struct Credential {
    /// A bearer token.
    pub(super) token: Option<Token>,
    /// A certificate and its key, in PEM.
    pub(super) certificate: Option<(String, String)>,
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kubeconfig's plugin `{}`", self.command())
    }
}

impl Plugin {
    /// The plugin of a user.
    pub(super) fn new(config: ExecConfig) -> Self {
        Self(config)
    }

    fn command(&self) -> &str {
        self.0.command.as_deref().unwrap_or_default()
    }

    /// Runs the plugin and reads what it prints.
    ///
    /// # Errors
    ///
    /// A plugin that is missing, fails, does not end in time, needs a person, or prints no
    /// credential.
    pub(super) async fn credential(&self) -> Result<Credential> {
        let may_ask = self.0.interactive_mode != Some(ExecInteractiveMode::Never);
        let asks = may_ask && io::stdin().is_terminal() && io::stderr().is_terminal();
        if !asks && self.0.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err(Error::usage(format!("{self} asks at a terminal, and there is none"))
                .with_hint("run nestcheck in a terminal, or use a token of a service account"));
        }
        let output = self.run(asks).await?;
        if !output.status.success() {
            let written = String::from_utf8_lossy(&output.stderr);
            let last = written.lines().map(str::trim).rfind(|line| !line.is_empty());
            let said = last.map_or_else(String::new, |line| format!(": {}", bound(line, SHOWN)));
            return Err(Error::infrastructure(format!("{self} failed ({}){said}", output.status))
                .with_hint(format!("log in again, and check what `{}` prints", self.command())));
        }
        parse(&output.stdout).map_err(|what| {
            Error::usage(format!("{self} prints no credential: {what}"))
                .with_hint("it must print an `ExecCredential` as JSON; check its arguments")
        })
    }

    async fn run(&self, asks: bool) -> Result<Output> {
        let child = self.process(asks)?.spawn().map_err(|error| self.cannot_start(&error))?;
        let mut group = Group::of(&child, asks);
        let deadline = if asks { DEADLINE_WITH_PERSON } else { DEADLINE };
        let output = timeout(deadline, child.wait_with_output()).await;
        let output = output.map_err(|_elapsed| {
            Error::infrastructure(format!("{self} did not end within {} s", deadline.as_secs()))
                .with_hint(format!(
                    "run `{}` by hand: it may wait for a login or for a server that does not answer",
                    self.command()
                ))
        })?;
        group.has_ended();
        output.map_err(|error| Error::infrastructure(format!("failed to run {self}: {error}")))
    }

    fn process(&self, asks: bool) -> Result<Command> {
        let ExecConfig { api_version, args, env, provide_cluster_info, cluster, .. } = &self.0;
        if self.command().is_empty() {
            return Err(Error::usage("the kubeconfig's plugin has no `command`")
                .with_hint("check `exec` of its user"));
        }
        let mut spec = json!({"interactive": asks});
        if *provide_cluster_info {
            spec["cluster"] = serde_json::to_value(cluster).unwrap_or_default();
        }
        let kind = "ExecCredential";
        let info = json!({"apiVersion": api_version, "kind": kind, "spec": spec});
        let mut command = Command::new(self.command());
        command.args(args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info.to_string());
        for variable in env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        command.stdout(Stdio::piped()).kill_on_drop(true);
        if asks {
            // A person reads it, as it comes.
            command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
        } else {
            // Of a group that can be ended with all that it started.
            command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        }
        Ok(command)
    }

    fn cannot_start(&self, error: &io::Error) -> Error {
        let command = self.command();
        let hint = match &self.0.install_hint {
            Some(hint) => hint.trim().to_owned(),
            None if error.kind() != io::ErrorKind::NotFound => {
                format!("check that `{command}` may be executed")
            }
            None if Path::new(command).components().count() > 1 => {
                format!("install it, or correct `command` of the kubeconfig's user: `{command}`")
            }
            None => format!("install `{command}`, or add its directory to `PATH`"),
        };
        Error::usage(format!("failed to start {self}: {error}")).with_hint(hint)
    }
}

/// Ends a plugin with what it started, unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child, asks: bool) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).filter(|_| !asks);
        Self(id.and_then(Pid::from_raw))
    }

    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // One that has ended meanwhile is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[derive(Deserialize)]
struct ExecCredential {
    kind: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// Understands what a plugin prints. It is never quoted: it has a secret in it.
fn parse(printed: &[u8]) -> Result<Credential, &'static str> {
    let parsed: ExecCredential =
        serde_json::from_slice(printed).map_err(|_| "it is not JSON of this kind")?;
    if parsed.kind.is_some_and(|kind| kind != "ExecCredential") {
        return Err("its `kind` is another one");
    }
    let status = parsed.status.ok_or("it has no `status`")?;
    let expires = status.expiration_timestamp.map(|text| text.parse::<Timestamp>()).transpose();
    let expires = expires.map_err(|_| "its `expirationTimestamp` is not a time")?;
    let token = status.token.filter(|token| !token.is_empty());
    let token = token.map(|token| Token { secret: token.into(), expires });
    let certificate = match (status.client_certificate_data, status.client_key_data) {
        (Some(certificate), Some(key)) => {
            keep_secret(&key);
            Some((certificate, key))
        }
        (None, None) => None,
        _ => return Err("a certificate and its key come together"),
    };
    if token.is_none() && certificate.is_none() {
        return Err("it has neither a token nor a certificate");
    }
    Ok(Credential { token, certificate })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn plugin(script: &str) -> Plugin {
        let config = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", script], "env": [{"name": "NAMED", "value": "token-of-variable"}],
            "interactiveMode": "Never",
        });
        Plugin::new(serde_json::from_value(config).expect("it is a plugin"))
    }

    #[tokio::test]
    async fn a_plugin_gets_what_it_needs_and_its_token_is_read() {
        let script = r#"
            case $KUBERNETES_EXEC_INFO in
                *'"interactive":false'*) ;;
                *) exit 9 ;;
            esac
            printf '{"kind":"ExecCredential","status":{"token":"%s",' "$NAMED"
            printf '"expirationTimestamp":"2026-01-02T03:04:05Z"}}'
        "#;
        let token = plugin(script).credential().await.expect("it prints one").token;
        let token = token.expect("a token");
        assert_eq!(token.secret.expose_secret(), "token-of-variable");
        assert_eq!(token.expires.map(Timestamp::as_second), Some(1_767_323_045));
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_named_with_its_last_line_and_no_secret() {
        let failing =
            plugin("echo '{\"token\": \"canary-out\"}'; echo token=canary-in >&2; exit 3");
        let error = failing.credential().await.expect_err("it fails");
        let text = error.with_hint_line();
        assert!(text.contains("plugin `sh` failed (exit status: 3): token=[redacted]"), "{text}");
        assert!(!text.contains("canary") && error.kind().exit_code() == 4, "{text}");
    }

    #[test]
    fn what_is_no_credential_is_refused_without_a_quote() {
        for (printed, expected) in [
            ("canary", "it is not JSON of this kind"),
            ("{\"kind\":\"Pod\"}", "its `kind` is another one"),
            ("{}", "it has no `status`"),
            ("{\"status\":{\"token\":\"\"}}", "it has neither a token nor a certificate"),
            ("{\"status\":{\"clientKeyData\":\"x\"}}", "a certificate and its key come together"),
            (
                "{\"status\":{\"token\":\"x\",\"expirationTimestamp\":\"soon\"}}",
                "its `expirationTimestamp` is not a time",
            ),
        ] {
            assert_eq!(parse(printed.as_bytes()).expect_err(printed), expected);
        }
    }
}
