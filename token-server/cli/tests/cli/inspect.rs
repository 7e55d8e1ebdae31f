//! `token-server inspect`: offline, with a clear statement of the checks that it does not make.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::harness::{Dev, Ran, program, run};

/// The token of RFC 7519 section 3.1; signed with HS256, and without most of what an access token has.
const RFC_7519: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Runs the program with `input` on its standard input.
pub(crate) fn piped(arguments: &[&str], input: &str) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(home.path());
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn shows_what_a_token_says_and_that_it_was_not_verified() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["inspect", RFC_7519]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for expected in ["Issuer", "joe", "2011-03-22T18:43:00Z", "it has expired", "its type is JWT", "HS256"] {
        assert!(ran.stdout.contains(expected), "{expected}: {}", ran.stdout);
    }
    assert!(ran.stderr.contains("NOT VERIFIED"), "{}", ran.stderr);
}

#[test]
fn reads_standard_input_with_or_without_bearer() {
    for input in [RFC_7519.to_owned(), format!("Bearer {RFC_7519}\n")] {
        let ran = piped(&["inspect", "--json"], &input);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(shown["claims"]["iss"], "joe");
        assert_eq!(shown["verified"], false);
    }
}

#[test]
fn what_is_no_token_is_a_mistake_of_the_caller() {
    for (input, expected) in [("", "there is no token"), ("abc", "opaque"), ("a.b.c", "base64url")] {
        let ran = piped(&["inspect"], input);
        assert_eq!(ran.code, 2, "{input}");
        assert!(ran.stderr.contains(expected), "{input}: {}", ran.stderr);
    }
}

#[test]
fn verifies_by_issuer_or_key_set_and_the_exit_code_tells() {
    let dev = Dev::start();
    let token = dev.run(&["token", "--audience", "inventory"]).stdout.trim().to_owned();
    let (ca, jwks) = (dev.state("ca.pem"), dev.home.path().join("keys.json"));
    let keys = Command::new("curl")
        .arg("--cacert")
        .arg(&ca)
        .args(["-sS", &format!("{}/jwks.json", dev.issuer)])
        .output()
        .unwrap();
    std::fs::write(&jwks, keys.stdout).unwrap();
    let by_issuer = ["--issuer", &dev.issuer, "--ca-file", ca.to_str().unwrap()];
    let by_keys = ["--jwks", jwks.to_str().unwrap()];
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    for by in [by_issuer.as_slice(), by_keys.as_slice()] {
        let inspect = |token: &str, more: &[&str]| dev.run(&[&["inspect", token], by, more].concat());
        let good = inspect(&token, &["--audience", "inventory"]);
        assert_eq!(good.code, 0, "{}", good.stderr);
        assert!(good.stderr.starts_with("VERIFIED: ") && good.stderr.contains("\"inventory\""), "{}", good.stderr);
        assert!(good.stderr.contains("Revocation was not checked."), "{}", good.stderr);
        let without = inspect(&token, &[]);
        assert!(without.stderr.contains("The audience was not checked"), "{}", without.stderr);
        let forged = inspect(&forged, &[]);
        assert_eq!(forged.code, 3, "{}", forged.stderr);
        assert!(forged.stderr.contains("INVALID") && forged.stdout.contains("orders"), "{}", forged.stderr);
        let elsewhere = inspect(&token, &["--audience", "billing"]);
        assert_eq!(elsewhere.code, 3);
        // The words of the server layer's log.
        let words = r#"the token is for another audience (aud: "inventory", expected "billing")"#;
        assert!(elsewhere.stderr.contains(words), "{}", elsewhere.stderr);
    }
}
