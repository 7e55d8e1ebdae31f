//! `serve --check`: configurations with which `serve` would fail or serve wrongly, and a pepper that does not
//! match.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rcgen::{CertificateParams, KeyPair};

use crate::{
    harness::{Ran, run},
    serve::{Serving, config},
};

const DAY: Duration = Duration::from_secs(86_400);

/// Files with a certificate for `host` from `begin` to `end`, in days from now.
fn certify(home: &Path, host: &str, begin: i32, end: i32) {
    let at = |days: i32| {
        let (now, distance) =
            (token_interceptor::clock::Clock::now(&token_interceptor::clock::SystemClock), DAY * days.unsigned_abs());
        if days < 0 { now - distance } else { now + distance }
    };
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new([host.to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) = (at(begin).into(), at(end).into());
    fs::write(home.join("tls.crt"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(home.join("tls.key"), key.serialize_pem()).unwrap();
    private(&home.join("tls.key"));
}

fn private(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A configuration with TLS, whose files with secrets are private.
fn with_tls(home: &Path) -> String {
    let text = config(home).replace("http://127.0.0.1:0", "https://localhost:0");
    for name in ["sealing.key", "pepper.key"] {
        private(&home.join(name));
    }
    let folder = home.display();
    text + &format!("[tls]\ncertificate = \"{folder}/tls.crt\"\nprivate_key = \"{folder}/tls.key\"\n")
}

fn check(home: &Path, text: &str) -> Ran {
    fs::write(home.join("a.toml"), text).unwrap();
    run(home, &["serve", "--config", "a.toml", "--check"])
}

#[test]
fn a_certificate_is_judged_by_its_dates_host_and_key() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let text = with_tls(home);
    for (host, begin, end, code, expected) in [
        ("localhost", -1, 365, 0, None),
        ("localhost", -30, -1, 2, Some("has expired")),
        ("localhost", 1, 365, 2, Some("is not valid yet")),
        ("localhost", -360, 5, 0, Some("warning: tls.certificate: the TLS certificate expires soon")),
        ("tokens.example", -1, 365, 0, Some("is not valid for the host of [issuer] url")),
    ] {
        certify(home, host, begin, end);
        let ran = check(home, &text);
        assert_eq!(ran.code, code, "{host} {begin} {end}: {}", ran.stderr);
        assert_eq!(ran.stdout.is_empty(), code != 0);
        match expected {
            Some(expected) => assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr),
            None => assert_eq!(ran.stderr, ""),
        }
    }
    certify(home, "localhost", -1, 365);
    fs::write(home.join("tls.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let other = check(home, &text);
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert!(other.stderr.contains("tls.crt") && other.stderr.contains("KeyMismatch"), "{}", other.stderr);
}

#[test]
fn a_missing_folder_an_http_issuer_and_open_files_are_found() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let text = with_tls(home);
    certify(home, "localhost", -1, 365);
    let store = check(home, &text.replace("token-server.db", "missing/token-server.db"));
    assert_eq!(store.code, 2, "{}", store.stderr);
    assert!(store.stderr.contains("store.url") && store.stderr.contains("does not exist"), "{}", store.stderr);
    assert!(!home.join("missing").exists());
    let issuer = check(home, &text.replace("https://localhost", "http://localhost"));
    assert_eq!(issuer.code, 2, "{}", issuer.stderr);
    assert!(issuer.stderr.contains("issuer.url") && issuer.stderr.contains("speaks TLS"), "{}", issuer.stderr);
    let audit = check(home, &format!("{text}[telemetry]\naudit = \"{}/missing/audit\"\n", home.display()));
    assert_eq!(audit.code, 2, "{}", audit.stderr);
    assert!(audit.stderr.contains("telemetry.audit"), "{}", audit.stderr);
    for name in ["sealing.key", "pepper.key", "tls.key"] {
        fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let open = check(home, &text);
    assert_eq!(open.code, 0, "{}", open.stderr);
    for setting in ["keys.sealing_key_file", "secrets.pepper_file", "tls.private_key"] {
        assert!(open.stderr.contains(&format!("warning: {setting}: ")), "{setting}: {}", open.stderr);
    }
}

#[test]
fn serve_logs_what_check_finds() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let text = with_tls(home);
    certify(home, "localhost", -30, -1);
    fs::set_permissions(home.join("pepper.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(home.join("a.toml"), text).unwrap();
    let (_serving, told) = Serving::start_telling(home);
    let line = |expected: &str| told.lines().find(|line| line.contains(expected)).unwrap_or_else(|| panic!("{told}"));
    assert!(line("the TLS certificate has expired").contains("ERROR"), "{told}");
    assert!(line("secrets.pepper_file").contains("WARN"), "{told}");
}

#[test]
fn a_pepper_that_fits_no_secret_ends_the_start() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("a.toml"), config(home)).unwrap();
    let create =
        |id: &str| run(home, &["client", "create", id, "--offline", "--config", "a.toml", "--grant", "inventory=read"]);
    assert_eq!(create("orders").code, 0);
    drop(Serving::start(home));

    fs::rename(home.join("pepper.key"), home.join("former.key")).unwrap();
    fs::write(home.join("pepper.key"), "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=").unwrap();
    let refused = run(home, &["serve", "--config", "a.toml"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("[secrets] previous_pepper_files"), "{}", refused.stderr);

    let former = format!("[secrets]\nprevious_pepper_files = [\"{}/former.key\"]", home.display());
    fs::write(home.join("a.toml"), config_with(home, &former)).unwrap();
    drop(Serving::start(home));

    // The recovery after the former pepper is lost: a client under the new one. The other secrets are
    // reported.
    fs::write(home.join("a.toml"), config_with(home, "[secrets]")).unwrap();
    let created = create("token-admin");
    assert_eq!(created.code, 0, "{}", created.stderr);
    assert!(created.stderr.contains("warning: the pepper is not the one of this store"), "{}", created.stderr);
    const UNKNOWN: &str = "under a pepper that this server does not have";
    let (mut serving, told) = Serving::start_telling(home);
    let line = match told.lines().find(|line| line.contains(UNKNOWN)) {
        Some(line) => line.to_owned(),
        None => crate::serve::line_with(&mut serving.log, UNKNOWN),
    };
    assert!(line.contains("ERROR") && line.contains("\"secrets\":1"), "{line}");
}

/// The configuration, without new key files.
fn config_with(home: &Path, secrets: &str) -> String {
    let keys: Vec<_> = ["sealing.key", "pepper.key"].map(|name| (name, fs::read(home.join(name)).unwrap())).into();
    let text = config(home).replace("[secrets]", secrets);
    for (name, key) in keys {
        fs::write(home.join(name), key).unwrap();
    }
    text
}
