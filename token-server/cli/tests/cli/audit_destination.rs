//! The audit stream's destination: renamed, full, or no longer read.

use std::{
    fs,
    io::{Read as _, Write as _, pipe},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::{
    harness::{get, program, request_token},
    serve::{Serving, config, line_with},
    stop::{LONG, eventually, probe},
};

/// The capacity of a pipe, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

fn configure(home: &Path, telemetry: &str) {
    let text = config(home).replace("[store]", "operations_address = \"127.0.0.1:0\"\n[store]");
    let limits = "[limits]\ndrain_deadline = \"1s\"\nfailures_per_second = 0\n";
    fs::write(home.join("a.toml"), format!("{text}{limits}[telemetry]\n{telemetry}\n")).unwrap();
}

/// Requests a decision about an unknown client. Returns the status of the response.
fn decide(issuer: &str) -> u16 {
    request_token(issuer, "grant_type=client_credentials&client_id=stranger&client_secret=x").0
}

fn lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    text.lines().count()
}

fn operations(told: &str) -> String {
    let line = told.lines().find(|line| line.contains("probes and metrics")).unwrap();
    serde_json::from_str::<serde_json::Value>(line).unwrap()["address"].as_str().unwrap().to_owned()
}

fn terminate(child: &Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
}

fn ends_soon(child: &mut Child) {
    let told = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(told.elapsed() < LONG, "{:?}", told.elapsed());
}

#[test]
fn a_renamed_or_removed_audit_file_is_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let (audit, old) = (home.path().join("audit.log"), home.path().join("audit.log.1"));
    configure(home.path(), &format!("audit = \"{}\"", audit.display()));
    let serving = Serving::start(home.path());
    decide(&serving.issuer);
    eventually(|| lines(&audit) == 1);
    fs::rename(&audit, &old).unwrap();
    decide(&serving.issuer);
    eventually(|| lines(&audit) == 1);
    assert_eq!(lines(&old), 1);
    fs::remove_file(&audit).unwrap();
    decide(&serving.issuer);
    eventually(|| lines(&audit) == 1);
}

#[test]
fn a_hang_up_reopens_the_audit_file_of_an_idle_server() {
    let home = tempfile::tempdir().unwrap();
    let audit = home.path().join("audit.log");
    configure(home.path(), &format!("audit = \"{}\"", audit.display()));
    let serving = Serving::start(home.path());
    fs::rename(&audit, home.path().join("audit.log.1")).unwrap();
    serving.signal("-HUP");
    eventually(|| audit.exists());
}

#[test]
fn a_full_disk_takes_readiness_and_neither_keys_nor_the_end() {
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), "audit = \"/dev/full\"");
    let (mut serving, told) = Serving::start_telling(home.path());
    let operations = operations(&told);
    assert_eq!((decide(&serving.issuer), probe(&operations, "/readyz")), (401, 200));
    line_with(&mut serving.log, "cannot write lines");
    eventually(|| probe(&operations, "/readyz") == 503);
    assert_eq!(decide(&serving.issuer), 401, "decisions go on");
    assert!(get(&serving.issuer, "/jwks.json").starts_with("HTTP/1.1 200"));
    assert_eq!(probe(&operations, "/healthz"), 200);
    serving.signal("-TERM");
    ends_soon(&mut serving.child);
}

#[test]
fn without_a_record_nothing_is_decided_where_that_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), "audit = \"/dev/full\"\naudit_failure = \"refuse\"");
    let serving = Serving::start(home.path());
    eventually(|| decide(&serving.issuer) == 503);
    assert!(get(&serving.issuer, "/jwks.json").starts_with("HTTP/1.1 200"));
}

/// The parent process has stopped reading.
#[test]
fn standard_output_that_is_not_read_takes_readiness_and_not_the_end() {
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), "");
    let (mut reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let (mut serving, told) = Serving::start_writing_to(home.path(), writer);
    let operations = operations(&told);
    assert_eq!(decide(&serving.issuer), 401);
    eventually(|| probe(&operations, "/readyz") == 503);
    assert_eq!(decide(&serving.issuer), 401);
    assert!(get(&serving.issuer, "/jwks.json").starts_with("HTTP/1.1 200"));
    // When the pipe is read again, both lines arrive whole, and the server is ready.
    let mut taken = vec![0; PIPE_BYTES];
    reader.read_exact(&mut taken).unwrap();
    eventually(|| probe(&operations, "/readyz") == 200);
    serving.signal("-TERM");
    ends_soon(&mut serving.child);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count(), 2, "{text}");
}

#[test]
fn standard_output_that_is_never_read_does_not_hold_up_the_end() {
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), "");
    let (_reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let (mut serving, _) = Serving::start_writing_to(home.path(), writer);
    assert_eq!(decide(&serving.issuer), 401);
    serving.signal("-TERM");
    ends_soon(&mut serving.child);
}

/// Log lines, with the audit stream on the same destination.
#[test]
fn standard_error_that_is_not_read_holds_up_nothing() {
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), "audit = \"stderr\"\nlog_filter = \"debug\"");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let mut command = program(home.path());
    command.args(["serve", "--config", "a.toml"]).env("TOKEN_SERVER__LISTEN__ADDRESS", format!("127.0.0.1:{port}"));
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let issuer = format!("http://127.0.0.1:{port}");
    assert_eq!(decide(&issuer), 401);
    assert!(get(&issuer, "/jwks.json").starts_with("HTTP/1.1 200"));
    terminate(&child);
    ends_soon(&mut child);
}
