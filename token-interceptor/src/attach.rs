//! Client side: every call carries the token that the called method demands.
//!
//! | stage | module |
//! |---|---|
//! | policy of the called service → what to ask for | `demand` |
//! | one token for each request, shared | `routes`, `tokens`, [`crate::refresh`] |
//! | what a call carries | `calls` |
//! | token → header → call → (refused: one new token, one more call) | `service` |
//! | what may be sent twice, and when | `replay`, `deadline` |
//! | a stream that ends with its token | `watched` |
//! | the caller whom the program serves | `on_behalf` |
//! | no token: what the call is told | `answer` |
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
mod calls;
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
pub use on_behalf::{CarryCaller, CarryCallerLayer, CarryingBody, CarryingFuture, current_caller};
use routes::Routes;
pub use service::Attach;
use tokens::Tokens;
pub use watched::Watched;

/// The longest that a call without a deadline waits for a token.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A tower layer around a tonic channel: obtains tokens, attaches them, renews them in the background.
///
/// ```no_run
/// use token_interceptor::{attach::TokenLayer, http_client::grpc_endpoint, source::{ClientCredentials, IssuerBuilder}};
/// # static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::POLICY;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = IssuerBuilder::grpc("https://issuer.example");
/// let tokens = TokenLayer::new(ClientCredentials::new("orders", "tks_…", issuer)?).policy(POLICY);
/// let channel = tokens.connect_lazy(&grpc_endpoint("https://inventory.example", b"")?)?;
/// // InventoryClient::new(channel)
/// # Ok(()) }
/// ```
///
/// Clones, and all that is made from them, share their tokens.
///
/// # Where tokens go
///
/// A token is sent only over TLS or to this machine. The proof belongs to one channel:
/// [`TokenLayer::connect_lazy`] and [`TokenLayer::balance_list`] check the endpoints that they connect to, and
/// [`TokenLayer::to`] wraps one channel of the program's own. [`TokenLayer::any_destination`] gives up the check. A
/// request that names its own scheme may be refused for it, and is never sent because of it.
///
/// # Authorization that a call brings
///
/// A call that has an `authorization` header keeps it, with two exceptions. The token of the caller whom the program
/// serves is never passed on: it is replaced by the call's own token, or removed where the method needs none. Any other
/// header fails the call where it may have been passed on by mistake: on behalf of callers, and where the request's
/// extensions hold a [`Caller`](crate::caller::Caller). See [`TokenLayer::keep_authorization`].
#[derive(Clone)]
pub struct TokenLayer {
    tokens: Arc<Tokens>,
    demands: Demands,
    every_call: Option<TokenRequest>,
    routes: Arc<Routes>,
    choices: Choices,
}

