//! Bearer tokens that change while a run goes on: those of a file, as pods have it, and those of a
//! plugin.

use std::{fs, path::PathBuf, time::Duration};

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::exec_plugin::Plugin;
use crate::{Error, Result, base::redact::keep_secret};

/// When a file is read again. The kubelet renews the token of a pod when 80 % of its time are over,
/// which is minutes before its end (kubernetes, `pkg/kubelet/token/token_manager.go`).
const FILE_AGAIN: Duration = Duration::from_secs(60);

/// How long before its end a token is renewed: requests and clocks take their time.
const AHEAD: Duration = Duration::from_secs(10);

/// Where tokens come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file that somebody else renews.
    File(PathBuf),
    /// A program that prints one.
    Plugin(Box<Plugin>),
}

/// A token, and until when it is good, where that is known.
#[derive(Debug)]
pub(super) struct Token {
    /// The token.
    pub(super) secret: SecretString,
    /// When it ends.
    pub(super) expires: Option<Timestamp>,
}

/// The tokens of a source. Who asks for one while it is renewed waits for the new one.
#[derive(Debug)]
pub(super) struct Tokens {
    source: Source,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    header: HeaderValue,
    renew_at: Timestamp,
}

impl Tokens {
    /// Keeps a first token, and renews it from its source.
    ///
    /// # Errors
    ///
    /// A token that cannot be sent.
    pub(super) fn new(source: Source, first: &Token) -> Result<Self> {
        let held = Mutex::new(Held::of(&source, first, Timestamp::now())?);
        Ok(Self { source, held })
    }

    /// The header of a request that is sent now.
    ///
    /// # Errors
    ///
    /// A plugin that has no new token. A file that cannot be read any more is none: its last token
    /// may be good for longer.
    pub(super) async fn header(&self) -> Result<HeaderValue> {
        let mut held = self.held.lock().await;
        let now = Timestamp::now();
        if now >= held.renew_at {
            match self.source.token().await {
                Ok(token) => *held = Held::of(&self.source, &token, Timestamp::now())?,
                Err(error) => match self.source {
                    Source::File(_) => held.renew_at = now.saturating_add(AHEAD).unwrap_or(now),
                    Source::Plugin(_) => return Err(error),
                },
            }
        }
        Ok(held.header.clone())
    }

    /// Renews the token before the next request: the server did not accept this one.
    pub(super) async fn forget(&self, refused: &HeaderValue) {
        let mut held = self.held.lock().await;
        if held.header == *refused {
            held.renew_at = Timestamp::MIN;
        }
    }
}

impl Held {
    fn of(source: &Source, token: &Token, now: Timestamp) -> Result<Self> {
        let secret = token.secret.expose_secret().trim();
        keep_secret(secret);
        let mut header = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| {
            Error::usage(format!("{} has no token that can be sent", source.name()))
                .with_hint("a token is one line of letters, digits and `-._~+/=`")
        })?;
        header.set_sensitive(true);
        let renew_at = match source {
            Source::File(_) => now.saturating_add(FILE_AGAIN).unwrap_or(now),
            Source::Plugin(_) => renewal(token.expires, now),
        };
        Ok(Self { header, renew_at })
    }
}

/// When to ask for another token: shortly before the end of this one. One that is nearly over, or
/// over by this machine's clock, is renewed halfway.
fn renewal(expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let Some(expires) = expires else { return Timestamp::MAX };
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    let renewal = left.saturating_sub(AHEAD).max(left / 2);
    now.saturating_add(renewal).unwrap_or(Timestamp::MAX)
}

impl Source {
    /// What the source is, for messages.
    fn name(&self) -> String {
        match self {
            Self::File(path) => format!("token file `{}`", path.display()),
            Self::Plugin(plugin) => plugin.to_string(),
        }
    }

    /// Reads a token.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or a plugin without a token.
    pub(super) async fn token(&self) -> Result<Token> {
        match self {
            Self::File(path) => match fs::read_to_string(path) {
                Ok(text) => Ok(Token { secret: text.into(), expires: None }),
                Err(error) => Err(Error::usage(format!("failed to read {}: {error}", self.name()))
                    .with_hint("give a kubeconfig whose user has a readable `tokenFile`")),
            },
            Self::Plugin(plugin) => plugin.credential().await?.token.ok_or_else(|| {
                Error::infrastructure(format!("{plugin} prints no token any more"))
                    .with_hint("log in again as its documentation says")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("it is a time")
    }

    #[test]
    fn a_token_is_renewed_shortly_before_its_end() {
        for (left, expected) in [(3600, 3590), (60, 50), (20, 10), (12, 6), (2, 1), (0, 0), (-9, 0)]
        {
            assert_eq!(renewal(Some(at(1000 + left)), at(1000)), at(1000 + expected), "{left}");
        }
        assert_eq!(renewal(None, at(1000)), Timestamp::MAX);
    }

    #[tokio::test]
    async fn a_file_is_read_again_after_its_time_and_after_a_refusal() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "first-token\n").expect("it can be written");
        let source = Source::File(file.path().to_owned());
        let first = source.token().await.expect("it can be read");
        let tokens = Tokens::new(source, &first).expect("it can be sent");
        fs::write(file.path(), "second-token").expect("it can be written");

        let header = tokens.header().await.expect("a token");
        assert_eq!(header, "Bearer first-token", "it is not read for each request");
        tokens.held.lock().await.renew_at = Timestamp::now();
        assert_eq!(tokens.header().await.expect("a token"), "Bearer second-token");

        fs::write(file.path(), "third-token").expect("it can be written");
        tokens.forget(&header).await;
        let header = tokens.header().await.expect("a token");
        assert_eq!(header, "Bearer second-token", "another one was refused");
        tokens.forget(&header).await;
        assert_eq!(tokens.header().await.expect("a token"), "Bearer third-token");

        drop(file);
        tokens.held.lock().await.renew_at = Timestamp::now();
        assert_eq!(tokens.header().await.expect("a token"), "Bearer third-token");
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_sent_is_refused_without_a_quote() {
        let source = Source::File("/run/token".into());
        let token = Token { secret: "canary\nof token".to_owned().into(), expires: None };
        let error = Tokens::new(source, &token).expect_err("it has two lines");
        assert_eq!(error.to_string(), "token file `/run/token` has no token that can be sent");
    }
}
