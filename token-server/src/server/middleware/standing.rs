//! The current rights of operators. A token shows only the rights of its client at the time of issue.
//!
//! This layer is between the guard, which verifies the token, and the admin services. The client is looked up
//! in memory. Only a client that is not cached costs a read of the store.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use token_interceptor::caller::Caller;
use token_interceptor::error_chain;
use token_issuer::{
    admin::ADMIN_AUDIENCE,
    audit::Entry,
    client::{Client, ClientId, Scope},
    client_registry::ClientRegistry,
    error::UNAVAILABLE_RETRY_AFTER,
    identity_provider::{IdentityProviders, SubjectId},
    origin::Origin,
    store::StoreError,
};
use token_proto::{
    POLICY,
    policy::{Access, Requirement},
    token::v1::ErrorReason,
};
use tonic::Status;
use tower::{Layer, Service};

use crate::grpc::{operator::CurrentScopes, status};

use crate::connection;

/// A layer that admits an operator who still has the rights of the token.
#[derive(Clone, Debug)]
pub(crate) struct Standing(Arc<Registered>);

/// The registered clients, and the trusted identity providers.
#[derive(Debug)]
struct Registered {
    clients: ClientRegistry,
    federation: IdentityProviders,
}

/// The reason for which a caller with a valid token is rejected.
enum Refusal {
    /// The client, its subject, or an actor is disabled or deleted.
    Gone,
    /// The client, or its subject, may not do this any more.
    Lacks(Vec<String>),
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Standing {
    pub(crate) fn new(clients: ClientRegistry, federation: IdentityProviders) -> Self {
        Self(Arc::new(Registered { clients, federation }))
    }
}

impl Registered {
    /// Returns the scopes that the caller has by its token, by its client's registration, and by its
    /// subject's.
    async fn scopes(&self, caller: &Caller) -> Result<BTreeSet<String>, Refusal> {
        let client = self.enabled(caller.client_id()).await?;
        let mut scopes: BTreeSet<String> =
            caller.scopes().filter(|scope| holds(&client, scope)).map(str::to_owned).collect();
        for actor in caller.actors() {
            if !self.federation.names(actor.subject()) {
                self.enabled(actor.subject()).await?;
            }
        }
        if let Some(id) = SubjectId::of(caller.token()) {
            let rules = self.federation.exchange(&id.issuer).ok_or(Refusal::Gone)?;
            if !rules.subjects.allows(&id.subject) {
                return Err(Refusal::Gone);
            }
            let granted = |scope: &String| {
                Scope::try_from(scope.as_str()).is_ok_and(|scope| rules.grants(ADMIN_AUDIENCE, &scope) != Some(false))
            };
            scopes.retain(granted);
        } else if caller.subject() != caller.client_id() {
            let subject = self.enabled(caller.subject()).await?;
            scopes.retain(|scope| holds(&subject, scope));
        }
        Ok(scopes)
    }

    async fn enabled(&self, id: &str) -> Result<Arc<Client>, Refusal> {
        let id = ClientId::try_from(id).map_err(|_| Refusal::Gone)?;
        let client = self.clients.find(&id).await?;
        client.filter(|client| !client.disabled).ok_or(Refusal::Gone)
    }

    /// Returns the caller's scopes, if they are enough for the method.
    async fn check(&self, caller: &Caller, path: &str) -> Result<BTreeSet<String>, Refusal> {
        let scopes = self.scopes(caller).await?;
        let method = POLICY.iter().find(|method| method.path == path);
        let missing = match method.map(|method| &method.access) {
            Some(Access::Require(requirement)) => missing(requirement, &scopes),
            // The guard admits nothing else.
            Some(Access::Undeclared | Access::Public | Access::Identify) | None => return Err(Refusal::Gone),
        };
        if missing.is_empty() { Ok(scopes) } else { Err(Refusal::Lacks(missing)) }
    }
}

fn holds(client: &Client, scope: &str) -> bool {
    client.grant(ADMIN_AUDIENCE).is_some_and(|grant| grant.scopes.contains(scope))
}

fn missing(requirement: &Requirement, scopes: &BTreeSet<String>) -> Vec<String> {
    let lacks = |scope: &str| !scopes.contains(scope);
    let mut missing: Vec<_> =
        requirement.all_scopes.iter().filter(|scope| lacks(scope)).map(ToString::to_string).collect();
    let any = &requirement.any_scopes;
    if !any.is_empty() && any.iter().all(|scope| lacks(scope)) {
        missing.extend(any.iter().map(ToString::to_string));
    }
    missing
}

impl Refusal {
    fn status(&self, origin: &Origin) -> Status {
        match self {
            Self::Gone => status::with_reason(
                ErrorReason::TokenRevoked,
                "The token's client, its subject, or one of its actors is disabled or deleted.",
                origin,
                None,
            ),
            Self::Lacks(missing) => status::with_reason(
                ErrorReason::ScopeInsufficient,
                &format!("The client is no longer registered for the scope: {}.", missing.join(" ")),
                origin,
                None,
            ),
            Self::Store(error) => {
                tracing::warn!(error = %error_chain::of(error), "cannot look up the caller of the admin API; rejecting the request");
                status::with_reason(
                    ErrorReason::IssuerUnavailable,
                    "The store is unreachable. Try again later.",
                    origin,
                    Some(UNAVAILABLE_RETRY_AFTER),
                )
            }
        }
    }
}

impl<S> Layer<S> for Standing {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked { inner, registered: Arc::clone(&self.0) }
    }
}

/// A service that only operators with current rights reach.
#[derive(Clone, Debug)]
pub(crate) struct Checked<S> {
    inner: S,
    registered: Arc<Registered>,
}

impl<S> Service<Request> for Checked<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let registered = Arc::clone(&self.registered);
        Box::pin(async move {
            // Without a caller, the handler rejects the request.
            let Some(caller) = request.extensions().get::<Caller>().cloned() else { return inner.call(request).await };
            if let Some(entry) = request.extensions().get::<Entry>() {
                entry.by(&caller);
            }
            match registered.check(&caller, request.uri().path()).await {
                Ok(scopes) => {
                    request.extensions_mut().insert(CurrentScopes(scopes));
                    inner.call(request).await
                }
                Err(refusal) => {
                    let origin = connection::origin(request.headers(), request.extensions());
                    Ok(refusal.status(&origin).into_http())
                }
            }
        })
    }
}
