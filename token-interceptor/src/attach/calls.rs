//! The token of each call. It is resolved when a channel is made, so that a call only looks it up.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Request, header::AUTHORIZATION};

use super::{
    answer,
    routes::Routes,
    served::{Caller, current_caller},
    tokens::Tokens,
};
use crate::{
    bearer::bearer,
    destination::Destination,
    refresh::FreshToken,
    source::{SubjectToken, TokenRequest},
    status::Answer,
};

/// The longest wait of a call that may go without its token. A token usually comes much sooner.
const OPTIONAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// The state that every clone of a channel shares. Clones copy a pointer.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) tokens: Arc<Tokens>,
    pub(super) routes: Arc<Routes>,
    pub(super) choices: Choices,
    /// True if the program named [`crate::danger::AllowPlaintext`] for this channel.
    pub(super) plaintext_allowed: bool,
}

/// The program's settings for its calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices {
    /// The longest wait of a call for its token, besides its own deadline.
    pub(super) wait_max: Duration,
    pub(super) on_behalf: bool,
    /// True if a call's own header is kept, unless it is the caller's token.
    pub(super) authorization_kept: bool,
}

impl Choices {
    /// Returns the longest wait of a call for its token, besides its own deadline. `optional`: the call may
    /// go without.
    pub(super) fn wait_max(&self, optional: bool) -> Duration {
        if optional { self.wait_max.min(OPTIONAL_WAIT_MAX) } else { self.wait_max }
    }
}

/// The treatment of a call's `authorization` header.
pub(super) enum Carried {
    /// The call carries this token. If it is `optional` and there is none, the call goes without.
    Token { token: FreshToken, optional: bool, replayable: bool },
    /// The call keeps its own header, or has none.
    Unchanged,
    /// The call brought its caller's token, and the method needs none.
    Removed,
}

impl Calls {
    /// Returns the treatment of a call.
    pub(super) fn carried<B>(&self, request: &Request<B>) -> Result<Carried, Answer> {
        let of_request = || request.extensions().get::<Caller>();
        let brought = self.brought(request.headers(), of_request)?;
        if matches!(brought, Brought::Own) {
            return Ok(Carried::Unchanged);
        }
        let route = self.routes.of(request.uri().path());
        let (token, optional) = match request.extensions().get::<TokenRequest>() {
            Some(asked_for) => (Some(self.tokens.occasional(asked_for)), false),
            None => (route.token.clone(), route.optional),
        };
        let none = if matches!(brought, Brought::Callers) { Carried::Removed } else { Carried::Unchanged };
        let Some(token) = token else { return Ok(none) };
        let token = if self.may_go_to(request.uri()) {
            self.own_or_callers(token, || of_request().cloned().or_else(current_caller))
        } else {
            Err(answer::plaintext_refused())
        };
        match token {
            Ok(token) => Ok(Carried::Token { token, optional, replayable: route.replayable }),
            Err(_) if optional => Ok(none),
            Err(answer) => Err(answer),
        }
    }

    /// A handler that passes on its request passes on its caller's token too. That token was issued for this
    /// program, and the next service could use it here.
    fn brought<'a>(&self, headers: &HeaderMap, of_request: impl Fn() -> Option<&'a Caller>) -> Result<Brought, Answer> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(Brought::Nothing);
        }
        let carried = current_caller();
        let callers = [of_request(), carried.as_ref()];
        if callers.into_iter().flatten().any(|caller| is_of(caller, headers)) {
            return Ok(Brought::Callers);
        }
        let passed_on = self.choices.on_behalf || of_request().is_some();
        if passed_on && !self.choices.authorization_kept {
            return Err(answer::authorization_refused());
        }
        Ok(Brought::Own)
    }

    /// The channel's destination was checked when it was made. A request may name a scheme of its own, which
    /// can only forbid the call.
    fn may_go_to(&self, uri: &http::Uri) -> bool {
        self.plaintext_allowed || uri.scheme().is_none() || Destination::of(uri).is_ok()
    }

    /// Returns the token itself, or on behalf of callers, the one exchanged for the caller's.
    pub(super) fn own_or_callers(
        &self,
        token: FreshToken,
        caller: impl FnOnce() -> Option<Caller>,
    ) -> Result<FreshToken, Answer> {
        if !self.choices.on_behalf {
            return Ok(token);
        }
        let caller = caller().ok_or_else(answer::no_caller)?;
        let subject = SubjectToken::new(caller.bearer().ok_or_else(answer::caller_without_token)?.expose());
        Ok(self.tokens.occasional(&token.request().clone().on_behalf_of(subject)))
    }
}

/// The `authorization` header that a call brings.
enum Brought {
    Nothing,
    /// The token of the caller whom the program serves.
    Callers,
    /// Another token, which the program set for this call.
    Own,
}

/// Returns true if one of the header's values is the caller's token, as it came or decrypted.
fn is_of(caller: &Caller, headers: &HeaderMap) -> bool {
    let tokens = [caller.presented(), caller.bearer()];
    let names = |value: &http::HeaderValue| {
        let mut one = HeaderMap::new();
        one.insert(AUTHORIZATION, value.clone());
        bearer(&one).is_ok_and(|token| tokens.iter().flatten().any(|own| own.expose() == token.expose()))
    };
    headers.get_all(AUTHORIZATION).iter().any(names)
}
