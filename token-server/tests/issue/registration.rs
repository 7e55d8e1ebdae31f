//! Clients that register themselves. RFC 7591, RFC 7592.

use std::time::Duration;

use ::http::{Method, Request, header};
use axum::body::Body;
use serde_json::{Map, Value, json};
use token_interceptor::{
    clock::Clock as _,
    signature::{Algorithm, SigningKey},
};
use token_issuer::{
    admin::{ClientDraft, ClientField, ClientUpdate, GrantDraft, Operator},
    store::ClientStore as _,
};

use crate::support::{
    World,
    calls::{Answer, basic, form, get, send},
    registration::{INITIAL, KEYS_ONLY, manage, register, registered, request},
    world, world_with,
};

async fn registering() -> World {
    world_with(|settings| settings.registration = true).await
}

fn key() -> Value {
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    serde_json::from_str(&SigningKey::from_der(Algorithm::Es256, &der).unwrap().public_jwk().to_json()).unwrap()
}

fn text<'a>(registration: &'a Map<String, Value>, name: &str) -> &'a str {
    registration[name].as_str().unwrap_or_else(|| panic!("{name}: {registration:?}"))
}

/// A token request with the client's secret.
async fn token(world: &World, registration: &Map<String, Value>) -> Answer {
    let credentials = basic(text(registration, "client_id"), text(registration, "client_secret"));
    send(world, form("grant_type=client_credentials&audience=inventory", &[credentials])).await
}

#[tokio::test]
async fn rfc_7591_section_3_the_endpoint_is_there_and_in_the_metadata_only_where_it_is_on() {
    let (off, on) = (world().await, registering().await);
    let document = "/.well-known/oauth-authorization-server";
    assert!(!get(&off, document).await.json().contains_key("registration_endpoint"));
    assert_eq!(register(&off, INITIAL, &json!({})).await.status, 404);
    let endpoint = get(&on, document).await.json()["registration_endpoint"].clone();
    assert_eq!(endpoint, "https://issuer.example/oauth/register");
    assert_eq!(register(&on, INITIAL, &json!({})).await.status, 201);
}

#[tokio::test]
async fn rfc_7591_section_3_1_registering_takes_a_live_initial_token() {
    let world = registering().await;
    let metadata = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key()]}});
    assert_eq!(register(&world, KEYS_ONLY, &metadata).await.status, 201);
    world.clock.advance(Duration::from_secs(3600));
    for token in [KEYS_ONLY, &INITIAL[1..], &world.secret, "x"] {
        let answer = register(&world, token, &metadata).await;
        assert_eq!(answer.error(), (401, "invalid_token".to_owned()), "{token}");
        assert!(answer.header(header::WWW_AUTHENTICATE).unwrap().starts_with("Bearer error=\"invalid_token\""));
    }
    let nothing = Request::post("/oauth/register").header(header::CONTENT_TYPE, "application/json");
    let answer = send(&world, nothing.body(Body::from("{}")).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::WWW_AUTHENTICATE)), (401, Some("Bearer")));
}

#[tokio::test]
async fn rfc_7591_section_3_2_1_the_answer_has_all_that_is_registered_and_is_never_cached() {
    let world = registering().await;
    let wanted = json!({
        "client_name": "Orders", "scope": "inventory.read", "software_id": "orders", "software_version": "1.2",
        "client_uri": "https://orders.example", "redirect_uris": ["https://orders.example/done"],
        "token_endpoint_auth_method": "client_secret_post", "grant_types": ["client_credentials"],
    });
    let answer = register(&world, INITIAL, &wanted).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::CACHE_CONTROL)), (201, Some("no-store")));
    let told = answer.json();
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&told[name], value, "{name}");
    }
    let issued_at = world.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(told["client_id_issued_at"], issued_at);
    assert_eq!(told["client_secret_expires_at"], issued_at + 7200);
    let uri = format!("https://issuer.example/oauth/register/{}", text(&told, "client_id"));
    assert_eq!(text(&told, "registration_client_uri"), uri);
    assert!(text(&told, "client_secret").starts_with("tks_"));
    assert_eq!(token(&world, &told).await.json()["scope"], "inventory.read");
}

