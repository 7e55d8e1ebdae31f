//! Tokens from `m2m.token.v1.TokenService`.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use token_proto::{
    ERROR_DOMAIN,
    token::v1::{self, ErrorReason, token_service_client::TokenServiceClient},
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::{
    AccessToken, Cause, IssuedToken, IssuerRefusal, LIFETIME_DEFAULT, SourceError, SubjectToken, TokenRequest,
};
use crate::{error_chain, http_client, trace_context, urn};

/// An issuer with a gRPC interface.
#[derive(Clone, Debug)]
pub(super) struct GrpcIssuer {
    client: TokenServiceClient<Channel>,
}

impl GrpcIssuer {
    pub(super) fn new(channel: Channel) -> Self {
        Self { client: TokenServiceClient::new(channel) }
    }

    /// RFC 6749 section 4.4.
    pub(super) async fn issue(
        &self,
        client: v1::ClientAuthentication,
        request: &TokenRequest,
        lifetime: Option<Duration>,
    ) -> Result<IssuedToken, SourceError> {
        let message = v1::IssueTokenRequest {
            client: Some(client),
            audiences: request.audience().map(str::to_owned).into_iter().collect(),
            scopes: request.scopes().map(str::to_owned).collect(),
            lifetime: lifetime.and_then(|lifetime| lifetime.try_into().ok()),
            redirect_uri: String::new(),
        };
        let message = trace_context::request(message);
        let answer = self.client.clone().issue_token(message).await.map_err(|status| failure(&status))?.into_inner();
        read(answer.token, answer.server_time)
    }

    /// RFC 8693.
    pub(super) async fn exchange(
        &self,
        client: v1::ClientAuthentication,
        request: &TokenRequest,
        subject: &SubjectToken,
    ) -> Result<IssuedToken, SourceError> {
        let message = v1::ExchangeTokenRequest {
            client: Some(client),
            subject: Some(v1::SecurityToken {
                value: subject.expose().to_owned(),
                r#type: urn::ACCESS_TOKEN.to_owned(),
            }),
            audiences: request.audience().map(str::to_owned).into_iter().collect(),
            scopes: request.scopes().map(str::to_owned).collect(),
            ..v1::ExchangeTokenRequest::default()
        };
        let message = trace_context::request(message);
        let answer = self.client.clone().exchange_token(message).await.map_err(|status| failure(&status))?.into_inner();
        read(answer.token, answer.server_time)
    }
}

/// Reads the answer of `IssueToken` or `ExchangeToken`.
fn read(token: Option<v1::Token>, server_time: Option<Timestamp>) -> Result<IssuedToken, SourceError> {
    let token = token.ok_or_else(|| SourceError::unavailable("the issuer's answer has no token"))?;
    if !token.token_type.eq_ignore_ascii_case("bearer") {
        return Err(SourceError::unavailable("the issuer's token is not a bearer token"));
    }
    let duration = |duration: prost_types::Duration| Duration::try_from(duration).ok();
    Ok(IssuedToken {
        token: AccessToken::new(&token.value).map_err(SourceError::unavailable)?,
        expires_in: token.expires_in.and_then(duration).unwrap_or(LIFETIME_DEFAULT),
        refresh_after: token.refresh_after.and_then(duration),
        server_time: server_time.and_then(|time| SystemTime::try_from(time).ok()),
    })
}

