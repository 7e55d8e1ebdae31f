//! Clients that authenticate with a key, and tokens in exchange for one in a file.

use std::fs;

use crate::harness::{Dev, Ran, program};

/// Runs a command as a client with this key, with variables of both roles.
fn with_key(dev: &Dev, client: &str, key: &str, arguments: &[&str]) -> Ran {
    let mut command = program(dev.home.path());
    for role in ["TOKEN", "TOKEN_ADMIN"] {
        command.env(format!("{role}_CLIENT_ID"), client).env(format!("{role}_CLIENT_KEY_FILE"), key);
    }
    command.env("TOKEN_ISSUER", &dev.issuer).args(arguments).output().unwrap().into()
}

#[test]
fn a_generated_key_gets_tokens_files_and_the_admin_api() {
    let dev = Dev::start();
    for algorithm in ["ES256", "ES384", "EdDSA"] {
        let file = format!("{algorithm}.pem");
        let made = dev.run(&["client", "new-key", "--out", &file, "--algorithm", algorithm]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        fs::write(dev.home.path().join("key.jwk"), &made.stdout).unwrap();
        for client in ["orders", "token-admin"] {
            let added = dev.run(&["client", "add-key", client, "--key", "key.jwk"]);
            assert_eq!(added.code, 0, "{}", added.stderr);
        }
        let token = with_key(&dev, "orders", &file, &["token", "--audience", "inventory"]);
        assert_eq!(token.code, 0, "{algorithm}: {}", token.stderr);
        let agent = with_key(&dev, "orders", &file, &["agent", "--once", "--token", "inventory=file"]);
        assert_eq!(agent.code, 0, "{algorithm}: {}", agent.stderr);
        let listed = with_key(&dev, "token-admin", &file, &["client", "list"]);
        assert_eq!(listed.code, 0, "{algorithm}: {}", listed.stderr);
        // A key that exists is not replaced.
        assert_eq!(dev.run(&["client", "new-key", "--out", &file]).code, 2);
    }
    let made = dev.run(&["client", "new-key", "--out", "other.pem"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let denied = with_key(&dev, "orders", "other.pem", &["token", "--audience", "inventory"]);
    assert_eq!(denied.code, 3, "{}", denied.stderr);
}

#[test]
fn a_client_is_created_with_a_key_and_without_a_secret() {
    let dev = Dev::start();
    let home = dev.home.path();
    let made = dev.run(&["client", "new-key", "--out", "billing.pem"]);
    fs::write(home.join("billing.jwk"), &made.stdout).unwrap();
    let create = |id: &str, arguments: &[&str]| {
        dev.run(&[&["client", "create", id, "--json", "--grant", "inventory=inventory.read"], arguments].concat())
    };
    let created = create("billing", &["--key", "billing.jwk"]);
    assert_eq!(created.code, 0, "{}", created.stderr);
    assert!(!created.stdout.contains("secret") && created.stdout.contains("public_key"), "{}", created.stdout);
    let token = with_key(&dev, "billing", "billing.pem", &["token", "--audience", "inventory"]);
    assert_eq!(token.code, 0, "{}", token.stderr);

    fs::write(home.join("two.jwks"), format!(r#"{{"keys":[{0},{0}]}}"#, made.stdout.trim())).unwrap();
    let identity = ["--identity-issuer", "https://a.example", "--identity-subject", "b"];
    for (arguments, expected) in [
        (vec!["--key", "billing.pem"], "private key"),
        (vec!["--key", "two.jwks"], "client add-key"),
        (vec!["--key", "absent.jwk"], "cannot read"),
        (vec!["--key", "billing.jwk", "--alg", "EdDSA"], "--alg says EdDSA"),
        (vec!["--alg", "ES256"], "--key"),
        ([&["--key", "billing.jwk"], &identity[..]].concat(), "one credential"),
        (vec!["--key", "billing.jwk", "--identity-reuse"], "--identity-issuer"),
    ] {
        let refused = create("other", &arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(dev.run(&["client", "show", "other"]).code, 5);
}

#[test]
fn an_rsa_key_is_registered_with_an_algorithm_alone() {
    let dev = Dev::start();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem");
    let openssl = std::process::Command::new("openssl").args(["pkey", "-pubout", "-in", key]).output();
    fs::write(dev.home.path().join("rsa.pub"), openssl.expect("openssl must be installed").stdout).unwrap();
    let silent = dev.run(&["client", "add-key", "orders", "--key", "rsa.pub"]);
    assert_eq!(silent.code, 2, "{}", silent.stderr);
    assert!(silent.stderr.contains("--alg RS256 or --alg PS256"), "{}", silent.stderr);
    let added = dev.run(&["client", "add-key", "orders", "--key", "rsa.pub", "--alg", "PS256"]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    for (algorithm, code) in [(None, 2), (Some("RS256"), 3), (Some("PS256"), 0)] {
        let flags = algorithm.map_or(Vec::new(), |name| vec!["--client-key-algorithm", name]);
        let ran = with_key(&dev, "orders", key, &[&["token", "--audience", "inventory"], &flags[..]].concat());
        assert_eq!(ran.code, code, "{algorithm:?}: {}", ran.stderr);
    }
}

#[test]
fn a_file_without_a_public_key_is_named() {
    let dev = Dev::start();
    let made = dev.run(&["client", "new-key", "--out", "private.pem"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    fs::write(dev.home.path().join("empty"), "").unwrap();
    for (file, expected) in [("private.pem", "private key"), ("empty", "no key"), ("nowhere", "cannot read")] {
        let ran = dev.run(&["client", "add-key", "orders", "--key", file]);
        assert_eq!(ran.code, 2, "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{file}: {}", ran.stderr);
    }
}

#[test]
fn a_token_in_a_file_is_exchanged() {
    let dev = Dev::start();
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    // The subject token is for the client that exchanges it.
    let update = ["client", "update", "orders", "--grant", "inventory=inventory.read", "--grant", "gateway=enter"];
    assert_eq!(dev.run(&update).code, 0);
    let create =
        ["client", "create", "gateway", "--grant", "inventory=inventory.read", "--grant-type", exchange, "--json"];
    let created = dev.run(&create);
    assert_eq!(created.code, 0, "{}", created.stderr);
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();
    let subject = dev.run(&["token", "--audience", "gateway"]);
    assert_eq!(subject.code, 0, "{}", subject.stderr);
    fs::write(dev.home.path().join("subject"), &subject.stdout).unwrap();
    let as_gateway = |arguments: &[&str]| {
        let mut command = program(dev.home.path());
        command.env("TOKEN_ISSUER", &dev.issuer).env("TOKEN_CLIENT_ID", "gateway");
        command.env("TOKEN_CLIENT_SECRET", created["client_secret"].as_str().unwrap());
        Ran::from(command.args(arguments).args(["--subject-token-file", "subject"]).output().unwrap())
    };
    let token = as_gateway(&["token", "--audience", "inventory", "--scope", "inventory.read", "--explain", "--json"]);
    assert_eq!(token.code, 0, "{}", token.stderr);
    let token: serde_json::Value = serde_json::from_str(&token.stdout).unwrap();
    assert_eq!((&token["claims"]["sub"], &token["claims"]["act"]["sub"]), (&"orders".into(), &"gateway".into()));
    let agent = as_gateway(&["agent", "--once", "--token", "inventory=file", "--scopes", "inventory=inventory.read"]);
    assert_eq!(agent.code, 0, "{}", agent.stderr);
    fs::write(dev.home.path().join("subject"), "").unwrap();
    assert_eq!(as_gateway(&["token", "--audience", "inventory"]).code, 2);
}
