//! The comparison of results with expectations.

use std::{
    collections::BTreeSet,
    fmt,
    io::{BufReader, BufWriter},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    case::{Caller, ClientExpectation, Refusal, ServerExpectation},
    protocol::{
        self,
        v1::{
            self, ClientResult, ConformanceRequest, ConformanceResponse, ServerResult,
            conformance_response::Result as Outcome, server_result::Decision,
        },
    },
    suite::{Case, Expected},
};

/// The time for one case. An executor simulates time, so a case that takes longer is stuck.
const CASE_MAX: Duration = Duration::from_secs(30);

/// A case whose result is not the expected one.
#[derive(Debug)]
pub struct Failure {
    /// The name of the case.
    pub name: String,
    /// The difference.
    pub difference: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.difference)
    }
}

/// The time for the first case. The executor's command may build it first.
const FIRST_CASE_MAX: Duration = Duration::from_secs(600);

/// An executor in a process of its own.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: BufWriter<ChildStdin>,
    responses: mpsc::Receiver<std::io::Result<Option<ConformanceResponse>>>,
    case_max: Duration,
}

impl Process {
    /// Starts the executor.
    ///
    /// # Errors
    ///
    /// When there is no such program.
    pub fn start(command: &[String]) -> std::io::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| std::io::Error::other("no executor is named"))?;
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("the executor has no pipes"));
        };
        Ok(Self { child, input: BufWriter::new(input), responses: reader(output), case_max: FIRST_CASE_MAX })
    }

    /// Runs one case.
    ///
    /// # Errors
    ///
    /// When the executor has ended, is stuck, or does not follow the protocol.
    pub fn run(&mut self, request: &ConformanceRequest) -> std::io::Result<ConformanceResponse> {
        protocol::write(&mut self.input, request)?;
        let waited = std::mem::replace(&mut self.case_max, CASE_MAX);
        match self.responses.recv_timeout(waited) {
            Ok(response) => response?.ok_or_else(|| std::io::Error::other("the executor has ended")),
            Err(_) => Err(std::io::Error::other(format!("no response within {waited:?}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An executor that is stuck does not see the end of its input.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(output: ChildStdout) -> mpsc::Receiver<std::io::Result<Option<ConformanceResponse>>> {
    let (sender, responses) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let response = protocol::read(&mut output);
            let ended = !matches!(response, Ok(Some(_)));
            if sender.send(response).is_err() || ended {
                return;
            }
        }
    });
    responses
}

/// Returns the difference between a response and the expectation of its case, if there is one.
#[must_use]
pub fn judge(case: &Case, response: ConformanceResponse) -> Option<Failure> {
    let difference = match (&case.expected, response.result) {
        (Expected::Server(expected), Some(Outcome::Server(result))) => of_server(expected, &result),
        (Expected::Client(expected), Some(Outcome::Client(result))) => of_client(expected, &result),
        (_, Some(Outcome::Error(error))) => Err(format!("the executor failed: {error}")),
        (_, Some(Outcome::Unsupported(reason))) => Err(format!("not supported: {reason}")),
        (_, other) => Err(format!("the response does not fit the case: {other:?}")),
    };
    difference.err().map(|difference| Failure { name: case.request.name.clone(), difference })
}

fn of_server(expected: &ServerExpectation, result: &ServerResult) -> Result<(), String> {
    match &result.decision {
        Some(Decision::StartError(error)) => {
            let Some(texts) = &expected.start_error else { return Err(format!("the server does not start: {error}")) };
            for text in texts {
                same("the start error contains the text", &true, &error.contains(text))
                    .map_err(|e| format!("{e}: {text:?} in {error:?}"))?;
            }
        }
        Some(Decision::Allowed(caller)) => match &expected.allowed {
            Some(expected) => of_caller(expected, caller)?,
            None => return Err("the call was allowed".to_owned()),
        },
        Some(Decision::Refused(refusal)) => match &expected.refused {
            Some(expected) => of_refusal(expected, refusal)?,
            None => return Err(format!("the call was refused: {refusal:?}")),
        },
        None => return Err("there is no decision".to_owned()),
    }
    match (&expected.would_deny, &result.would_deny) {
        (None, None) => {}
        (Some(expected), Some(refusal)) => {
            of_refusal(expected, refusal).map_err(|error| format!("observed: {error}"))?
        }
        (_, recorded) => return Err(format!("the recorded refusal: {recorded:?}")),
    }
    same("the marks", &expected.marks, &result.marks)
}

fn of_caller(expected: &Caller, caller: &v1::Caller) -> Result<(), String> {
    maybe("iss", expected.issuer.as_ref(), &caller.issuer)?;
    maybe("sub", expected.subject.as_ref(), &caller.subject)?;
    maybe("client_id", expected.client_id.as_ref(), &caller.client_id)?;
    maybe("jti", expected.token_id.as_ref(), &caller.token_id)?;
    maybe("scope", expected.scopes.as_ref(), &caller.scopes)?;
    maybe("act", expected.actors.as_ref(), &caller.actors)
}

fn of_refusal(expected: &Refusal, refusal: &v1::Refusal) -> Result<(), String> {
    same("the reason", &expected.reason, &refusal.reason)?;
    same("the code", &expected.code, &refusal.code)?;
    same("the domain", &token_proto::ERROR_DOMAIN.to_owned(), &refusal.domain)?;
    let metadata = refusal.metadata.clone().into_iter().collect();
    same("the metadata", &expected.metadata, &metadata)?;
    maybe("www-authenticate", expected.www_authenticate.as_ref(), &refusal.www_authenticate)?;
    same("RetryInfo", &expected.retry, &refusal.has_retry_info)
}

fn of_client(expected: &ClientExpectation, result: &ClientResult) -> Result<(), String> {
    let requests: Vec<_> = (result.requests.iter())
        .map(|request| (millis(request.at.as_ref()), request.audience.clone(), request.scopes.clone()))
        .collect();
    let expected_requests: Vec<_> = expected
        .requests
        .iter()
        .map(|request| (request.at, request.audience.clone(), request.scopes.clone()))
        .collect();
    same("the token requests", &expected_requests, &requests)?;
    same("the number of calls", &expected.calls.len(), &result.calls.len())?;
    for (number, (expected, call)) in expected.calls.iter().zip(&result.calls).enumerate() {
        let name = format!("call {number}");
        let found = (call.code, call.reason.clone(), millis(call.at.as_ref()), call.attempts.clone());
        let expected_call = (expected.code, expected.reason.clone(), expected.at, expected.attempts.clone());
        same(&name, &expected_call, &found)?;
        same(&format!("the marks of {name}"), &expected.marks, &call.marks)?;
    }
    Ok(())
}

fn millis(duration: Option<&prost_types::Duration>) -> i64 {
    duration.map_or(-1, |duration| duration.seconds * 1000 + i64::from(duration.nanos) / 1_000_000)
}

fn maybe<T: PartialEq + fmt::Debug>(name: &str, expected: Option<&T>, found: &T) -> Result<(), String> {
    expected.map_or(Ok(()), |expected| same(name, expected, found))
}

fn same<T: PartialEq + fmt::Debug>(name: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{name}: expected {expected:?}, got {found:?}")) }
}

/// The outcome of a run against the list of expected failures.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of cases.
    pub cases: usize,
    /// The failures that are not listed.
    pub unexpected: Vec<Failure>,
    /// The listed cases that failed.
    pub expected: Vec<String>,
    /// The listed cases that passed, or do not exist.
    pub stale: Vec<String>,
}

