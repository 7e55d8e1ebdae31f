//! Wire → domain, for gRPC and HTTP alike. The two protocols meet here; no module below this one can tell
//! them apart.
//!
//! Each message is destructured exhaustively, so that code does not compile until it handles a new field.

pub(crate) mod admin;
mod basic;
mod credentials;

use std::time::Duration;

use http::HeaderMap;
use token_issuer::{
    client::GrantType,
    client_authentication::presented::PresentedClient,
    cost::{Step, takes},
    error::IssueError,
    grant::{self, RequestedAccess, RequestedAudience, client_credentials, token_exchange},
    request::{GrantRequest, TokenQuery},
    security_token::{SecurityToken, TokenType},
};
use token_proto::token::v1;

pub(crate) use basic::challenge;
use credentials::CredentialFields;

/// The type of the tokens that are issued. RFC 8693 section 3.
pub(crate) const ACCESS_TOKEN: &str = TokenType::AccessToken.name();

/// The parameters of a request to the token endpoint, as sent. RFC 6749 section 4.4.2, RFC 8693 section 2.1.
#[derive(Default)]
pub(crate) struct TokenForm {
    pub(crate) grant_type: String,
    pub(crate) client: ClientForm,
    pub(crate) audience: Vec<String>,
    pub(crate) resource: Vec<String>,
    pub(crate) scope: Option<String>,
    pub(crate) lifetime: Option<String>,
    pub(crate) redirect_uri: Option<String>,
    pub(crate) exchange: ExchangeForm,
}

/// The parameters that token exchange adds.
#[derive(Default)]
pub(crate) struct ExchangeForm {
    pub(crate) subject_token: Option<String>,
    pub(crate) subject_token_type: Option<String>,
    pub(crate) actor_token: Option<String>,
    pub(crate) actor_token_type: Option<String>,
    pub(crate) requested_token_type: Option<String>,
}

/// The parameters of client authentication, as sent. RFC 6749 section 2.3.1, RFC 7521 section 4.2.
#[derive(Default)]
pub(crate) struct ClientForm {
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) client_assertion_type: Option<String>,
    pub(crate) client_assertion: Option<String>,
}

/// The parameters of introspection and revocation, as sent. RFC 7662 section 2.1, RFC 7009 section 2.1.
/// `token_type_hint` is ignored: this server has one kind of token.
pub(crate) struct TokenQueryForm {
    pub(crate) client: ClientForm,
    pub(crate) token: String,
}

/// `TokenService.IssueToken`.
pub(crate) fn issue_token(request: v1::IssueTokenRequest, headers: &HeaderMap) -> Result<GrantRequest, IssueError> {
    takes(Step::Decoding);
    let v1::IssueTokenRequest { client, audiences, scopes, lifetime, redirect_uri } = request;
    Ok(GrantRequest {
        client: client_of_message(client, headers)?,
        grant: grant::Request::ClientCredentials(client_credentials::Request {
            access: RequestedAccess {
                audiences: audiences.into_iter().map(RequestedAudience::Name).collect(),
                scopes,
                lifetime: lifetime.map(lifetime_of_message).transpose()?,
            },
            redirect_uri: present(redirect_uri),
        }),
    })
}

/// `POST /oauth/token`.
pub(crate) fn token_form(form: TokenForm, headers: &HeaderMap) -> Result<GrantRequest, IssueError> {
    takes(Step::Decoding);
    let TokenForm { grant_type, client, audience, resource, scope, lifetime, redirect_uri, exchange } = form;
    let grant_type = GrantType::from_name(&grant_type).ok_or(IssueError::UnsupportedGrantType)?;
    let names = audience.into_iter().map(RequestedAudience::Name);
    let resources = resource.into_iter().map(RequestedAudience::Resource);
    let access = RequestedAccess {
        audiences: names.chain(resources).collect(),
        scopes: scope.map(|scope| scope.split(' ').map(str::to_owned).collect()).unwrap_or_default(),
        lifetime: lifetime.as_deref().map(lifetime_of_form).transpose()?,
    };
    let grant = match grant_type {
        GrantType::ClientCredentials => {
            grant::Request::ClientCredentials(client_credentials::Request { access, redirect_uri })
        }
        GrantType::TokenExchange => grant::Request::TokenExchange(exchange_of_form(exchange, access)?),
    };
    Ok(GrantRequest { client: client_of_form(client, headers)?, grant })
}