#[tokio::test]
async fn rfc_7591_section_2_what_is_left_out_has_its_default() {
    let world = registering().await;
    let told = registered(&world, &json!({"client_name": "", "scope": null})).await;
    assert_eq!(told["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(told["grant_types"], json!(["client_credentials"]));
    assert_eq!(told["response_types"], json!([]));
    assert_eq!(told["scope"], "inventory.read inventory.write warehouse.read");
    assert!(!told.contains_key("client_name") && !told.contains_key("jwks"));
}

#[tokio::test]
async fn rfc_7591_section_2_unknown_metadata_are_ignored() {
    let world = registering().await;
    let wanted = json!({
        "client_id": "admin", "client_secret": "mine", "client_name#de": "Aufträge", "logo_uri": 5, "tos_uri": "x",
        "may_impersonate": true, "disabled": true, "grants": [{"audience": "m2m.admin.v1"}], "claims": {"sub": "x"},
    });
    let told = registered(&world, &wanted).await;
    assert_ne!(told["client_id"], "admin");
    let client = world.admin.get(text(&told, "client_id")).await.unwrap();
    assert!(!client.may_impersonate && !client.disabled && client.claims.is_empty());
    assert_eq!(
        client.grants.iter().map(|grant| grant.audience.as_str()).collect::<Vec<_>>(),
        ["inventory", "warehouse"]
    );
}

#[tokio::test]
async fn rfc_7591_section_3_2_2_each_refusal_has_its_code() {
    let world = registering().await;
    let unnamed = |mut key: Value| {
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    let (bad, redirect) = ("invalid_client_metadata", "invalid_redirect_uri");
    let with_key = |keys: Value| json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": keys}});
    let cases = [
        (json!({"redirect_uris": ["not a URI"]}), redirect),
        (json!({"redirect_uris": ["https://a.example/#fragment"]}), redirect),
        (json!({"redirect_uris": ["http://a.example/done"]}), redirect),
        (json!({"redirect_uris": "https://a.example"}), bad),
        (json!({"token_endpoint_auth_method": "none"}), bad),
        (json!({"token_endpoint_auth_method": 1}), bad),
        (json!({"token_endpoint_auth_method": "private_key_jwt"}), bad),
        (json!({"jwks": {"keys": [key()]}}), bad),
        (with_key(json!([])), bad),
        (with_key(json!([{"kty": "oct", "k": "AAAA"}])), bad),
        (with_key(json!([unnamed(key()), unnamed(key())])), bad),
        (with_key(json!([key(), key(), key()])), bad),
        (json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://a.example/jwks"}), bad),
        (json!({"jwks": {"keys": [key()]}, "jwks_uri": "https://a.example/jwks"}), bad),
        (json!({"grant_types": ["authorization_code"]}), bad),
        (json!({"response_types": ["code"]}), bad),
        (json!({"scope": "inventory.read admin"}), bad),
        (json!({"scope": ["inventory.read"]}), bad),
        (json!({"client_name": "a\u{7}b"}), bad),
        (json!({"client_uri": "javascript:alert(1)"}), bad),
        (json!({"software_id": "x".repeat(257)}), bad),
        (json!({"software_statement": "a.b.c"}), "unapproved_software_statement"),
    ];
    for (wanted, code) in cases {
        let answer = register(&world, INITIAL, &wanted).await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{wanted}: {answer:?}");
        assert!(!answer.json().contains_key("client_id"));
    }
}

#[tokio::test]
async fn what_the_initial_access_token_does_not_allow_is_refused() {
    let world = registering().await;
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let by_key = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key()]}});
    let mut exchanging = by_key.clone();
    exchanging["grant_types"] = json!([exchange]);
    assert_eq!(register(&world, KEYS_ONLY, &by_key).await.status, 201);
    for wanted in [json!({}), exchanging.clone()] {
        assert_eq!(register(&world, KEYS_ONLY, &wanted).await.error().1, "invalid_client_metadata", "{wanted}");
    }
    assert_eq!(register(&world, INITIAL, &exchanging).await.json()["grant_types"], json!([exchange]));
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_and_a_huge_one_cut_off() {
    let world = registering().await;
    let huge = format!(r#"{{"client_name":"{}"}}"#, "x".repeat(100_000));
    for (body, status) in [("[]", 400), ("{", 400), (r#"{"scope":"a","scope":"b"}"#, 400), (&*huge, 413)] {
        let mut request = request(Method::POST, "/oauth/register", INITIAL, &json!({}));
        *request.body_mut() = Body::from(body.to_owned());
        assert_eq!(send(&world, request).await.error(), (status, "invalid_request".to_owned()));
    }
    let mut as_form = request(Method::POST, "/oauth/register", INITIAL, &json!({}));
    as_form.headers_mut().insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(send(&world, as_form).await.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn an_initial_access_token_registers_so_many_clients_and_no_more() {
    let world = registering().await;
    for n in 0..20 {
        // The token's own limit is 15 clients. A rejection counts against the hourly limit too.
        let expected = if n < 15 { 201 } else { 403 };
        assert_eq!(register(&world, INITIAL, &json!({})).await.status, expected, "{n}");
    }
    let answer = register(&world, INITIAL, &json!({})).await;
    assert_eq!(answer.error(), (429, "temporarily_unavailable".to_owned()));
    assert!(answer.header(header::RETRY_AFTER).is_some());
}

#[tokio::test]
async fn rfc_7592_section_2_1_only_the_client_reads_its_registration() {
    let world = registering().await;
    let (told, other) = (registered(&world, &json!({"client_name": "A"})).await, registered(&world, &json!({})).await);
    let mut expected = told.clone();
    expected.remove("client_secret");
    let answer = manage(&world, Method::GET, &told, &json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    let mut foreign = told.clone();
    foreign["registration_access_token"] = other["registration_access_token"].clone();
    let mut unknown = told.clone();
    unknown["registration_client_uri"] = json!("https://issuer.example/oauth/register/stranger");
    let mut not_registering = told.clone();
    not_registering["registration_client_uri"] = json!("https://issuer.example/oauth/register/orders");
    for wrong in [foreign, unknown, not_registering] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = manage(&world, method, &wrong, &json!({})).await;
            assert_eq!(answer.error(), (401, "invalid_token".to_owned()), "{wrong:?}");
        }
    }
}

#[tokio::test]
async fn rfc_7592_section_2_2_a_change_replaces_all_of_it_and_the_token() {
    let world = registering().await;
    let told = registered(&world, &json!({"client_name": "A", "software_id": "a", "scope": "inventory.read"})).await;
    let wanted = json!({"client_id": told["client_id"], "client_name": "B"});
    let changed = manage(&world, Method::PUT, &told, &wanted).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!((&changed["client_name"], changed.get("software_id")), (&json!("B"), None));
    assert_eq!(changed["scope"], "inventory.read inventory.write warehouse.read");
    // The secret still has its whole lifetime, so it stays.
    assert!(!changed.contains_key("client_secret"));
    assert_eq!(token(&world, &told).await.status, 200);
    // RFC 7592 section 3: the previous token is no longer valid.
    assert_eq!(manage(&world, Method::GET, &told, &json!({})).await.error().1, "invalid_token");
    assert_eq!(manage(&world, Method::GET, &changed, &json!({})).await.status, 200);
}

#[tokio::test]
async fn rfc_7592_section_2_2_what_only_the_server_says_is_refused() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let id = &told["client_id"];
    for wanted in [
        json!({}),
        json!({"client_id": "another"}),
        json!({"client_id": id, "client_secret": "another"}),
        json!({"client_id": id, "registration_access_token": "x"}),
        json!({"client_id": id, "registration_client_uri": "x"}),
        json!({"client_id": id, "client_secret_expires_at": 0}),
        json!({"client_id": id, "client_id_issued_at": 0}),
    ] {
        let answer = manage(&world, Method::PUT, &told, &wanted).await;
        assert_eq!(answer.error(), (400, "invalid_client_metadata".to_owned()), "{wanted}");
    }
    assert_eq!(manage(&world, Method::GET, &told, &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_secret_in_the_second_half_of_its_life_is_joined_by_the_next() {
    let world = registering().await;
    let first = registered(&world, &json!({})).await;
    world.clock.advance(Duration::from_secs(3600));
    let wanted = json!({"client_id": first["client_id"]});
    let second = manage(&world, Method::PUT, &first, &wanted).await.json();
    for registration in [&first, &second] {
        assert_eq!(token(&world, registration).await.status, 200);
    }
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(token(&world, &first).await.status, 401);
    assert_eq!(token(&world, &second).await.status, 200);
}

#[tokio::test]
async fn another_method_takes_the_credentials_of_the_former_away() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let wanted = json!({
        "client_id": told["client_id"], "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key()]},
    });
    let changed = manage(&world, Method::PUT, &told, &wanted).await.json();
    assert_eq!(changed["jwks"], wanted["jwks"]);
    assert!(!changed.contains_key("client_secret_expires_at"));
    assert_eq!(token(&world, &told).await.status, 401);
    let back = manage(&world, Method::PUT, &changed, &json!({"client_id": told["client_id"]})).await.json();
    assert!(!back.contains_key("jwks"));
    assert_eq!(token(&world, &back).await.status, 200);
}

#[tokio::test]
async fn rfc_7592_section_2_3_a_deleted_client_is_gone_and_so_are_its_tokens() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let access_token = token(&world, &told).await.json()["access_token"].as_str().unwrap().to_owned();
    let deleted = manage(&world, Method::DELETE, &told, &json!({})).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    assert_eq!(token(&world, &told).await.status, 401);
    assert_eq!(manage(&world, Method::GET, &told, &json!({})).await.error().1, "invalid_token");
    let question = format!("token={access_token}");
    let mut request = form(&question, &[basic("auditor", &world.secret)]);
    *request.uri_mut() = "/oauth/introspect".parse().unwrap();
    assert_eq!(send(&world, request).await.json()["active"], false);
}

/// This replica has not received the other replica's change yet, and has the old client.
#[tokio::test]
async fn a_registration_token_that_another_replica_has_replaced_deletes_nothing() {
    let world = registering().await;
    let (told, other) = (registered(&world, &json!({})).await, registered(&world, &json!({})).await);
    assert_eq!(manage(&world, Method::GET, &told, &json!({})).await.status, 200);
    let stored = async |told| world.store.client(&text(told, "client_id").try_into().unwrap()).await.unwrap();
    let mut changed = stored(&told).await.unwrap();
    let other = stored(&other).await.unwrap();
    changed.registration.as_mut().unwrap().token = other.registration.unwrap().token;
    world.store.update_client(&changed, None).await.unwrap();

    assert_eq!(manage(&world, Method::DELETE, &told, &json!({})).await.error(), (401, "invalid_token".to_owned()));
    assert!(stored(&told).await.is_some());
    let records = world.store.records();
    assert!(records.iter().all(|made| made.action != "DeleteRegistration"), "{records:?}");
}

#[tokio::test]
async fn what_an_operator_took_away_a_client_does_not_get_back() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let id = text(&told, "client_id").to_owned();
    let grant = GrantDraft {
        audience: "inventory".to_owned(),
        scopes: vec!["inventory.read".to_owned()],
        default_scopes: Vec::new(),
    };
    let draft = ClientDraft { client_id: id.clone(), grants: vec![grant], ..ClientDraft::default() };
    let update = ClientUpdate { draft, fields: vec![ClientField::Grants], ..ClientUpdate::default() };
    world.admin.update(&Operator::local("test"), &update).await.unwrap();
    let more = json!({"client_id": id, "scope": "inventory.write"});
    assert_eq!(manage(&world, Method::PUT, &told, &more).await.error().1, "invalid_client_metadata");
    let changed = manage(&world, Method::PUT, &told, &json!({"client_id": id})).await.json();
    assert_eq!(changed["scope"], "inventory.read");
}

#[tokio::test]
async fn a_disabled_client_does_not_manage_itself() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let draft =
        ClientDraft { client_id: text(&told, "client_id").to_owned(), disabled: true, ..ClientDraft::default() };
    let update = ClientUpdate { draft, fields: vec![ClientField::Disabled], ..ClientUpdate::default() };
    world.admin.update(&Operator::local("test"), &update).await.unwrap();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(manage(&world, method, &told, &json!({})).await.error(), (403, "access_denied".to_owned()));
    }
}

#[tokio::test]
async fn every_change_is_on_record_with_who_made_it() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let id = text(&told, "client_id");
    let changed = manage(&world, Method::PUT, &told, &json!({"client_id": id})).await.json();
    manage(&world, Method::DELETE, &changed, &json!({})).await;
    let records = world.store.records();
    let made: Vec<_> = records.iter().map(|made| (made.actor.as_str(), made.action.as_str())).collect();
    let expected = [("registration:any", "RegisterClient"), (id, "UpdateRegistration"), (id, "DeleteRegistration")];
    assert_eq!(made, expected);
    assert!(records.iter().all(|made| made.resource == id && made.request_id.is_some()));
}

