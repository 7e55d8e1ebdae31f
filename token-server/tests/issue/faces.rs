//! Every operation over both protocols: the same grants and the same reasons, each with the code of its
//! specification.
//!
//! A case describes a request in terms that both protocols have. It is sent over gRPC and over HTTP, and the
//! responses are compared.

mod case;
mod over_grpc;
mod over_http;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use token_interceptor::signature::Algorithm;
use token_issuer::limit::{LimitSettings, Rate};
use token_proto::token::v1::{
    self,
    ErrorReason::{self, *},
};
use tonic::Code;

use crate::support::{
    World,
    calls::{grpc, message, message_of_orders},
    world, world_with,
};
use case::{Case, Meets, Operation};
use table::cases;

/// A successful response, independent of the protocol, and the `jti`, which differs in every token.
#[derive(Debug)]
struct Told {
    answer: Value,
    token_id: Option<String>,
}

impl Told {
    /// Numbers are doubles in `google.protobuf.Struct`; the ID and times of an issued token differ.
    fn of(answer: impl Into<Value>) -> Self {
        let mut answer = doubles(answer.into());
        if let Some(members) = answer.as_object_mut() {
            members.remove("jti");
        }
        forget_ancestors(answer.as_object_mut());
        Self { answer, token_id: None }
    }

    fn token(mut claims: BTreeMap<String, Value>, scope: &str, expires_in: i64, refresh_in: i64) -> Self {
        let token_id = claims.remove("jti").map(|id| id.as_str().unwrap().to_owned());
        // Each protocol has its own subject token.
        for ancestor in claims.get_mut("m2m_ancestors").and_then(Value::as_array_mut).into_iter().flatten() {
            assert!(ancestor[0].take().is_string());
        }
        // Drawn at random for each token.
        assert!((1..=expires_in).contains(&refresh_in), "{refresh_in} of {expires_in}");
        let answer = json!({ "claims": claims, "scope": scope, "expires_in": expires_in });
        Self { answer, token_id }
    }
}

fn doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(doubles).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, doubles(member))).collect(),
        other => other,
    }
}

/// A rejection.
#[derive(Debug)]
struct Refused {
    code: i32,
    error: String,
    reason: String,
    sentence: String,
    challenge: Option<String>,
}

/// Returns true if a client that may introspect every token sees it as active.
async fn is_active(world: &World, token: &str) -> bool {
    let client = message("auditor", &world.secret).client;
    let request = v1::IntrospectTokenRequest { client, token: token.to_owned() };
    grpc(world).introspect_token(request).await.unwrap().into_inner().active
}

/// The codes of the error reason: over gRPC from its comment; over HTTP from RFC 6749 section 5.2, RFC 8707
/// section 2, RFC 6750 section 3.1, RFC 6585 section 4.
fn codes(reason: ErrorReason) -> (Code, u16, &'static str) {
    match reason {
        CredentialsMissing => (Code::Unauthenticated, 401, "invalid_request"),
        TokenInvalid => (Code::Unauthenticated, 401, "invalid_token"),
        ClientAuthenticationFailed => (Code::Unauthenticated, 401, "invalid_client"),
        ClientNotAuthorized => (Code::PermissionDenied, 400, "unauthorized_client"),
        InvalidRequest | TokenTooLarge | InvalidGrant => (Code::InvalidArgument, 400, "invalid_request"),
        InvalidScope => (Code::InvalidArgument, 400, "invalid_scope"),
        InvalidTarget => (Code::InvalidArgument, 400, "invalid_target"),
        RateLimited => (Code::ResourceExhausted, 429, "temporarily_unavailable"),
        IssuerUnavailable => (Code::Unavailable, 503, "temporarily_unavailable"),
        Internal => (Code::Internal, 500, "server_error"),
        other => panic!("{other:?} is not an answer to these cases"),
    }
}

async fn meets(meets: Meets) -> World {
    match meets {
        Meets::Usual => world().await,
        Meets::SpentLimit => {
            let rate = Some(Rate::every(Duration::from_secs(3600), 1));
            let limits = LimitSettings { peer: rate, keys_max: 10, ..LimitSettings::unlimited() };
            let world = world_with(|settings| settings.limits = limits).await;
            grpc(&world).issue_token(message_of_orders(&world)).await.unwrap();
            world
        }
        Meets::StoreOutOfReach => {
            let world = world().await;
            world.store.set_out_of_reach(true);
            world
        }
        Meets::NoKey => {
            let inventory = "inventory".try_into().unwrap();
            world_with(|settings| {
                settings.terms.algorithm_by_audience.insert(inventory, Algorithm::Rs256);
            })
            .await
        }
    }
}

