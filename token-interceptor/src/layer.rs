//! The server side: the request path, from the header fields to the handler.
//!
//! `policy` → `bearer` → `verify` (or a `scheme`) → requirement → [`Caller`] in the
//! extensions → handler. Each stage may refuse with an answer of `status`. The layer wraps a tonic server
//! (`Server::builder().layer(…)`) or an axum router. A gRPC request gets a gRPC status. Every other request
//! gets 401, 403 or 503 with a challenge and a small JSON object.
//!
//! Order of layers, from the outside: `CorsLayer`, as a preflight carries no token; `GrpcWebLayer`; this one;
//! [`CarryCallerLayer`](crate::attach::CarryCallerLayer), which needs the caller. Outside of `GrpcWebLayer`,
//! this layer answers in gRPC-Web too.
//!
//! For the operator there is:
//!
//! * a span `authorized` at level info around each call, with `client_id` and `jti`;
//! * a span `fetch keys` around each fetch, which the issuer continues if [`crate::trace_context`] is set;
//! * the reason of each refusal, at level info, ten lines a second at the most;
//! * [`DeniedCall`], for a layer around this one that keeps a record;
//! * metrics over the `metrics` facade. Install the recorder before the server starts:
//!
//! | metric | labels |
//! |---|---|
//! | `token_decisions_total` | `outcome`: allowed, denied, would_deny; `reason`: the failed check; `method` |
//! | `token_key_set_fetches_total` | `issuer`; `outcome`: ok, failed, timed_out |
//! | `token_trust_age_seconds` | `issuer`: since when nothing was pushed |
//! | `token_trust_streams_lost_total` | `issuer` |
//!
//! The label `reason` is one of a closed set, or the name of a rule of the program's own. `method` is a path
//! of the policy, `unknown` for every other path, and `any` where one demand holds for all requests.

mod denied_call;

mod decision;

mod body;

mod future;

mod entry;

mod rules;

mod check;

mod fixed;

mod extract;

mod schemes;

mod waiting;

mod wire;

