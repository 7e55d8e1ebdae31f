//! Which token each call gets: what was demanded, resolved when the layer is built, so that a call looks up and
//! no more.

use std::{collections::HashMap, sync::Arc};

use http::{Request, header::AUTHORIZATION};
use token_proto::policy::MethodKind;

use super::{TokenLayer, answer, demand::Demands, on_behalf::current_caller, tokens::Tokens};
use crate::{
    caller::Caller,
    destination::Destination,
    refresh::FreshToken,
    source::{SubjectToken, TokenRequest},
    status::Answer,
};

/// From a method's path to its token.
#[derive(Default)]
pub(super) struct Routes {
    by_path: HashMap<Arc<str>, Route>,
    otherwise: Route,
}

/// What a call gets.
#[derive(Clone, Default)]
pub(super) struct Route {
    /// None: the method needs no token, or nobody has said what it demands.
    pub(super) token: Option<FreshToken>,
    /// The policy says that the method takes one message and answers with one. What nobody has described may be a
    /// stream.
    pub(super) unary: bool,
}

/// The token that a call carries.
pub(super) struct Carried {
    pub(super) token: FreshToken,
    pub(super) unary: bool,
}

impl Routes {
    pub(super) fn resolve(demands: &Demands, every_call: Option<&TokenRequest>, tokens: &Tokens) -> Self {
        let token = |request: &TokenRequest| tokens.standing(request.clone());
        let by_path = demands.iter().map(|(path, demand)| {
            let unary = demand.kind == MethodKind::Unary;
            (Arc::clone(path), Route { token: demand.request.as_ref().map(token), unary })
        });
        Self { by_path: by_path.collect(), otherwise: Route { token: every_call.map(token), unary: false } }
    }

    pub(super) fn of(&self, path: &str) -> &Route {
        self.by_path.get(path).unwrap_or(&self.otherwise)
    }
}

impl TokenLayer {
    /// The token that a call gets; none where it needs none, or brings its own.
    pub(super) fn token_for<B>(&self, request: &Request<B>) -> Result<Option<Carried>, Answer> {
        let route = self.routes.of(request.uri().path());
        let token = match request.extensions().get::<TokenRequest>() {
            Some(asked_for) => Some(self.tokens.occasional(asked_for)),
            None => route.token.clone(),
        };
        let Some(token) = token.filter(|_| !request.headers().contains_key(AUTHORIZATION)) else { return Ok(None) };
        if !self.may_go_to(request.uri()) {
            return Err(answer::destination_unknown());
        }
        let caller = || request.extensions().get::<Caller>().cloned().or_else(current_caller);
        Ok(Some(Carried { token: self.own_or_callers(token, caller)?, unary: route.unary }))
    }

    /// A request that says where it goes is held to that, whatever the program said of the channel.
    fn may_go_to(&self, uri: &http::Uri) -> bool {
        let safe = if uri.scheme().is_some() { Destination::of(uri).is_ok() } else { self.destination.is_some() };
        safe || self.plaintext_allowed
    }

    /// The token itself, or where the layer calls on behalf of callers, the one in exchange for theirs.
    pub(super) fn own_or_callers(
        &self,
        token: FreshToken,
        caller: impl FnOnce() -> Option<Caller>,
    ) -> Result<FreshToken, Answer> {
        if !self.on_behalf {
            return Ok(token);
        }
        let caller = caller().ok_or_else(answer::no_caller)?;
        let subject = SubjectToken::new(caller.bearer().expose());
        Ok(self.tokens.occasional(&token.request().clone().on_behalf_of(subject)))
    }
}
