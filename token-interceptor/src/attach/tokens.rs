//! The tokens of one source: one for each thing that is asked for, shared by every clone of the layer.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use quick_cache::sync::Cache;

use crate::{
    clock::Clock,
    refresh::{FreshToken, Keep},
    source::{TokenRequest, TokenSource},
};

/// Tokens asked for by single calls: as many as this are kept at once. What a program asks for by its text is
/// not counted.
const OCCASIONAL_MAX: usize = 1024;

/// See the module.
pub(super) struct Tokens {
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    /// Asked for by the policy or at start-up: kept fresh always.
    standing: Mutex<HashMap<TokenRequest, FreshToken>>,
    /// Asked for by single calls: kept fresh while in use.
    occasional: Cache<TokenRequest, FreshToken>,
}

impl Tokens {
    pub(super) fn new(source: Arc<dyn TokenSource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, standing: Mutex::default(), occasional: Cache::new(OCCASIONAL_MAX) }
    }

    pub(super) fn source(&self) -> &Arc<dyn TokenSource> {
        &self.source
    }

    pub(super) fn standing(&self, request: TokenRequest) -> FreshToken {
        // A token that is young by decree would be renewed all the time: only while somebody uses it.
        let keep = if request.max_age().is_some() { Keep::WhileUsed } else { Keep::Always };
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.entry(request.clone()).or_insert_with(|| self.fresh(request, keep)).clone()
    }

    pub(super) fn occasional(&self, request: &TokenRequest) -> FreshToken {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner).get(request).cloned();
        let occasional =
            || self.occasional.get_or_insert_with(request, || Ok(self.fresh(request.clone(), Keep::WhileUsed)));
        match standing.map_or_else(occasional, Ok) {
            Ok(token) => token,
            Err(never) => infallible(never),
        }
    }

    fn fresh(&self, request: TokenRequest, keep: Keep) -> FreshToken {
        FreshToken::with_keep(Arc::clone(&self.source), request, Arc::clone(&self.clock), keep)
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
