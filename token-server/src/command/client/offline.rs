//! Registers a client on the store itself: the first one, before anybody may use the admin API.

use token_interceptor::clock::SystemClock;
use token_proto::admin::v1::{Client, CreateClientResponse};

use crate::{
    admin::{AdminError, ClientAdmin, Operator},
    client::registry::ClientRegistry,
    command::failure::{Failure, Kind},
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
