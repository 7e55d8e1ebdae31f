//! `token-server serve`: mistakes at once, plaintext refused.

use std::{fs, path::Path};

use crate::harness::run;

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
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "The configuration is good.\n"), "{}", ran.stderr);
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
