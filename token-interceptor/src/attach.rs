//! The client side: every call carries the token that its method demands.
//!
//! | stage | module |
//! |---|---|
//! | policy of the called service → token requests | `demand` |
//! | one token for each request, shared | `routes`, `tokens`, [`crate::refresh`] |
//! | the token of each call | `calls` |
//! | token → header → call → (refused: one new token, one more call) | `service` |
//! | replays and deadlines | `replay`, `deadline` |
//! | a stream that ends with its token | `watched` |
//! | the caller whom the program serves | `on_behalf` |
//! | the answer to a call without a token | `answer` |
//!
//! # Audience and scopes
//!
//! By default each method has its own request: the audience of its service, and the scopes that the method
//! demands. So a token that leaks from a read cannot write. A scope that the issuer does not grant affects
//! only the methods that demand it. Methods with equal demands share a token. To have one token for each
//! audience, name the methods that the program calls: [`AttachLayer::sharing`]. A [`TokenRequest`] in the
//! extensions of a call overrides the request. Public methods, and methods that the policy does not know, get
//! no token. A public method with `identify` gets one if the source has one; else the call is anonymous.
//!
//! # Metrics
//!
//! | name | meaning |
//! |---|---|
//! | `token_client_fetches_total{outcome}` | requests for tokens: `ok`, `unavailable`, `refused` |
//! | `token_client_replays_total` | calls that were sent again with a new token |
//! | `token_client_clock_skew_seconds` | the lead of the issuer's clock |
//!
//! Traces: a span `obtain token`, which the issuer continues if [`crate::trace_context`] is set.

mod answer;
mod calls;
#[cfg(feature = "grpc-crate")]
mod call_credentials;
mod deadline;
mod demand;
mod interceptor;
#[cfg(feature = "server")]
mod on_behalf;
mod replay;
mod routes;
mod served;
mod service;
mod tokens;
mod watched;

use std::{fmt, sync::Arc, time::Duration};

use http::Uri;
use token_proto::policy::MethodPolicy;
use tonic::transport::{Channel, Endpoint};

use crate::{
    clock::{Clock, SystemClock},
    danger,
    destination::{Destination, PlaintextRefused},
    http_client,
    refresh::FreshToken,
    source::{TokenRequest, TokenSource},
};
#[cfg(feature = "grpc-crate")]
pub use call_credentials::TokenCallCredentials;
use calls::{Calls, Choices};
use demand::Demands;
pub use demand::UnknownMethod;
pub use interceptor::TokenInterceptor;
#[cfg(feature = "server")]
pub use on_behalf::{CarryCaller, CarryCallerLayer, CarryingBody, CarryingFuture, current_caller};
use routes::Routes;
pub use service::Attach;
use tokens::Tokens;
pub use watched::Watched;

/// The longest wait of a call without a deadline for a token.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A layer around a tonic channel: obtains tokens, attaches them, and renews them in the background.
///
/// Each method of the called service demands an audience and scopes. The layer reads them from the policy
/// table, requests one token for each distinct demand, and adds it to every call. A call waits only for its
/// first token. After that the token is renewed ahead of its expiry.
///
/// Two values make a layer. A [`TokenSource`] obtains a token. The policy table names the demand of each
/// method.
///
/// ```no_run
/// use token_interceptor::{
///     attach::AttachLayer,
///     http_client::grpc_endpoint,
///     source::{ClientCredentials, IssuerBuilder},
/// };
/// # static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::POLICY;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = IssuerBuilder::grpc("https://issuer.example");
/// let tokens = AttachLayer::new(ClientCredentials::new("orders", "tks_…", issuer)?).policy(POLICY);
/// let channel = tokens.connect_lazy(&grpc_endpoint("https://inventory.example", b"")?)?;
/// // InventoryClient::new(channel)
/// # Ok(()) }
/// ```
///
/// Clones, and channels made from them, share their tokens.
///
/// # Where tokens go
///
/// A token is sent only over TLS or to this machine. This is checked for each channel.
/// [`AttachLayer::connect_lazy`] and [`AttachLayer::balance_list`] check the endpoints that they connect to.
/// [`AttachLayer::to`] checks the URI of a channel of the program's own. [`AttachLayer::any_destination`]
/// skips the check. A request may name a scheme of its own, which can only forbid the call.
///
/// # Calls with an `authorization` header
///
/// A call that has an `authorization` header keeps it, with two exceptions. The token of the caller whom the
/// program serves is never passed on. It is replaced by the call's own token, or removed if the method needs
/// none. Any other header fails the call if it may have been passed on by mistake. That is so on behalf of
/// callers, and if the request's extensions hold a [`Caller`](crate::caller::Caller). See
/// [`AttachLayer::keep_authorization`].
#[derive(Clone)]
pub struct AttachLayer {
    tokens: Arc<Tokens>,
    demands: Demands,
    every_call: Option<TokenRequest>,
    routes: Arc<Routes>,
    choices: Choices,
}