/// Converts the issuer's status. Its message is dropped: it is meant for the issuer's log.
fn failure(status: &Status) -> SourceError {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
    let reason = info.and_then(|info| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
    let retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
    let source = match reason {
        Some(reason) => format!("the issuer answered {:?}: {}", status.code(), reason.as_reason()),
        None => format!("the issuer could not be asked: {:?}: {}", status.code(), chain(status)),
    };
    let refusal = match reason {
        Some(reason) => refusal_of_reason(reason),
        None => refusal_of_code(status.code()),
    };
    match refusal {
        Some(refusal) => SourceError::refused(refusal, source),
        None => SourceError::unavailable(source).with_cause(Cause::of(status)),
    }
    .with_retry_after(retry_after)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other code is retried")]
fn refusal_of_reason(reason: ErrorReason) -> Option<IssuerRefusal> {
    Some(match reason {
        ErrorReason::ClientAuthenticationFailed | ErrorReason::CredentialsMissing => {
            IssuerRefusal::ClientAuthentication
        }
        ErrorReason::ClientNotAuthorized | ErrorReason::CallerNotAllowed => IssuerRefusal::ClientNotAuthorized,
        ErrorReason::InvalidScope | ErrorReason::ScopeInsufficient => IssuerRefusal::Scope,
        ErrorReason::InvalidTarget => IssuerRefusal::Target,
        ErrorReason::InvalidGrant => IssuerRefusal::Grant,
        ErrorReason::InvalidRequest | ErrorReason::TokenTooLarge | ErrorReason::UnsupportedGrantType => {
            IssuerRefusal::Request
        }
        _ => return None,
    })
}

/// For an issuer, or a proxy in front of it, that gives no reason.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other code is retried")]
fn refusal_of_code(code: Code) -> Option<IssuerRefusal> {
    match code {
        Code::Unauthenticated => Some(IssuerRefusal::ClientAuthentication),
        Code::PermissionDenied => Some(IssuerRefusal::ClientNotAuthorized),
        Code::InvalidArgument => Some(IssuerRefusal::Request),
        _ => None,
    }
}

/// Returns the failure below gRPC, which this machine reports and not the server.
fn chain(status: &Status) -> String {
    let mut text = error_chain::causes_of(status);
    if http_client::is_of_unknown_ca(status) {
        text.push_str(": ");
        text.push_str(http_client::OVER_GRPC);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Answer;

    fn token(change: impl FnOnce(&mut v1::Token)) -> Option<v1::Token> {
        let mut token = v1::Token {
            value: "a.b.c".into(),
            token_type: "Bearer".into(),
            expires_in: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            ..v1::Token::default()
        };
        change(&mut token);
        Some(token)
    }

    #[test]
    fn reads_a_token() {
        let issued =
            read(token(|token| token.refresh_after = Some(prost_types::Duration { seconds: 200, nanos: 0 })), None)
                .unwrap();
        assert_eq!(issued.expires_in, Duration::from_secs(300));
        assert_eq!(issued.refresh_after, Some(Duration::from_secs(200)));
    }

    #[test]
    fn a_lifetime_that_is_missing_or_negative_reads_as_a_short_one() {
        for seconds in [None, Some(-5)] {
            let token =
                token(|token| token.expires_in = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }));
            assert_eq!(read(token, None).unwrap().expires_in, LIFETIME_DEFAULT);
        }
    }

    #[test]
    fn what_is_no_bearer_token_is_no_token() {
        assert!(read(None, None).is_err());
        assert!(read(token(|token| token.token_type = "DPoP".into()), None).unwrap_err().is_transient());
        assert!(read(token(|token| token.value = "a b".into()), None).is_err());
    }

    #[test]
    fn a_no_is_told_from_an_outage() {
        let refusal = |reason| failure(&Answer::new(reason, "").into_status()).refusal();
        assert_eq!(refusal(ErrorReason::ClientAuthenticationFailed), Some(IssuerRefusal::ClientAuthentication));
        assert_eq!(refusal(ErrorReason::InvalidScope), Some(IssuerRefusal::Scope));
        assert_eq!(refusal(ErrorReason::InvalidTarget), Some(IssuerRefusal::Target));
        assert_eq!(refusal(ErrorReason::RateLimited), None);
        assert_eq!(refusal(ErrorReason::IssuerUnavailable), None);
        assert_eq!(failure(&Status::unauthenticated("")).refusal(), Some(IssuerRefusal::ClientAuthentication));
        assert_eq!(failure(&Status::unavailable("")).refusal(), None);
    }

    #[test]
    fn retry_info_is_passed_on() {
        let answer = Answer::new(ErrorReason::IssuerUnavailable, "").retry_after(Duration::from_secs(7));
        assert_eq!(failure(&answer.into_status()).retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_upstream_message_is_not_forwarded() {
        let error = failure(&Status::invalid_argument("secret tks_1"));
        assert!(!format!("{error} {error:?}").contains("tks_1"));
    }
}
