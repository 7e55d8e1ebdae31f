//! `token-server dev`: the first start, the kept state, and the printed commands.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use crate::harness::{Dev, run};

#[test]
fn printed_curl_line_gets_a_token() {
    let dev = Dev::start();
    let line = dev.told.lines().find(|line| line.trim().starts_with("curl ")).unwrap();
    let output = Command::new("sh").args(["-c", &format!("{line} --silent --show-error")]).output();
    let output = output.unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "curl must be installed: {}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "inventory.read");
}

#[test]
fn printed_lines_of_the_program_work() {
    let dev = Dev::start();
    let mut ran = 0;
    for line in dev.told.lines().filter(|line| line.contains("target/") || line.contains("token-server ")) {
        let Some((_, arguments)) = line.trim().split_once("token-server ") else { continue };
        let arguments: Vec<_> = arguments.split(' ').collect();
        if arguments.first() == Some(&"token") {
            let ran = dev.run(&arguments);
            assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        }
        ran += 1;
    }
    assert!(ran >= 3, "{}", dev.told);
}

#[test]
fn started_again_everything_is_as_it_was() {
    let mut dev = Dev::start();
    let (port, secret) = (dev.port(), dev.secret());
    let ca = fs::read(dev.state("ca.pem")).unwrap();
    let before = dev.run(&["token", "--audience", "inventory", "--json", "--no-cache"]);
    assert_eq!(before.code, 0, "{}", before.stderr);
    let stopped = dev.stop("-TERM");
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);

    dev.start_again(&port);
    assert_eq!((dev.port(), dev.secret()), (port, secret));
    assert_eq!(fs::read(dev.state("ca.pem")).unwrap(), ca);
    let after = dev.run(&["token", "--audience", "inventory", "--json", "--no-cache"]);
    assert_eq!(after.code, 0, "{}", after.stderr);
    let key = |stdout: &str| {
        let answer: serde_json::Value = serde_json::from_str(stdout).unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let inspected = dev.run(&["inspect", "--json", &token]);
        serde_json::from_str::<serde_json::Value>(&inspected.stdout).unwrap()["header"]["kid"].clone()
    };
    assert_eq!(key(&before.stdout), key(&after.stdout));
}

#[test]
fn forgetting_the_store_does_not_change_the_secret() {
    let mut dev = Dev::start();
    let (port, secret) = (dev.port(), dev.secret());
    dev.stop("-TERM");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dev.state(&format!("token-server.db{suffix}")));
    }
    dev.start_again(&port);
    assert_eq!(dev.secret(), secret);
    let ran = dev.run(&["token", "--audience", "inventory"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn second_one_on_the_port_says_so() {
    let dev = Dev::start();
    let other = tempfile::tempdir().unwrap();
    let ran = run(other.path(), &["dev", "--port", &dev.port()]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("another `token-server dev`?") && ran.stderr.contains("--port 0"), "{}", ran.stderr);
}

#[test]
fn second_one_on_the_folder_says_so_and_changes_nothing() {
    let mut dev = Dev::start();
    let before = ["example.env", "admin.env", "tls.pem"].map(|file| fs::read(dev.state(file)).unwrap());
    let second = dev.run(&["dev", "--port", "0"]);
    assert_eq!(second.code, 1, "{}", second.stderr);
    for expected in ["another `token-server dev` uses the folder", "--state-dir"] {
        assert!(second.stderr.contains(expected), "{expected}: {}", second.stderr);
    }
    assert_eq!(["example.env", "admin.env", "tls.pem"].map(|file| fs::read(dev.state(file)).unwrap()), before);
    assert_eq!(dev.run(&["token", "--audience", "inventory"]).code, 0);
    dev.stop("-KILL");
    dev.start_again("0");
}

#[test]
fn what_it_keeps_is_for_its_owner_alone() {
    let dev = Dev::start();
    dev.run(&["token", "--audience", "inventory"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let cache = dev.home.path().join(".cache/token-server");
    let mut files = 0;
    for folder in [dev.state(""), cache] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 10, "{files}");
}

#[test]
fn interrupt_and_terminate_end_it_well() {
    for signal in ["-INT", "-TERM"] {
        let mut dev = Dev::start();
        let ran = dev.stop(signal);
        assert_eq!(ran.code, 0, "{signal}: {}", ran.stderr);
    }
}

#[test]
fn secrets_and_tokens_are_in_no_log() {
    let mut dev = Dev::start();
    let token = dev.run(&["token", "--audience", "inventory"]).stdout;
    let _ = dev.run(&["token", "--audience", "elsewhere"]);
    let secret = dev.secret();
    let stopped = dev.stop("-TERM");
    let audit = fs::read_to_string(dev.state("audit.jsonl")).unwrap();
    assert!(audit.contains(r#""outcome":"granted""#) && audit.contains("INVALID_TARGET"), "{audit}");
    let signature = token.trim().rsplit_once('.').unwrap().1;
    for text in [&audit, &stopped.stderr] {
        assert!(!text.contains(&secret[8..]) && !text.contains(signature), "{text}");
    }
}

#[test]
fn foreign_file_in_the_folder_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".token-server")).unwrap();
    fs::write(home.path().join(".token-server/pepper.key"), "mine").unwrap();
    let ran = run(home.path(), &["dev", "--port", "0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("pepper.key") && ran.stderr.contains("--state-dir"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(home.path().join(".token-server/pepper.key")).unwrap(), "mine");
}