#[tokio::test]
async fn secrets_and_tokens_are_stored_as_hashes() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let client = world.admin.get(text(&told, "client_id")).await.unwrap();
    let stored = serde_json::to_string(&client).unwrap();
    for secret in ["client_secret", "registration_access_token"] {
        assert!(!stored.contains(text(&told, secret)), "{secret}");
        assert!(!format!("{client:?}").contains(text(&told, secret)), "{secret}");
    }
}

#[tokio::test]
async fn other_methods_are_405_and_told_which_ones_there_are() {
    let world = registering().await;
    for (path, methods) in
        [("/oauth/register", "POST, OPTIONS"), ("/oauth/register/x", "GET, HEAD, PUT, DELETE, OPTIONS")]
    {
        let answer = send(&world, request(Method::PATCH, path, INITIAL, &json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.header(header::ALLOW)), (405, Some(methods)));
    }
}

#[tokio::test]
async fn rfc_7592_section_2_2_a_change_may_repeat_the_current_secret() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let same = json!({"client_id": told["client_id"], "client_secret": told["client_secret"]});
    assert_eq!(manage(&world, Method::PUT, &told, &same).await.status, 200);
    assert_eq!(token(&world, &told).await.status, 200);
}

/// An operator's change of a field.
async fn operate(world: &World, draft: ClientDraft, field: ClientField) {
    let update = ClientUpdate { draft, fields: vec![field], ..ClientUpdate::default() };
    world.admin.update(&Operator::local("test"), &update).await.unwrap();
}

