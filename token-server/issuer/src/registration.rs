//! Dynamic client registration: clients register themselves, and manage their registration. RFC 7591, RFC
//! 7592.
//!
//! It is off unless the operator issues initial access tokens. Each token bounds the clients that register
//! with it, and a client's own metadata only narrow the bounds. Checks, store and audit are the same as for
//! every other client: [`crate::admin`].
//!
//! Over gRPC, `ClientService` of the admin API does the same. RFC 7591 defines JSON over HTTP, and its
//! clients use nothing else, so there is no gRPC protocol for it:
//! `docs/adr/0011-registration-over-http-only.md`.

mod document;
mod error;
mod initial;
mod metadata;
mod template;

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use token_interceptor::{bearer::bearer, clock::Clock, error::Denied, status::Answer};
use token_proto::token::v1::ErrorReason;
use tracing::Instrument as _;

pub use initial::{InitialAccessToken, InitialAccessTokens, TokenHash};
pub use template::Template;

pub use document::ClientInformation;
pub use error::RegistrationError;

use crate::{
    admin::{ClientAdmin, Operator},
    audit::Decision,
    client::Client,
    error::IssueError,
    issuer::{self, Issuer},
    limit::{LimitSettings, Limits, Rate},
    metadata::path,
    origin::Origin,
};
use metadata::Wanted;

/// The settings that an operator chooses.
#[derive(Clone, Debug)]
pub struct RegistrationSettings {
    /// The initial access tokens, and the clients that each may register.
    pub tokens: InitialAccessTokens,
    /// Requests of one peer each minute, successful or not.
    pub requests_per_minute_per_peer: u32,
    /// The most clients that one initial access token registers each hour, on one replica.
    pub clients_per_hour: u32,
}

/// Registers clients, and lets them manage their registrations.
pub struct Registrar {
    issuer: Arc<Issuer>,
    clients: ClientAdmin,
    tokens: InitialAccessTokens,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

/// The origin of a request, and the headers with its bearer token.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The origin, for limits and the audit log.
    pub origin: &'a Origin,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The body of a request, read after the caller has presented a valid token.
type Body = Result<Map<String, Value>, IssueError>;

impl Registrar {
    /// Creates a registrar.
    #[must_use]
    pub fn new(
        settings: RegistrationSettings,
        issuer: Arc<Issuer>,
        clients: ClientAdmin,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let RegistrationSettings { tokens, requests_per_minute_per_peer, clients_per_hour } = settings;
        let rate = |period: Duration, count: u32| Some(Rate::every(period / count.max(1), count));
        let limits = LimitSettings {
            peer: rate(Duration::from_secs(60), requests_per_minute_per_peer),
            client: rate(Duration::from_secs(3600), clients_per_hour),
            failure: None,
            revocation: None,
            ..LimitSettings::default()
        };
        Self { issuer, clients, tokens, limits: Limits::new(limits), clock }
    }

    /// Registers a client. RFC 7591 section 3.
    ///
    /// # Errors
    ///
    /// When no initial access token is presented, or it does not allow the registration.
    pub async fn register(
        &self,
        asked: Asked<'_>,
        read: impl Future<Output = Body>,
    ) -> Result<ClientInformation, RegistrationError> {
        let mut decision = Decision::new(asked.origin, "register_client");
        let span = decision.span().clone();
        let registered = self.add(asked, read, &mut decision).instrument(span).await;
        on_record(&decision, "registered", registered)
    }

    async fn add(
        &self,
        asked: Asked<'_>,
        read: impl Future<Output = Body>,
        decision: &mut Decision<'_>,
    ) -> Result<ClientInformation, RegistrationError> {
        self.limits.peer(asked.origin.peer())?;
        let presented = presented(asked.headers)?;
        let initial = self.tokens.find(&presented, self.clock.now()).ok_or_else(bad_token)?;
        decision.registered_with(initial.name.as_str());
        let wanted = Wanted::parse(&read.await?)?;
        let wanted = initial.template.admit(wanted, &initial.template.grants, initial.name.as_str())?;
        self.limits.client(&initial.name)?;
        let by = Operator::registration(initial.name.as_str(), asked.origin.request_id().as_str());
        let registered = self.clients.register(&by, &wanted).await?;
        decision.claimed_by(registered.client.id.as_str());
        Ok(ClientInformation::changed(registered, self.uri()))
    }

    /// Returns the registration of the client. RFC 7592 section 2.1.
    ///
    /// # Errors
    ///
    /// When its registration access token is not presented.
    pub async fn read(&self, asked: Asked<'_>, id: &str) -> Result<ClientInformation, RegistrationError> {
        let mut decision = Decision::new(asked.origin, "read_registration");
        let span = decision.span().clone();
        let told = self.proved(asked, id, &mut decision).instrument(span).await;
        let told = told.map(|(client, token)| ClientInformation::read(Client::clone(&client), &token, self.uri()));
        on_record(&decision, "told", told)
    }

