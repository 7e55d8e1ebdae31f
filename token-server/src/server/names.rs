//! Clients that have the name of an identity provider's subject, because the provider was configured after
//! them.

use token_issuer::{
    client::ClientId,
    identity_provider::Namespace,
    store::{ClientStore, StoreError},
};

/// The most clients of one provider that the log names.
const NAMED_MAX: u32 = 20;

/// Logs such clients. They get no tokens, and no token of a subject with that name is exchanged.
pub(super) async fn check(store: &dyn ClientStore, namespaces: &[Namespace]) -> Result<(), StoreError> {
    for namespace in namespaces {
        // No client ID is that long, or has such characters.
        let Ok(start) = ClientId::try_from(namespace.start()) else { continue };
        let mut clients = Vec::from_iter(store.client(&start).await?);
        clients.extend(store.clients(Some(&start), NAMED_MAX).await?);
        clients.retain(|client| namespace.covers(client.id.as_str()));
        if !clients.is_empty() {
            let ids = clients.iter().map(|client| client.id.as_str()).collect::<Vec<_>>().join(", ");
            tracing::error!(
                clients = ids,
                subject_template = format!("{}{{sub}}", namespace.start()),
                "clients have the names of an identity provider's subjects, so neither gets a token: register \
                 the clients by other IDs, or give the provider another subject_template"
            );
        }
    }
    Ok(())
}
