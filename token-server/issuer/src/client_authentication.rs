//! Client authentication: a presented credential → [`AuthenticatedClient`], or one answer for every failure.
//!
//! RFC 6749 section 2.3. An unknown client, a wrong secret, an expired credential and a disabled client take
//! the same path with the same work, so neither the answer nor the time reveals which client IDs exist. See
//! [`crate::cost`], and `docs/adr/0017-equal-work-for-every-failure.md` for the remaining differences.

pub mod assertion;
mod federated;
pub mod presented;

use std::{sync::Arc, time::SystemTime};

use secrecy::ExposeSecret as _;

use assertion::{Accepted, Addressee, AssertionType, Assertions, UnverifiedAssertion};
pub use federated::ProvenIdentity;
use presented::PresentedClient;

use crate::{
    client::{Client, ClientId, Credential, secret::Peppers},
    client_registry::ClientRegistry,
    cost::{Step, takes},
    error::{AuthenticationFailure, IssueError},
    identity_provider::{AssertionIssuer, IdentityProviders},
    origin::Peer,
};

/// An authenticated client. Only [`ClientAuthenticator::authenticate`] creates one.
#[derive(Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    addressee: Option<Addressee>,
    /// The identity at another issuer that proved the client.
    proven: Option<Box<ProvenIdentity>>,
    /// The expiry of the assertion, if it bounds the tokens that are issued for it.
    not_after: Option<SystemTime>,
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

    /// The identity at another issuer by which the client was authenticated.
    pub(crate) fn proven(&self) -> Option<&ProvenIdentity> {
        self.proven.as_deref()
    }

    /// Returns the client itself, for the decision of the grant, and the time that no token may outlive.
    #[must_use]
    pub(crate) fn into_parts(self) -> (Arc<Client>, Option<SystemTime>) {
        (self.client, self.not_after)
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
    /// The other issuers whose tokens are accepted as assertions.
    pub federation: IdentityProviders,
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
        match presented {
            PresentedClient::Secret { client_id, secret } => {
                let client = find(&self.registry, peer, client_id).await?;
                let credentials = client.as_ref().map_or(&[] as &[Credential], |client| &client.credentials);
                let matched = self.peppers.find_match(secret.expose_secret(), credentials, now).await;
                let matched = matched.map(|credential| credential.id.clone());
                let (client, credential_id) = decide(client, matched, now)?;
                self.registry.credential_used(&client.id, &credential_id, now);
                Ok(AuthenticatedClient { client, addressee: None, proven: None, not_after: None })
            }
            // Boxed because few requests need it. Otherwise the future of every request would have
            // room for it.
            PresentedClient::Assertion(assertion) => match self.issuer_of(assertion) {
                Some(issuer) => Box::pin(self.federated(peer, assertion, issuer, now)).await,
                None => Box::pin(self.own_key(peer, assertion, now)).await,
            },
        }
    }

    /// Returns the other issuer that decides about the assertion. `None` leaves it to the client's own key.
    /// The claims decide before anything is verified, and no second way is tried.
    fn issuer_of(&self, assertion: &UnverifiedAssertion) -> Option<AssertionIssuer<'_>> {
        if assertion.is_of_its_client() {
            return None;
        }
        let issuer = self.federation.assertion_issuer(assertion.issuer()?)?;
        // The type decides which claim names the issuer, so a token of one kind never passes as the other.
        (issuer.is_spiffe() == (assertion.kind() == AssertionType::JwtSpiffe)).then_some(issuer)
    }

    /// Authenticates a client by an assertion of its own: `private_key_jwt`.
    async fn own_key(
        &self,
        peer: Peer,
        assertion: &UnverifiedAssertion,
        now: SystemTime,
    ) -> Result<AuthenticatedClient, IssueError> {
        let client = find(&self.registry, peer, assertion.claimed_id()).await?;
        let verified = self.assertions.verify(assertion, client.as_deref(), now).await;
        if !assertion.is_of_its_client() {
            let detail = self.federation.not_an_issuer(assertion.issuer().unwrap_or_default());
            let refused =
                detail.map(|detail| failed(AuthenticationFailure::FederationRefused(detail.into_boxed_str())));
            return Err(refused.or(verified.err()).unwrap_or(failed(AuthenticationFailure::NoMatch)));
        }
        match client {
            Some(client) if !client.disabled => {
                let Accepted { credential_id, addressee } = verified?;
                if let Some(credential_id) = credential_id {
                    self.registry.credential_used(&client.id, &credential_id, now);
                }
                Ok(AuthenticatedClient { client, addressee: Some(addressee), proven: None, not_after: None })
            }
            unknown => {
                let (client, credential_id) = decide(unknown, None, now)?;
                self.registry.credential_used(&client.id, &credential_id, now);
                Ok(AuthenticatedClient { client, addressee: None, proven: None, not_after: None })
            }
        }
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
