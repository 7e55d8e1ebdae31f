//! The tokens of one source: one for each request, shared by every clone of the layer.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    clock::Clock,
    refresh::{FreshToken, Keep, WeakToken},
    source::{TokenRequest, TokenSource},
};

/// The default memory for the tokens of single calls, in bytes: some 10,000 callers.
const OCCASIONAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The overhead of one cached token, in bytes: its request, its state, its task and their share of the
/// tables.
const TOKEN_BYTES: u64 = 4096;
/// The size at which the table of tokens that are held elsewhere is first swept. It is swept again at twice
/// the number that was left.
const SWEPT_AT_MIN: usize = 64;

/// The tokens of one source; see the module.
pub(super) struct Tokens {
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    occasional_bytes_max: u64,
    /// Tokens for the policy or the program, renewed as long as a route or the program holds them.
    standing: RwLock<Standing>,
    /// Tokens for single calls, renewed while in use. The least used are evicted first.
    occasional: Cache<TokenRequest, FreshToken, Weight, DefaultHashBuilder>,
}

struct Standing {
    tokens: HashMap<TokenRequest, WeakToken>,
    swept_at: usize,
}

#[derive(Clone)]
struct Weight;

impl Tokens {
    pub(super) fn new(source: Arc<dyn TokenSource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            occasional_bytes_max: OCCASIONAL_BYTES_MAX,
            standing: RwLock::new(Standing { tokens: HashMap::new(), swept_at: SWEPT_AT_MIN }),
            occasional: occasional(OCCASIONAL_BYTES_MAX),
        }
    }

    /// Returns the same source with another clock. No token is carried over.
    pub(super) fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self::new(Arc::clone(&self.source), clock).with_occasional_bytes_max(self.occasional_bytes_max)
    }

    /// Returns the same source with another bound. No token is carried over.
    pub(super) fn with_occasional_bytes_max(&self, bytes_max: u64) -> Self {
        let new = Self::new(Arc::clone(&self.source), Arc::clone(&self.clock));
        Self { occasional_bytes_max: bytes_max, occasional: occasional(bytes_max), ..new }
    }

    /// Returns a token that is renewed until the last holder drops it.
    pub(super) fn standing(&self, request: TokenRequest) -> FreshToken {
        // A token with a maximum age is renewed only while calls use it: otherwise it would be renewed
        // without end.
        let keep = if request.max_age().is_some() { Keep::WhileUsed } else { Keep::Always };
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = standing.tokens.get(&request).and_then(WeakToken::upgrade) {
            return token;
        }
        if standing.tokens.len() >= standing.swept_at {
            standing.tokens.retain(|_, token| token.is_held());
            standing.swept_at = standing.tokens.len().saturating_mul(2).max(SWEPT_AT_MIN);
        }
        let token = self.fresh(request.clone(), keep);
        standing.tokens.insert(request, token.downgrade());
        token
    }

    /// Returns the token of a single call.
    pub(super) fn occasional(&self, request: &TokenRequest) -> FreshToken {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        let held = standing.tokens.get(request).and_then(WeakToken::upgrade);
        drop(standing);
        let occasional =
            || self.occasional.get_or_insert_with(request, || Ok(self.fresh(request.clone(), Keep::WhileUsed)));
        match held.map_or_else(occasional, Ok) {
            Ok(token) => token,
            Err(never) => infallible(never),
        }
    }

    fn fresh(&self, request: TokenRequest, keep: Keep) -> FreshToken {
        FreshToken::with_keep(Arc::clone(&self.source), request, Arc::clone(&self.clock), keep)
    }
}

/// One shard: several fill unevenly, and evict tokens while there is room.
fn occasional(bytes_max: u64) -> Cache<TokenRequest, FreshToken, Weight, DefaultHashBuilder> {
    let items = usize::try_from(bytes_max / TOKEN_BYTES).unwrap_or(usize::MAX).clamp(1, 1 << 20);
    let mut options = OptionsBuilder::new();
    options.shards(1).weight_capacity(bytes_max).estimated_items_capacity(items);
    match options.build() {
        Ok(options) => Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default()),
        // Cannot fail: both required values are set.
        Err(_) => Cache::with_weighter(items, bytes_max, Weight),
    }
}

impl Weighter<TokenRequest, FreshToken> for Weight {
    /// The issued token is about as long as the token that it is exchanged for.
    fn weight(&self, request: &TokenRequest, _: &FreshToken) -> u64 {
        let subject = request.subject().map_or(0, |subject| subject.expose().len());
        let scopes: usize = request.scopes().map(str::len).sum();
        let text = subject.saturating_mul(2).saturating_add(scopes);
        TOKEN_BYTES.saturating_add(u64::try_from(text).unwrap_or(u64::MAX))
    }
}

fn infallible<T>(never: std::convert::Infallible) -> T {
    match never {}
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        source::{StaticToken, SubjectToken},
    };

    fn tokens() -> Tokens {
        Tokens::new(Arc::new(StaticToken::new("a").unwrap()), SystemClock::shared())
    }

    fn on_behalf_of(caller: usize) -> TokenRequest {
        TokenRequest::for_audience("a").on_behalf_of(SubjectToken::new(&format!("{caller}.{}", "x".repeat(500))))
    }

    #[test]
    fn dropped_tokens_leave_the_table_at_any_number() {
        for count in [1_000, 100_000] {
            let tokens = tokens();
            let held = tokens.standing(on_behalf_of(count));
            for caller in 0..count {
                drop(tokens.standing(on_behalf_of(caller)));
            }
            let standing = tokens.standing.read().unwrap();
            assert!(standing.tokens.len() <= SWEPT_AT_MIN, "{}", standing.tokens.len());
            assert!(standing.tokens.get(held.request()).unwrap().is_held());
        }
    }

    #[test]
    fn equal_requests_share_a_token_while_one_is_held() {
        let tokens = tokens();
        let held = tokens.standing(on_behalf_of(1));
        assert!(tokens.standing(on_behalf_of(1)).is_same(&held));
        assert!(tokens.occasional(&on_behalf_of(1)).is_same(&held));
    }

    #[test]
    fn callers_keep_their_tokens_while_there_is_room() {
        for callers in [1_000, 8_000] {
            let tokens = tokens();
            let first: Vec<_> = (0..callers).map(|caller| tokens.occasional(&on_behalf_of(caller))).collect();
            let kept = |caller: usize| tokens.occasional(&on_behalf_of(caller)).is_same(&first[caller]);
            assert_eq!((0..callers).filter(|caller| kept(*caller)).count(), callers);
        }
    }

    #[test]
    fn the_bound_counts_bytes() {
        let tokens = tokens().with_occasional_bytes_max(1024 * 1024);
        for caller in 0..100_000 {
            drop(tokens.occasional(&on_behalf_of(caller)));
        }
        assert!(tokens.occasional.weight() <= 1024 * 1024);
        assert!(tokens.occasional.len() > 100);
        let clocked = tokens.with_clock(SystemClock::shared());
        assert_eq!(clocked.occasional.capacity(), 1024 * 1024);
    }
}
