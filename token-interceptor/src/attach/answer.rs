//! The status of a call that cannot get a token.

use std::time::Duration;

use token_proto::token::v1::ErrorReason;
use tonic::Status;

use crate::{
    refresh::TokenError,
    source::{IssuerRefusal, TokenRequest},
    status::Answer,
};

/// The retry delay for a failure that names none.
const RETRY_SOON: Duration = Duration::from_millis(100);

/// An outage of the issuer reads UNAVAILABLE, a configuration fault its own code. Neither passes for the
/// callee's answer.
pub(super) fn no_token(error: &TokenError) -> Answer {
    match error {
        TokenError::Source { request, source, retry_in } => {
            let answer = match source.refusal() {
                Some(refusal) => refused(refusal, request).detail("cause", refusal.name()),
                None => {
                    let answer = unavailable(source.cause().sentence(), *retry_in);
                    answer.detail("cause", source.cause().name())
                }
            };
            about(answer, request)
        }
        TokenError::Pending => unavailable("the access token is being obtained", RETRY_SOON),
        TokenError::Stopped => unavailable("the task that obtains access tokens has ended", RETRY_SOON),
        TokenError::NoRuntime => {
            Answer::new(ErrorReason::Internal, "no tokio runtime is running here, so no access token can be obtained")
        }
    }
}

/// Adds the token request to the answer.
fn about(answer: Answer, request: &TokenRequest) -> Answer {
    let answer = match request.audience() {
        Some(audience) => answer.detail("audience", audience),
        None => answer,
    };
    match request.scope_parameter() {
        scopes if scopes.is_empty() => answer.about(request.to_string()),
        scopes => answer.detail("scope", scopes).about(request.to_string()),
    }
}

/// The source took longer than a call may wait.
pub(super) fn too_slow() -> Answer {
    unavailable("the issuer of access tokens did not answer in time", RETRY_SOON)
}

fn unavailable(sentence: &'static str, retry_in: Duration) -> Answer {
    Answer::new(ErrorReason::IssuerUnavailable, sentence).retry_after(retry_in.max(Duration::from_millis(1)))
}

fn refused(refusal: IssuerRefusal, request: &TokenRequest) -> Answer {
    match refusal {
        IssuerRefusal::ClientAuthentication => Answer::new(
            ErrorReason::ClientAuthenticationFailed,
            "the issuer refused this client's credentials (invalid_client)",
        ),
        IssuerRefusal::ClientNotAuthorized => Answer::new(
            ErrorReason::ClientNotAuthorized,
            "the issuer does not let this client use this grant (unauthorized_client)",
        ),
        IssuerRefusal::Scope => Answer::new(
            ErrorReason::ScopeInsufficient,
            "the issuer does not grant this client the scopes that the method demands (invalid_scope)",
        )
        .scope(request.scope_parameter()),
        IssuerRefusal::Target => Answer::new(
            ErrorReason::ClientNotAuthorized,
            "the issuer does not grant this client the audience that the method demands (invalid_target)",
        ),
        IssuerRefusal::Grant => {
            Answer::new(ErrorReason::InvalidGrant, "the issuer refused the token to be exchanged (invalid_grant)")
        }
        IssuerRefusal::Token => Answer::new(
            ErrorReason::ClientAuthenticationFailed,
            "the token that was provided for this program cannot be used",
        ),
        IssuerRefusal::Request => Answer::new(
            ErrorReason::PreconditionFailed,
            "the issuer does not understand this client's request for a token; its answer is in the log",
        ),
    }
}

/// The call's own deadline passed. The only status without a reason, as the caller chose the deadline.
pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the deadline passed while the access token was being obtained")
}

/// The layer calls on behalf of callers, and there is no caller.
pub(super) fn no_caller() -> Answer {
    Answer::new(
        ErrorReason::PreconditionFailed,
        "this channel calls on behalf of a caller, and there is none: see AttachLayer::on_behalf_of_caller",
    )
}

/// The layer calls on behalf of callers, and this one has no token that could be exchanged.
pub(super) fn caller_without_token() -> Answer {
    Answer::new(
        ErrorReason::PreconditionFailed,
        "this channel calls on behalf of a caller, and the caller has no token: it used another scheme",
    )
}

/// The request names a plaintext destination of its own.
pub(super) fn plaintext_refused() -> Answer {
    Answer::new(
        ErrorReason::PreconditionFailed,
        "no token is sent in plaintext to another machine: use https, or name danger::AllowPlaintext",
    )
}

/// The request passes on an `authorization` header that may belong to another party.
pub(super) fn authorization_refused() -> Answer {
    Answer::new(
        ErrorReason::PreconditionFailed,
        "the call brings an authorization header of its own: remove it, or see AttachLayer::keep_authorization",
    )
}