impl TokenLayer {
    /// A layer that takes its tokens from `source`.
    pub fn new(source: impl TokenSource) -> Self {
        Self {
            tokens: Arc::new(Tokens::new(Arc::new(source), SystemClock::shared())),
            demands: Demands::default(),
            every_call: None,
            routes: Arc::default(),
            choices: Choices { wait_max: WAIT_MAX, on_behalf: false, authorization_kept: false },
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

    /// Calls of these methods are never sent twice, named as in [`TokenLayer::sharing`]. By default a unary call is sent
    /// once more, with a new token, when the callee's layer says that it refused the old one and ran no handler.
    ///
    /// # Errors
    ///
    /// When a name fits no method of the policy that demands a token.
    pub fn never_replay(mut self, methods: &[&str]) -> Result<Self, UnknownMethod> {
        self.demands.never_replay(methods)?;
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
        self.tokens = Arc::new(self.tokens.with_clock(clock));
        self.resolved()
    }

    /// Memory, in bytes, for the tokens of single calls: those on behalf of callers, and those that a call asks for by
    /// its own [`TokenRequest`]. A caller takes some 4 KiB and twice the length of their token. The least used are
    /// evicted, and exchanged again when they are needed. Default: 64 MiB, some 10,000 callers.
    #[must_use]
    pub fn caller_tokens_bytes_max(mut self, bytes_max: u64) -> Self {
        self.tokens = Arc::new(self.tokens.with_occasional_bytes_max(bytes_max));
        self.resolved()
    }

    /// The longest that a call waits for a token when there is none, its own deadline aside. Default: 10 s.
    #[must_use]
    pub fn wait_max(mut self, wait_max: Duration) -> Self {
        // Bounded, so that no clock overflows.
        self.choices.wait_max = wait_max.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Calls on behalf of the caller whom the program serves: each call that needs a token gets one in exchange for the
    /// caller's (RFC 8693), so the source must be one that exchanges, such as
    /// [`TokenExchange`](crate::source::TokenExchange). The caller is the
    /// [`Caller`](crate::caller::Caller) in the extensions of the
    /// outgoing request, or else the one that [`CarryCallerLayer`] carries.
    ///
    /// Without a caller such a call fails: with the program's own token, a caller could do through it what they
    /// may not do themselves.
    #[must_use]
    pub fn on_behalf_of_caller(mut self) -> Self {
        self.choices.on_behalf = true;
        self
    }

    /// Keeps an `authorization` header that a call brings also where it may have been passed on by mistake. The token
    /// of the caller whom the program serves is replaced all the same.
    #[must_use]
    pub fn keep_authorization(mut self) -> Self {
        self.choices.authorization_kept = true;
        self
    }

    /// A channel to `endpoint`, connected at first use, whose calls carry tokens.
    ///
    /// # Errors
    ///
    /// When the endpoint is plaintext to another machine.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Result<Attach<Channel>, PlaintextRefused> {
        Destination::of(endpoint.uri())?;
        Ok(Attach::new(http_client::connect_lazy(endpoint), self.calls(false)))
    }

    /// A channel that spreads its calls over `endpoints`, as tonic's `Channel::balance_list` does.
    ///
    /// # Errors
    ///
    /// When one of the endpoints is plaintext to another machine.
    pub fn balance_list(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Result<Attach<Channel>, PlaintextRefused> {
        let endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
        endpoints.iter().try_for_each(|endpoint| Destination::of(endpoint.uri()))?;
        Ok(Attach::new(Channel::balance_list(endpoints.into_iter()), self.calls(false)))
    }

    /// For one channel of the program's own that leads to `uri`. A channel does not say where it leads, so that is the
    /// program's word.
    ///
    /// # Errors
    ///
    /// When it is plaintext to another machine.
    pub fn to(&self, uri: &Uri) -> Result<TokenLayerTo, PlaintextRefused> {
        Destination::of(uri)?;
        Ok(TokenLayerTo(self.calls(false)))
    }

    /// A [`tower::Layer`] for any channel, wherever it leads; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn any_destination(&self, _: danger::AllowPlaintext) -> AnyDestination {
        AnyDestination { layer: self.clone(), calls: self.calls(true) }
    }

    /// One of the layer's tokens by itself: for what is not a gRPC call. It is kept fresh until the last clone is
    /// dropped.
    #[must_use]
    pub fn token(&self, request: TokenRequest) -> FreshToken {
        self.tokens.standing(request)
    }

    /// The layer's tokens for the `grpc` crate.
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

impl fmt::Debug for TokenLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLayer").field("choices", &self.choices).finish_non_exhaustive()
    }
}

/// A [`TokenLayer`] for one channel, whose destination is known: [`TokenLayer::to`].
#[derive(Debug)]
pub struct TokenLayerTo(Arc<Calls>);

impl TokenLayerTo {
    /// Wraps the channel.
    #[must_use]
    pub fn layer<S>(self, channel: S) -> Attach<S> {
        Attach::new(channel, self.0)
    }
}

/// A [`TokenLayer`] that sends tokens wherever a channel leads: [`TokenLayer::any_destination`].
#[derive(Clone, Debug)]
pub struct AnyDestination {
    layer: TokenLayer,
    calls: Arc<Calls>,
}

impl AnyDestination {
    /// A tonic `Interceptor` that attaches one token to every call and never waits.
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
