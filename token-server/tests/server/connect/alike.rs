//! Every method answers alike over gRPC, gRPC-Web, and Connect in both encodings.

use std::{collections::BTreeSet, sync::Arc};

use prost_reflect::MethodDescriptor;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use token_interceptor::test_util::FakeClock;
use token_server::development::{Development, RunningDevelopment};

use super::{
    calls::{Answer, Over, call, methods, pool},
    table::{By, rows},
};
use crate::harness::{development, issue};

const ALL: [Over; 4] = [Over::Grpc, Over::GrpcWeb, Over::Json, Over::Proto];

/// Members whose values differ on every server.
const OWN: [&str; 18] = [
    "prefix",
    "value",
    "tokenId",
    "jti",
    "refreshAfter",
    "maxAge",
    "etag",
    "clientSecret",
    "credentialId",
    "keyId",
    "key",
    "jwk",
    "x",
    "y",
    "requestId",
    "resource",
    "nextPageToken",
    "details",
];

fn unary() -> Vec<(String, MethodDescriptor)> {
    let is_unary = |method: &MethodDescriptor| !method.is_client_streaming() && !method.is_server_streaming();
    methods(&pool()).into_iter().filter(|(_, method)| is_unary(method)).collect()
}

/// Replaces what differs on every server. The form of a value stays.
fn common(value: Value, issuer: &str) -> Value {
    match value {
        Value::String(text) => text.replace(issuer, "ISSUER").into(),
        Value::Array(items) => items.into_iter().map(|item| common(item, issuer)).collect(),
        Value::Object(members) => {
            let own = |value: &Value| if value.is_string() { json!("OWN") } else { common(value.clone(), issuer) };
            let members = members.into_iter().map(|(name, value)| {
                let value = if OWN.contains(&&*name) { own(&value) } else { common(value, issuer) };
                (name, value)
            });
            members.collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Calls every method on a server of its own.
async fn walk(over: Over) -> Vec<(&'static str, Answer)> {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(FakeClock::default());
    let dev = Development::open(folder.path(), 0).unwrap().start_at(clock).await.unwrap();
    let secret = dev.example.secret.expose_secret();
    let operator = issue(&dev, &dev.admin.id, dev.admin.secret.expose_secret()).await.unwrap();
    let mut known = vec![("{id}", dev.example.id.clone()), ("{secret}", secret.to_owned())];
    let (mut answers, methods) = (Vec::new(), unary());
    for row in rows() {
        let (_, method) = methods.iter().find(|(path, _)| path == row.path).expect(row.path);
        let mut text = row.message.to_string();
        for (name, value) in &known {
            text = text.replace(name, value);
        }
        let message = serde_json::from_str(&text).unwrap();
        let token = match row.by {
            By::Message => None,
            By::Operator => Some(&operator),
            By::Client => known.iter().find(|(name, _)| *name == "{token}").map(|(_, token)| token),
        };
        let mut answer = call(&dev.server, over, method, &message, token.map(String::as_str)).await;
        assert_eq!(answer.code, row.code, "{over:?} {}: {answer:?}", row.path);
        if let Some((name, place)) = row.keeps {
            known.push((name, answer.told.pointer(place).expect(place).as_str().unwrap().to_owned()));
        }
        answer.told = common(answer.told, dev.server.issuer().as_str());
        answers.push((row.path, answer));
    }
    answers
}

#[tokio::test]
async fn every_unary_method_answers_alike_in_each_protocol() {
    let covered: BTreeSet<String> = rows().iter().map(|row| row.path.to_owned()).collect();
    let all: BTreeSet<String> = unary().into_iter().map(|(path, _)| path).collect();
    assert_eq!(covered, all, "add a row for each new method to tests/server/connect/table.rs");
    let over_grpc = walk(Over::Grpc).await;
    for over in [Over::GrpcWeb, Over::Json, Over::Proto] {
        for (one, other) in over_grpc.iter().zip(walk(over).await) {
            assert_eq!(*one, other, "{over:?}");
        }
    }
}

async fn expect_alike(dev: &RunningDevelopment, message: &Value, token: Option<&str>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (path, method) in unary() {
        let ask = async |over| {
            let answer = call(&dev.server, over, &method, message, token).await;
            Answer { told: common(answer.told, dev.server.issuer().as_str()), ..answer }
        };
        let expected = ask(Over::Grpc).await;
        for over in ALL {
            assert_eq!(ask(over).await, expected, "{over:?} {path}");
        }
        answers.push(expected);
    }
    answers
}

#[tokio::test]
async fn every_refusal_is_the_same_in_each_protocol() {
    let (_folder, dev) = development(|config| config.limits.requests_per_second_per_peer = 0).await;
    let secret = dev.example.secret.expose_secret();
    let foreign = issue(&dev, &dev.example.id, secret).await.unwrap();
    let reason = |answer: &Answer, name: &str| {
        answer.details.first().is_some_and(|detail| {
            use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
            let value = STANDARD_NO_PAD.decode(detail["value"].as_str().unwrap()).unwrap();
            String::from_utf8_lossy(&value).contains(name)
        })
    };
    for (token, name, least) in [
        (None, "CREDENTIALS_MISSING", 13),
        (Some("x.y.z"), "TOKEN_INVALID", 13),
        (Some(&*foreign), "TOKEN_AUDIENCE_MISMATCH", 12),
    ] {
        let answers = expect_alike(&dev, &json!({}), token).await;
        let refused = answers.iter().filter(|answer| reason(answer, name));
        let refused: Vec<_> = refused.inspect(|answer| assert!(answer.challenge.is_some(), "{answer:?}")).collect();
        assert!(refused.len() >= least, "{name}: {}", refused.len());
    }
}
