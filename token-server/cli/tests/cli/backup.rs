//! `token-server backup`: a copy while the server runs, and a server on the copy.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::{
    harness::{Dev, Ran, program, run},
    serve::config,
};

#[test]
fn copy_of_a_running_store_serves_in_its_place() {
    let mut dev = Dev::start();
    let port = dev.port();
    // The configuration of `serve` for the development folder.
    let text = format!(
        "issuer.url = \"{}\"\nlisten.address = \"127.0.0.1:0\"\nstore.url = \"sqlite://{}\"\n\
         keys.sealing_key_file = \"{}\"\nsecrets.pepper_file = \"{}\"\n",
        dev.issuer,
        dev.state("token-server.db").display(),
        dev.state("sealing.key").display(),
        dev.state("pepper.key").display(),
    );
    fs::write(dev.home.path().join("a.toml"), text).unwrap();
    let ran = dev.run(&["client", "create", "billing", "--grant", "inventory=inventory.read", "--json"]);
    let created: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let ran = dev.run(&["backup", "--config", "a.toml", "--to", "copy.db"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let copy = dev.home.path().join("copy.db");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

    // Changed after the copy, so absent from it.
    assert_eq!(dev.run(&["client", "delete", "billing", "--yes"]).code, 0);
    dev.stop("-TERM");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dev.state(&format!("token-server.db{suffix}")));
    }
    fs::copy(&copy, dev.state("token-server.db")).unwrap();
    dev.start_again(&port);
    let mut command = program(dev.home.path());
    command.env("TOKEN_CLIENT_ID", "billing").env("TOKEN_CLIENT_SECRET", created["client_secret"].as_str().unwrap());
    command.env("TOKEN_ISSUER", &dev.issuer);
    let token: Ran = command.args(["token", "--audience", "inventory"]).output().unwrap().into();
    assert_eq!(token.code, 0, "{}", token.stderr);
}

#[test]
fn file_that_exists_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.toml"), config(home.path())).unwrap();
    fs::write(home.path().join("copy.db"), "precious").unwrap();
    let ran = run(home.path(), &["backup", "--config", "a.toml", "--to", "copy.db"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert_eq!(fs::read_to_string(home.path().join("copy.db")).unwrap(), "precious");
    // No empty file is left if there is nothing to copy.
    let ran = run(home.path(), &["backup", "--config", "a.toml", "--to", "other.db"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(!home.path().join("other.db").exists());
}
