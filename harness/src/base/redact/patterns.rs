//! What secrets look like: the net for those that nobody told us of.
//!
//! Every expression is matched in time that is linear in the text (crate `regex`), which a pod may
//! have made up.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

/// What stands where a secret was.
pub(super) const REDACTED: &str = "[redacted]";

/// Names of fields, variables and options whose values are secrets, by their end.
const NAMES: &str = "password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|\
                     private[_-]?key|credentials?|client-key-data|client-certificate-data|\
                     certificate-authority-data|dockerconfigjson|dockercfg";

/// A form that secrets have.
struct Form {
    /// The expression.
    secret: String,
    /// What is put in its place.
    instead: &'static str,
    /// Whether a match is none after all.
    is_harmless: fn(&Captures<'_>) -> bool,
}

impl Form {
    fn new(secret: impl Into<String>, instead: &'static str) -> Self {
        Self { secret: secret.into(), instead, is_harmless: |_| false }
    }

    fn unless(self, is_harmless: fn(&Captures<'_>) -> bool) -> Self {
        Self { is_harmless, ..self }
    }
}

fn forms() -> Vec<Form> {
    vec![
        // RFC 7468, and RFC 1421 with its headers: certificates and keys. The text may be cut off
        // at either end, and its line ends may be escaped or joined.
        Form::new(
            r"-----BEGIN [A-Z0-9 ]{1,40}-----(?:[A-Za-z0-9+/=\s\\:,.|]|-[A-Za-z0-9])*(?:-----END [A-Z0-9 ]{1,40}-----)?",
            "[redacted PEM]",
        ),
        Form::new(
            r"(?:[A-Za-z0-9+/=]{20,}(?:\s|\\n)+)+[A-Za-z0-9+/=]*(?:\s|\\n)*-----END [A-Z0-9 ]{1,40}-----",
            "[redacted PEM]",
        ),
        // Headers. A value of two words is a scheme and what it takes.
        Form::new(
            r#"(?i)\b((?:proxy-)?authorization\\*["']?[ \t]*[:=][ \t]*\\*["']?)(?:(?:bearer|basic|negotiate|token)[ \t]+)?[^\s"'\\,;\[\]{}]+"#,
            "${1}[redacted]",
        ),
        Form::new(r"(?i)\b((?:set-)?cookie[ \t]*:[ \t]*)[^\s\[][^\r\n\[]*", "${1}[redacted]"),
        Form::new(r"(?i)\b((?:bearer|basic)[ \t]+)([A-Za-z0-9._~+/=-]{8,})", "${1}[redacted]")
            .unless(|found| is_word(&found[2])),
        // RFC 7519: base64url parts, of which the first is that of `{"`.
        Form::new(r"eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){2,4}", "[redacted token]"),
        // Base64 of JSON (half a token, a pull secret), of PEM, of a kubeconfig's `apiVersion:`.
        Form::new(
            "(?:eyJ|ewog|LS0tLS1CRUdJTi|YXBpVmVyc2lvb)[A-Za-z0-9+/_=-]{16,}",
            "[redacted token]",
        ),
        // OpenShift's OAuth tokens; tokens of GitHub and GitLab; keys of AWS.
        Form::new(r"sha256~[A-Za-z0-9_-]{16,}", "[redacted token]"),
        Form::new(
            r"\b(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}|\bAKIA[A-Z0-9]{16}\b",
            "[redacted token]",
        ),
        // Who asks, in an address, or before one: `user:password@host`. A tag before a digest looks
        // the same.
        Form::new(r#"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/"'<>`\[\]]*@"#, "${1}[redacted]@"),
        Form::new(r#"\b[A-Za-z0-9._-]+:[^\s@/?"'<>`\[\]]+@([A-Za-z0-9.-]+)"#, "[redacted]@${1}")
            .unless(|found| matches!(&found[1], "sha256" | "sha384" | "sha512")),
        // A block of YAML, and then any value behind a name: `"token": "x"`, `PASSWORD=x`, also in
        // a text within a text.
        Form::new(
            format!(r"(?i)([A-Za-z0-9_.-]*(?:{NAMES})[ \t]*:[ \t]*)[|>][+-]?[ \t]*\n(?:[ \t]+[^\n]*(?:\n|\z))+"),
            "${1}[redacted]\n",
        ),
        Form::new(
            format!(
                r#"(?i)([A-Za-z0-9_.-]*(?:{NAMES})\\*["']?[ \t]*[:=][ \t]*)(?:(\\+["'])[^"'\\]*|(")(?:[^"\\]|\\.)*|(')[^'\n]*|([^\s"'`\\,;&(){{}}\[\]<>|]+))"#
            ),
            "${1}${2}${3}${4}[redacted]",
        )
        .unless(|found| found.get(5).is_some_and(|value| is_no_value(value.as_str()))),
        Form::new(
            format!(r"(?i)(--[a-z-]*(?:{NAMES})[ \t]+)[^\s`\[\]]+"),
            "${1}[redacted]",
        ),
        // A variable in a pod's specification.
        Form::new(
            format!(
                r#"(?i)(\bname\\*["']?\s*:\s*\\*["']?[A-Za-z0-9_.-]*(?:{NAMES})\\*["']?\s*,?\s*\\*["']?value\\*["']?\s*:\s*\\*["']?)[^\s"'\\,\[\]{{}}]+"#
            ),
            "${1}[redacted]",
        ),
        // A pull secret (containers-auth.json(5)).
        Form::new(r#"(?i)(["']auth\\*["']\s*:\s*\\*["'])[^"'\\\[\]]+"#, "${1}[redacted]"),
    ]
}

static FORMS: LazyLock<Vec<(Regex, Form)>> = LazyLock::new(|| {
    // The expressions are constants, and a test compiles each.
    let compiled = |form: Form| Regex::new(&form.secret).ok().map(|regex| (regex, form));
    forms().into_iter().filter_map(compiled).collect()
});

static NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("(?i)(?:{NAMES}|authorization)$")).ok());

/// Whether a field, variable or option of this name holds a secret.
pub(super) fn names_secret(name: &str) -> bool {
    NAME.as_ref().is_some_and(|expression| expression.is_match(name))
}

/// A text without what looks like a secret.
pub(super) fn without(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (expression, form) in FORMS.iter() {
        let replaced = expression.replace_all(&text, |found: &Captures<'_>| {
            if (form.is_harmless)(found) {
                return found[0].to_owned();
            }
            let mut instead = String::new();
            found.expand(form.instead, &mut instead);
            instead
        });
        if let Cow::Owned(replaced) = replaced {
            text = Cow::Owned(replaced);
        }
    }
    text
}

/// Prose, as in "bearer authentication".
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// What a field says that holds no secret.
fn is_no_value(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "nil" | "none" | "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_is_good() {
        assert_eq!(FORMS.len(), forms().len());
        assert!(NAME.is_some());
    }

