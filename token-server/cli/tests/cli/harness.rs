//! Runs the program, and development issuers.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

/// The program in an environment of its own, without the caller's shell variables and home.
pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-server"));
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap()).current_dir(home);
    command.stdin(Stdio::null());
    command
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs the program to its end.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Ran {
    program(home).args(arguments).output().unwrap().into()
}

/// Creates a client on the store of `a.toml`, and returns its secret.
pub(crate) fn create_offline(home: &Path, id: &str, grant: &str) -> String {
    let create = ["client", "create", id, "--offline", "--config", "a.toml", "--grant", grant, "--json"];
    let created = run(home, &create);
    assert_eq!(created.code, 0, "{}", created.stderr);
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();
    created["client_secret"].as_str().unwrap().to_owned()
}

/// Requests over HTTP/1.1, and returns the whole response.
pub(crate) fn exchange(issuer: &str, request: &str) -> String {
    let host = issuer.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = request.replacen("\r\n", &format!("\r\nHost: {host}\r\nConnection: close\r\n"), 1);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn get(issuer: &str, path: &str) -> String {
    exchange(issuer, &format!("GET {path} HTTP/1.1\r\n\r\n"))
}

/// Requests a token over HTTP, and returns the status and the body.
pub(crate) fn request_token(issuer: &str, form: &str) -> (u16, String) {
    let length = form.len();
    let answer = exchange(
        issuer,
        &format!(
            "POST /oauth/token HTTP/1.1\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
        ),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A development issuer in a folder of its own. Ended when dropped.
pub(crate) struct Dev {
    pub(crate) home: TempDir,
    child: Option<Child>,
    pub(crate) issuer: String,
    /// The output until it was ready.
    pub(crate) told: String,
}

impl Dev {
    pub(crate) fn start() -> Self {
        let mut dev =
            Self { home: tempfile::tempdir().unwrap(), child: None, issuer: String::new(), told: String::new() };
        dev.start_again("0");
        dev
    }

    /// Starts on the same folder.
    pub(crate) fn start_again(&mut self, port: &str) {
        let mut command = program(self.home.path());
        command.args(["dev", "--port", port]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        self.told.clear();
        // The last of the printed commands.
        while !self.told.contains("client create") {
            let Some(line) = lines.next() else {
                let mut errors = String::new();
                child.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
                panic!("dev did not become ready: {errors}");
            };
            self.told.push_str(&line.unwrap());
            self.told.push('\n');
        }
        drop(lines);
        self.issuer = self.told.lines().next().unwrap().strip_prefix("ready: ").unwrap().to_owned();
        self.child = Some(child);
    }

    pub(crate) fn port(&self) -> String {
        self.issuer.rsplit_once(':').unwrap().1.to_owned()
    }

    pub(crate) fn state(&self, file: &str) -> PathBuf {
        self.home.path().join(".token-server").join(file)
    }

    /// Runs the program beside it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.home.path(), arguments)
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(&mut self, signal: &str) -> Ran {
        let child = self.child.take().unwrap();
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        child.wait_with_output().unwrap().into()
    }

    pub(crate) fn secret(&self) -> String {
        let line = self.told.lines().find_map(|line| line.trim().strip_prefix("secret"));
        line.unwrap().trim().to_owned()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