/// `TokenService.ExchangeToken`.
pub(crate) fn exchange_token(
    request: v1::ExchangeTokenRequest,
    headers: &HeaderMap,
) -> Result<GrantRequest, IssueError> {
    takes(Step::Decoding);
    let v1::ExchangeTokenRequest { client, subject, actor, requested_token_type, audiences, scopes, lifetime } =
        request;
    let token = |token: v1::SecurityToken| {
        let v1::SecurityToken { value, r#type } = token;
        (present(value), present(r#type))
    };
    let (subject_token, subject_token_type) = subject.map(token).unwrap_or_default();
    let (actor_token, actor_token_type) = actor.map(token).unwrap_or_default();
    let requested_token_type = present(requested_token_type);
    let form = ExchangeForm { subject_token, subject_token_type, actor_token, actor_token_type, requested_token_type };
    let access = RequestedAccess {
        audiences: audiences.into_iter().map(RequestedAudience::Name).collect(),
        scopes,
        lifetime: lifetime.map(lifetime_of_message).transpose()?,
    };
    Ok(GrantRequest {
        client: client_of_message(client, headers)?,
        grant: grant::Request::TokenExchange(exchange_of_form(form, access)?),
    })
}

/// Decodes a token exchange. RFC 8693 section 2.1.
fn exchange_of_form(form: ExchangeForm, access: RequestedAccess) -> Result<token_exchange::Request, IssueError> {
    let ExchangeForm { subject_token, subject_token_type, actor_token, actor_token_type, requested_token_type } = form;
    let subject = subject_token.ok_or(IssueError::invalid_request("subject_token is missing."))?;
    let kind = token_type(subject_token_type.as_deref(), "subject_token_type is missing.")?;
    let subject = SecurityToken { value: subject.into(), kind };
    let actor = match (actor_token, actor_token_type) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(IssueError::invalid_request("actor_token_type is present without actor_token."));
        }
        (Some(actor), kind) => {
            let kind = token_type(kind.as_deref(), "actor_token_type is missing.")?;
            Some(SecurityToken { value: actor.into(), kind })
        }
    };
    match requested_token_type.as_deref().map(TokenType::from_name) {
        None | Some(Some(TokenType::AccessToken | TokenType::Jwt)) => {}
        Some(Some(TokenType::IdToken) | None) => {
            return Err(IssueError::invalid_request("Only access tokens are issued."));
        }
    }
    Ok(token_exchange::Request { access, subject, actor })
}

fn token_type(name: Option<&str>, missing: &'static str) -> Result<TokenType, IssueError> {
    let name = name.ok_or(IssueError::invalid_request(missing))?;
    TokenType::from_name(name)
        .ok_or(IssueError::invalid_request("Only access tokens, ID tokens and JWTs are exchanged."))
}

/// `TokenService.IntrospectToken`.
pub(crate) fn introspect_token(
    request: v1::IntrospectTokenRequest,
    headers: &HeaderMap,
) -> Result<TokenQuery, IssueError> {
    takes(Step::Decoding);
    let v1::IntrospectTokenRequest { client, token } = request;
    token_query(client_of_message(client, headers)?, token)
}

/// `TokenService.RevokeToken`.
pub(crate) fn revoke_token(request: v1::RevokeTokenRequest, headers: &HeaderMap) -> Result<TokenQuery, IssueError> {
    takes(Step::Decoding);
    let v1::RevokeTokenRequest { client, token } = request;
    token_query(client_of_message(client, headers)?, token)
}

/// `POST /oauth/introspect` and `POST /oauth/revoke`.
pub(crate) fn token_query_form(form: TokenQueryForm, headers: &HeaderMap) -> Result<TokenQuery, IssueError> {
    takes(Step::Decoding);
    let TokenQueryForm { client, token } = form;
    token_query(client_of_form(client, headers)?, token)
}

fn token_query(client: PresentedClient, token: String) -> Result<TokenQuery, IssueError> {
    let token = present(token).ok_or(IssueError::invalid_request("token is missing."))?;
    Ok(TokenQuery { client, token: token.into() })
}

fn client_of_message(
    client: Option<v1::ClientAuthentication>,
    headers: &HeaderMap,
) -> Result<PresentedClient, IssueError> {
    let v1::ClientAuthentication { client_id, credential } = client.unwrap_or_default();
    let mut parts = CredentialFields {
        basic: basic::from_headers(headers)?,
        client_id: present(client_id),
        ..CredentialFields::default()
    };
    match credential {
        None => {}
        Some(v1::client_authentication::Credential::ClientSecret(secret)) => parts.secret = present(secret),
        Some(v1::client_authentication::Credential::Assertion(v1::ClientAssertion { r#type, value })) => {
            parts.assertion_type = present(r#type);
            parts.assertion = present(value);
        }
    }
    parts.into_presented()
}

fn client_of_form(form: ClientForm, headers: &HeaderMap) -> Result<PresentedClient, IssueError> {
    let ClientForm { client_id, client_secret, client_assertion_type, client_assertion } = form;
    let parts = CredentialFields {
        basic: basic::from_headers(headers)?,
        client_id,
        secret: client_secret,
        assertion_type: client_assertion_type,
        assertion: client_assertion,
    };
    parts.into_presented()
}

/// Returns `None` for an empty field, which counts as absent. Protobuf does not tell the two apart, and RFC
/// 6749 section 3.2 treats them alike.
fn present(field: String) -> Option<String> {
    Some(field).filter(|field| !field.is_empty())
}

fn lifetime_of_message(lifetime: prost_types::Duration) -> Result<Duration, IssueError> {
    duration(lifetime).filter(|lifetime| lifetime.as_secs() >= 1).ok_or(BAD_LIFETIME)
}

/// Converts a duration; a negative one is malformed. `prost_types` would panic on the most negative number of
/// seconds.
fn duration(message: prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(message.seconds).ok()?, u32::try_from(message.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// Parses a lifetime in whole seconds. This is an extension: OAuth has no such parameter.
fn lifetime_of_form(lifetime: &str) -> Result<Duration, IssueError> {
    let seconds = if lifetime.bytes().all(|byte| byte.is_ascii_digit()) { lifetime.parse::<u64>().ok() } else { None };
    seconds.filter(|seconds| *seconds >= 1).map(Duration::from_secs).ok_or(BAD_LIFETIME)
}

const BAD_LIFETIME: IssueError = IssueError::invalid_request("lifetime must be at least one second.");

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> v1::IssueTokenRequest {
        v1::IssueTokenRequest {
            client: Some(v1::ClientAuthentication {
                client_id: "orders".into(),
                credential: Some(v1::client_authentication::Credential::ClientSecret("s".into())),
            }),
            ..Default::default()
        }
    }

    fn form() -> TokenForm {
        TokenForm {
            grant_type: "client_credentials".into(),
            client: ClientForm {
                client_id: Some("orders".into()),
                client_secret: Some("s".into()),
                ..ClientForm::default()
            },
            ..TokenForm::default()
        }
    }

    #[test]
    fn both_faces_ask_for_the_same() {
        let message = v1::IssueTokenRequest {
            audiences: vec!["a".into()],
            scopes: vec!["x".into(), "y".into()],
            lifetime: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            redirect_uri: "https://client.example".into(),
            ..message()
        };
        let form = TokenForm {
            audience: vec!["a".into()],
            scope: Some("x y".into()),
            lifetime: Some("60".into()),
            redirect_uri: Some("https://client.example".into()),
            ..form()
        };
        let headers = HeaderMap::new();
        let (grpc, http) = (issue_token(message, &headers).unwrap(), token_form(form, &headers).unwrap());
        assert_eq!(format!("{grpc:?}"), format!("{http:?}"));
    }

    #[test]
    fn another_grant_type_is_not_supported() {
        let form = TokenForm { grant_type: "password".into(), ..form() };
        assert!(matches!(token_form(form, &HeaderMap::new()), Err(IssueError::UnsupportedGrantType)));
    }

    #[test]
    fn rejects_a_lifetime_that_is_not_positive() {
        for lifetime in ["0", "-1", "1.5", "", "abc", "+1", "99999999999999999999999"] {
            let form = TokenForm { lifetime: Some(lifetime.into()), ..form() };
            assert!(matches!(token_form(form, &HeaderMap::new()), Err(IssueError::InvalidRequest(_))), "{lifetime}");
        }
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, 999_999_999), (i64::MIN, -1)] {
            let lifetime = Some(prost_types::Duration { seconds, nanos });
            let message = v1::IssueTokenRequest { lifetime, ..message() };
            assert!(matches!(issue_token(message, &HeaderMap::new()), Err(IssueError::InvalidRequest(_))));
        }
    }
}