impl AttachLayer {
    /// Creates a layer that takes its tokens from `source`.
    pub fn new(source: impl TokenSource) -> Self {
        Self {
            tokens: Arc::new(Tokens::new(Arc::new(source), SystemClock::shared())),
            demands: Demands::default(),
            every_call: None,
            routes: Arc::default(),
            choices: Choices { wait_max: WAIT_MAX, on_behalf: false, authorization_kept: false },
        }
    }

    /// Adds the demands of this table's methods, which `include_policy!` includes. Call it for several
    /// tables.
    #[must_use]
    pub fn policy(mut self, table: &[MethodPolicy]) -> Self {
        self.demands.of_policy(table);
        self.resolved()
    }

    /// Makes the named methods share one token for each audience, with the scopes that they demand together.
    /// A name is a path of the policy, `/package.Service/Method`, or a prefix and a `*`. A prefix also names
    /// the methods of a policy that is added later.
    ///
    /// # Errors
    ///
    /// Returns an error if a name matches no method of the policy that demands a token.
    pub fn sharing(mut self, methods: &[&str]) -> Result<Self, UnknownMethod> {
        self.demands.share(methods)?;
        Ok(self.resolved())
    }

    /// Forbids that calls of these methods are sent twice, named as in [`AttachLayer::sharing`]. By default a
    /// unary call is sent once more, with a new token, if the callee's layer refused the old one before the
    /// handler.
    ///
    /// # Errors
    ///
    /// Returns an error if a name matches no method of the policy that demands a token.
    pub fn never_replay(mut self, methods: &[&str]) -> Result<Self, UnknownMethod> {
        self.demands.never_replay(methods)?;
        Ok(self.resolved())
    }

    /// Sets the token for calls to methods that no policy table knows: for services without annotations.
    #[must_use]
    pub fn every_call(mut self, request: TokenRequest) -> Self {
        self.every_call = Some(request);
        self.resolved()
    }

