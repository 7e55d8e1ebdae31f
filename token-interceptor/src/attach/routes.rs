//! Method → token. It is resolved when the layer is built, so that a call only looks it up.

use std::{collections::HashMap, fmt, sync::Arc};

use token_proto::policy::MethodKind;

use super::{demand::Demands, tokens::Tokens};
use crate::{refresh::FreshToken, source::TokenRequest};

/// A map from a method's path to its token.
#[derive(Default)]
pub(super) struct Routes {
    by_path: HashMap<Arc<str>, Route>,
    otherwise: Route,
}

/// The token of a call.
#[derive(Clone, Default)]
pub(super) struct Route {
    /// `None`: the method needs no token, or no policy states its demand.
    pub(super) token: Option<FreshToken>,
    /// True if a call is sent without a token where there is none.
    pub(super) optional: bool,
    /// True if a call may be sent again after a refusal before its handler ran. The method is unary by its
    /// policy, and the program does not forbid it. A method without a policy may be a stream.
    pub(super) replayable: bool,
}

impl Routes {
    pub(super) fn resolve(demands: &Demands, every_call: Option<&TokenRequest>, tokens: &Tokens) -> Self {
        let token = |request: &TokenRequest| tokens.standing(request.clone());
        let by_path = demands.iter().map(|(path, demand)| {
            let replayable = demand.kind == MethodKind::Unary && !demand.never_replayed;
            let token = demand.request.as_ref().map(token);
            (Arc::clone(path), Route { token, optional: demand.optional, replayable })
        });
        let otherwise = Route { token: every_call.map(token), optional: false, replayable: false };
        Self { by_path: by_path.collect(), otherwise }
    }

    pub(super) fn of(&self, path: &str) -> &Route {
        self.by_path.get(path).unwrap_or(&self.otherwise)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("methods", &self.by_path.len()).finish_non_exhaustive()
    }
}
