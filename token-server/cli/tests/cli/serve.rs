//! `token-server serve`: all mistakes at once, plaintext rejected, signals obeyed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use crate::harness::{Ran, program, run};

/// A configuration that works, on loopback in plaintext.
pub(crate) fn config(folder: &Path) -> String {
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for name in ["sealing.key", "pepper.key"] {
        fs::write(folder.join(name), key).unwrap();
    }
    let folder = folder.display();
    format!(
        r#"
[issuer]
url = "http://127.0.0.1:0"
[listen]
address = "127.0.0.1:0"
[store]
url = "sqlite://{folder}/token-server.db"
[keys]
sealing_key_file = "{folder}/sealing.key"
[secrets]
pepper_file = "{folder}/pepper.key"
"#
    )
}

#[test]
fn check_reports_every_mistake_and_starts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let text =
        config(home.path()).replace("[issuer]", "[issuer]\nurll = 1").replace("127.0.0.1:0\"\n[store]", "x\"\n[store]");
    fs::write(home.path().join("a.toml"), text).unwrap();
    let ran = run(home.path(), &["serve", "--config", "a.toml", "--check"]);
    assert_eq!(ran.code, 2);
    for expected in ["2 mistakes", "a.toml:3:1: issuer.urll", "did you mean \"url\"?", "a.toml:6:1: listen.address"] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    assert!(!home.path().join("token-server.db").exists());
}

#[test]
fn check_of_a_good_configuration_starts_nothing() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.toml"), config(home.path())).unwrap();
    let ran = run(home.path(), &["serve", "--config", "a.toml", "--check"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "The configuration is valid.\n"), "{}", ran.stderr);
    assert!(!home.path().join("token-server.db").exists());
}

#[test]
fn refuses_plaintext_beyond_loopback() {
    let home = tempfile::tempdir().unwrap();
    let text = config(home.path()).replace("address = \"127.0.0.1:0\"", "address = \"0.0.0.0:0\"");
    fs::write(home.path().join("a.toml"), text).unwrap();
    let ran = run(home.path(), &["serve", "--config", "a.toml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is not loopback") && ran.stderr.contains("danger_plaintext"), "{}", ran.stderr);
}

#[test]
fn missing_file_is_named() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["serve", "--config", "nowhere.toml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nowhere.toml"), "{}", ran.stderr);
}

/// A server by a configuration, ended when dropped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) log: BufReader<ChildStderr>,
    pub(crate) issuer: String,
}

impl Serving {
    pub(crate) fn start(home: &Path) -> Self {
        Self::start_with(home, &[])
    }

    /// Also returns the log lines until it served.
    pub(crate) fn start_telling(home: &Path) -> (Self, String) {
        Self::launch(home, &[], Stdio::piped())
    }

    /// Starts with another standard output.
    pub(crate) fn start_writing_to(home: &Path, output: impl Into<Stdio>) -> (Self, String) {
        Self::launch(home, &[], output.into())
    }

    /// Starts with further variables.
    pub(crate) fn start_with(home: &Path, variables: &[(&str, &str)]) -> Self {
        Self::launch(home, variables, Stdio::piped()).0
    }