#[tokio::test]
async fn a_field_that_an_operator_has_set_is_only_narrowed() {
    let world = registering().await;
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let (a, b) = ("https://a.example/done", "https://b.example/done");
    let both = json!({"grant_types": ["client_credentials", exchange], "redirect_uris": [a, b], "client_name": "Mine"});
    let told = registered(&world, &both).await;
    let draft = || ClientDraft { client_id: text(&told, "client_id").to_owned(), ..ClientDraft::default() };
    operate(
        &world,
        ClientDraft { grant_types: vec!["client_credentials".to_owned()], ..draft() },
        ClientField::GrantTypes,
    )
    .await;
    operate(&world, ClientDraft { redirect_uris: vec![a.to_owned()], ..draft() }, ClientField::RedirectUris).await;
    operate(&world, ClientDraft { display_name: "Theirs".to_owned(), ..draft() }, ClientField::DisplayName).await;
    operate(&world, draft(), ClientField::JwksUri).await;
    let jwks_uri = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://c.example/jwks"});
    for (back, error) in [
        (json!({"grant_types": ["client_credentials", exchange]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [a, b]}), "invalid_redirect_uri"),
        (jwks_uri, "invalid_client_metadata"),
    ] {
        let mut wanted = back.clone();
        wanted["client_id"] = told["client_id"].clone();
        assert_eq!(manage(&world, Method::PUT, &told, &wanted).await.error().1, error, "{back}");
    }
    let wanted = json!({"client_id": told["client_id"], "redirect_uris": [a], "client_name": "Mine"});
    let changed = manage(&world, Method::PUT, &told, &wanted).await.json();
    assert_eq!((&changed["client_name"], &changed["redirect_uris"]), (&json!("Theirs"), &json!([a])));
    assert_eq!(changed["grant_types"], json!(["client_credentials"]));
}

