//! A server whose store is a file that declares the clients: no database, nothing to write to.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::Value;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::{
    harness::{Ran, get, program, run},
    serve::{Serving, config, line_with},
};

/// Two clients: one for the admin API with a secret in a file, one whose hash is in the file of clients.
fn declared(orders: &str, audience: &str) -> String {
    format!(
        r#"
[[client]]
id = "token-admin"
[[client.grant]]
audience = "m2m.admin.v1"
scopes = ["clients.read", "clients.write", "keys.read", "audit.read"]
[[client.secret]]
id = "1"
file = "token-admin.secret"

[[client]]
id = "orders"
[[client.grant]]
audience = "{audience}"
scopes = ["read"]
[[client.secret]]
id = "1"
{orders}
"#
    )
}

struct Home {
    folder: tempfile::TempDir,
    admin: String,
    orders: String,
    orders_hash: String,
}

impl Home {
    /// Starts the server with `more` in the section [store].
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let store = format!("url = \"file://{}/clients.toml\"\nreload_interval = \"1h\"\n{more}", home.display());
        let sqlite = format!("url = \"sqlite://{}/token-server.db\"", home.display());
        let operations = "[listen]\noperations_address = \"127.0.0.1:0\"";
        fs::write(home.join("a.toml"), config(home).replace(&sqlite, &store).replace("[listen]", operations)).unwrap();
        fs::write(home.join("clients.toml"), "").unwrap();
        let secret = || {
            let ran = run(home, &["client", "new-secret", "--config", "a.toml"]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let secret = ran.stdout.lines().next().unwrap().to_owned();
            let hash = ran.stdout.lines().find(|line| line.starts_with("hash = ")).unwrap().to_owned();
            (secret, hash)
        };
        let ((admin, _), (orders, orders_hash)) = (secret(), secret());
        fs::write(home.join("token-admin.secret"), format!("{admin}\n")).unwrap();
        fs::write(home.join("clients.toml"), declared(&orders_hash, "inventory")).unwrap();
        Self { folder, admin, orders, orders_hash }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn declare(&self, text: &str) {
        fs::write(self.path().join("clients.toml"), text).unwrap();
    }

    fn token(&self, serving: &Serving, audience: &str) -> Ran {
        let mut command = program(self.path());
        command.env("TOKEN_CLIENT_ID", "orders").env("TOKEN_CLIENT_SECRET", &self.orders);
        command.args(["token", "--no-cache", "--audience", audience, "--issuer", &serving.issuer]);
        command.output().unwrap().into()
    }

    fn admin(&self, serving: &Serving, arguments: &[&str]) -> Ran {
        let mut command = program(self.path());
        command.env("TOKEN_ADMIN_CLIENT_ID", "token-admin").env("TOKEN_ADMIN_CLIENT_SECRET", &self.admin);
        command.args(arguments).args(["--issuer", &serving.issuer]);
        command.output().unwrap().into()
    }
}

fn key_id(home: &Home, token: &Ran) -> String {
    assert_eq!(token.code, 0, "{}", token.stderr);
    let shown = run(home.path(), &["inspect", "--json", token.stdout.trim()]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    shown["header"]["kid"].as_str().unwrap().to_owned()
}

/// A server, and the URL of its operators' port.
fn start(home: &Home) -> (Serving, String) {
    let (serving, told) = Serving::start_telling(home.path());
    let line = told.lines().find(|line| line.contains("listening for probes and metrics")).unwrap();
    let address = line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap();
    (serving, format!("http://{address}"))
}

fn metric(operations: &str, line: &str) -> bool {
    let answer = get(operations, "/metrics");
    answer.lines().any(|shown| shown == line)
}

#[test]
fn a_file_of_clients_is_a_store_and_is_followed_as_it_changes() {
    let home = Home::new("danger_state_in_memory = true");
    let (mut serving, operations) = start(&home);
    assert_eq!(home.token(&serving, "inventory").code, 0);

    home.declare(&declared(&home.orders_hash, "billing"));
    serving.signal("-HUP");
    line_with(&mut serving.log, "clients reloaded");
    assert_eq!(home.token(&serving, "billing").code, 0);
    assert_eq!(home.token(&serving, "inventory").code, 3, "not granted any more");
    assert!(metric(&operations, "token_server_clients_file_usable 1"));
    let changes = home.admin(&serving, &["audit", "list", "--resource", "orders"]);
    assert!(changes.stdout.contains("UpdateClient"), "{} {}", changes.stdout, changes.stderr);
}

/// A volume of a ConfigMap: kubelet writes a new folder, and moves the link `..data` to it.
#[test]
fn a_configmap_that_kubelet_replaces_is_reloaded() {
    let home = Home::new("danger_state_in_memory = true");
    let config = home.path().join("a.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, text.replace("reload_interval = \"1h\"", "reload_interval = \"1s\"")).unwrap();
    let publish = |revision: &str, audience: &str| {
        fs::create_dir(home.path().join(revision)).unwrap();
        let clients = declared(&home.orders_hash, audience);
        fs::write(home.path().join(revision).join("clients.toml"), clients).unwrap();
        symlink(revision, home.path().join("..data_tmp")).unwrap();
        fs::rename(home.path().join("..data_tmp"), home.path().join("..data")).unwrap();
    };
    fs::remove_file(home.path().join("clients.toml")).unwrap();
    symlink("..data/clients.toml", home.path().join("clients.toml")).unwrap();
    publish("..2026_11_30_1", "inventory");
    let (mut serving, _) = start(&home);
    assert_eq!(home.token(&serving, "inventory").code, 0);

    publish("..2026_11_30_2", "billing");
    fs::remove_dir_all(home.path().join("..2026_11_30_1")).unwrap();
    line_with(&mut serving.log, "clients reloaded");
    assert_eq!(home.token(&serving, "billing").code, 0);
    assert_eq!(home.token(&serving, "inventory").code, 3);
}

#[test]
fn a_broken_file_leaves_the_last_good_clients_and_is_told_without_what_stands_in_it() {
    let home = Home::new("danger_state_in_memory = true");
    let (mut serving, operations) = start(&home);
    let secret = format!("secret = \"{}\"", home.orders);
    let misspelt = format!("secert = \"{}\"", home.orders);
    let good = declared(&home.orders_hash, "inventory");
    for broken in [
        "[[client",
        "[[client]]\nid = \"orders\"\nscope = 1",
        &secret,
        &misspelt,
        "[[client]]\nid = \"x\"\ntoken_lifetime = \"0s\"",
    ] {
        let broken =
            if broken.contains("tks_") { format!("[[client]]\nid = \"x\"\n{broken}") } else { broken.to_owned() };
        home.declare(&broken);
        serving.signal("-HUP");
        let told = line_with(&mut serving.log, "keeping the last valid clients");
        assert!(!told.contains("tks_"), "{told}");
        assert_eq!(home.token(&serving, "inventory").code, 0, "{broken}");
        assert!(metric(&operations, "token_server_clients_file_usable 0"));
    }
    home.declare(&good.replace("\"inventory\"", "\"billing\""));
    serving.signal("-HUP");
    line_with(&mut serving.log, "clients reloaded");
    assert!(metric(&operations, "token_server_clients_file_usable 1"));
    // Without a valid file the server cannot start.
    drop(serving);
    home.declare("[[client");
    for arguments in [&["serve", "--config", "a.toml", "--check"][..], &["serve", "--config", "a.toml"]] {
        let ran = run(home.path(), arguments);
        assert_ne!(ran.code, 0);
        assert!(ran.stderr.contains("clients.toml does not declare clients: line 1"), "{}", ran.stderr);
    }
}

/// Watches the service at `grpc.health.v1.Health`: 1 is SERVING, 2 is NOT_SERVING.
async fn health(channel: &tonic::transport::Channel, service: &str) -> tonic::Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metric_tell_of_a_broken_file_the_last_good_clients_get_tokens_and_it_heals() {
    let home = Home::new("danger_state_in_memory = true");
    let (serving, operations) = start(&home);
    let channel = tonic::transport::Channel::from_shared(serving.issuer.clone()).unwrap().connect().await.unwrap();
    let mut clients = health(&channel, "m2m.admin.v1.ClientService").await;
    let mut told = async || clients.message().await.unwrap().unwrap().status;
    assert_eq!(told().await, 1);

    home.declare("[[client");
    serving.signal("-HUP");
    assert_eq!(told().await, 2);
    assert!(metric(&operations, "token_server_clients_file_usable 0"));
    assert_eq!(home.token(&serving, "inventory").code, 0);
    // Only this service is affected; the others continue.
    for service in ["", "m2m.token.v1.TokenService", "m2m.token.v1.TrustService", "m2m.admin.v1.KeyService"] {
        assert_eq!(health(&channel, service).await.message().await.unwrap().unwrap().status, 1, "{service}");
    }
    assert!(get(&operations, "/readyz").starts_with("HTTP/1.1 200"));

    home.declare(&declared(&home.orders_hash, "billing"));
    serving.signal("-HUP");
    assert_eq!(told().await, 1);
    assert!(metric(&operations, "token_server_clients_file_usable 1"));
    assert_eq!(home.token(&serving, "billing").code, 0);
}

#[test]
fn admin_changes_are_refused_with_what_to_do_and_reads_are_not() {
    let home = Home::new("danger_state_in_memory = true");
    let serving = Serving::start(home.path());
    let listed = home.admin(&serving, &["client", "list"]);
    assert!(listed.stdout.contains("orders"), "{} {}", listed.stdout, listed.stderr);
    for change in [
        &["client", "create", "more", "--grant", "inventory=read"][..],
        &["client", "update", "orders", "--disable"],
        &["client", "delete", "orders", "--yes"],
        &["client", "add-secret", "orders"],
    ] {
        let refused = home.admin(&serving, change);
        assert_ne!(refused.code, 0, "{change:?}");
        assert!(
            refused.stderr.contains("This server's clients are declared in a file"),
            "{change:?}: {}",
            refused.stderr
        );
    }
    // Tokens are not clients: revoking works.
    assert_eq!(home.admin(&serving, &["client", "revoke-tokens", "orders", "--yes"]).code, 0);
}

#[test]
fn keys_outlast_a_restart_in_the_state_file_and_only_there() {
    let outside = tempfile::tempdir().unwrap();
    let home = Home::new(&format!("state = \"{}/state.db\"", outside.path().display()));
    let mut serving = Serving::start(home.path());
    let before = key_id(&home, &home.token(&serving, "inventory"));
    serving.signal("-TERM");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let serving = Serving::start(home.path());
    assert_eq!(key_id(&home, &home.token(&serving, "inventory")), before);
    let copy = home.path().join("copy.db");
    let backup = run(home.path(), &["backup", "--config", "a.toml", "--to", copy.to_str().unwrap()]);
    assert_eq!(backup.code, 0, "{}", backup.stderr);

    let home = Home::new("danger_state_in_memory = true");
    let mut serving = Serving::start(home.path());
    let before = key_id(&home, &home.token(&serving, "inventory"));
    serving.signal("-TERM");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let serving = Serving::start(home.path());
    assert_ne!(key_id(&home, &home.token(&serving, "inventory")), before);
}