    fn launch(home: &Path, variables: &[(&str, &str)], output: Stdio) -> (Self, String) {
        let mut command = program(home);
        command.envs(variables.iter().copied());
        command.args(["serve", "--config", "a.toml"]).env("TOKEN_SERVER__TELEMETRY__LOG_FORMAT", "json");
        let mut child = command.stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let told = lines_until(&mut log, "\"serving\"");
        let serving: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        (Self { child, log, issuer: serving["issuer"].as_str().unwrap().to_owned() }, told)
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn line_with(log: &mut BufReader<ChildStderr>, expected: &str) -> String {
    lines_until(log, expected).lines().last().unwrap().to_owned()
}

/// Reads up to the first line that contains `expected`.
fn lines_until(log: &mut BufReader<ChildStderr>, expected: &str) -> String {
    let mut lines = String::new();
    loop {
        let begin = lines.len();
        assert_ne!(log.read_line(&mut lines).unwrap(), 0, "ended without {expected}: {lines}");
        if lines[begin..].contains(expected) {
            return lines;
        }
    }
}

#[test]
fn serves_by_a_configuration_until_it_is_told_to_stop() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.toml"), config(home.path())).unwrap();
    let create =
        ["client", "create", "orders", "--offline", "--config", "a.toml", "--grant", "inventory=read", "--json"];
    let created = run(home.path(), &create);
    assert_eq!(created.code, 0, "{}", created.stderr);
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();

    let mut serving = Serving::start(home.path());
    let mut command = program(home.path());
    command.env("TOKEN_CLIENT_ID", "orders").env("TOKEN_CLIENT_SECRET", created["client_secret"].as_str().unwrap());
    command.args(["token", "--audience", "inventory", "--issuer", &serving.issuer]);
    let token: Ran = command.output().unwrap().into();
    assert_eq!(token.code, 0, "{}", token.stderr);
    let token = run(home.path(), &["inspect", "--json", token.stdout.trim()]);
    let token: serde_json::Value = serde_json::from_str(&token.stdout).unwrap();
    assert_eq!(token["claims"]["iss"], serving.issuer.as_str());

    serving.signal("-TERM");
    line_with(&mut serving.log, "\"stopped\"");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    // Only the audit stream uses standard output, and each of its lines is written before the exit.
    let mut audit = String::new();
    serving.child.stdout.take().unwrap().read_to_string(&mut audit).unwrap();
    let audit: Vec<serde_json::Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let issued = audit.iter().find(|line| line["outcome"] == "granted").unwrap();
    assert_eq!(issued["jti"], token["claims"]["jti"]);
}

/// Writes a certificate for `host`, and its key.
fn certify(home: &Path, host: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([host.to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(home.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(home.join("tls.key"), key.serialize_pem()).unwrap();
}

/// A configuration with that certificate.
fn config_with_tls(home: &Path) -> String {
    let folder = home.display();
    config(home).replace("http://127.0.0.1:0", "https://localhost:0")
        + &format!(
            "[tls]\ncertificate = \"{folder}/tls.crt\"\nprivate_key = \"{folder}/tls.key\"\nreload_interval = \"1day\"\n"
        )
}

#[test]
fn a_certificate_for_another_host_than_the_issuer_is_served_with_a_warning_once() {
    const WARNING: &str = "is not valid for the host of [issuer] url";
    let home = tempfile::tempdir().unwrap();
    certify(home.path(), "tokens.example");
    fs::write(home.path().join("a.toml"), config_with_tls(home.path())).unwrap();
    let (mut serving, told) = Serving::start_telling(home.path());
    assert_eq!(told.matches(WARNING).count(), 1, "{told}");
    let line = told.lines().find(|line| line.contains(WARNING)).unwrap();
    let file = home.path().join("tls.crt");
    for expected in ["WARN", "\"host\":\"localhost\"", file.to_str().unwrap(), "tokens.example"] {
        assert!(line.contains(expected), "{expected}: {line}");
    }

    for (host, warnings) in [("localhost", 0), ("other.example", 1)] {
        certify(home.path(), host);
        serving.signal("-HUP");
        let told = lines_until(&mut serving.log, "TLS certificates reloaded");
        assert_eq!(told.matches(WARNING).count(), warnings, "{host}: {told}");
    }
}

#[test]
fn hang_up_reloads_certificates_at_once() {
    let home = tempfile::tempdir().unwrap();
    certify(home.path(), "localhost");
    fs::write(home.path().join("a.toml"), config_with_tls(home.path())).unwrap();
    let mut serving = Serving::start(home.path());
    certify(home.path(), "localhost");
    serving.signal("-HUP");
    line_with(&mut serving.log, "TLS certificates reloaded");
}
