//! A request in terms that both protocols have.

use std::time::Duration;

use token_interceptor::signature::{Algorithm, SigningKey};
use token_proto::token::v1::{self, ErrorReason};

use crate::{
    assertion::{JWT_BEARER, good, sign},
    support::{
        World,
        calls::{grpc, message},
    },
};

pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Issue,
    Exchange,
    Introspect,
    Revoke,
    UserInfo,
}

/// The client authentication, each with the client ID that it claims.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    Secret(&'static str),
    Basic(&'static str),
    WrongSecret(&'static str),
    EmptySecret(&'static str),
    Assertion(&'static str),
    /// An assertion signed with another key.
    ForgedAssertion(&'static str),
    /// An assertion beside another client ID.
    ContradictedAssertion(&'static str),
    AssertionOfUnknownType(&'static str),
    SecretAndBasic(&'static str),
    SecretAndAssertion(&'static str),
    Nothing,
}

/// A token of the request: the token in question, a subject token, an actor token, or a bearer token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    Nothing,
    /// Issued to that client for `inventory`, with the scope `inventory.read`.
    Of(&'static str),
    /// The same, with every scope of the client there.
    WideOf(&'static str),
    /// Exchanged by `exchanger` on behalf of `caller`.
    Delegated,
    Expired(&'static str),
    Revoked(&'static str),
    /// A token of another issuer with the same name.
    Foreign,
    Garbage(&'static str),
}

/// The state of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meets {
    Usual,
    /// The peer's budget is spent.
    SpentLimit,
    /// Nothing is cached yet.
    StoreOutOfReach,
    /// An audience whose algorithm has no key.
    NoKey,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) claim: &'static str,
    pub(super) meets: Meets,
    pub(super) operation: Operation,
    pub(super) client: Shown,
    pub(super) token: Held,
    pub(super) token_type: &'static str,
    pub(super) actor: Held,
    pub(super) requested_token_type: &'static str,
    pub(super) audiences: &'static [&'static str],
    /// Sent as `resource` over HTTP. gRPC has one field for both.
    pub(super) resources: &'static [&'static str],
    pub(super) scopes: &'static [&'static str],
    pub(super) lifetime_seconds: Option<i64>,
    pub(super) redirect_uri: &'static str,
    pub(super) refused: Option<ErrorReason>,
}

impl Case {
    pub(super) const fn refused(self, claim: &'static str, reason: ErrorReason) -> Self {
        Self { claim, refused: Some(reason), ..self }
    }

    pub(super) const fn by(self, client: Shown) -> Self {
        Self { client, ..self }
    }

    pub(super) const fn with(self, token: Held) -> Self {
        Self { token, ..self }
    }

    pub(super) const fn called(self, claim: &'static str) -> Self {
        Self { claim, ..self }
    }
}

/// The request for both protocols. It is generated for each, because assertions and revocations are used up.
pub(super) struct Sent {
    pub(super) client_id: String,
    pub(super) secret: Option<String>,
    pub(super) basic: Option<(String, String)>,
    /// The content type and the body.
    pub(super) assertion: Option<(String, String)>,
    pub(super) token: String,
    pub(super) actor: String,
}

impl Sent {
    pub(super) async fn of(world: &World, case: &Case) -> Self {
        let (token, actor) = (held(world, case.token).await, held(world, case.actor).await);
        let nothing = Self { client_id: String::new(), secret: None, basic: None, assertion: None, token, actor };
        let secret = || Some(world.secret.clone());
        let assertion = |id: &str, key: &SigningKey| Some((JWT_BEARER.to_owned(), sign(key, &good(id))));
        let sent = |id: &str| Self { client_id: id.to_owned(), ..nothing };
        match case.client {
            Shown::Secret(id) => Self { secret: secret(), ..sent(id) },
            Shown::WrongSecret(id) => Self { secret: Some("wrong".to_owned()), ..sent(id) },
            Shown::EmptySecret(id) => Self { secret: Some(String::new()), ..sent(id) },
            Shown::Basic(id) => Self { basic: Some((id.to_owned(), world.secret.clone())), ..sent("") },
            Shown::Assertion(id) => Self { assertion: assertion(id, &world.client_key), ..sent(id) },
            Shown::ForgedAssertion(id) => Self { assertion: assertion(id, &another_key()), ..sent(id) },
            Shown::ContradictedAssertion(id) => Self { assertion: assertion(id, &world.client_key), ..sent("orders") },
            Shown::AssertionOfUnknownType(id) => {
                let value = sign(&world.client_key, &good(id));
                Self { assertion: Some(("urn:unknown".to_owned(), value)), ..sent(id) }
            }
            Shown::SecretAndBasic(id) => {
                Self { secret: secret(), basic: Some((id.to_owned(), world.secret.clone())), ..sent(id) }
            }
            Shown::SecretAndAssertion(id) => {
                let basic = Some((id.to_owned(), world.secret.clone()));
                Self { basic, assertion: assertion(id, &world.client_key), ..sent(id) }
            }
            Shown::Nothing => sent(""),
        }
    }
}

fn another_key() -> SigningKey {
    SigningKey::from_der(Algorithm::Es256, &SigningKey::generate_pkcs8(Algorithm::Es256).unwrap()).unwrap()
}

async fn held(world: &World, held: Held) -> String {
    match held {
        Held::Nothing => String::new(),
        Held::Garbage(text) => text.to_owned(),
        Held::Of(client_id) => issued(world, client_id, &["inventory.read"], None).await,
        Held::WideOf(client_id) => issued(world, client_id, &["inventory.read", "inventory.write"], None).await,
        Held::Delegated => {
            let subject = issued(world, "caller", &["inventory.read"], None).await;
            let request = v1::ExchangeTokenRequest {
                client: message("exchanger", &world.secret).client,
                subject: Some(v1::SecurityToken { value: subject, r#type: ACCESS_TOKEN.to_owned() }),
                audiences: vec!["inventory".to_owned()],
                ..v1::ExchangeTokenRequest::default()
            };
            grpc(world).exchange_token(request).await.unwrap().into_inner().token.unwrap().value
        }
        Held::Expired(client_id) => {
            let token = issued(world, client_id, &["inventory.read"], Some(1)).await;
            world.clock.advance(Duration::from_secs(2));
            token
        }
        Held::Revoked(client_id) => {
            let token = issued(world, client_id, &["inventory.read"], None).await;
            let client = message(client_id, &world.secret).client;
            grpc(world).revoke_token(v1::RevokeTokenRequest { client, token: token.clone() }).await.unwrap();
            token
        }
        Held::Foreign => {
            let other = crate::support::world().await;
            issued(&other, "orders", &["inventory.read"], None).await
        }
    }
}

async fn issued(world: &World, client_id: &str, scopes: &[&str], lifetime_seconds: Option<i64>) -> String {
    let mut request = message(client_id, &world.secret);
    request.audiences = vec!["inventory".to_owned()];
    request.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    request.lifetime = lifetime_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    grpc(world).issue_token(request).await.unwrap().into_inner().token.unwrap().value
}
