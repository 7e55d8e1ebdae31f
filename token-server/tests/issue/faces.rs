//! Every decision through both faces: the same reason, each with the code that its specification gives it.

use token_proto::v1::ErrorReason::{self, *};
use tonic::Code;

use crate::support::{
    World,
    calls::{grpc, message, post, reason},
    world,
};

/// A request in the words that both faces know.
#[derive(Clone, Debug)]
struct Case {
    claim: &'static str,
    client_id: &'static str,
    secret: Option<&'static str>,
    audiences: &'static [&'static str],
    scopes: &'static [&'static str],
    lifetime_seconds: Option<i64>,
    redirect_uri: &'static str,
    refused: Option<ErrorReason>,
}

const GOOD: Case = Case {
    claim: "a good request is granted",
    client_id: "orders",
    secret: None,
    audiences: &[],
    scopes: &[],
    lifetime_seconds: None,
    redirect_uri: "",
    refused: None,
};

fn cases() -> Vec<Case> {
    let refused = |claim, reason| Case { claim, refused: Some(reason), ..GOOD };
    vec![
        GOOD,
        Case { claim: "asked scopes are granted", scopes: &["inventory.write", "inventory.read"], ..GOOD },
        Case { claim: "an audience by name", audiences: &["inventory"], ..GOOD },
        Case { claim: "a repeated audience counts once", audiences: &["inventory", "inventory"], ..GOOD },
        Case { claim: "a shorter lifetime", lifetime_seconds: Some(30), ..GOOD },
        Case { claim: "a registered redirect_uri", redirect_uri: "https://client.example/done", ..GOOD },
        Case { client_id: "stranger", ..refused("unknown client", ClientAuthenticationFailed) },
        Case { secret: Some("wrong"), ..refused("wrong secret", ClientAuthenticationFailed) },
        Case { client_id: "disabled", ..refused("disabled client", ClientAuthenticationFailed) },
        Case { client_id: "expired", ..refused("expired credential", ClientAuthenticationFailed) },
        Case { client_id: "no-credentials", ..refused("client without credentials", ClientAuthenticationFailed) },
        Case { client_id: "line\nbreak", ..refused("impossible client ID", ClientAuthenticationFailed) },
        Case { secret: Some(""), ..refused("no secret", ClientAuthenticationFailed) },
        Case { client_id: "", ..refused("a secret without a client ID", InvalidRequest) },
        Case { client_id: "nothing", ..refused("client without grants", ClientNotAuthorized) },
        Case { audiences: &["billing"], ..refused("unregistered audience", InvalidTarget) },
        Case { audiences: &["inventory", "billing"], ..refused("one unregistered audience of two", InvalidTarget) },
        Case { audiences: &["a b"], ..refused("impossible audience", InvalidTarget) },
        Case { client_id: "several", ..refused("several audiences and none named", InvalidTarget) },
        Case { scopes: &["inventory.read", "admin"], ..refused("unregistered scope", InvalidScope) },
        Case { scopes: &["in\"valid"], ..refused("impossible scope", InvalidScope) },
        Case { client_id: "no-defaults", ..refused("no scope asked and no defaults", InvalidScope) },
        Case {
            client_id: "several",
            audiences: &["https://a.example/api", "https://b.example/api"],
            scopes: &["only-a"],
            ..refused("a scope of only one of two audiences", InvalidScope)
        },
        Case { lifetime_seconds: Some(0), ..refused("no lifetime at all", InvalidRequest) },
        Case { lifetime_seconds: Some(-1), ..refused("a negative lifetime", InvalidRequest) },
        Case { redirect_uri: "https://evil.example", ..refused("unregistered redirect_uri", InvalidRequest) },
        Case { client_id: "oversize", ..refused("token over the header budget", TokenTooLarge) },
    ]
}

