//! Pepper and sealing key are replaced by configuration. Secrets and keys under the old ones stay valid.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use token_interceptor::json;
use token_proto::admin::v1::{Client, CreateClientRequest, Grant, client_service_client::ClientServiceClient};
use token_server::{
    config::Config,
    development::{Development, DevelopmentError, RunningDevelopment},
    server::ServeError,
};
use tonic::Code;

use crate::harness::{as_admin, channel, issue};

const BILLING: &str = "billing";
const READ: &str = "inventory.read";

/// A development issuer whose `[keys]` and `[secrets]` come from a file; `previous` names the old keys there.
async fn start(folder: &Path, prefix: &str, previous: [&str; 2]) -> Result<RunningDevelopment, DevelopmentError> {
    let mut development = Development::open(folder, 0).unwrap();
    let [sealing, pepper] = previous;
    let here = folder.display();
    let text = format!(
        r#"
        issuer.url = "http://127.0.0.1:0"
        listen.address = "127.0.0.1:0"
        store.url = "sqlite://{here}/unused.db"
        [keys]
        sealing_key_file = "{here}/{prefix}sealing.key"
        previous_sealing_key_files = [{sealing}]
        [secrets]
        pepper_file = "{here}/{prefix}pepper.key"
        previous_pepper_files = [{pepper}]
        "#
    );
    let read = Config::read(Some((Path::new("test.toml"), &text)), []).unwrap();
    (development.config_mut().keys, development.config_mut().secrets) = (read.keys, read.secrets);
    development.start().await
}

/// Returns the names of the old keys' files, as in the configuration, and adds new keys beside them.
fn rotate(folder: &Path) -> [String; 2] {
    for (name, key) in [("new-sealing.key", "a1".repeat(32)), ("new-pepper.key", "b2".repeat(32))] {
        fs::write(folder.join(name), key).unwrap();
    }
    ["sealing.key", "pepper.key"].map(|name| format!("\"{}/{name}\"", folder.display()))
}

/// A client whose secret is stored under the current pepper only. The development clients are registered
/// again under each pepper.
async fn billing(dev: &RunningDevelopment) -> String {
    let grant = Grant {
        audience: "inventory".to_owned(),
        scopes: vec![READ.to_owned()],
        default_scopes: vec![READ.to_owned()],
    };
    let client = Client { client_id: BILLING.to_owned(), grants: vec![grant], ..Client::default() };
    let request = CreateClientRequest { client: Some(client), ..Default::default() };
    let request = as_admin(dev, request).await;
    let created = ClientServiceClient::new(channel(dev).await).create_client(request).await.unwrap();
    created.into_inner().client_secret
}

fn key_id(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    json::object(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn secrets_and_signing_keys_made_under_the_old_keys_stay_good() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(folder.path(), "", ["", ""]).await.unwrap();
    let secret = billing(&dev).await;
    let before = issue(&dev, BILLING, &secret).await.unwrap();
    dev.server.shutdown().await;

    let [sealing, pepper] = rotate(folder.path());
    let dev = start(folder.path(), "new-", [&sealing, &pepper]).await.unwrap();
    let after = issue(&dev, BILLING, &secret).await.expect("a secret made under the old pepper");
    assert_eq!(key_id(&after), key_id(&before), "sealed under the old key, and opened");
}

#[tokio::test]
async fn a_secret_under_a_pepper_that_is_gone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(folder.path(), "", ["", ""]).await.unwrap();
    let secret = billing(&dev).await;
    dev.server.shutdown().await;
    let [sealing, _] = rotate(folder.path());
    let dev = start(folder.path(), "new-", [&sealing, ""]).await.unwrap();
    assert_eq!(issue(&dev, BILLING, &secret).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_server_without_the_key_that_sealed_its_signing_keys_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path(), "", ["", ""]).await.unwrap().server.shutdown().await;
    let [_, pepper] = rotate(folder.path());
    let error = start(folder.path(), "new-", ["", &pepper]).await.unwrap_err();
    let DevelopmentError::Serve(error) = error else { panic!("{error}") };
    for expected in ["which was not provided", "previous_sealing_key_files"] {
        assert!(causes(&error).contains(expected), "{expected}: {error:?}");
    }
}

fn causes(error: &ServeError) -> String {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    let chain = std::iter::from_fn(|| next.inspect(|error| next = error.source()).map(ToString::to_string));
    chain.collect::<Vec<_>>().join(": ")
}
