//! Client side: every call carries the token that the called method demands.
//!
//! | stage | module |
//! |---|---|
//! | policy of the called service → what to ask for | [`demand`] |
//! | one token for each thing asked for, shared | [`routes`], [`tokens`], [`crate::refresh`] |
//! | token → header → call → (refused: renew once, replay once) | [`service`] |
//! | what may be sent twice, and when | [`replay`], [`deadline`] |
//! | a stream that ends with its token | [`watched`] |
//! | on whose behalf | [`on_behalf`] |
//! | no token: what the call is told | [`answer`] |
//!
//! # What is asked for
//!
//! By default each method by itself: a token for the audience of its service, with the scopes that the method
//! demands, and no more. A token that leaks from a read cannot write; a scope that the issuer does not grant
//! costs the methods that demand it and no others. Methods that demand the same share a token. A program that
//! would rather have one token for each audience names the methods that it calls: [`TokenLayer::sharing`].
//! A single call asks for something else by a [`TokenRequest`] in its extensions. Public methods, and methods
//! that the policy does not know, get no token.
//!
//! # Metrics
//!
//! | name | what |
//! |---|---|
//! | `token_client_fetches_total{outcome}` | requests for tokens: `ok`, `unavailable`, `refused` |
//! | `token_client_replays_total` | calls that were made again with a new token |
//! | `token_client_clock_skew_seconds` | how far the issuer's clock is ahead |
//!
//! Traces: a span `obtain token`, which goes on at the issuer where [`crate::trace_context`] is told how.

mod answer;
#[cfg(feature = "grpc-crate")]
mod call_credentials;
mod deadline;
mod demand;
mod interceptor;
mod on_behalf;
mod replay;
mod routes;
mod service;
mod tokens;
mod watched;

use std::{fmt, sync::Arc, time::Duration};

use token_proto::policy::MethodPolicy;
use tonic::transport::{Channel, Endpoint};

use crate::{
    clock::{Clock, SystemClock},
    danger,
    destination::{Destination, PlaintextRefused},
    refresh::FreshToken,
    source::{TokenRequest, TokenSource},
};
#[cfg(feature = "grpc-crate")]
pub use call_credentials::TokenCallCredentials;
use demand::Demands;
pub use demand::UnknownMethod;
pub use interceptor::TokenInterceptor;
pub use on_behalf::{CarryCaller, CarryCallerLayer, CarryingBody, CarryingFuture, current_caller};
use routes::Routes;
pub use service::Attach;
use tokens::Tokens;
pub use watched::Watched;

/// The longest that a call without a deadline waits for its first token.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A tower layer around a tonic channel: obtains tokens, attaches them, renews them in the background.
///
/// ```no_run
/// use token_interceptor::{attach::TokenLayer, source::{ClientCredentials, IssuerBuilder}};
/// use tonic::transport::Endpoint;
/// # static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::POLICY;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = IssuerBuilder::grpc(Endpoint::from_static("https://issuer.example"));
/// let tokens = TokenLayer::new(ClientCredentials::new("orders", "tks_…", issuer)?).policy(POLICY);
/// let channel = tokens.connect_lazy(&Endpoint::from_static("https://inventory.example"))?;
/// // InventoryClient::new(channel)
/// # Ok(()) }
/// ```
///
/// Clones, and all that is made from them, share their tokens. An `authorization` header that a call already
/// has is left alone.
#[derive(Clone)]
pub struct TokenLayer {
    tokens: Arc<Tokens>,
    demands: Demands,
    every_call: Option<TokenRequest>,
    routes: Arc<Routes>,
    destination: Option<Destination>,
    plaintext_allowed: bool,
    wait_max: Duration,
    on_behalf: bool,
}

impl TokenLayer {
    /// A layer that takes its tokens from `source`.
    pub fn new(source: impl TokenSource) -> Self {
        Self {
            tokens: Arc::new(Tokens::new(Arc::new(source), SystemClock::shared())),
            demands: Demands::default(),
            every_call: None,
            routes: Arc::default(),
            destination: None,
            plaintext_allowed: false,
            wait_max: WAIT_MAX,
            on_behalf: false,
        }
    }

