//! Registers a client on the store itself: the first one, before anybody may use the admin API.

use std::path::Path;

use token_interceptor::clock::SystemClock;
use token_proto::admin::v1::{Client, CreateClientResponse};

use crate::{
    admin::{AdminError, ClientAdmin, Operator},
    client::secret::ClientSecret,
    client_registry::ClientRegistry,
    command::{
        failure::{Failure, Kind},
        output::{Output, note},
        serve::load,
    },
    config::Config,
    server,
    service::clients,
};

/// Registers the client. A server on the same store learns of it within a second.
pub(super) async fn create(config: &Config, client: Client) -> Result<CreateClientResponse, Failure> {
    let store = server::open_store(config)
        .await
        .map_err(|error| Failure::failed("the store cannot be used", error).next("run this as the server's user"))?;
    let registry = ClientRegistry::new(store.clone());
    let (peppers, rules) = (server::peppers(&config.secrets), server::rules(config));
    let admin = ClientAdmin::new(store.clone(), registry, peppers, SystemClock::shared(), rules);
    // On record in the store's audit of changes, by the name of who may write the store.
    let by = Operator::local("token-server client create --offline");
    let created = clients::create_locally(&admin, &by, client).await;
    store.close().await;
    created.map_err(refused)
}

/// Makes a secret and prints it with what a file may hold of it.
pub(super) fn new_secret(config: Option<&Path>, json: bool, output: &mut Output) -> Result<(), Failure> {
    let config = load(config)?;
    let secret = ClientSecret::generate().map_err(|error| Failure::failed("no secret can be made", error))?;
    let hash = server::peppers(&config.secrets).hash(&secret);
    if json {
        return Ok(output.json(&serde_json::json!({ "client_secret": secret.expose(), "hash": hash }))?);
    }
    let value = toml::Value::try_from(&hash).map_err(|error| Failure::failed("the hash cannot be written", error))?;
    note("The secret, this once, for whoever is the client; below it what may stand in the file of clients:");
    output.line(secret.expose())?;
    Ok(output.line(format_args!("\n[[client.secret]]\nid = \"1\"\nhash = {value}"))?)
}

fn refused(error: AdminError) -> Failure {
    let kind = match &error {
        AdminError::Invalid(_) => Kind::Usage,
        AdminError::NotFound(_) => Kind::NotFound,
        AdminError::BeyondOwnScopes { .. } => Kind::Denied,
        AdminError::Unavailable(_) => Kind::Unavailable,
        AdminError::AlreadyExists
        | AdminError::EtagMismatch
        | AdminError::Precondition(_)
        | AdminError::Internal(_) => Kind::Failed,
    };
    Failure::new(kind, "the client is not registered").because(error)
}
