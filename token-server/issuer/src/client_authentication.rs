//! Client authentication: a presented credential → [`AuthenticatedClient`], or one answer for every failure.
//!
//! RFC 6749 section 2.3. An unknown client, a wrong secret, an expired credential and a disabled client take
//! the same path with the same work, so neither the answer nor the time reveals which client IDs exist. See
//! [`crate::cost`], and `docs/adr/0017-equal-work-for-every-failure.md` for the remaining
//! differences.

pub mod assertion;
pub mod presented;

use std::{sync::Arc, time::SystemTime};

use secrecy::ExposeSecret as _;

use assertion::{Accepted, Addressee, Assertions};
use presented::PresentedClient;

use crate::{
    client::{Client, ClientId, Credential, secret::Peppers},
    client_registry::ClientRegistry,
    cost::{Step, takes},
    error::{AuthenticationFailure, IssueError},
    origin::Peer,
};

/// An authenticated client. Only [`ClientAuthenticator::authenticate`] creates one.
#[derive(Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    addressee: Option<Addressee>,
}

impl AuthenticatedClient {
    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> &ClientId {
        &self.client.id
    }

    /// Returns true if the client used an assertion whose audience is the token endpoint.
    pub(crate) fn is_by_endpoint_assertion(&self) -> bool {
        self.addressee == Some(Addressee::TokenEndpoint)
    }

    /// The registered client.
    #[must_use]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the client itself, for the decision of the grant.
    #[must_use]
    pub(crate) fn into_client(self) -> Arc<Client> {
        self.client
    }
}

/// Authenticates clients by what is registered.
#[derive(Debug)]
pub struct ClientAuthenticator {
    /// The registered clients.
    pub registry: ClientRegistry,
    /// The peppers with which secrets are hashed.
    pub peppers: Peppers,
    /// Verifies assertions.
    pub assertions: Assertions,
}

impl ClientAuthenticator {
    /// Checks the presented credential against the registered ones.
    ///
    /// # Errors
    ///
    /// [`IssueError::ClientAuthenticationFailed`] when any check fails. [`IssueError::Unavailable`] when the
    /// client is not in memory and the store is unreachable, because that does not mean that the secret is
    /// wrong.
    pub async fn authenticate(
        &self,
        peer: Peer,
        presented: &PresentedClient,
        now: SystemTime,
    ) -> Result<AuthenticatedClient, IssueError> {
        let client = find(&self.registry, peer, presented.claimed_id()).await?;
        let mut addressee = None;
        let (client, credential_id) = match presented {
            PresentedClient::Secret { secret, .. } => {
                let credentials = client.as_ref().map_or(&[] as &[Credential], |client| &client.credentials);
                let matched = self.peppers.find_match(secret.expose_secret(), credentials, now).await;
                let matched = matched.map(|credential| credential.id.clone());
                let (client, credential_id) = decide(client, matched, now)?;
                (client, Some(credential_id))
            }
            PresentedClient::Assertion(assertion) => {
                // Boxed because few requests need it. Otherwise the future of every request would have
                // room for it.
                let verified = Box::pin(self.assertions.verify(assertion, client.as_deref(), now)).await;
                match client {
                    Some(client) if !client.disabled => {
                        let Accepted { credential_id, addressee: of } = verified?;
                        addressee = Some(of);
                        (client, credential_id)
                    }
                    unknown => {
                        let (client, credential_id) = decide(unknown, None, now)?;
                        (client, Some(credential_id))
                    }
                }
            }
        };
        if let Some(credential_id) = credential_id {
            self.registry.credential_used(&client.id, &credential_id, now);
        }
        Ok(AuthenticatedClient { client, addressee })
    }
}

/// Finds the client. A malformed client ID is treated as an unknown client, and costs the same work.
async fn find(registry: &ClientRegistry, peer: Peer, client_id: &str) -> Result<Option<Arc<Client>>, IssueError> {
    takes(Step::Lookup);
    let Ok(client_id) = ClientId::try_from(client_id) else { return Ok(None) };
    registry.find_for(Some(peer), &client_id).await.map_err(|error| IssueError::Unavailable(error.into()))
}

fn decide(
    client: Option<Arc<Client>>,
    matched: Option<String>,
    now: SystemTime,
) -> Result<(Arc<Client>, String), IssueError> {
    match (client, matched) {
        (None, _) => Err(failed(AuthenticationFailure::UnknownClient)),
        (Some(client), _) if client.disabled => Err(failed(AuthenticationFailure::ClientDisabled)),
        (Some(client), Some(credential_id)) => Ok((client, credential_id)),
        (Some(client), None) if client.credentials.iter().all(|credential| credential.is_live(now)) => {
            Err(failed(AuthenticationFailure::NoMatch))
        }
        (Some(_), None) => Err(failed(AuthenticationFailure::NoLiveMatch)),
    }
}

fn failed(failure: AuthenticationFailure) -> IssueError {
    IssueError::ClientAuthenticationFailed(failure)
}