/// What RFC 6749 section 5.2 and RFC 8707 section 2 say, and what the error reason's comment says over gRPC.
fn codes(reason: ErrorReason) -> (Code, u16, &'static str) {
    match reason {
        ClientAuthenticationFailed => (Code::Unauthenticated, 401, "invalid_client"),
        ClientNotAuthorized => (Code::PermissionDenied, 400, "unauthorized_client"),
        InvalidRequest | TokenTooLarge => (Code::InvalidArgument, 400, "invalid_request"),
        InvalidScope => (Code::InvalidArgument, 400, "invalid_scope"),
        InvalidTarget => (Code::InvalidArgument, 400, "invalid_target"),
        other => panic!("{other:?} is not an answer to these cases"),
    }
}

#[tokio::test]
async fn both_faces_answer_every_case_alike() {
    let world = world().await;
    for case in cases() {
        let (grpc, http) = (over_grpc(&world, &case).await, over_http(&world, &case).await);
        match case.refused {
            None => {
                assert_eq!(grpc.as_ref().unwrap(), http.as_ref().unwrap(), "{}", case.claim);
            }
            Some(reason) => {
                let (code, status, error) = codes(reason);
                let name = reason.as_reason().to_owned();
                let (grpc, http) = (grpc.unwrap_err(), http.unwrap_err());
                assert_eq!((grpc.0, &grpc.1), (code, &name), "{}", case.claim);
                assert_eq!((http.0, &*http.1, &http.2), (status, error, &name), "{}", case.claim);
                assert_eq!(grpc.2, http.3, "{}: the sentences differ", case.claim);
            }
        }
    }
}

/// Audiences, scopes, lifetime in seconds.
type Granted = (Vec<String>, Vec<String>, i64);

async fn over_grpc(world: &World, case: &Case) -> Result<Granted, (Code, String, String)> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut request = message(case.client_id, case.secret.unwrap_or(&world.secret));
    request.audiences = owned(case.audiences);
    request.scopes = owned(case.scopes);
    request.lifetime = case.lifetime_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    request.redirect_uri = case.redirect_uri.to_owned();
    let issued = grpc(world).issue_token(request).await.map_err(|status| {
        let (code, reason) = reason(&status);
        (code, reason, status.message().replace('"', "?"))
    })?;
    let token = issued.into_inner().token.unwrap();
    Ok((token.audiences, token.scopes, token.expires_in.unwrap().seconds))
}

async fn over_http(world: &World, case: &Case) -> Result<Granted, (u16, String, String, String)> {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.append_pair("grant_type", "client_credentials");
    body.append_pair("client_id", case.client_id);
    body.append_pair("client_secret", case.secret.unwrap_or(&world.secret));
    body.extend_pairs(case.audiences.iter().map(|audience| ("audience", audience)));
    body.append_pair("scope", &case.scopes.join(" "));
    body.extend_pairs(case.lifetime_seconds.map(|seconds| ("lifetime", seconds.to_string())));
    body.append_pair("redirect_uri", case.redirect_uri);
    let answer = post(world, &body.finish()).await;
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    if answer.status != 200 {
        return Err((answer.status.as_u16(), text("error"), text("reason"), text("error_description")));
    }
    let claims = crate::support::calls::claims(world, &text("access_token"));
    let audiences = match &claims["aud"] {
        serde_json::Value::String(one) => vec![one.clone()],
        several => several.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
    };
    let scopes = text("scope").split(' ').map(str::to_owned).collect();
    Ok((audiences, scopes, json["expires_in"].as_i64().unwrap()))
}

/// The reason that only the log may tell is nowhere in the answer.
#[tokio::test]
async fn every_failed_authentication_gets_the_same_answer() {
    let world = world().await;
    let mut answers = std::collections::BTreeSet::new();
    for case in cases().into_iter().filter(|case| case.refused == Some(ClientAuthenticationFailed)) {
        let mut grpc = over_grpc(&world, &case).await.unwrap_err();
        grpc.2.clear();
        answers.insert(format!("{grpc:?} {:?}", over_http(&world, &case).await.unwrap_err()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}