    #[test]
    fn a_secret_is_taken_out_in_whatever_form_it_comes() {
        for text in [
            "Authorization: Bearer canary",
            "> authorization: Basic Y2FuYXJ5 canary-is-not-here"
                .replace("canary-is-not-here", "")
                .as_str(),
            r#"{"Authorization":["x"],"Proxy-Authorization":"Basic canary"}"#,
            "Cookie: a=canary; b=canary",
            "the bearer canary-0123 was refused",
            "https://user:canary@host/path",
            "http://canary@host",
            "failed to pull user:canary@host/image:1",
            "password=canary",
            "PGPASSWORD='canary canary'",
            "DB_PASSWORD=canary",
            "token: canary",
            "  token: \"canary \\\" canary\"\n",
            r#"{"token":"canary"}"#,
            r#"said "{\"refresh_token\": \"canary\"}""#,
            "client-key-data: canary==",
            "password: |\n  canary\n  canary\n",
            "AWS_SECRET_ACCESS_KEY=canary",
            "podman login --password canary --get-login",
            r#""env":[{"name":"DB_PASSWORD","value":"canary"}]"#,
            "- name: API_TOKEN\n  value: canary\n",
            r#"{"auths":{"host":{"auth":"canary"}}}"#,
            r#"{\"auths\":{\"host\":{\"auth\":\"canary\"}}}"#,
            ".dockerconfigjson: canary",
            "?access_token=canary&x=1",
            "-----BEGIN PRIVATE KEY-----\ncanary\ncanary==\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: A-1,AB\n\ncanary\n-----END RSA PRIVATE KEY-----",
            r#""-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n""#,
            "-----BEGIN CERTIFICATE----- canary canary",
            "canarycanarycanarycanary\ncanary==\n-----END CERTIFICATE-----",
            "eyJcanary.eyJcanary.canary",
            "eyJcanarycanarycanary",
            "LS0tLS1CRUdJTicanarycanarycanary",
            "sha256~canarycanarycanary",
            "ghp_canarycanarycanary",
        ] {
            let cleaned = without(text);
            assert!(!cleaned.contains("canary"), "{text}\n{cleaned}");
            assert!(!cleaned.contains("Y2FuYXJ5"), "{text}\n{cleaned}");
            assert!(cleaned.contains("redacted"), "{text}\n{cleaned}");
            assert_eq!(without(&cleaned), cleaned, "twice is no more than once");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_kept() {
        for text in [
            "automountServiceAccountToken: false",
            "request a token for the user: the answer has none",
            "create serviceaccounts/token",
            "Basic authentication is off",
            "host:5000/image:tag@sha256:0123456789abcdef",
            "secretName: pull",
            "the kubeconfig's token or certificate is not accepted: log in again",
            "eyJx",
            "see https://host/path?x=a@b",
            "2026-11-24T15:00:00Z node@1",
            "resources:\n- serviceaccounts/token\n  verbs:\n  - create\n",
            "lowerdir=/a:/b,upperdir=/c",
            "PASSWORD_FILE=/run/secrets/x",
            "volumes:\n- secret:\n    secretName: x\n",
        ] {
            assert_eq!(without(text), text);
        }
    }

    #[test]
    fn what_is_around_a_secret_stays() {
        assert_eq!(
            without("Authorization: Bearer eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl next"),
            "Authorization: [redacted] next"
        );
        assert_eq!(without(r#"{"token":"x","kind":"y"}"#), r#"{"token":"[redacted]","kind":"y"}"#);
        assert_eq!(without("pull a:b@host/i:1"), "pull [redacted]@host/i:1");
    }

    #[test]
    fn a_text_that_was_made_to_be_slow_is_not() {
        let started = std::time::Instant::now();
        for piece in ["-----BEGIN A-----", "eyJ", "a:", "token=\"", "://", "AAAAAAAAAAAAAAAAAAAA\n"]
        {
            let _ = without(&piece.repeat(256 * 1024 / piece.len()));
        }
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
