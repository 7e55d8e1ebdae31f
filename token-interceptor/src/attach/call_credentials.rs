//! The layer's tokens as `CallCredentials` of the `grpc` crate, for programs that use it instead of tonic.
//!
//! The crate is a preview ("not recommended for any production use"). So this needs the feature `grpc-crate`
//! and may change with the crate.

use std::{sync::Arc, time::Duration};

use grpc::{
    StatusCodeError, StatusError,
    credentials::call::{CallCredentials, CallDetails, ClientConnectionSecurityInfo},
    metadata::{AsciiMetadataValue, MetadataMap},
};
use tokio::time::timeout;
use tonic::Code;

use super::{answer, calls::Calls, served::current_caller};
use crate::{refresh::FreshToken, source::AccessToken, status::Answer};

/// Attaches the token that the called method demands to every call of a `grpc` channel.
///
/// The channel itself ensures that no token is sent in plaintext: the credentials demand a security level
/// that only TLS has. No call is sent twice, as call credentials do not see answers.
#[derive(Clone, Debug)]
pub struct TokenCallCredentials(Arc<Calls>);

impl TokenCallCredentials {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
        Self(calls)
    }

    /// Returns the token, and true if the call may go without.
    fn token_for(&self, details: &CallDetails) -> Result<Option<(FreshToken, bool)>, Answer> {
        let service = details.service_url().rsplit('/').next().unwrap_or_default();
        let path = format!("/{service}/{}", details.method_name());
        let route = self.0.routes.of(&path);
        let Some(token) = &route.token else { return Ok(None) };
        let token = self.0.own_or_callers(token.clone(), current_caller);
        if route.optional { Ok(token.ok().map(|token| (token, true))) } else { token.map(|token| Some((token, false))) }
    }
}

#[async_trait::async_trait]
impl CallCredentials for TokenCallCredentials {
    async fn get_metadata(
        &self,
        details: &CallDetails,
        _security: &ClientConnectionSecurityInfo,
        metadata: &mut MetadataMap,
    ) -> Result<(), StatusError> {
        let Some((token, optional)) = self.token_for(details).map_err(status)? else { return Ok(()) };
        let token = match obtained(&token, self.0.choices.wait_max(optional)).await {
            Ok(token) => token,
            Err(_) if optional => return Ok(()),
            Err(answer) => return Err(status(answer)),
        };
        let value = AsciiMetadataValue::try_from(token.header().as_bytes());
        let mut value = value.map_err(|_| StatusError::new(StatusCodeError::Internal, "the token cannot be sent"))?;
        value.set_sensitive(true);
        metadata.insert("authorization", value);
        Ok(())
    }
}

async fn obtained(token: &FreshToken, wait_max: Duration) -> Result<AccessToken, Answer> {
    match timeout(wait_max, token.get()).await {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(error)) => Err(answer::no_token(&error)),
        Err(_) => Err(answer::too_slow()),
    }
}

/// The crate's status has no details, only a code and a sentence.
#[expect(clippy::wildcard_enum_match_arm, reason = "the answers of this side have these codes and no others")]
fn status(answer: Answer) -> StatusError {
    let status = answer.into_status();
    let code = match status.code() {
        Code::Unauthenticated => StatusCodeError::Unauthenticated,
        Code::PermissionDenied => StatusCodeError::PermissionDenied,
        Code::Unavailable => StatusCodeError::Unavailable,
        Code::FailedPrecondition => StatusCodeError::FailedPrecondition,
        Code::InvalidArgument => StatusCodeError::InvalidArgument,
        _ => StatusCodeError::Internal,
    };
    StatusError::new(code, status.message())
}

#[cfg(test)]
mod tests {

    use grpc::{attributes::Attributes, credentials::SecurityLevel};
    use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};

    use crate::attach::AttachLayer;

    use super::*;
    use crate::source::{IssuedToken, IssuerRefusal, SourceError, TokenRequest, TokenSource};

    /// Returns the scopes as the token; refuses to grant `write`.
    struct Echo;

    #[async_trait::async_trait]
    impl TokenSource for Echo {
        async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
            let scopes = request.scope_parameter();
            if scopes == "write" {
                return Err(SourceError::refused(IssuerRefusal::Scope, "no"));
            }
            let token = AccessToken::new(&scopes).map_err(SourceError::unavailable)?;
            Ok(IssuedToken::new(token, Duration::from_secs(300)))
        }
    }

    /// Never answers.
    struct Silent;

    #[async_trait::async_trait]
    impl TokenSource for Silent {
        async fn fetch(&self, _: &TokenRequest) -> Result<IssuedToken, SourceError> {
            std::future::pending().await
        }
    }

    fn method(path: &'static str, scope: Option<&'static str>) -> MethodPolicy {
        let require = |scope| Access::Require(Requirement::any_token().with_all_scopes([scope]));
        let access = scope.map_or(Access::Public, require);
        MethodPolicy::new(path.into(), "a".into(), access, MethodKind::Unary)
    }

    async fn metadata(method_name: &str) -> Result<Option<String>, StatusError> {
        let table = [method("/a.S/Read", Some("read")), method("/a.S/Write", Some("write")), method("/a.S/Open", None)];
        metadata_of(&AttachLayer::new(Echo).policy(&table), method_name).await
    }

    async fn metadata_of(layer: &AttachLayer, method_name: &str) -> Result<Option<String>, StatusError> {
        let credentials = layer.call_credentials();
        let credentials: Arc<dyn CallCredentials> = Arc::new(credentials);
        let security = ClientConnectionSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity, Attributes::new());
        let details = CallDetails::new("https://a.example/a.S", method_name);
        let mut metadata = MetadataMap::new();
        credentials.get_metadata(&details, &security, &mut metadata).await?;
        Ok(metadata.get("authorization").map(|value| {
            assert!(value.is_sensitive());
            value.to_str().to_owned()
        }))
    }

    #[tokio::test]
    async fn attaches_what_the_method_demands() {
        assert_eq!(metadata("Read").await.unwrap().as_deref(), Some("Bearer read"));
        assert_eq!(metadata("Open").await.unwrap(), None);
        assert_eq!(metadata("Unknown").await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_go_without_waits_a_second_at_most() {
        let table = [MethodPolicy::new("/a.S/Hello".into(), "a".into(), Access::Identify, MethodKind::Unary)];
        let start = tokio::time::Instant::now();
        assert_eq!(metadata_of(&AttachLayer::new(Silent).policy(&table), "Hello").await.unwrap(), None);
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn a_refusal_fails_the_call_with_its_code() {
        assert_eq!(metadata("Write").await.unwrap_err().code(), StatusCodeError::PermissionDenied);
    }

    #[test]
    fn asks_for_a_channel_with_privacy() {
        let credentials = AttachLayer::new(Echo).call_credentials();
        assert_eq!(credentials.minimum_channel_security_level(), SecurityLevel::PrivacyAndIntegrity);
    }
}
