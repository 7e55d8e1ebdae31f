//! Starting and stopping, as a supervisor sees them: probes, signals, the drain deadline, the exit code.

use std::{
    fs,
    io::{BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    harness::{get, program},
    serve::{Serving, config, line_with},
};

/// Far longer than anything here should take.
pub(crate) const LONG: Duration = Duration::from_secs(30);

fn configured(home: &Path, more: &str) {
    let text = config(home).replace("[store]", "operations_address = \"127.0.0.1:0\"\n[store]");
    fs::write(home.join("a.toml"), text + more).unwrap();
}

/// A server, the address of its probes, and a request in flight, which waits for its body.
fn with_a_request_under_way(home: &Path, drain_deadline: &str) -> (Serving, String, TcpStream) {
    configured(home, &format!("[limits]\ndrain_deadline = \"{drain_deadline}\"\n"));
    let (serving, told) = Serving::start_telling(home);
    let operations = address_in(&told);
    let mut stream = TcpStream::connect(serving.issuer.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nconnection: close\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    (serving, operations, stream)
}

fn address_in(log: &str) -> String {
    let line = log.lines().find(|line| line.contains("probes and metrics")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

pub(crate) fn probe(address: &str, path: &str) -> u16 {
    let answer = get(&format!("http://{address}"), path);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until it holds. A supervisor polls in the same way.
pub(crate) fn eventually(mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < LONG);
        std::thread::yield_now();
    }
}

#[test]
fn while_it_drains_it_lives_and_is_not_ready() {
    let home = tempfile::tempdir().unwrap();
    let (mut serving, operations, mut stream) = with_a_request_under_way(home.path(), "10m");
    assert_eq!((probe(&operations, "/readyz"), probe(&operations, "/healthz")), (200, 200));
    serving.signal("-TERM");
    eventually(|| probe(&operations, "/readyz") == 503);
    assert_eq!(probe(&operations, "/healthz"), 200);
    stream.write_all(b"grant_typ").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_request_that_never_ends_keeps_the_process_no_longer_than_the_drain_deadline() {
    let home = tempfile::tempdir().unwrap();
    let (mut serving, _, _stream) = with_a_request_under_way(home.path(), "200ms");
    let told = Instant::now();
    serving.signal("-TERM");
    line_with(&mut serving.log, "requests were still in flight at the drain deadline");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    assert!(told.elapsed() >= Duration::from_millis(200) && told.elapsed() < LONG);
}

#[test]
fn a_second_signal_does_not_wait_for_requests_under_way() {
    for (first, second) in [("-TERM", "-TERM"), ("-INT", "-INT"), ("-TERM", "-INT")] {
        let home = tempfile::tempdir().unwrap();
        let (mut serving, operations, _stream) = with_a_request_under_way(home.path(), "10m");
        serving.signal(first);
        eventually(|| probe(&operations, "/readyz") == 503);
        assert!(serving.child.try_wait().unwrap().is_none(), "{first}: the first one waits");
        let told = Instant::now();
        serving.signal(second);
        line_with(&mut serving.log, "second stop signal");
        assert_eq!(serving.child.wait().unwrap().code(), Some(0));
        assert!(told.elapsed() < LONG);
    }
}

/// N21, F22: a database that is down.
#[test]
fn a_database_that_is_down_ends_the_start_with_its_reason() {
    let home = tempfile::tempdir().unwrap();
    configured(home.path(), "");
    let text = fs::read_to_string(home.path().join("a.toml")).unwrap();
    let sqlite = format!("sqlite://{}/token-server.db", home.path().display());
    let text = text.replace("[store]", "[store]\nstart_wait = \"3s\"");
    fs::write(home.path().join("a.toml"), text.replace(&sqlite, "postgres://operator@127.0.0.1:1/tokens")).unwrap();
    let ended = program(home.path()).args(["serve", "--config", "a.toml"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    let last = said.lines().rev().find(|line| line.starts_with("error: ")).unwrap();
    assert!(last.contains("PostgreSQL at 127.0.0.1:1"), "{said}");
    assert_eq!(last.matches("Connection refused").count(), 1, "{said}");
    assert!(said.contains("the store cannot be used yet; trying again"), "{said}");
}

/// A database that accepts connections and does not respond.
#[test]
fn while_it_starts_it_lives_and_is_not_ready_and_a_signal_ends_it() {
    let home = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    configured(home.path(), "");
    let text = fs::read_to_string(home.path().join("a.toml")).unwrap();
    let sqlite = format!("sqlite://{}/token-server.db", home.path().display());
    let url = format!("postgres://operator@{}/tokens", silent.local_addr().unwrap());
    fs::write(home.path().join("a.toml"), text.replace(&sqlite, &url)).unwrap();

    let mut command = program(home.path());
    command.args(["serve", "--config", "a.toml"]).env("TOKEN_SERVER__TELEMETRY__LOG_FORMAT", "json");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let operations = address_in(&line_with(&mut log, "probes and metrics"));
    assert_eq!((probe(&operations, "/readyz"), probe(&operations, "/healthz")), (503, 200));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