    /// Replaces the registration of the client. RFC 7592 section 2.2.
    ///
    /// # Errors
    ///
    /// When its registration access token is not presented, or the new registration is not allowed.
    pub async fn update(
        &self,
        asked: Asked<'_>,
        id: &str,
        read: impl Future<Output = Body>,
    ) -> Result<ClientInformation, RegistrationError> {
        let mut decision = Decision::new(asked.origin, "update_registration");
        let span = decision.span().clone();
        let updated = self.replace(asked, id, read, &mut decision).instrument(span).await;
        on_record(&decision, "updated", updated)
    }

    async fn replace(
        &self,
        asked: Asked<'_>,
        id: &str,
        read: impl Future<Output = Body>,
        decision: &mut Decision<'_>,
    ) -> Result<ClientInformation, RegistrationError> {
        let (client, token) = self.proved(asked, id, decision).await?;
        let registered_with = client.registration.as_ref().map(|known| known.details.registered_with.as_str());
        // The initial access token is gone, and with it the bounds of the client.
        let initial = registered_with.and_then(|name| self.tokens.named(name)).ok_or(RegistrationError::Forbidden(
            "This client's initial access token is no longer accepted. The registration can only be read and deleted.",
        ))?;
        let wanted = Wanted::parse_update(&read.await?, id)?;
        if let Some(secret) = &wanted.client_secret
            && !self.clients.is_current_secret(&client, secret.expose_secret()).await
        {
            return Err(RegistrationError::metadata(
                "client_secret: it must be the client's current secret, or be left out",
            ));
        }
        let template = &initial.template;
        let admit = |client: &Client| {
            let current = template::drafts(client);
            let decided = client.registration.as_ref().is_some_and(|known| known.is_set("grants"));
            let most = if decided { &current } else { &template.grants };
            template.admit(template::held(wanted.clone(), client)?, most, initial.name.as_str())
        };
        let by = Operator::caller(client.id.as_str(), [], asked.origin.request_id().as_str());
        let changed = self.clients.update_registration(&by, &client.id, &token, admit).await?;
        Ok(ClientInformation::changed(changed, self.uri()))
    }

    /// Removes the client, and revokes its tokens. RFC 7592 section 2.3.
    ///
    /// # Errors
    ///
    /// When its registration access token is not presented.
    pub async fn delete(&self, asked: Asked<'_>, id: &str) -> Result<(), RegistrationError> {
        let mut decision = Decision::new(asked.origin, "delete_registration");
        let span = decision.span().clone();
        let deleted = async {
            let (client, token) = self.proved(asked, id, &mut decision).await?;
            let by = Operator::caller(client.id.as_str(), [], asked.origin.request_id().as_str());
            Ok(self.clients.delete_registration(&by, &client.id, &token).await?)
        };
        let deleted = deleted.instrument(span).await;
        on_record(&decision, "deleted", deleted)
    }

    /// Returns the client of the presented registration access token, and the token.
    async fn proved(
        &self,
        asked: Asked<'_>,
        id: &str,
        decision: &mut Decision<'_>,
    ) -> Result<(Arc<Client>, String), RegistrationError> {
        self.limits.peer(asked.origin.peer())?;
        decision.claimed_by(id);
        let presented = presented(asked.headers)?;
        let client = self.clients.registered(asked.origin.peer(), id, &presented).await?;
        if client.disabled {
            return Err(RegistrationError::Forbidden("The client is disabled."));
        }
        Ok((client, presented))
    }

    /// Returns the registration endpoint. The registrations are below it, by client ID.
    fn uri(&self) -> String {
        let identifier = self.issuer.metadata().issuer;
        format!("{}{}", identifier.trim_end_matches('/'), path::REGISTRATION)
    }
}

/// Returns the presented bearer token. RFC 6750 section 2.1.
fn presented(headers: &HeaderMap) -> Result<String, RegistrationError> {
    let token = bearer(headers).map_err(|denied: Denied| RegistrationError::Bearer(Answer::from(&denied)))?;
    Ok(token.expose().to_owned())
}

fn bad_token() -> RegistrationError {
    RegistrationError::Bearer(Answer::new(ErrorReason::TokenInvalid, "the token is invalid"))
}

fn on_record<T>(
    decision: &Decision<'_>,
    outcome: &'static str,
    result: Result<T, RegistrationError>,
) -> Result<T, RegistrationError> {
    match &result {
        Ok(_) => issuer::answered(decision, outcome, None),
        Err(RegistrationError::Bearer(answer)) => issuer::denied(decision, answer.reason()),
        Err(RegistrationError::Forbidden(_)) => issuer::denied(decision, ErrorReason::CallerNotAllowed),
        Err(RegistrationError::Metadata { description, .. }) => {
            issuer::refused(decision, &IssueError::InvalidRequest(description.clone().into()));
        }
        Err(RegistrationError::Other(error)) => issuer::refused(decision, error),
    }
    result
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}