#[tokio::test]
async fn a_removed_secret_comes_back_only_by_a_new_registration_token() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    let id = text(&told, "client_id");
    let credential = world.admin.get(id).await.unwrap().credentials.remove(0).id;
    let by = Operator::local("test");
    world.admin.remove_credential(&by, id, &credential, false).await.unwrap();
    let wanted = json!({"client_id": id});
    assert_eq!(manage(&world, Method::PUT, &told, &wanted).await.error().1, "invalid_client_metadata");
    let (new, _) = world.admin.replace_registration_token(&by, id, None).await.unwrap();
    assert_eq!(manage(&world, Method::PUT, &told, &wanted).await.error().1, "invalid_token");
    let mut replaced = told.clone();
    replaced["registration_access_token"] = json!(new.expose());
    let changed = manage(&world, Method::PUT, &replaced, &wanted).await.json();
    assert_eq!(token(&world, &changed).await.status, 200);
}

/// A key set at a URL is a credential, as is a key set in its place.
#[tokio::test]
async fn a_removed_credential_does_not_come_back_by_another_method() {
    let by = Operator::local("test");
    let uri = json!("https://orders.example/jwks.json");
    for (clears_jwks_uri, first) in
        [(false, json!({})), (true, json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri}))]
    {
        let world = registering().await;
        let told = registered(&world, &first).await;
        let id = text(&told, "client_id");
        if clears_jwks_uri {
            let draft = ClientDraft { client_id: id.to_owned(), ..ClientDraft::default() };
            let update = ClientUpdate { draft, fields: vec![ClientField::JwksUri], ..ClientUpdate::default() };
            world.admin.update(&by, &update).await.unwrap();
        } else {
            let credential = world.admin.get(id).await.unwrap().credentials.remove(0).id;
            world.admin.remove_credential(&by, id, &credential, false).await.unwrap();
        }
        let key_jwt = |keys: &str, value: Value| json!({"client_id": id, "token_endpoint_auth_method": "private_key_jwt", keys: value});
        for wanted in [
            json!({"client_id": id}),
            json!({"client_id": id, "token_endpoint_auth_method": "client_secret_post"}),
            key_jwt("jwks_uri", uri.clone()),
            key_jwt("jwks_uri", json!("https://other.example/jwks.json")),
            key_jwt("jwks", json!({"keys": [key()]})),
        ] {
            let refused = manage(&world, Method::PUT, &told, &wanted).await.error();
            assert_eq!(refused.1, "invalid_client_metadata", "{wanted}");
        }
        let (new, _) = world.admin.replace_registration_token(&by, id, None).await.unwrap();
        let mut replaced = told.clone();
        replaced["registration_access_token"] = json!(new.expose());
        assert_eq!(manage(&world, Method::PUT, &replaced, &key_jwt("jwks_uri", uri.clone())).await.status, 200);
    }
}

#[tokio::test]
async fn a_registration_access_token_expires() {
    let world = registering().await;
    let told = registered(&world, &json!({})).await;
    assert_eq!(
        told["registration_access_token_expires_at"].as_u64(),
        told["client_id_issued_at"].as_u64().map(|at| at + 86_400)
    );
    world.clock.advance(Duration::from_secs(86_399));
    assert_eq!(manage(&world, Method::GET, &told, &json!({})).await.status, 200);
    world.clock.advance(Duration::from_secs(1));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(manage(&world, method, &told, &json!({})).await.error(), (401, "invalid_token".to_owned()));
    }
}

#[tokio::test]
async fn an_initial_access_token_has_so_many_clients_at_once() {
    let world = registering().await;
    let mut last = Map::new();
    // Fewer than the hourly limit, which is another one.
    for _ in 0..15 {
        last = registered(&world, &json!({})).await;
    }
    assert_eq!(register(&world, INITIAL, &json!({})).await.error(), (403, "access_denied".to_owned()));
    assert_eq!(manage(&world, Method::DELETE, &last, &json!({})).await.status, 204);
    registered(&world, &json!({})).await;
}
