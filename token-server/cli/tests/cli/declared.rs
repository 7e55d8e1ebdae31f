//! Clients declared in a file: export, plan, apply.

use std::fs;

use crate::harness::{Dev, run};

const DECLARED: &str = r#"
[[client]]
id = "billing"
name = "Billing"
token_lifetime = "10m"
labels = { team = "pay" }

[[client.grant]]
audience = "inventory"
scopes = ["inventory.write", "inventory.read"]
default_scopes = ["inventory.read"]

[[client]]
id = "orders"
name = "Orders"

[[client.grant]]
audience = "inventory"
scopes = ["inventory.read"]
"#;

#[test]
fn file_is_planned_applied_and_then_holds() {
    let dev = Dev::start();
    fs::write(dev.home.path().join("clients.toml"), DECLARED).unwrap();
    let exit_code = |file: &str| dev.run(&["client", "plan", "--file", file, "--exit-code"]);
    let differs = exit_code("clients.toml");
    assert_eq!((differs.code, differs.stderr.as_str()), (2, ""), "{}", differs.stdout);
    assert_eq!(exit_code("nowhere.toml").code, 1);
    let plan = dev.run(&["client", "plan", "--file", "clients.toml"]);
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    let expected = "\
+ billing
    + grant inventory.default_scopes: inventory.read
    + grant inventory.scopes: inventory.read
    + grant inventory.scopes: inventory.write
    + labels.team: pay
    + name: Billing
    + token_lifetime: 10m
~ orders
    ~ name: \"Example: may read the inventory, but not write to it\" -> Orders

1 new, 1 changed, 0 removed.
No token is revoked. Issued tokens keep what is removed here until they expire.
";
    assert_eq!(plan.stdout, expected);

    let applied = dev.run(&["client", "apply", "--file", "clients.toml"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stdout.starts_with("+ billing  secret tks_"), "{}", applied.stdout);
    assert_eq!(exit_code("clients.toml").code, 0);
    let again = dev.run(&["client", "plan", "--file", "clients.toml"]);
    assert_eq!(again.stdout, "", "{}", again.stderr);
    let shown = dev.run(&["client", "show", "billing"]);
    assert!(shown.stdout.contains("without a scope named: inventory.read\n"), "{}", shown.stdout);
}

#[test]
fn what_is_exported_declares_what_there_is() {
    let dev = Dev::start();
    fs::write(dev.home.path().join("clients.toml"), DECLARED).unwrap();
    assert_eq!(dev.run(&["client", "apply", "--file", "clients.toml"]).code, 0);
    let exported = dev.run(&["client", "export"]);
    assert!(!exported.stdout.contains("tks_"), "{}", exported.stdout);
    fs::write(dev.home.path().join("exported.toml"), exported.stdout).unwrap();
    let plan = dev.run(&["client", "plan", "--file", "exported.toml", "--prune"]);
    assert_eq!((plan.code, plan.stdout.as_str()), (0, ""), "{}", plan.stderr);
}

#[test]
fn pruning_asks_first_and_never_removes_who_it_acts_as() {
    let dev = Dev::start();
    fs::write(dev.home.path().join("none.toml"), "").unwrap();
    let plan = dev.run(&["client", "plan", "--file", "none.toml", "--prune"]);
    let expected = "\
- orders
    - grant inventory.scopes: inventory.read
    - name: \"Example: may read the inventory, but not write to it\"
    ! revokes its tokens, removes 1 credential

0 new, 0 changed, 1 removed.
! tokens revoked: orders
";
    assert_eq!(plan.stdout, expected);
    assert!(plan.stderr.contains("token-admin is not declared, and stays"), "{}", plan.stderr);
    assert_eq!(dev.run(&["client", "apply", "--file", "none.toml", "--prune"]).code, 2, "asks first");
    assert_eq!(dev.run(&["client", "show", "orders"]).code, 0);
    assert_eq!(dev.run(&["client", "apply", "--file", "none.toml", "--prune", "--yes"]).code, 0);
    assert_eq!(dev.run(&["client", "show", "orders"]).code, 5);
    assert_eq!(dev.run(&["client", "show", "token-admin"]).code, 0);
}

#[test]
fn disabling_is_planned_as_a_revocation() {
    let dev = Dev::start();
    fs::write(dev.home.path().join("clients.toml"), DECLARED.replace("\"Orders\"", "\"Orders\"\ndisabled = true"))
        .unwrap();
    let plan = dev.run(&["client", "plan", "--file", "clients.toml"]);
    assert!(plan.stdout.contains("    + disabled: true\n"), "{}", plan.stdout);
    assert!(plan.stdout.contains("\n    ! revokes its tokens\n"), "{}", plan.stdout);
    assert!(plan.stdout.ends_with("\n! tokens revoked: orders\n"), "{}", plan.stdout);
}

#[test]
fn discarded_secrets_are_neither_printed_nor_kept() {
    let dev = Dev::start();
    fs::write(dev.home.path().join("clients.toml"), DECLARED).unwrap();
    let applied = dev.run(&["client", "apply", "--file", "clients.toml", "--discard-secrets"]);
    assert_eq!(
        (applied.code, applied.stdout.as_str()),
        (0, "+ billing\n~ orders: display_name\n"),
        "{}",
        applied.stderr
    );
    let shown = dev.run(&["client", "show", "billing", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["credentials"].as_array().map_or(0, Vec::len), 0, "{shown}");
}

#[test]
fn credentials_are_read_for_new_clients_alone() {
    let dev = Dev::start();
    let plan = |id: &str| {
        let declared = format!("[[client]]\nid = {id:?}\n[[client.key]]\nid = \"1\"\nfile = \"nowhere.jwk\"\n");
        fs::write(dev.home.path().join("clients.toml"), declared).unwrap();
        dev.run(&["client", "plan", "--file", "clients.toml"])
    };
    let registered = plan("orders");
    assert_eq!(registered.code, 0, "{}", registered.stderr);
    assert!(registered.stderr.contains("credentials of orders are not compared"), "{}", registered.stderr);
    let new = plan("billing");
    assert_eq!(new.code, 2, "{}", new.stdout);
    assert!(new.stderr.contains("nowhere.jwk"), "{}", new.stderr);
}

#[test]
fn a_failure_within_a_new_client_names_what_was_made() {
    let dev = Dev::start();
    let key = dev.run(&["client", "new-key", "--out", "billing.pem"]).stdout;
    fs::write(dev.home.path().join("1.jwk"), key).unwrap();
    fs::write(dev.home.path().join("2.jwk"), "not a key").unwrap();
    let key = |id| format!("[[client.key]]\nid = \"{id}\"\nfile = \"{id}.jwk\"\n");
    let declared = format!("[[client]]\nid = \"billing\"\n{}{}", key(1), key(2));
    fs::write(dev.home.path().join("clients.toml"), declared).unwrap();
    let applied = dev.run(&["client", "apply", "--file", "clients.toml"]);
    assert_eq!(applied.code, 2, "{}", applied.stdout);
    let registered =
        "billing is registered with 1 of its 2 credentials (key), then the server answered InvalidArgument";
    for expected in [registered, "token-server client add-key"] {
        assert!(applied.stderr.contains(expected), "{expected}: {}", applied.stderr);
    }
    assert_eq!(dev.run(&["client", "show", "billing"]).code, 0);
}

#[test]
fn mistakes_in_the_file_are_told_with_their_line() {
    let home = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("[[client]]\nid = \"a\"\nscops = []\n", "line 3"),
        ("[[client]]\nid = \"a\"\n[[client]]\nid = \"a\"\n", "twice"),
        ("[[client]]\nname = \"a\"\n", "has no id"),
        ("[[client]]\nid = \"a\"\nsecret = \"tks_x\"\n", "a secret does not belong in this file"),
    ] {
        fs::write(home.path().join("clients.toml"), text).unwrap();
        let ran = run(home.path(), &["client", "plan", "--file", "clients.toml"]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
}
