//! `token-server token`: one line, cached, and clear about refusals and outages.

use crate::harness::{Dev, Ran, program, run};

#[test]
fn prints_the_token_alone_and_keeps_it() {
    let dev = Dev::start();
    let first = dev.run(&["token", "--audience", "inventory"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.stderr, "");
    assert_eq!(first.stdout.lines().count(), 1);
    assert_eq!(first.stdout.trim().split('.').count(), 3);
    assert_eq!(dev.run(&["token", "--audience", "inventory"]).stdout, first.stdout);
    assert_ne!(dev.run(&["token", "--audience", "inventory", "--no-cache"]).stdout, first.stdout);
}

#[test]
fn kept_token_is_used_while_the_issuer_is_down() {
    let mut dev = Dev::start();
    let token = dev.run(&["token", "--audience", "inventory"]).stdout;
    dev.stop("-TERM");
    let ran = dev.run(&["token", "--audience", "inventory"]);
    assert_eq!((ran.code, ran.stdout), (0, token));
    let ran = dev.run(&["token", "--audience", "inventory", "--no-cache"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
}

#[test]
fn refresh_replaces_the_cached_token_and_no_cache_does_not() {
    let dev = Dev::start();
    let token = |more: &[&str]| {
        let ran = dev.run(&[&["token", "--audience", "inventory"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let first = token(&[]);
    let second = token(&["--refresh"]);
    assert_ne!(first, second);
    assert_ne!(token(&["--no-cache"]), second);
    assert_eq!(token(&[]), second);
    let both = dev.run(&["token", "--audience", "inventory", "--refresh", "--no-cache"]);
    assert_eq!(both.code, 2, "{}", both.stderr);
}

#[test]
fn a_demanded_new_token_is_not_an_old_one_in_an_outage() {
    let mut dev = Dev::start();
    assert_eq!(dev.run(&["token", "--audience", "inventory"]).code, 0);
    dev.stop("-TERM");
    assert_eq!(dev.run(&["token", "--audience", "inventory", "--refresh"]).code, 4);
    assert_eq!(dev.run(&["token", "--audience", "inventory"]).code, 0, "the cached one is still there");
}

#[test]
fn a_token_that_was_revoked_here_leaves_the_cache() {
    let dev = Dev::start();
    let token = || dev.run(&["token", "--audience", "inventory"]).stdout;
    let first = token();
    assert_eq!(dev.run(&["client", "create", "billing", "--grant", "inventory=inventory.read"]).code, 0);
    assert_eq!(dev.run(&["client", "revoke-tokens", "billing", "--yes"]).code, 0);
    assert_eq!(token(), first, "another client's");
    assert_eq!(dev.run(&["client", "revoke-tokens", "orders", "--yes"]).code, 0);
    let second = token();
    assert_ne!(second, first);
    let keys: serde_json::Value = serde_json::from_str(&dev.run(&["key", "list", "--json"]).stdout).unwrap();
    let key = keys[0]["key_id"].as_str().unwrap();
    assert_eq!(dev.run(&["key", "rotate"]).code, 0);
    assert_eq!(dev.run(&["key", "distrust", key, "--yes"]).code, 0);
    assert_ne!(token(), second);
}

#[test]
fn what_is_in_it_is_explained_as_json_too() {
    let dev = Dev::start();
    let ran = dev.run(&["token", "--audience", "inventory", "--explain", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&shown["claims"]["aud"], &shown["header"]["alg"]), (&"inventory".into(), &"ES256".into()));
}

#[test]
fn explains_what_is_in_it() {
    let dev = Dev::start();
    let ran = dev.run(&["token", "--audience", "inventory", "--explain"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for expected in ["Client        orders", "Audience      inventory", "Scopes        inventory.read", "(in 4m"] {
        assert!(ran.stdout.contains(expected), "{expected}: {}", ran.stdout);
    }
}

#[test]
fn scope_that_is_not_granted_is_denied_with_its_name() {
    let dev = Dev::start();
    let ran = dev.run(&["token", "--audience", "inventory", "--scope", "inventory.write"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("inventory.write") && ran.stderr.contains("client show orders"), "{}", ran.stderr);
}

#[test]
fn wrong_secret_is_denied_though_a_token_is_kept() {
    let dev = Dev::start();
    assert_eq!(dev.run(&["token", "--audience", "inventory"]).code, 0);
    let mut command = program(dev.home.path());
    command.env("TOKEN_ISSUER", &dev.issuer).env("TOKEN_CLIENT_SECRET", "wrong");
    let wrong = command.args(["token", "--audience", "inventory"]).output();
    assert_eq!(wrong.unwrap().status.code(), Some(3));
}

#[test]
fn works_by_variables_and_by_a_token_endpoint() {
    let dev = Dev::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let secret_file = elsewhere.path().join("secret");
    std::fs::write(&secret_file, format!("{}\n", dev.secret())).unwrap();
    let endpoint = format!("{}/oauth/token", dev.issuer);
    for place in [["--issuer", &dev.issuer], ["--token-endpoint", &endpoint]] {
        let mut command = program(elsewhere.path());
        command.env("TOKEN_CLIENT_ID", "orders").env("TOKEN_CA_FILE", dev.state("ca.pem"));
        command.args(["token", "--audience", "inventory", "--client-secret-file"]).arg(&secret_file).args(place);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn development_secret_goes_to_no_other_issuer() {
    let dev = Dev::start();
    let ran = dev.run(&["token", "--issuer", "https://127.0.0.1:1", "--audience", "inventory"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("the client ID is missing"), "{}", ran.stderr);
}

#[test]
fn a_wrong_issuer_endpoint_or_ca_is_a_mistake_of_usage_and_not_an_outage() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.pem"), "nothing").unwrap();
    let good = "https://127.0.0.1:1";
    let mistakes = [
        (["--issuer", "tokens.example"], "TOKEN_ISSUER"),
        (["--issuer", "localhost:8443"], "TOKEN_ISSUER"),
        (["--issuer", "http://tokens.example"], "TOKEN_ISSUER"),
        (["--issuer", "ftp://tokens.example"], "TOKEN_ISSUER"),
        (["--ca-file", "nowhere.pem"], "TOKEN_CA_FILE"),
        (["--ca-file", "bad.pem"], "TOKEN_CA_FILE"),
    ];
    let commands: [&[&str]; 3] =
        [&["token", "--audience", "a"], &["client", "list"], &["agent", "--once", "--token", "a=file"]];
    let mut wrong: Vec<_> =
        commands.iter().flat_map(|command| mistakes.map(|(mistake, named)| (*command, mistake, named))).collect();
    wrong.push((commands[0], ["--token-endpoint", "http://tokens.example/token"], "--token-endpoint"));
    for (command, mistake, named) in wrong {
        let mut program = program(home.path());
        for variable in ["TOKEN_CLIENT_ID", "TOKEN_CLIENT_SECRET", "TOKEN_ADMIN_CLIENT_ID", "TOKEN_ADMIN_CLIENT_SECRET"]
        {
            program.env(variable, "a");
        }
        if mistake[0] != "--issuer" {
            program.env("TOKEN_ISSUER", good);
        }
        let ran: Ran = program.args(command).args(mistake).output().unwrap().into();
        assert_eq!(ran.code, 2, "{command:?} {mistake:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(named), "{command:?} {mistake:?}: {}", ran.stderr);
    }
}

#[test]
fn without_an_issuer_says_how_to_have_one() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["token", "--audience", "inventory"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("token-server dev") && ran.stderr.contains("--issuer"), "{}", ran.stderr);
}
