//! `token-server client` and `token-server key`, over the admin API and its own guard.

use std::fs;

use serde_json::Value;

use crate::{
    harness::{Dev, Ran, program, run},
    serve::config,
};

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Gets a token as another client.
fn token(dev: &Dev, client: &str, secret: &str, arguments: &[&str]) -> Ran {
    let mut command = program(dev.home.path());
    command.env("TOKEN_ISSUER", &dev.issuer).env("TOKEN_CLIENT_ID", client).env("TOKEN_CLIENT_SECRET", secret);
    command.args(["token", "--no-cache"]).args(arguments).output().unwrap().into()
}

#[test]
fn client_lives_from_create_to_delete() {
    let dev = Dev::start();
    let grant = "inventory=inventory.read,inventory.write";
    let created = json(&dev.run(&[
        "client",
        "create",
        "billing",
        "--json",
        "--name",
        "Billing",
        "--grant",
        grant,
        "--default-scopes",
        "inventory=inventory.read",
        "--claim",
        "tier=gold",
        "--label",
        "team=pay",
        "--token-lifetime",
        "10m",
    ]));
    let secret = created["client_secret"].as_str().unwrap();
    assert_eq!(created["client_id"], "billing");

    let explained = token(&dev, "billing", secret, &["--audience", "inventory", "--explain"]);
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    assert!(explained.stdout.contains("inventory.read\n") && explained.stdout.contains("gold"), "{}", explained.stdout);

    let listed = dev.run(&["client", "list"]);
    assert!(listed.stdout.contains("billing") && listed.stdout.contains("orders"), "{}", listed.stdout);
    let shown = dev.run(&["client", "show", "billing"]);
    for expected in ["Billing", "tier = gold", "team = pay", "10m", "without a scope named: inventory.read"] {
        assert!(shown.stdout.contains(expected), "{expected}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains(secret));

    assert_eq!(json(&dev.run(&["client", "update", "billing", "--disable", "--json"]))["disabled"], true);
    assert_eq!(token(&dev, "billing", secret, &["--audience", "inventory"]).code, 3);
    let enabled = json(&dev.run(&["client", "update", "billing", "--enable", "--json"]));
    assert_eq!(enabled["display_name"], "Billing", "what is not named stays");
    assert_eq!(token(&dev, "billing", secret, &["--audience", "inventory"]).code, 0);

    assert_eq!(dev.run(&["client", "delete", "billing"]).code, 2, "asks first");
    assert_eq!(dev.run(&["client", "delete", "billing", "--yes"]).code, 0);
    assert_eq!(dev.run(&["client", "show", "billing"]).code, 5);
    assert_eq!(token(&dev, "billing", secret, &["--audience", "inventory"]).code, 3);
}

#[test]
fn secret_is_replaced_without_an_outage() {
    let dev = Dev::start();
    let created = json(&dev.run(&["client", "create", "billing", "--json", "--grant", "inventory=inventory.read"]));
    let old = created["client_secret"].as_str().unwrap();
    let added = json(&dev.run(&["client", "add-secret", "billing", "--overlap", "1h", "--json"]));
    let new = added["client_secret"].as_str().unwrap();
    for secret in [old, new] {
        assert_eq!(token(&dev, "billing", secret, &["--audience", "inventory"]).code, 0);
    }
    let old_id = created["credentials"][0]["credential_id"].as_str().unwrap();
    assert_eq!(dev.run(&["client", "remove-credential", "billing", old_id, "--yes"]).code, 0);
    assert_eq!(token(&dev, "billing", old, &["--audience", "inventory"]).code, 3);
    assert_eq!(token(&dev, "billing", new, &["--audience", "inventory"]).code, 0);
}

#[test]
fn an_administrator_gets_a_second_secret() {
    let dev = Dev::start();
    let added = json(&dev.run(&["client", "add-secret", "token-admin", "--json"]));
    let mut command = program(dev.home.path());
    command.env("TOKEN_ISSUER", &dev.issuer).env("TOKEN_ADMIN_CLIENT_ID", "token-admin");
    command.env("TOKEN_ADMIN_CLIENT_SECRET", added["client_secret"].as_str().unwrap());
    let ran: Ran = command.args(["client", "list"]).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_secret_is_added_with_an_end_and_its_last_use_is_shown_after_a_restart() {
    let mut dev = Dev::start();
    let added = json(&dev.run(&["client", "add-secret", "orders", "--expires-in", "1h", "--json"]));
    let secret = added["client_secret"].as_str().unwrap();
    assert!(added["expire_time"].is_string() && added["last_used_time"].is_null(), "{added}");
    assert_eq!(token(&dev, "orders", secret, &["--audience", "inventory"]).code, 0);
    assert_eq!(dev.stop("-TERM").code, 0);

    dev.start_again("0");
    let shown = json(&dev.run(&["client", "show", "orders", "--json"]));
    let credentials = shown["credentials"].as_array().unwrap();
    let used = credentials.iter().find(|credential| credential["credential_id"] == added["credential_id"]).unwrap();
    assert_eq!(used["expire_time"], added["expire_time"]);
    assert!(used["last_used_time"].is_string(), "{used}");
    let words = dev.run(&["client", "show", "orders"]).stdout;
    assert!(words.contains(", expires ") && words.contains(", last used "), "{words}");
}

#[test]
fn clients_are_listed_by_what_expires_and_what_is_unused() {
    let dev = Dev::start();
    assert_eq!(dev.run(&["client", "create", "billing", "--grant", "inventory=inventory.read"]).code, 0);
    assert_eq!(dev.run(&["client", "add-secret", "billing", "--expires-in", "10days"]).code, 0);
    let secret = json(&dev.run(&["client", "add-secret", "orders", "--expires-in", "20days", "--json"]));
    let secret = secret["client_secret"].as_str().unwrap();
    assert_eq!(token(&dev, "orders", secret, &["--audience", "inventory"]).code, 0);
    let ids = |arguments: &[&str]| {
        let listed = json(&dev.run(&[&["client", "list", "--json"], arguments].concat()));
        let ids = listed.as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--expiring", "14d"]), ["billing"]);
    assert_eq!(ids(&["--expiring", "30d", "--sort", "expires"]), ["billing", "orders"]);
    assert!(ids(&["--never-used"]).contains(&"billing".to_owned()));
    assert_eq!(ids(&["--unused", "90d"]), [""; 0]);
    let listed = dev.run(&["client", "list", "--expiring", "14d"]).stdout;
    assert!(listed.contains("EXPIRES") && listed.contains("in 9 days") && listed.contains("never"), "{listed}");
    assert_eq!(dev.run(&["client", "list", "--expiring", "soon"]).code, 2);
}

#[test]
fn public_key_is_registered_from_a_file() {
    let dev = Dev::start();
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"}"#;
    fs::write(dev.home.path().join("key.json"), jwk).unwrap();
    let added = dev.run(&["client", "add-key", "orders", "--jwk", "key.json"]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert!(added.stdout.contains("public key") && !added.stdout.contains("Secret"), "{}", added.stdout);
}

#[test]
fn example_client_may_not_use_the_admin_api() {
    let dev = Dev::start();
    let mut command = program(dev.home.path());
    command.env("TOKEN_ADMIN_CLIENT_ID", "orders").env("TOKEN_ADMIN_CLIENT_SECRET", dev.secret());
    command.env("TOKEN_ISSUER", &dev.issuer);
    let ran: Ran = command.args(["client", "list"]).output().unwrap().into();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn a_client_of_the_admin_api_is_made_by_one_that_may_do_as_much_and_by_no_other() {
    let dev = Dev::start();
    let ran = dev.run(&["client", "create", "deputy", "--grant", "m2m.admin.v1=keys.write,clients.read"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(dev.run(&["client", "update", "deputy", "--name", "Deputy"]).code, 0);
    let ran = dev.run(&["client", "create", "second", "--grant", "m2m.admin.v1=root"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn a_certificate_of_an_unknown_ca_is_told_from_a_server_that_is_down() {
    let dev = Dev::start();
    let other = Dev::start();
    let ca = other.state("ca.pem");
    assert!(ca.exists());
    let arguments = ["client", "list", "--issuer", &dev.issuer, "--ca-file", ca.to_str().unwrap()];
    let refused = dev.run(&arguments);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("--ca-file") && !refused.stderr.contains("is it running"), "{}", refused.stderr);
    let mut dev = dev;
    dev.stop("-TERM");
    let down = dev.run(&["client", "list"]);
    assert_eq!(down.code, 4, "{}", down.stderr);
    assert!(down.stderr.contains("is it running"), "{}", down.stderr);
}

#[test]
fn wrong_arguments_name_the_right_form() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (["client", "create", "a", "--grant", "inventory"], "--grant inventory=inventory.read"),
        (["client", "create", "a", "--claim", "x"], "--claim team=payments"),
        (["client", "create", "a", "--default-scopes", "a=b"], "which no --grant does"),
        (["client", "create", "a", "--token-lifetime", "5"], "--token-lifetime"),
    ] {
        let mut command = program(home.path());
        let ran: Ran = command.args(arguments).output().unwrap().into();
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn nothing_to_update_is_a_mistake() {
    let dev = Dev::start();
    let ran = dev.run(&["client", "update", "orders"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nothing to change"), "{}", ran.stderr);
}

#[test]
fn keys_are_listed_rotated_and_distrusted() {
    let dev = Dev::start();
    let before = json(&dev.run(&["key", "list", "--json"]));
    let active = before[0]["key_id"].as_str().unwrap().to_owned();
    assert_eq!(before[0]["state"], "active");
    let next = json(&dev.run(&["key", "rotate", "--json"]));
    assert_eq!(next[0]["state"], "pending");
    let old = dev.run(&["token", "--audience", "inventory", "--no-cache"]).stdout;

    assert_eq!(dev.run(&["key", "distrust", &active]).code, 2, "asks first");
    assert_eq!(dev.run(&["key", "distrust", &active, "--yes"]).code, 0);
    let after = dev.run(&["key", "list"]);
    let line = after.stdout.lines().find(|line| line.contains(&active)).map(str::to_owned);
    assert!(line.is_none_or(|line| line.contains("distrusted")), "{}", after.stdout);
    let ca = dev.state("ca.pem");
    let refused = dev.run(&["inspect", old.trim(), "--issuer", &dev.issuer, "--ca-file", ca.to_str().unwrap()]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    // The next token is valid.
    let new = dev.run(&["token", "--audience", "inventory", "--no-cache"]).stdout;
    let good = dev.run(&["inspect", new.trim(), "--issuer", &dev.issuer, "--ca-file", ca.to_str().unwrap()]);
    assert_eq!(good.code, 0, "{}", good.stderr);
}

#[test]
fn first_client_is_made_on_the_store_itself() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.toml"), config(home.path())).unwrap();
    let arguments = [
        "client",
        "create",
        "token-admin",
        "--offline",
        "--config",
        "a.toml",
        "--json",
        "--grant",
        "m2m.admin.v1=clients.read,clients.write,keys.read,keys.write",
    ];
    let created = json(&run(home.path(), &arguments));
    assert!(created["client_secret"].as_str().unwrap().starts_with("tks_"));
    let again = run(home.path(), &arguments);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("A client with this ID already exists"), "{}", again.stderr);
    let bad = run(home.path(), &["client", "create", "b", "--offline", "--config", "a.toml", "--claim", "iss=me"]);
    assert_eq!(bad.code, 2, "{}", bad.stderr);
    assert_eq!(run(home.path(), &["client", "create", "b", "--offline"]).code, 2);
}

#[test]
fn changes_are_listed_with_filters_and_in_pages() {
    let dev = Dev::start();
    for client in ["first", "second"] {
        assert_eq!(dev.run(&["client", "create", client, "--grant", "inventory=read"]).code, 0);
    }
    assert_eq!(dev.run(&["client", "update", "second", "--disable"]).code, 0);
    let second = json(&dev.run(&["audit", "list", "--resource", "second", "--since", "1h", "--json"]));
    let actions: Vec<_> = second["records"].as_array().unwrap().iter().map(|record| &record["action"]).collect();
    assert_eq!(actions, ["UpdateClient", "CreateClient"]);
    assert_eq!(second["records"][0]["detail"], "disabled tokens revoked");
    assert!(second["records"][0]["request_id"].as_str().is_some_and(|id| !id.is_empty()));

    let page = ["audit", "list", "--action", "CreateClient", "--page-size", "1", "--json"];
    let first = json(&dev.run(&page));
    assert_eq!(first["records"][0]["resource"], "second");
    let token = first["next_page_token"].as_str().unwrap();
    let next = json(&dev.run(&[&page[..], &["--page-token", token]].concat()));
    assert_eq!(next["records"][0]["resource"], "first");
    let none = json(&dev.run(&["audit", "list", "--until", "1h", "--json"]));
    assert_eq!(none["records"].as_array().unwrap().len(), 0);

    let table = dev.run(&["audit", "list", "--page-size", "1"]);
    assert!(table.stdout.starts_with("NUMBER") && table.stdout.contains("UpdateClient"), "{}", table.stdout);
    assert!(table.stderr.contains("--page-token"), "{}", table.stderr);
    let every = dev.run(&["audit", "list", "--all", "--action", "CreateClient"]);
    assert!(every.stdout.contains("first") && every.stdout.contains("second"), "{}", every.stdout);
    assert_eq!(dev.run(&["audit", "list", "--page-token", "made-up"]).code, 2);
}
