//! Token exchange, RFC 8693: section by section, over both protocols.

use std::time::Duration;

use serde_json::{Value, json};
use token_issuer::store::ClientStore;
use token_proto::token::v1;
use tonic::Code;

use crate::support::{
    World,
    calls::{Answer, claims, grpc, message, post, reason},
    world,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// A request of `exchanger` on behalf of `caller`, for the defaults.
pub(crate) fn request(world: &World, client_id: &str, subject: &str) -> v1::ExchangeTokenRequest {
    let token = |value: &str| v1::SecurityToken { value: value.to_owned(), r#type: ACCESS_TOKEN.to_owned() };
    v1::ExchangeTokenRequest {
        client: message(client_id, &world.secret).client,
        subject: Some(token(subject)),
        audiences: vec!["inventory".to_owned()],
        ..v1::ExchangeTokenRequest::default()
    }
}

async fn issue(world: &World, client_id: &str, scopes: &[&str]) -> v1::Token {
    let mut request = message(client_id, &world.secret);
    request.audiences = vec!["inventory".to_owned()];
    request.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    grpc(world).issue_token(request).await.unwrap().into_inner().token.unwrap()
}

pub(crate) async fn over_grpc(world: &World, request: v1::ExchangeTokenRequest) -> Result<v1::Token, (Code, String)> {
    let answer = grpc(world).exchange_token(request).await.map_err(|status| reason(&status))?;
    Ok(answer.into_inner().token.unwrap())
}

/// The same request as a form.
pub(crate) async fn over_http(world: &World, request: &v1::ExchangeTokenRequest) -> Answer {
    let client = request.client.clone().unwrap();
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", GRANT).append_pair("client_id", &client.client_id);
    form.append_pair("client_secret", &world.secret);
    for (name, token) in [("subject_token", &request.subject), ("actor_token", &request.actor)] {
        if let Some(token) = token {
            form.append_pair(name, &token.value).append_pair(&format!("{name}_type"), &token.r#type);
        }
    }
    form.append_pair("requested_token_type", &request.requested_token_type);
    form.extend_pairs(request.audiences.iter().map(|audience| ("audience", audience)));
    form.append_pair("scope", &request.scopes.join(" "));
    form.extend_pairs(request.lifetime.map(|lifetime| ("lifetime", lifetime.seconds.to_string())));
    post(world, &form.finish()).await
}

/// Expects success over both protocols, with equal claims except those that differ in every token.
pub(crate) async fn granted(
    world: &World,
    request: v1::ExchangeTokenRequest,
) -> std::collections::BTreeMap<String, Value> {
    let http = over_http(world, &request).await;
    assert_eq!(http.status, 200, "{}", String::from_utf8_lossy(&http.body));
    let mut http = claims(world, http.json()["access_token"].as_str().unwrap());
    let mut grpc = claims(world, &over_grpc(world, request).await.unwrap().value);
    http.remove("jti");
    grpc.remove("jti");
    assert_eq!(grpc, http, "the faces differ");
    grpc
}

/// Expects the same rejection over both protocols.
pub(crate) async fn refused(
    world: &World,
    request: v1::ExchangeTokenRequest,
    code: Code,
    why: &str,
    oauth: (u16, &str),
) {
    let http = over_http(world, &request).await;
    assert_eq!(http.error(), (oauth.0, oauth.1.to_owned()), "{why}");
    assert_eq!(http.json()["reason"], why);
    assert_eq!(over_grpc(world, request).await.unwrap_err(), (code, why.to_owned()));
}

#[tokio::test]
async fn rfc_8693_section_4_1_delegation_keeps_the_subject_and_names_the_actor() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    let claims = granted(&world, request(&world, "exchanger", &subject.value)).await;
    assert_eq!(claims["sub"], "caller");
    assert_eq!(claims["client_id"], "exchanger");
    assert_eq!(claims["act"], json!({"sub": "exchanger"}));
    assert_eq!(claims["scope"], "inventory.read");
    assert_eq!(claims["aud"], "inventory");
}

#[tokio::test]
async fn rfc_8693_section_4_1_actors_before_are_inside() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    let first = over_grpc(&world, request(&world, "exchanger", &subject.value)).await.unwrap();
    let claims = granted(&world, request(&world, "second-exchanger", &first.value)).await;
    assert_eq!(claims["sub"], "caller");
    assert_eq!(claims["act"], json!({"sub": "second-exchanger", "act": {"sub": "exchanger"}}));
}

#[tokio::test]
async fn delegation_without_end_is_refused() {
    let world = world().await;
    let mut token = issue(&world, "caller", &[]).await.value;
    for _ in 0..5 {
        token = over_grpc(&world, request(&world, "exchanger", &token)).await.unwrap().value;
    }
    let last = request(&world, "exchanger", &token);
    refused(&world, last, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
}

#[tokio::test]
async fn rfc_8693_section_2_1_actor_token_names_an_actor_behind_the_client() {
    let world = world().await;
    let (subject, actor) = (issue(&world, "caller", &[]).await, issue(&world, "short", &[]).await);
    let actor = Some(v1::SecurityToken { value: actor.value, r#type: ACCESS_TOKEN.to_owned() });
    let claims =
        granted(&world, v1::ExchangeTokenRequest { actor, ..request(&world, "exchanger", &subject.value) }).await;
    assert_eq!(claims["act"], json!({"sub": "exchanger", "act": {"sub": "short"}}));
    // The actor's token lives for a minute, so the new one does not live longer.
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
}

#[tokio::test]
async fn rfc_8693_section_1_1_impersonation_only_where_the_client_may() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    let claims = granted(&world, request(&world, "impersonator", &subject.value)).await;
    assert_eq!(claims["sub"], "caller");
    assert!(!claims.contains_key("act"));
    // The earlier actors stay in the token.
    let delegated = over_grpc(&world, request(&world, "exchanger", &subject.value)).await.unwrap();
    let claims = granted(&world, request(&world, "impersonator", &delegated.value)).await;
    assert_eq!(claims["act"], json!({"sub": "exchanger"}));
}

#[tokio::test]
async fn only_a_client_that_is_registered_for_it_exchanges() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    let by_orders = request(&world, "orders", &subject.value);
    refused(&world, by_orders, Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED", (400, "unauthorized_client")).await;
    // Conversely, a client of token exchange alone gets no token of its own.
    let own = grpc(&world).issue_token(message("exchanger", &world.secret)).await.unwrap_err();
    assert_eq!(reason(&own), (Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED".to_owned()));
}

#[tokio::test]
async fn scopes_only_narrow() {
    let world = world().await;
    let wide = issue(&world, "caller", &["inventory.read", "inventory.write"]).await;
    let narrow = issue(&world, "caller", &["inventory.read"]).await;
    let asking = |subject: &v1::Token, scope: &str| v1::ExchangeTokenRequest {
        scopes: vec![scope.to_owned()],
        ..request(&world, "exchanger", &subject.value)
    };
    assert_eq!(granted(&world, asking(&wide, "inventory.write")).await["scope"], "inventory.write");
    // Scopes beyond the subject token, and beyond the client's registration.
    for (subject, client, scope) in
        [(&narrow, "exchanger", "inventory.write"), (&wide, "second-exchanger", "inventory.write")]
    {
        let beyond =
            v1::ExchangeTokenRequest { client: message(client, &world.secret).client, ..asking(subject, scope) };
        refused(&world, beyond, Code::InvalidArgument, "INVALID_SCOPE", (400, "invalid_scope")).await;
    }
    let common = granted(&world, request(&world, "exchanger", &wide.value)).await;
    assert_eq!(common["scope"], "inventory.read inventory.write");
}

#[tokio::test]
async fn another_audience_only_where_subject_and_client_are_both_registered() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    let asking = |audience: &str| v1::ExchangeTokenRequest {
        audiences: vec![audience.to_owned()],
        ..request(&world, "exchanger", &subject.value)
    };
    let named = v1::ExchangeTokenRequest { scopes: vec!["warehouse.read".to_owned()], ..asking("warehouse") };
    let claims = granted(&world, named).await;
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!("warehouse"), &json!("warehouse.read")));
    // By default, only scopes of the subject token.
    refused(&world, asking("warehouse"), Code::InvalidArgument, "INVALID_SCOPE", (400, "invalid_scope")).await;
    // Only the exchanger has `billing`, and only the subject has `ledger`.
    for audience in ["billing", "ledger", "nowhere"] {
        refused(&world, asking(audience), Code::InvalidArgument, "INVALID_TARGET", (400, "invalid_target")).await;
    }
}

#[tokio::test]
async fn the_new_token_never_outlives_the_subject_token() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    world.clock.advance(Duration::from_secs(200));
    let lifetime = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let claims =
        granted(&world, v1::ExchangeTokenRequest { lifetime, ..request(&world, "exchanger", &subject.value) }).await;
    assert_eq!(claims["exp"].as_i64().unwrap(), subject.expire_time.unwrap().seconds);
}

#[tokio::test]
async fn the_subjects_claims_travel_and_the_clients_do_not_join_them() {
    let world = world().await;
    let subject = issue(&world, "with-claims", &[]).await;
    let claims = granted(&world, request(&world, "exchanger", &subject.value)).await;
    assert_eq!(claims["department"], "sales \"north\"");
    assert!(!claims.contains_key("team"), "the exchanger's own");
}

/// RFC 8693 section 2.2.2: `invalid_request`.
#[tokio::test]
async fn rfc_8693_section_2_2_2_a_token_that_is_not_good_is_not_exchanged() {
    let world = world().await;
    let good = issue(&world, "caller", &[]).await;
    let revoked = issue(&world, "caller", &[]).await;
    let revoke =
        v1::RevokeTokenRequest { client: message("caller", &world.secret).client, token: revoked.value.clone() };
    grpc(&world).revoke_token(revoke).await.unwrap();
    let foreign = issue(&crate::support::world().await, "caller", &[]).await;
    for bad in ["x", "a.b.c", &revoked.value, &foreign.value] {
        let subject = request(&world, "exchanger", bad);
        refused(&world, subject, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
        let actor = Some(v1::SecurityToken { value: bad.to_owned(), r#type: ACCESS_TOKEN.to_owned() });
        let actor = v1::ExchangeTokenRequest { actor, ..request(&world, "exchanger", &good.value) };
        refused(&world, actor, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
    }
    world.clock.advance(Duration::from_secs(300));
    let expired = request(&world, "exchanger", &good.value);
    refused(&world, expired, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
}

#[tokio::test]
async fn rfc_8693_section_2_1_required_parameters_and_types() {
    let world = world().await;
    let good = request(&world, "exchanger", &issue(&world, "caller", &[]).await.value);
    let typed = |kind: &str| Some(v1::SecurityToken { r#type: kind.to_owned(), ..good.subject.clone().unwrap() });
    for bad in [
        v1::ExchangeTokenRequest { subject: None, ..good.clone() },
        v1::ExchangeTokenRequest { subject: typed(""), ..good.clone() },
        v1::ExchangeTokenRequest { subject: typed(ID_TOKEN), ..good.clone() },
        v1::ExchangeTokenRequest { actor: typed(""), ..good.clone() },
        v1::ExchangeTokenRequest { requested_token_type: ID_TOKEN.to_owned(), ..good.clone() },
    ] {
        refused(&world, bad, Code::InvalidArgument, "INVALID_REQUEST", (400, "invalid_request")).await;
    }
    let lone_type = Some(v1::SecurityToken { value: String::new(), r#type: ACCESS_TOKEN.to_owned() });
    let lone_type = v1::ExchangeTokenRequest { actor: lone_type, ..good };
    refused(&world, lone_type, Code::InvalidArgument, "INVALID_REQUEST", (400, "invalid_request")).await;
}

#[tokio::test]
async fn rfc_8693_section_2_2_1_answer_names_the_type_of_the_token() {
    let world = world().await;
    let request = request(&world, "exchanger", &issue(&world, "caller", &[]).await.value);
    let answer = over_http(&world, &request).await;
    assert_eq!(answer.json()["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(over_grpc(&world, request).await.unwrap().issued_token_type, ACCESS_TOKEN);
}

#[tokio::test]
async fn exchange_is_authenticated() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    let client = message("exchanger", "wrong").client;
    let request = v1::ExchangeTokenRequest { client, ..request(&world, "exchanger", &subject.value) };
    let expected = (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned());
    assert_eq!(over_grpc(&world, request).await.unwrap_err(), expected);
}

#[tokio::test]
async fn a_disabled_subject_is_not_acted_for() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await;
    world.store.change("caller", |client| client.disabled = true);
    world.registry.forget(&"caller".try_into().unwrap());
    let request = request(&world, "exchanger", &subject.value);
    refused(&world, request, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
}

async fn active(world: &World, token: &str) -> bool {
    let request =
        v1::IntrospectTokenRequest { client: message("auditor", &world.secret).client, token: token.to_owned() };
    grpc(world).introspect_token(request).await.unwrap().into_inner().active
}

/// Returns a token of `caller`, one derived from it, and one derived from that.
async fn derived(world: &World) -> [v1::Token; 3] {
    let subject = issue(world, "caller", &["inventory.read"]).await;
    let first = over_grpc(world, request(world, "exchanger", &subject.value)).await.unwrap();
    let second = over_grpc(world, request(world, "second-exchanger", &first.value)).await.unwrap();
    [subject, first, second]
}

#[tokio::test]
async fn revoking_a_token_reaches_what_was_derived_from_it() {
    for (revoked, by) in [(0, "caller"), (1, "exchanger")] {
        let world = world().await;
        let tokens = derived(&world).await;
        let token = tokens[revoked].value.clone();
        grpc(&world)
            .revoke_token(v1::RevokeTokenRequest { client: message(by, &world.secret).client, token })
            .await
            .unwrap();
        for (number, token) in tokens.iter().enumerate() {
            assert_eq!(active(&world, &token.value).await, number < revoked, "{number} after {revoked}");
        }
        // It is not exchanged either.
        let again = request(&world, "second-exchanger", &tokens[2].value);
        refused(&world, again, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
    }
}

#[tokio::test]
async fn revoking_a_clients_tokens_reaches_what_was_derived() {
    let operator = token_issuer::admin::Operator::local("test");
    for (client, left) in [("caller", 0), ("exchanger", 1), ("second-exchanger", 2)] {
        let world = world().await;
        let tokens = derived(&world).await;
        world.revoking.revoke_client_tokens(&operator, client, None).await.unwrap();
        for (number, token) in tokens.iter().enumerate() {
            assert_eq!(active(&world, &token.value).await, number < left, "{number} after {client}");
        }
    }
}

#[tokio::test]
async fn a_token_names_what_it_was_derived_from_once_each() {
    let world = world().await;
    let tokens = derived(&world).await;
    assert!(!claims(&world, &tokens[0].value).contains_key("m2m_ancestors"));
    let iat = &claims(&world, &tokens[0].value)["iat"];
    let named = claims(&world, &tokens[2].value)["m2m_ancestors"].clone();
    assert_eq!(named, json!([[tokens[1].token_id, "exchanger", iat], [tokens[0].token_id, "caller", iat]]));
}

/// The request with an actor token.
fn acting(request: v1::ExchangeTokenRequest, actor: &str) -> v1::ExchangeTokenRequest {
    let actor = Some(v1::SecurityToken { value: actor.to_owned(), r#type: ACCESS_TOKEN.to_owned() });
    v1::ExchangeTokenRequest { actor, ..request }
}

async fn no_grant(world: &World, request: v1::ExchangeTokenRequest) {
    refused(world, request, Code::InvalidArgument, "INVALID_GRANT", (400, "invalid_request")).await;
}

/// The sentence of a refusal.
async fn sentence(world: &World, request: &v1::ExchangeTokenRequest) -> String {
    over_http(world, request).await.json()["error_description"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_client_is_the_outermost_actor_for_any_token() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await.value;
    let other = issue(&world, "orders", &[]).await.value;
    for client in ["exchanger", "impersonator"] {
        let claims = granted(&world, acting(request(&world, client, &subject), &other)).await;
        assert_eq!(claims["act"], json!({"sub": client, "act": {"sub": "orders"}}), "{client}");
    }
    // The actor's own actors stand before it, and no actor twice in a row.
    let delegated = over_grpc(&world, request(&world, "exchanger", &other)).await.unwrap().value;
    let claims = granted(&world, acting(request(&world, "exchanger", &subject), &delegated)).await;
    assert_eq!(claims["act"], json!({"sub": "exchanger", "act": {"sub": "orders"}}));
    let claims = granted(&world, acting(request(&world, "second-exchanger", &subject), &delegated)).await;
    let before = json!({"sub": "exchanger", "act": {"sub": "orders"}});
    assert_eq!(claims["act"], json!({"sub": "second-exchanger", "act": before}));
}

#[tokio::test]
async fn the_subject_is_no_actor_of_its_own() {
    let world = world().await;
    let (subject, another) = (issue(&world, "caller", &[]).await.value, issue(&world, "caller", &[]).await.value);
    for actor in [&subject, &another] {
        for client in ["exchanger", "impersonator"] {
            no_grant(&world, acting(request(&world, client, &subject), actor)).await;
        }
    }
}

#[tokio::test]
async fn a_client_exchanges_only_tokens_that_were_meant_for_it() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await.value;
    no_grant(&world, request(&world, "warehouse", &subject)).await;
    let told = sentence(&world, &request(&world, "warehouse", &subject)).await;
    assert!(told.contains("was not issued for this client"), "{told}");
    // The message is the same for a token that was never issued.
    let forged = issue(&crate::support::world().await, "caller", &[]).await.value;
    assert_eq!(sentence(&world, &request(&world, "warehouse", &forged)).await, told);
    let mut named = message("caller", &world.secret);
    (named.audiences, named.scopes) = (vec!["warehouse".to_owned()], vec!["warehouse.read".to_owned()]);
    let named = grpc(&world).issue_token(named).await.unwrap().into_inner().token.unwrap().value;
    let asked = |subject: &str| v1::ExchangeTokenRequest {
        audiences: vec!["warehouse".to_owned()],
        ..request(&world, "warehouse", subject)
    };
    granted(&world, asked(&named)).await;
    // The same holds for an actor token.
    no_grant(&world, acting(asked(&named), &issue(&world, "orders", &[]).await.value)).await;
    // The same holds for a token that was issued to the client itself.
    let own = over_grpc(&world, asked(&named)).await.unwrap().value;
    granted(&world, asked(&own)).await;
}

#[tokio::test]
async fn who_is_deleted_or_disabled_neither_acts_nor_is_acted_for() {
    for (gone, delete) in [("caller", true), ("caller", false), ("second-exchanger", true), ("second-exchanger", false)]
    {
        let world = world().await;
        let subject = issue(&world, "caller", &[]).await.value;
        let first = over_grpc(&world, request(&world, "second-exchanger", &subject)).await.unwrap().value;
        let second = over_grpc(&world, request(&world, "exchanger", &first)).await.unwrap().value;
        let id = gone.try_into().unwrap();
        match delete {
            true => ClientStore::delete_client(&*world.store, &id, None, None).await.unwrap(),
            false => world.store.change(gone, |client| client.disabled = true),
        }
        world.registry.forget(&id);
        // The removed or disabled client is the subject, the client that the token was issued to, an actor
        // within it, or the actor.
        for token in [&first, &second] {
            no_grant(&world, request(&world, "exchanger", token)).await;
            let other = issue(&world, "orders", &[]).await.value;
            no_grant(&world, acting(request(&world, "exchanger", &other), token)).await;
        }
    }
}

#[tokio::test]
async fn a_refusal_says_whether_client_or_subject_lacks_the_right() {
    let world = world().await;
    let subject = issue(&world, "caller", &[]).await.value;
    let asked = async |audience: &str, scope: &str| {
        let (audiences, scopes) = (vec![audience.to_owned()], vec![scope.to_owned()]);
        let request = v1::ExchangeTokenRequest { audiences, scopes, ..request(&world, "exchanger", &subject) };
        sentence(&world, &request).await
    };
    for (audience, scope, told) in [
        ("ledger", "ledger.read", "The client may not have the audience ledger."),
        (
            "billing",
            "billing.read",
            "The subject is registered for none of the client's scopes at the audience billing.",
        ),
        (
            "inventory",
            "inventory.delete",
            "The client may not have the scope inventory.delete at the audience inventory.",
        ),
        ("inventory", "inventory.write", "The subject token does not have the scope inventory.write"),
        (
            "warehouse",
            "warehouse.write",
            "The subject may not have the scope warehouse.write at the audience warehouse.",
        ),
    ] {
        let sentence = asked(audience, scope).await;
        assert!(sentence.starts_with(told), "{sentence}");
    }
}

/// The tokens of a client that may not exchange are not read.
#[tokio::test]
async fn a_client_that_may_not_exchange_learns_nothing_of_a_token() {
    let world = world().await;
    let good = issue(&world, "caller", &[]).await.value;
    let told = sentence(&world, &request(&world, "orders", &good)).await;
    for token in ["x", "a.b.c", &format!("{good}x")] {
        assert_eq!(sentence(&world, &request(&world, "orders", token)).await, told);
    }
}
