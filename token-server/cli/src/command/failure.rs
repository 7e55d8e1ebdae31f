//! The failure of a command, and the next step for the user.

use std::{error::Error, fmt, io, io::Write as _, process::ExitCode};

use serde_json::json;
use tonic::Code;

/// The kind of a failure. Each kind has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any other failure.
    Failed,
    /// Wrong arguments or configuration.
    Usage,
    /// Not authenticated, or not allowed.
    Denied,
    /// The server is unreachable or cannot answer now.
    Unavailable,
    /// There is no such client, credential or key.
    NotFound,
    /// The command did its work, and the clients differ from the file (`client plan --exit-code`).
    Differs,
    /// The reader of the output closed it (`| head`).
    OutputClosed,
}

impl Kind {
    /// The exit code of the process.
    const fn code(self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed => 1,
            Self::Usage | Self::Differs => 2,
            Self::Denied => 3,
            Self::Unavailable => 4,
            Self::NotFound => 5,
        }
    }

    /// The name in a JSON error.
    const fn name(self) -> &'static str {
        match self {
            Self::OutputClosed => "output_closed",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Differs => "differs",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
        }
    }

    /// Returns true if the exit code says everything.
    const fn is_silent(self) -> bool {
        matches!(self, Self::OutputClosed | Self::Differs)
    }
}

/// The format of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    /// For people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// The failure of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    next: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), cause: None, next: None }
    }

    /// Wrong arguments or configuration.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// A failure with its cause.
    pub(crate) fn failed(what: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Failed, what).because(cause)
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Sets the next step for the user.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says first what the command had done before it failed.
    pub(crate) fn after(mut self, done: impl fmt::Display) -> Self {
        self.what = format!("{done}, then {}", self.what);
        self
    }

    /// The kind.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Changes the kind.
    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Writes the failure to standard error.
    pub(crate) fn report(&self, format: ErrorFormat) -> ExitCode {
        let code = self.kind.code();
        if !self.kind.is_silent() {
            let text = match format {
                ErrorFormat::Text => format!("error: {self}"),
                ErrorFormat::Json => as_json(self.kind, &self.message(), self.next.as_deref()),
            };
            // If standard error is closed, the text cannot be reported.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
        ExitCode::from(code)
    }

    /// The failure and its causes, each stated once.
    fn message(&self) -> String {
        let mut text = self.what.clone();
        let mut cause: Option<&(dyn Error + 'static)> = self.cause.as_deref().map(|cause| cause as _);
        while let Some(error) = cause {
            add_cause(&mut text, &error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Appends a cause without the parts that `text` already has: "(invalid_client)" and then "invalid_client:
/// …".
fn add_cause(text: &mut String, cause: &str) {
    let cause = match cause.split_once(": ") {
        Some((code, rest)) if text.ends_with(&format!("({code})")) => rest,
        Some(_) | None => cause,
    };
    if !cause.is_empty() && !text.contains(cause) {
        text.push_str(": ");
        text.push_str(cause);
    }
}

/// The JSON form of an error: `{"error": {…}}`, on one line.
pub(crate) fn as_json(kind: Kind, message: &str, next: Option<&str>) -> String {
    let error = json!({ "kind": kind.name(), "exit_code": kind.code(), "message": message, "next": next });
    json!({ "error": error }).to_string()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        if let Some(next) = &self.next {
            write!(f, "\n  {}", next.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// A closed output (`| head`) ends the command quietly.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Kind::OutputClosed, "the output is closed");
        }
        Self::failed("cannot write the output", error)
    }
}

/// The server's error. Its message is meant for callers; its code gives the kind of failure.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let (kind, next) = match status.code() {
            Code::Unauthenticated => {
                (Kind::Denied, "check the client ID and the secret or key, and that the client is not disabled")
            }
            Code::PermissionDenied => (Kind::Denied, "the token's client needs the scope that the message names"),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
                (Kind::Unavailable, "try again; `token-server serve` or `token-server dev` must be running")
            }
            Code::NotFound => {
                (Kind::NotFound, "`token-server client list` and `token-server key list` show what there is")
            }
            Code::InvalidArgument => (Kind::Usage, "correct what the message names"),
            Code::Aborted => (Kind::Failed, "another operator has changed it meanwhile: read it again and repeat"),
            Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => (Kind::Failed, ""),
        };
        let failure = Self::new(kind, format!("the server answered {:?}: {}", status.code(), status.message()));
        if next.is_empty() { failure } else { failure.next(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Chain {
        text: &'static str,
        source: Option<Box<Chain>>,
    }

    fn chain(texts: &[&'static str]) -> Option<Box<Chain>> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Chain { text: first, source: chain(rest) }))
    }

    fn message(texts: &[&'static str]) -> String {
        Failure::failed("no token", *chain(texts).unwrap()).message()
    }

    #[test]
    fn a_cause_is_said_once() {
        assert_eq!(message(&["a", "b", "b"]), "no token: a: b");
        assert_eq!(
            message(&["refused (invalid_client)", "invalid_client: no."]),
            "no token: refused (invalid_client): no."
        );
        assert_eq!(message(&["a", "", "invalid_client: no."]), "no token: a: invalid_client: no.");
    }

    #[test]
    fn a_json_error_is_one_line_with_its_exit_code() {
        let text = as_json(Kind::Denied, "a\n\"b\"", Some("c"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!((&value["error"]["kind"], &value["error"]["exit_code"]), (&json!("denied"), &json!(3)));
        assert_eq!(value["error"]["message"], "a\n\"b\"");
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.kind().code(), closed.kind().is_silent()), (0, true));
        assert_eq!(Failure::from(io::Error::other("full")).kind(), Kind::Failed);
    }
}