use std::{
    borrow::Cow,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use token_proto::policy::{MethodKind, Requirement};
use tower::{BoxError, Layer, Service};

use check::Check;
use decision::Shared;
use rules::Rules;
use waiting::call_later;

pub use body::{GuardedBody, RequestBody};
pub use denied_call::DeniedCall;
pub use future::ResponseFuture;

use crate::{
    caller::Caller,
    error::Denied,
    policy::{Demand, PolicyError, ServedPolicy, TokenDemand},
    protected_resource::ProtectedResource,
    scheme::Authenticate,
    verify::Verifier,
};

/// A [`tower::Layer`] that admits only requests with a token that meets the method's demand.
///
/// A client sends its access token in the `authorization` header. The layer finds the policy of the called
/// method, verifies the token, and compares the two. Then the handler runs, or the caller gets an error with
/// a stable reason. A method without a policy is denied.
///
/// Two values make a layer. A [`Verifier`] knows the trusted issuers. A [`ServedPolicy`] is the policy that
/// the `.proto` files declare, checked against the services that the program serves.
///
/// ```no_run
/// use token_interceptor::{layer::AuthorizationLayer, policy::Policy, verify::{TrustedIssuer, Verifier}};
/// # use token_proto::{FILE_DESCRIPTOR_SET as DESCRIPTOR_SET, POLICY};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = Verifier::builder().issuer(TrustedIssuer::discover("https://tokens.example.com")?).build()?;
/// // The build script's table of the application's own `.proto` files, and the services that it serves.
/// let policy = Policy::new(POLICY)?.serves(DESCRIPTOR_SET, &["m2m.token.v1.TokenService"])?;
/// let server = tonic::transport::Server::builder().layer(AuthorizationLayer::new(verifier, policy));
/// # Ok(()) }
/// ```
///
/// # The caller in a handler
///
/// [`Caller::of`](crate::caller::Caller::of) returns the verified identity: client, subject, scopes, claims.
///
/// ```
/// use token_interceptor::caller::Caller;
/// use tonic::{Request, Response, Status};
///
/// async fn who_am_i(request: Request<()>) -> Result<Response<String>, Status> {
///     let caller = Caller::of(&request)?;
///     Ok(Response::new(format!("{} for {}", caller.client_id(), caller.subject())))
/// }
/// ```
///
/// # Plain HTTP routes
///
/// No `.proto` declares them, so [`AuthorizationLayer::requiring`] takes the demand itself:
///
/// ```
/// use token_interceptor::{caller::Caller, layer::AuthorizationLayer};
/// use token_proto::policy::Requirement;
///
/// # fn routes(verifier: token_interceptor::verify::Verifier) -> axum::Router {
/// let demand = Requirement::any_token().with_all_scopes(["report.read"]);
/// axum::Router::new()
///     .route("/report", axum::routing::get(|caller: Caller| async move { caller.client_id().to_owned() }))
///     .layer(AuthorizationLayer::requiring(verifier, "reports", demand))
/// # }
/// ```
///
/// # Long calls
///
/// A stream ends when its token expires or is revoked, in both directions. Work that the layer cannot see
/// waits for [`Caller::ended`](crate::caller::Caller::ended).
///
/// # Tests
///
/// [`TestIssuer`](crate::test_util::TestIssuer) issues valid and invalid tokens in the test's own process,
/// with the feature `test-util`.
#[derive(Clone, Debug)]
pub struct AuthorizationLayer(Arc<Shared>);

/// A service behind an [`AuthorizationLayer`].
#[derive(Clone, Debug)]
pub struct Authorization<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl AuthorizationLayer {
    /// As [`AuthorizationLayer::new`], for a verifier that trusts several issuers.
    ///
    /// # Errors
    ///
    /// Returns an error if a method names `callers` and several issuers may issue tokens for its audience. A
    /// client of one issuer could pass for another's. It is allowed where all of them but one have their
    /// [`clients`](crate::verify::TrustedIssuer::clients).
    pub fn try_new(verifier: Verifier, policy: ServedPolicy) -> Result<Self, PolicyError> {
        policy.check_callers(|audience| verifier.tells_callers_apart(audience))?;
        Ok(Self::with(verifier, Rules::by_method(policy)))
    }

    /// Applies `policy` to each method. A method without a policy is denied, with or without a token.
    ///
    /// Where [`AuthorizationLayer::try_new`] would fail, this logs an error. Methods that name callers then
    /// deny the clients that cannot be distinguished.
    #[must_use]
    pub fn new(verifier: Verifier, policy: ServedPolicy) -> Self {
        if let Err(error) = policy.check_callers(|audience| verifier.tells_callers_apart(audience)) {
            tracing::error!(%error, "cannot distinguish callers by issuer; denying them");
        }
        Self::with(verifier, Rules::by_method(policy))
    }

    /// Applies one requirement to every request: for HTTP routes, whose paths no `.proto` declares.
    #[must_use]
    pub fn requiring(verifier: Verifier, audience: impl Into<Cow<'static, str>>, requirement: Requirement) -> Self {
        Self::with(verifier, Rules::same(Demand::Token(of_any_kind(audience.into(), requirement))))
    }

    /// Lets a request pass without a token, and rejects an invalid one: for HTTP routes that want to know
    /// their caller. A handler takes `Option<Caller>`. The annotation for gRPC methods is `identify`.
    #[must_use]
    pub fn identifying(verifier: Verifier, audience: impl Into<Cow<'static, str>>) -> Self {
        Self::with(verifier, Rules::same(Demand::Identify(of_any_kind(audience.into(), Requirement::any_token()))))
    }

    /// Observes: the layer decides, logs and counts each call as if it enforced, and lets every call pass.
    /// For the first days with a service that has callers already; see [`crate::recipes`].
    ///
    /// A call that would be refused is counted with the outcome `would_deny`. The extensions of its request
    /// hold a [`DeniedCall`], and the [`Caller`] if the token is valid. No stream ends
    /// with its token. A call whose token is signed by a new key waits for that key, as if the layer
    /// enforced.
    #[must_use]
    pub fn observe(self) -> Self {
        self.with_changed(|shared| shared.rules.observe())
    }

    /// Observes calls of these methods only, as [`AuthorizationLayer::observe`] does, and enforces the rest.
    /// A name is a path of the policy, `/package.Service/Method`, or a prefix and a `*`. A path without a
    /// policy is denied. The last call of the two counts.
    ///
    /// # Errors
    ///
    /// Returns an error if a name matches no method of the policy. It names each one.
    pub fn observe_only(self, methods: &[&str]) -> Result<Self, PolicyError> {
        let mut shared = Arc::unwrap_or_clone(self.0);
        shared.rules.observe_only(methods)?;
        Ok(Self(Arc::new(shared)))
    }

    /// Adds a rule of the program's own, for what scopes cannot say: the tenant, the resource, the time of
    /// day. It decides after the policy, and may only deny. It sees the caller and the head of the request,
    /// once, when a call begins. It must not block. Calls without a caller do not reach it: public methods,
    /// and anonymous calls. Rules that were added before decide first.
    ///
    /// ```
    /// use token_interceptor::{error::Denied, layer::AuthorizationLayer};
    ///
    /// fn of_own_tenant(layer: AuthorizationLayer) -> AuthorizationLayer {
    ///     layer.check(|caller, request| {
    ///         let tenant = request.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok());
    ///         let own = caller.claims().get("tenant").and_then(|tenant| tenant.as_str());
    ///         match (tenant, own) {
    ///             (Some(tenant), Some(own)) if tenant == own => Ok(()),
    ///             _ => Err(Denied::custom("tenant", "the request is for another tenant")),
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn check(self, rule: impl Fn(&Caller, &Parts) -> Result<(), Denied> + Send + Sync + 'static) -> Self {
        self.with_changed(|shared| {
            let next = Check::new(rule);
            shared.check = Some(match shared.check.take() {
                Some(first) => first.and(next),
                None => next,
            });
        })
    }

    /// Accepts the credentials of another scheme too, such as [API keys](crate::api_keys::ApiKeys). Its
    /// callers meet the same policy, rules, metrics and answers. A request with two credentials is rejected.
    ///
    /// The credential is removed from the request before the handler. While the layer observes, it stays, as
    /// the service may check it itself. Answers to refused callers still ask for `Bearer`.
    ///
    /// # Errors
    ///
    /// Returns an error if the place of the credential is that of a bearer token, or of another scheme.
    pub fn scheme(self, scheme: impl Authenticate) -> Result<Self, PolicyError> {
        let mut shared = Arc::unwrap_or_clone(self.0);
        shared.schemes.install(Arc::new(scheme))?;
        Ok(Self(Arc::new(shared)))
    }

    /// Names the URL of the service's own metadata in every challenge: RFC 9728 section 5.1.
    #[must_use]
    pub fn resource(self, resource: &ProtectedResource) -> Self {
        self.with_changed(|shared| shared.set_resource(&resource.metadata_url().to_string()))
    }

    fn with(verifier: Verifier, rules: Rules) -> Self {
        Self(Arc::new(Shared::new(verifier, rules)))
    }

    fn with_changed(self, change: impl FnOnce(&mut Shared)) -> Self {
        let mut shared = Arc::unwrap_or_clone(self.0);
        change(&mut shared);
        Self(Arc::new(shared))
    }
}

/// HTTP has no kinds of methods. A response that goes on ends with its token.
fn of_any_kind(audience: Cow<'static, str>, requirement: Requirement) -> Arc<TokenDemand> {
    Arc::new(TokenDemand { audience, requirement, kind: MethodKind::ServerStreaming })
}

impl<S> Layer<S> for AuthorizationLayer {
    type Service = Authorization<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorization { inner, shared: Arc::clone(&self.0) }
    }
}

impl<S, B, RB> Service<Request<B>> for Authorization<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    B: RequestBody,
    RB: http_body::Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Response = Response<GuardedBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, RB, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.shared.decide(&request) {
            Ok(decision) => self.shared.enter(decision, &mut self.inner, request),
            Err(wait) => {
                // Tower's contract: the service that was polled ready is the one to call.
                let next = self.inner.clone();
                let ready = mem::replace(&mut self.inner, next);
                ResponseFuture::waiting(call_later(Arc::clone(&self.shared), ready, request, wait))
            }
        }
    }
}