    /// Replaces the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.tokens = Arc::new(self.tokens.with_clock(clock));
        self.resolved()
    }

    /// Bounds the memory, in bytes, for the tokens of single calls: those on behalf of callers, and those of
    /// a call's own [`TokenRequest`]. A caller takes some 4 KiB and twice the length of its token. The least
    /// used are evicted, and exchanged again on demand. Default: 64 MiB, some 10,000 callers.
    #[must_use]
    pub fn caller_tokens_bytes_max(mut self, bytes_max: u64) -> Self {
        self.tokens = Arc::new(self.tokens.with_occasional_bytes_max(bytes_max));
        self.resolved()
    }

    /// Sets the longest wait of a call for a token, besides its own deadline. Default: 10 s.
    #[must_use]
    pub fn wait_max(mut self, wait_max: Duration) -> Self {
        // Bounded, so that clock arithmetic does not overflow.
        self.choices.wait_max = wait_max.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Calls on behalf of the caller whom the program serves. A call that needs a token gets one in exchange
    /// for the caller's (RFC 8693). So the source must exchange tokens, such as
    /// [`TokenExchange`](crate::source::TokenExchange). The caller is the [`Caller`](crate::caller::Caller)
    /// in the extensions of the outgoing request, or else the one that [`CarryCallerLayer`] carries.
    ///
    /// Without a caller, such a call fails. If it used the program's own token, callers could act with the
    /// program's rights.
    #[must_use]
    #[cfg(feature = "server")]
    pub fn on_behalf_of_caller(mut self) -> Self {
        self.choices.on_behalf = true;
        self
    }

    /// Keeps a call's own `authorization` header even if it may have been passed on by mistake. The token of
    /// the caller whom the program serves is still replaced.
    #[must_use]
    pub fn keep_authorization(mut self) -> Self {
        self.choices.authorization_kept = true;
        self
    }

    /// Returns a channel to `endpoint` whose calls carry tokens. It connects at first use.
    ///
    /// # Errors
    ///
    /// Returns an error if the endpoint is plaintext to another machine.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Result<Attach<Channel>, PlaintextRefused> {
        Destination::of(endpoint.uri())?;
        Ok(Attach::new(http_client::connect_lazy(endpoint), self.calls(false)))
    }

    /// Returns a channel that spreads its calls over `endpoints`, like tonic's `Channel::balance_list`.
    /// The environment's proxy is not used.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the endpoints is plaintext to another machine.
    pub fn balance_list(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Result<Attach<Channel>, PlaintextRefused> {
        let endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
        endpoints.iter().try_for_each(|endpoint| Destination::of(endpoint.uri()))?;
        Ok(Attach::new(Channel::balance_list(endpoints.into_iter()), self.calls(false)))
    }

    /// Returns a layer for one channel of the program's own. The program vouches that the channel leads to
    /// `uri`.
    ///
    /// # Errors
    ///
    /// Returns an error if `uri` is plaintext to another machine.
    pub fn to(&self, uri: &Uri) -> Result<AttachLayerTo, PlaintextRefused> {
        Destination::of(uri)?;
        Ok(AttachLayerTo(self.calls(false)))
    }

    /// Returns a [`tower::Layer`] for a channel to any destination; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn any_destination(&self, _: danger::AllowPlaintext) -> AnyDestination {
        AnyDestination { layer: self.clone(), calls: self.calls(true) }
    }

    /// Returns one of the layer's tokens, for calls other than gRPC. It is renewed until the last clone is
    /// dropped.
    #[must_use]
    pub fn token(&self, request: TokenRequest) -> FreshToken {
        self.tokens.standing(request)
    }

    /// Returns the token that calls of a method carry: `/package.Service/Method`. `None` for a method that
    /// needs none. On behalf of callers, it is the program's own, which is not sent.
    #[must_use]
    pub fn token_of(&self, path: &str) -> Option<FreshToken> {
        self.routes.of(path).token.clone()
    }

    /// Returns the layer's tokens for the `grpc` crate.
    #[cfg(feature = "grpc-crate")]
    #[must_use]
    pub fn call_credentials(&self) -> TokenCallCredentials {
        TokenCallCredentials::new(self.calls(false))
    }

    fn calls(&self, plaintext_allowed: bool) -> Arc<Calls> {
        Arc::new(Calls {
            tokens: Arc::clone(&self.tokens),
            routes: Arc::clone(&self.routes),
            choices: self.choices,
            plaintext_allowed,
        })
    }

    fn resolved(mut self) -> Self {
        self.routes = Arc::new(Routes::resolve(&self.demands, self.every_call.as_ref(), &self.tokens));
        self
    }
}

impl fmt::Debug for AttachLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachLayer").field("choices", &self.choices).finish_non_exhaustive()
    }
}

/// A [`AttachLayer`] for one channel with a known destination: [`AttachLayer::to`].
#[derive(Debug)]
pub struct AttachLayerTo(Arc<Calls>);

impl AttachLayerTo {
    /// Wraps the channel.
    #[must_use]
    pub fn layer<S>(self, channel: S) -> Attach<S> {
        Attach::new(channel, self.0)
    }
}

/// A [`AttachLayer`] for channels to any destination: [`AttachLayer::any_destination`].
#[derive(Clone, Debug)]
pub struct AnyDestination {
    layer: AttachLayer,
    calls: Arc<Calls>,
}

impl AnyDestination {
    /// Returns a tonic `Interceptor` that attaches one token to every call and never waits.
    #[must_use]
    pub fn interceptor(&self, request: TokenRequest) -> TokenInterceptor {
        TokenInterceptor::new(self.layer.token(request))
    }
}

impl<S> tower::Layer<S> for AnyDestination {
    type Service = Attach<S>;

    fn layer(&self, channel: S) -> Attach<S> {
        Attach::new(channel, Arc::clone(&self.calls))
    }
}
