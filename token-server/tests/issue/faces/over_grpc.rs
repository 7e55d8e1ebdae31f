//! The case as a gRPC request.

use prost_types::value::Kind;
use serde_json::{Map, Value, json};
use token_proto::token::v1::{self, client_authentication::Credential};
use tonic::{Request, Status};

use super::{
    Refused, Told,
    case::{Case, Operation, Sent},
    is_active,
};
use crate::support::{
    World,
    calls::{basic, claims, grpc, reason},
};

pub(super) async fn ask(world: &World, case: &Case) -> Result<Told, Refused> {
    let sent = Sent::of(world, case).await;
    let client = client(&sent);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let audiences = [names(case.audiences), names(case.resources)].concat();
    let lifetime = case.lifetime_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let mut service = grpc(world);
    let told = match case.operation {
        Operation::Issue => {
            let redirect_uri = case.redirect_uri.to_owned();
            let request =
                v1::IssueTokenRequest { client, audiences, scopes: names(case.scopes), lifetime, redirect_uri };
            let answer = service.issue_token(with_basic(request, &sent)).await;
            answer.map(|answer| token(world, answer.into_inner().token.unwrap()))
        }
        Operation::Exchange => {
            let typed =
                |value: &str, kind: &str| v1::SecurityToken { value: value.to_owned(), r#type: kind.to_owned() };
            let request = v1::ExchangeTokenRequest {
                client,
                subject: Some(typed(&sent.token, case.token_type)),
                actor: (!sent.actor.is_empty()).then(|| typed(&sent.actor, super::case::ACCESS_TOKEN)),
                requested_token_type: case.requested_token_type.to_owned(),
                audiences,
                scopes: names(case.scopes),
                lifetime,
            };
            let answer = service.exchange_token(with_basic(request, &sent)).await;
            answer.map(|answer| token(world, answer.into_inner().token.unwrap()))
        }
        Operation::Introspect => {
            let request = v1::IntrospectTokenRequest { client, token: sent.token.clone() };
            service.introspect_token(with_basic(request, &sent)).await.map(|answer| {
                let v1::IntrospectTokenResponse { active, claims } = answer.into_inner();
                let mut members = claims.map(object).unwrap_or_default();
                members.insert("active".to_owned(), active.into());
                Told::of(members)
            })
        }
        Operation::Revoke => {
            let request = v1::RevokeTokenRequest { client, token: sent.token.clone() };
            let answer = service.revoke_token(with_basic(request, &sent)).await;
            match answer {
                Ok(_) => Ok(Told::of(json!({ "active": is_active(world, &sent.token).await }))),
                Err(status) => Err(status),
            }
        }
        Operation::UserInfo => {
            let mut request = Request::new(v1::GetUserInfoRequest {});
            if !sent.token.is_empty() {
                let bearer = format!("Bearer {}", sent.token).parse().unwrap();
                request.metadata_mut().insert("authorization", bearer);
            }
            service.get_user_info(request).await.map(|answer| Told::of(object(answer.into_inner().claims.unwrap())))
        }
    };
    told.map_err(|status| refused(&status))
}

fn client(sent: &Sent) -> Option<v1::ClientAuthentication> {
    let assertion =
        sent.assertion.clone().map(|(kind, value)| Credential::Assertion(v1::ClientAssertion { r#type: kind, value }));
    let credential = assertion.or(sent.secret.clone().map(Credential::ClientSecret));
    let client_id = sent.client_id.clone();
    (credential.is_some() || !client_id.is_empty()).then_some(v1::ClientAuthentication { client_id, credential })
}

fn with_basic<T>(message: T, sent: &Sent) -> Request<T> {
    let mut request = Request::new(message);
    if let Some((id, secret)) = &sent.basic {
        request.metadata_mut().insert("authorization", basic(id, secret).1.parse().unwrap());
    }
    request
}

fn token(world: &World, token: v1::Token) -> Told {
    let claims = claims(world, &token.value);
    assert_eq!((&claims["jti"], token.token_type.as_str()), (&json!(token.token_id), "Bearer"));
    let scopes = token.scopes.join(" ");
    let (expires_in, refresh_in) = (token.expires_in.unwrap().seconds, token.refresh_after.unwrap().seconds);
    Told::token(claims, &scopes, expires_in, refresh_in)
}

fn refused(status: &Status) -> Refused {
    let challenge = status.metadata().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let (code, reason) = reason(status);
    // RFC 6749 section 5.2 has no quotation marks in descriptions.
    Refused { code: code.into(), error: String::new(), reason, sentence: status.message().replace('"', "?"), challenge }
}

fn object(fields: prost_types::Struct) -> Map<String, Value> {
    fields.fields.into_iter().map(|(name, member)| (name, value(member))).collect()
}

fn value(wire: prost_types::Value) -> Value {
    match wire.kind.unwrap() {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(bool) => bool.into(),
        Kind::NumberValue(number) => json!(number),
        Kind::StringValue(text) => text.into(),
        Kind::ListValue(list) => list.values.into_iter().map(value).collect(),
        Kind::StructValue(members) => Value::Object(object(members)),
    }
}
