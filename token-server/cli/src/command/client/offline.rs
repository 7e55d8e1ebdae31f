//! Registers a client on the store itself: the first one, before any client may use the admin API.

use std::path::Path;

use token_interceptor::clock::{Clock as _, SystemClock};
use token_issuer::{
    admin::{AdminError, ClientAdmin, Operator},
    client::secret::ClientSecret,
    client_registry::{ClientRegistry, peppers_in_use},
};
use token_proto::admin::v1::{CreateClientRequest, CreateClientResponse};
use token_server::{config::Config, grpc::clients, server};
use token_store::StoreLocation;

use crate::command::{
    failure::{Failure, Kind},
    output::{Output, note},
    serve::load,
};

/// Registers the client. A server on the same store learns of it within a second.
pub(super) async fn create(config: &Config, request: CreateClientRequest) -> Result<CreateClientResponse, Failure> {
    let store = server::open_store(config).await.map_err(|error| {
        let failure = Failure::failed("the store cannot be used", error);
        match &config.store.location {
            StoreLocation::Sqlite(file) | StoreLocation::Declared { state: Some(file), .. } => failure.next(format!(
                "run this as the user that the server runs as, who owns {}: runuser -u token-server -- token-server …",
                file.display()
            )),
            StoreLocation::Postgres(_) | StoreLocation::Declared { state: None, .. } => failure,
        }
    })?;
    let registry = ClientRegistry::new(store.clone());
    let (peppers, rules) = (server::peppers(&config.secrets), server::rules(config));
    if let Ok(Err(wrong)) = peppers_in_use::expect_to_fit(&*store, &peppers, SystemClock.now()).await {
        // Allowed: the first step after a pepper was lost. `serve` starts once a secret fits.
        note(format_args!("warning: {wrong}"));
    }
    let admin = ClientAdmin::new(store.clone(), registry, peppers, SystemClock::shared(), rules);
    // The audit of changes in the store names the local user.
    let by = Operator::local("token-server client create --offline");
    let created = clients::create_locally(&admin, &by, request).await;
    store.close().await;
    created.map_err(refused)
}

/// Generates a secret, and prints it with the hash for the file of clients.
pub(super) fn new_secret(config: Option<&Path>, json: bool, output: &mut Output) -> Result<(), Failure> {
    let config = load(config)?;
    let secret = ClientSecret::generate().map_err(|error| Failure::failed("no secret can be generated", error))?;
    let hash = server::peppers(&config.secrets).hash(&secret);
    if json {
        return Ok(output.json(&serde_json::json!({ "client_secret": secret.expose(), "hash": hash }))?);
    }
    let value = toml::Value::try_from(&hash).map_err(|error| Failure::failed("the hash cannot be written", error))?;
    note("The secret, shown once, for the client. Below it the lines for the file of clients:");
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
        | AdminError::TooManyClients
        | AdminError::Precondition(_)
        | AdminError::Internal(_) => Kind::Failed,
    };
    Failure::new(kind, "the client is not registered").because(error)
}