async fn expect_alike(world: &World, case: &Case) {
    let (grpc, http) = (over_grpc::ask(world, case).await, over_http::ask(world, case).await);
    let claim = format!("{:?}: {}", case.operation, case.claim);
    let Some(reason) = case.refused else {
        let (grpc, http) = (grpc.expect(&claim), http.expect(&claim));
        assert_eq!(grpc.answer, http.answer, "{claim}");
        assert_eq!(grpc.token_id.is_some(), http.token_id.is_some(), "{claim}");
        assert!(grpc.token_id.is_none() || grpc.token_id != http.token_id, "{claim}: one jti twice");
        return;
    };
    let (code, status, error) = codes(reason);
    let (grpc, http) = (grpc.expect_err(&claim), http.expect_err(&claim));
    assert_eq!((grpc.code, grpc.reason.as_str()), (code.into(), reason.as_reason()), "{claim}");
    let answered = (http.code, http.error.as_str(), http.reason.as_str());
    assert_eq!(answered, (status.into(), error, reason.as_reason()), "{claim}");
    assert_eq!(grpc.sentence, http.sentence, "{claim}: the sentences differ");
    assert_eq!(grpc.challenge, http.challenge, "{claim}: the challenges differ");
}

#[tokio::test]
async fn both_faces_answer_every_case_alike() {
    let usual = world().await;
    for case in cases() {
        if case.meets == Meets::Usual {
            expect_alike(&usual, &case).await;
        } else {
            expect_alike(&meets(case.meets).await, &case).await;
        }
    }
}

/// The reason that belongs in the log alone appears in no response, for any request.
#[tokio::test]
async fn every_failed_authentication_gets_the_same_answer() {
    let world = world().await;
    let mut answers = BTreeSet::new();
    for case in cases().into_iter().filter(|case| case.refused == Some(ClientAuthenticationFailed)) {
        let (grpc, http) = (over_grpc::ask(&world, &case).await, over_http::ask(&world, &case).await);
        answers.insert(format!("{:?} {:?}", grpc.unwrap_err(), http.unwrap_err()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

/// Every reason has a case, and every operation has a case of each kind of rejection.
#[tokio::test]
async fn every_reason_of_the_issuer_has_a_case_and_every_operation_its_refusals() {
    // Reasons of verifiers, of the admin API, or of one protocol alone:
    // `http::rfc_6749_section_5_2_unsupported_grant_type`.
    let elsewhere = [
        Unspecified,
        TokenExpired,
        TokenRevoked,
        TokenKeyUnknown,
        TokenAudienceMismatch,
        ScopeInsufficient,
        CallerNotAllowed,
        TokenTooOld,
        MethodNotDeclared,
        UnsupportedGrantType,
        TrustUnavailable,
        NotFound,
        AlreadyExists,
        EtagMismatch,
        PreconditionFailed,
    ];
    let covered: BTreeSet<_> = cases().iter().filter_map(|case| case.refused).map(|reason| reason as i32).collect();
    for reason in (0..200).filter_map(|number| ErrorReason::try_from(number).ok()) {
        let expected = !elsewhere.contains(&reason);
        assert_eq!(covered.contains(&(reason as i32)), expected, "{reason:?}");
    }
    for operation in [Operation::Issue, Operation::Exchange, Operation::Introspect, Operation::Revoke] {
        for reason in [ClientAuthenticationFailed, InvalidRequest, RateLimited, IssuerUnavailable] {
            let found = cases().iter().any(|case| case.operation == operation && case.refused == Some(reason));
            assert!(found, "{operation:?} {reason:?}");
        }
    }
}

/// The subject token of each protocol has an ID of its own.
fn forget_ancestors(claims: Option<&mut serde_json::Map<String, Value>>) {
    let ancestors = claims.and_then(|claims| claims.get_mut("m2m_ancestors")).and_then(Value::as_array_mut);
    for ancestor in ancestors.into_iter().flatten() {
        assert!(ancestor[0].take().is_string());
    }
}