impl Report {
    /// Compares failures with the list: one name per line, `#` begins a comment.
    #[must_use]
    pub fn new(cases: usize, failures: Vec<Failure>, listed: &str) -> Self {
        let listed: BTreeSet<&str> = listed
            .lines()
            .filter_map(|line| line.split('#').next())
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        let failed: BTreeSet<String> = failures.iter().map(|failure| failure.name.clone()).collect();
        let (known, unexpected): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| listed.contains(failure.name.as_str()));
        Self {
            cases,
            unexpected,
            expected: known.into_iter().map(|failure| failure.name).collect(),
            stale: listed.into_iter().filter(|name| !failed.contains(*name)).map(str::to_owned).collect(),
        }
    }

    /// Returns true if no failure is unexpected and no entry of the list is stale.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.unexpected.is_empty() && self.stale.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &str) -> Failure {
        Failure { name: name.to_owned(), difference: String::new() }
    }

    #[test]
    fn a_listed_failure_is_expected_and_a_stale_entry_is_not() {
        let report = Report::new(3, vec![failure("a"), failure("b")], "a # not yet\n\n# c\nd\n");
        let unexpected: Vec<_> = report.unexpected.iter().map(|failure| failure.name.as_str()).collect();
        assert_eq!(unexpected, ["b"]);
        assert_eq!(
            (report.expected.as_slice(), report.stale.as_slice()),
            (&["a".to_owned()][..], &["d".to_owned()][..])
        );
        assert!(!report.is_good());
        assert!(Report::new(1, vec![failure("a")], "a").is_good());
        assert!(!Report::new(1, vec![], "a").is_good());
    }
}