    /// Asks for what the methods of this table demand: the one that `include_policy!` brings in. May be called
    /// for several tables.
    #[must_use]
    pub fn policy(mut self, table: &[MethodPolicy]) -> Self {
        self.demands.of_policy(table);
        self.resolved()
    }

    /// The methods that are named share one token for each audience, with the scopes that they demand together.
    /// A path as in the policy, `/package.Service/Method`, or the beginning of one and a `*`.
    ///
    /// # Errors
    ///
    /// When a name fits no method of the policy that demands a token.
    pub fn sharing(mut self, methods: &[&str]) -> Result<Self, UnknownMethod> {
        self.demands.share(methods)?;
        Ok(self.resolved())
    }

    /// For services without annotations: calls to methods that no policy table knows carry this token.
    #[must_use]
    pub fn every_call(mut self, request: TokenRequest) -> Self {
        self.every_call = Some(request);
        self.resolved()
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.tokens = Arc::new(Tokens::new(Arc::clone(self.tokens.source()), clock));
        self.resolved()
    }

    /// The longest that a call waits for a token when there is none, its own deadline aside. Default: 10 s.
    #[must_use]
    pub fn wait_max(mut self, wait_max: Duration) -> Self {
        // Bounded, so that no clock overflows.
        self.wait_max = wait_max.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Calls on behalf of whom the program serves: each call that needs a token gets one in exchange for the
    /// caller's (RFC 8693), so the source must be one that exchanges, such as
    /// [`TokenExchange`](crate::source::TokenExchange). The caller is the
    /// [`Caller`](crate::caller::Caller) in the extensions of the
    /// outgoing request, or else the one that [`CarryCallerLayer`] carries.
    ///
    /// Without a caller such a call fails: with the program's own token, somebody might do through it what they
    /// may not do themselves.
    #[must_use]
    pub fn on_behalf_of_caller(mut self) -> Self {
        self.on_behalf = true;
        self
    }

    /// Where the calls go: the URI of the channel's endpoint. A channel does not tell, and no token is sent
    /// to a place that is not known. [`TokenLayer::connect_lazy`] does this by itself.
    ///
    /// # Errors
    ///
    /// When it is plaintext to anything but this machine.
    pub fn destination(mut self, uri: &http::Uri) -> Result<Self, PlaintextRefused> {
        self.destination = Some(Destination::of(uri)?);
        Ok(self)
    }

    /// Sends tokens wherever the calls go; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn any_destination(mut self, _: danger::AllowPlaintext) -> Self {
        self.plaintext_allowed = true;
        self
    }

    /// A channel to `endpoint`, connected at first use, whose calls carry tokens.
    ///
    /// # Errors
    ///
    /// When the endpoint is plaintext to anything but this machine.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Result<Attach<Channel>, PlaintextRefused> {
        let layer = self.clone();
        let layer = if layer.plaintext_allowed { layer } else { layer.destination(endpoint.uri())? };
        Ok(Attach::new(endpoint.connect_lazy(), layer))
    }

    /// A tonic `Interceptor` that attaches one token to every call and never waits.
    #[must_use]
    pub fn interceptor(&self, request: TokenRequest) -> TokenInterceptor {
        TokenInterceptor::new(self.tokens.standing(request), self.destination.is_some() || self.plaintext_allowed)
    }

    /// One of the layer's tokens by itself: for what is not a gRPC call.
    #[must_use]
    pub fn token(&self, request: TokenRequest) -> FreshToken {
        self.tokens.standing(request)
    }

    /// The layer's tokens for the `grpc` crate.
    #[cfg(feature = "grpc-crate")]
    #[must_use]
    pub fn call_credentials(&self) -> TokenCallCredentials {
        TokenCallCredentials::new(self.clone())
    }

    fn resolved(mut self) -> Self {
        self.routes = Arc::new(Routes::resolve(&self.demands, self.every_call.as_ref(), &self.tokens));
        self
    }
}

impl<S> tower::Layer<S> for TokenLayer {
    type Service = Attach<S>;

    fn layer(&self, inner: S) -> Attach<S> {
        Attach::new(inner, self.clone())
    }
}

impl fmt::Debug for TokenLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLayer").field("destination", &self.destination).finish_non_exhaustive()
    }
}
