//! The case as an HTTP request.

use ::http::{Request, header};
use axum::body::Body;
use serde_json::json;

use super::{
    Refused, Told,
    case::{ACCESS_TOKEN, Case, Operation, Sent},
    is_active,
};
use crate::support::{
    World,
    calls::{Answer, basic, claims, send},
};

pub(super) async fn ask(world: &World, case: &Case) -> Result<Told, Refused> {
    let sent = Sent::of(world, case).await;
    let answer = send(world, request(case, &sent)).await;
    if answer.status != 200 {
        return Err(refused(&answer));
    }
    Ok(match case.operation {
        Operation::Issue | Operation::Exchange => {
            let json = answer.json();
            let number = |name: &str| json[name].as_i64().unwrap();
            let exchanged = json.get("issued_token_type").map(|kind| kind.as_str().unwrap());
            assert_eq!(exchanged, (case.operation == Operation::Exchange).then_some(ACCESS_TOKEN));
            assert_eq!(json["token_type"], "Bearer");
            let claims = claims(world, json["access_token"].as_str().unwrap());
            Told::token(claims, json["scope"].as_str().unwrap(), number("expires_in"), number("refresh_in"))
        }
        Operation::Introspect | Operation::UserInfo => Told::of(answer.json()),
        Operation::Revoke => {
            assert!(answer.body.is_empty());
            Told::of(json!({ "active": is_active(world, &sent.token).await }))
        }
    })
}

fn request(case: &Case, sent: &Sent) -> Request<Body> {
    let path = match case.operation {
        Operation::Issue | Operation::Exchange => "/oauth/token",
        Operation::Introspect => "/oauth/introspect",
        Operation::Revoke => "/oauth/revoke",
        Operation::UserInfo => "/userinfo",
    };
    if case.operation == Operation::UserInfo {
        let request = Request::get(path);
        let bearer = (!sent.token.is_empty()).then(|| format!("Bearer {}", sent.token));
        let request = bearer.into_iter().fold(request, |request, bearer| request.header(header::AUTHORIZATION, bearer));
        return request.body(Body::empty()).unwrap();
    }
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some((id, secret)) = &sent.basic {
        let (name, value) = basic(id, secret);
        request = request.header(name, value);
    }
    request.body(Body::from(body(case, sent))).unwrap()
}

fn body(case: &Case, sent: &Sent) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("client_id", &sent.client_id);
    form.extend_pairs(sent.secret.iter().map(|secret| ("client_secret", secret)));
    if let Some((kind, value)) = &sent.assertion {
        form.append_pair("client_assertion_type", kind).append_pair("client_assertion", value);
    }
    match case.operation {
        Operation::Issue => {
            form.append_pair("grant_type", "client_credentials").append_pair("redirect_uri", case.redirect_uri);
        }
        Operation::Exchange => {
            form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
            form.append_pair("subject_token", &sent.token).append_pair("subject_token_type", case.token_type);
            if !sent.actor.is_empty() {
                form.append_pair("actor_token", &sent.actor).append_pair("actor_token_type", ACCESS_TOKEN);
            }
            form.append_pair("requested_token_type", case.requested_token_type);
        }
        Operation::Introspect | Operation::Revoke => {
            form.append_pair("token", &sent.token);
            return form.finish();
        }
        Operation::UserInfo => return form.finish(),
    }
    form.extend_pairs(case.audiences.iter().map(|audience| ("audience", audience)));
    form.extend_pairs(case.resources.iter().map(|resource| ("resource", resource)));
    form.append_pair("scope", &case.scopes.join(" "));
    form.extend_pairs(case.lifetime_seconds.map(|seconds| ("lifetime", seconds.to_string())));
    form.finish()
}

fn refused(answer: &Answer) -> Refused {
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    Refused {
        code: i32::from(answer.status.as_u16()),
        error: text("error"),
        reason: text("reason"),
        sentence: text("error_description"),
        challenge: answer.header(header::WWW_AUTHENTICATE).map(str::to_owned),
    }
}
