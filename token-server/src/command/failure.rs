//! What went wrong, and what to do next.

use std::{error::Error, io, io::Write as _, process::ExitCode};

use tonic::Code;

use super::connection::client_certificate::HINT;
use crate::error_chain;

/// Of which kind a failure is: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything else.
    Failed = 1,
    /// Wrong arguments or configuration.
    Usage = 2,
    /// Not authenticated, or not allowed.
    Denied = 3,
    /// Out of reach, or not able to answer now.
    Unavailable = 4,
    /// No such thing.
    NotFound = 5,
}

/// Why a command failed.
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

    /// Something failed, and its cause says why.
    pub(crate) fn failed(what: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Failed, what).because(cause)
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what the user may do about it.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Writes the failure to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr().lock(), "error: {self}");
        ExitCode::from(self.kind as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {}", error_chain::of(&**cause))?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  {}", next.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// Output that nobody reads any more (`| head`) is no failure worth words; it still ends the command.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed("cannot write the output", error)
    }
}

/// An answer of the server. Its message is meant for callers, its code says what kind of failure it is.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let (kind, next) = match status.code() {
            Code::Unauthenticated => {
                (Kind::Denied, "check the client ID and secret, and that the client is not disabled")
            }
            Code::PermissionDenied => (Kind::Denied, "the token's client needs the scope that the message names"),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
                (Kind::Unavailable, "try again; `token-server serve` or `token-server dev` must be running")
            }
            Code::NotFound => {
                (Kind::NotFound, "`token-server client list` and `token-server key list` show what there is")
            }
            Code::InvalidArgument => (Kind::Usage, "correct what the message names"),
            Code::Aborted => (Kind::Failed, "somebody else changed it meanwhile: look at it again and repeat"),
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
        if status.code() == Code::Unavailable {
            return failure.next(format!("{next}\n{HINT}"));
        }
        if next.is_empty() { failure } else { failure.next(next) }
    }
}
