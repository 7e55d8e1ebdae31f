//! The audit stream from the view of its reader. It has one event for each decision of every method and every
//! endpoint, with all the fields that identify it. It has none for calls that decide nothing.

use std::{cell::RefCell, collections::BTreeMap, fs, io::Read as _, path::Path};

use http::Request;
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use serde_json::{Map, Value};
use token_proto::{
    POLICY,
    admin::v1::{self as admin, Client, Grant},
    token::v1::{self, ClientAuthentication, client_authentication::Credential},
};
use token_server::envoy::service::auth::v3::{
    AttributeContext, CheckRequest,
    attribute_context::{self, HttpRequest},
    authorization_client::AuthorizationClient,
};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::{
    harness::{create_offline, exchange},
    serve::{Serving, config, line_with},
};

const INITIAL: &str = "an-initial-access-token-of-64-characters-or-so-0123456789abcdef";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Public methods, open to every caller: they decide nothing.
const PUBLIC: [&str; 3] = ["GetIssuer", "ListKeys", "WatchTrust"];

/// The requests by their ID, each with its expected outcome.
type Asked = BTreeMap<String, (String, bool)>;
/// The events of the stream by request ID.
type Events = BTreeMap<String, Vec<Map<String, Value>>>;

/// A server with every deciding service on, and the requests that it received.
struct World {
    _home: tempfile::TempDir,
    serving: Serving,
    channel: Channel,
    proxy: Channel,
    asked: RefCell<Asked>,
}

/// Starts the server. `ext_authz` are further lines of that section.
fn configure(home: &Path, ext_authz: &str) {
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../../token-interceptor/examples/proto");
    let build = token_proto::build::configure().out_dir(home);
    build.compile(&[format!("{protos}/inventory.proto")], &[protos]).unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, INITIAL.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let more = format!(
        r#"
[ext_authz]
address = "127.0.0.1:0"
descriptor_sets = ["{}/token_descriptors.bin"]
{ext_authz}
[registration]
enabled = true
[[registration.initial_access_token]]
name = "build-farm"
sha256 = "{hash}"
expires = "2099-01-01T00:00:00Z"
authentication_methods = ["client_secret_basic"]
[[registration.initial_access_token.grant]]
audience = "inventory"
scopes = ["inventory.read"]
"#,
        home.display()
    );
    fs::write(home.join("a.toml"), config(home) + &more).unwrap();
}

impl World {
    /// Also returns the secret of an administrator.
    async fn start() -> (Self, String) {
        Self::start_with("").await
    }

    async fn start_with(ext_authz: &str) -> (Self, String) {
        let home = tempfile::tempdir().unwrap();
        configure(home.path(), ext_authz);
        let scopes = "m2m.admin.v1=clients.read,clients.write,keys.read,keys.write,audit.read";
        let secret = create_offline(home.path(), "root", scopes);
        let (serving, told) = Serving::start_telling(home.path());
        let channel = Channel::from_shared(serving.issuer.clone()).unwrap().connect().await.unwrap();
        let proxies = told.lines().find(|line| line.contains("decisions for proxies")).unwrap();
        let proxies: Value = serde_json::from_str(proxies).unwrap();
        let proxy = Channel::from_shared(format!("http://{}", proxies["address"].as_str().unwrap())).unwrap();
        let proxy = proxy.connect().await.unwrap();
        (Self { _home: home, serving, channel, proxy, asked: RefCell::default() }, secret)
    }

    fn asks(&self, what: &str, granted: bool) -> String {
        let mut asked = self.asked.borrow_mut();
        let id = format!("request-{}", asked.len());
        asked.insert(id.clone(), (what.to_owned(), granted));
        id
    }

    /// Makes a unary call with its expected outcome.
    async fn call<A: Message + Default>(&self, method: &str, message: &impl Message, bearer: &str, good: bool) -> A {
        let path = POLICY.iter().map(|known| &known.path).find(|path| path.ends_with(&format!("/{method}"))).unwrap();
        let id = self.asks(&snake(method), good);
        let encoded = message.encode_to_vec();
        let frame = [&[0][..], &u32::try_from(encoded.len()).unwrap().to_be_bytes(), &encoded].concat();
        let mut request = Request::post(&**path).header("content-type", "application/grpc").header("te", "trailers");
        request = request.header("x-request-id", &id);
        if !bearer.is_empty() {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Body::new(Full::from(frame).map_err(|never| match never {}))).unwrap();
        let response = self.channel.clone().ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.headers().get("x-request-id").map(|echo| echo.as_bytes()), Some(id.as_bytes()), "{method}");
        let status = Status::from_header_map(response.headers());
        assert_eq!(status.is_none(), good, "{method}: {status:?}");
        if !good {
            return A::default();
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        A::decode(&body[5..]).unwrap()
    }

    /// Makes a request over HTTP, and returns the response.
    fn http(&self, what: &str, request: &str, body: &str, good: bool) -> String {
        let id = self.asks(what, good);
        let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
        let headers = headers.replace('\n', "\r\n");
        let length = body.len();
        let answer = exchange(
            &self.serving.issuer,
            &format!("{line} HTTP/1.1\r\nX-Request-Id: {id}\r\nContent-Length: {length}\r\n{headers}\r\n\r\n{body}"),
        );
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(status < 400, good, "{what}: {answer}");
        assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{what}: {answer}");
        answer
    }

    async fn check(&self, path: &str, bearer: &str, good: bool) {
        let id = self.asks("authorize_call", good);
        let headers = [("x-request-id", &*id), ("authorization", bearer), ("content-type", "application/grpc")];
        let headers = headers.into_iter().filter(|(_, value)| !value.is_empty());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let http = HttpRequest { method: "POST".to_owned(), path: path.to_owned(), headers, header_map: None };
        let request = Some(attribute_context::Request { http: Some(http) });
        let question = CheckRequest { attributes: Some(AttributeContext { request }) };
        let answer = AuthorizationClient::new(self.proxy.clone()).check(question).await.unwrap().into_inner();
        assert_eq!(answer.status.unwrap().code == 0, good, "{path}");
    }

    /// Stops the server. Returns every event by request ID.
    fn events(mut self) -> (Asked, Events) {
        self.serving.signal("-TERM");
        line_with(&mut self.serving.log, "\"stopped\"");
        let mut lines = String::new();
        self.serving.child.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
        let mut events = Events::new();
        for line in lines.lines() {
            let event: Map<String, Value> = serde_json::from_str(line).unwrap();
            events.entry(event["request_id"].as_str().unwrap().to_owned()).or_default().push(event);
        }
        (self.asked.take(), events)
    }
}

fn snake(method: &str) -> String {
    let snake = |letter: char| {
        if letter.is_ascii_uppercase() { format!("_{}", letter.to_ascii_lowercase()) } else { letter.to_string() }
    };
    method.chars().map(snake).collect::<String>().trim_start_matches('_').to_owned()
}

fn client(id: &str, secret: &str) -> Option<ClientAuthentication> {
    Some(ClientAuthentication {
        client_id: id.to_owned(),
        credential: Some(Credential::ClientSecret(secret.to_owned())),
    })
}

fn issue(id: &str, secret: &str, audience: &str) -> v1::IssueTokenRequest {
    let audiences = vec![audience.to_owned()];
    v1::IssueTokenRequest { client: client(id, secret), audiences, ..Default::default() }
}

/// Calls every method of the token service, granted and rejected. Returns the token of `orders`.
async fn tokens(world: &World, secret: &str) -> String {
    let issued: v1::IssueTokenResponse =
        world.call("IssueToken", &issue("orders", secret, "inventory"), "", true).await;
    let token = issued.token.unwrap().value;
    let exchanged = |value: &str| v1::ExchangeTokenRequest {
        client: client("orders", secret),
        subject: Some(v1::SecurityToken { value: value.to_owned(), r#type: ACCESS_TOKEN.to_owned() }),
        audiences: vec!["inventory".to_owned()],
        ..Default::default()
    };
    let answer: v1::ExchangeTokenResponse = world.call("ExchangeToken", &exchanged(&token), "", true).await;
    let spent = answer.token.unwrap().value;
    let (question, revocation) = (
        |secret: &str| v1::IntrospectTokenRequest { client: client("orders", secret), token: token.clone() },
        |secret: &str| v1::RevokeTokenRequest { client: client("orders", secret), token: spent.clone() },
    );
    world.call::<()>("IntrospectToken", &question(secret), "", true).await;
    world.call::<()>("RevokeToken", &revocation(secret), "", true).await;
    world.call::<()>("GetUserInfo", &v1::GetUserInfoRequest {}, &token, true).await;

    world.call::<()>("IssueToken", &issue("orders", "wrong", "inventory"), "", false).await;
    world.call::<()>("ExchangeToken", &exchanged("wrong"), "", false).await;
    world.call::<()>("IntrospectToken", &question("wrong"), "", false).await;
    world.call::<()>("RevokeToken", &revocation("wrong"), "", false).await;
    world.call::<()>("GetUserInfo", &v1::GetUserInfoRequest {}, "wrong", false).await;
    token
}

/// Calls every method of the admin services, successful and rejected.
async fn administration(world: &World, root: &str) {
    let about = |id: &str| Client { client_id: id.to_owned(), ..Default::default() };
    let made = admin::CreateClientRequest { client: Some(about("robot")), ..Default::default() };
    let changed = Client { display_name: "Robot".to_owned(), ..about("robot") };
    let changed = admin::UpdateClientRequest { client: Some(changed), ..Default::default() };
    let id = || "robot".to_owned();
    let secret = admin::AddCredentialRequest { client_id: id(), ..Default::default() };
    let revoked = admin::RevokeClientTokensRequest { client_id: id(), issued_before_time: None };
    let algorithm = admin::RotateSigningKeyRequest { algorithm: "ES256".to_owned() };
    let json = format!("POST /oauth/register\nAuthorization: Bearer {INITIAL}\nContent-Type: application/json");
    let registered = world.http("register_client", &json, "{}", true);
    let registered: Map<String, Value> = serde_json::from_str(registered.split_once("\r\n\r\n").unwrap().1).unwrap();
    let registered = text(&registered, "client_id").to_owned();
    for good in [true, false] {
        let bearer = if good { root } else { "" };
        world.call::<()>("CreateClient", &made, bearer, good).await;
        world.call::<()>("GetClient", &admin::GetClientRequest { client_id: id() }, bearer, good).await;
        world.call::<()>("ListClients", &admin::ListClientsRequest::default(), bearer, good).await;
        world.call::<()>("UpdateClient", &changed, bearer, good).await;
        let added: admin::AddCredentialResponse = world.call("AddCredential", &secret, bearer, good).await;
        let credential_id = added.credential.unwrap_or_default().credential_id;
        let removed = admin::RemoveCredentialRequest { client_id: id(), credential_id, revoke_tokens: false };
        world.call::<()>("RemoveCredential", &removed, bearer, good).await;
        world.call::<()>("RevokeClientTokens", &revoked, bearer, good).await;
        let replaced = admin::ReplaceRegistrationTokenRequest { client_id: registered.clone(), expire_time: None };
        world.call::<()>("ReplaceRegistrationToken", &replaced, bearer, good).await;
        world
            .call::<()>(
                "DeleteClient",
                &admin::DeleteClientRequest { client_id: id(), ..Default::default() },
                bearer,
                good,
            )
            .await;
        let keys: admin::ListSigningKeysResponse =
            world.call("ListSigningKeys", &admin::ListSigningKeysRequest {}, bearer, good).await;
        world.call::<()>("RotateSigningKey", &algorithm, bearer, good).await;
        world.call::<()>("ListAdminRecords", &admin::ListAdminRecordsRequest::default(), bearer, good).await;
        // This must be the last step: tokens of the first key are no longer valid.
        let key_id = keys.keys.first().map(|key| key.key_id.clone()).unwrap_or_default();
        world.call::<()>("DistrustSigningKey", &admin::DistrustSigningKeyRequest { key_id }, bearer, good).await;
    }
}

/// Calls every endpoint that the metadata name, granted and rejected.
fn endpoints(world: &World, secret: &str, token: &str) {
    let metadata = exchange(&world.serving.issuer, "GET /.well-known/openid-configuration HTTP/1.1\r\n\r\n");
    let metadata: Map<String, Value> = serde_json::from_str(metadata.split_once("\r\n\r\n").unwrap().1).unwrap();
    let names: Vec<_> = metadata.keys().filter(|name| name.ends_with("_endpoint")).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let path = metadata[name].as_str().unwrap().strip_prefix(&world.serving.issuer).unwrap();
        let post = format!("POST {path}\nContent-Type: application/x-www-form-urlencoded");
        let who = |secret: &str| format!("client_id=orders&client_secret={secret}");
        for (good, secret, token) in [(false, "wrong", "wrong"), (true, secret, token)] {
            match &**name {
                "token_endpoint" => {
                    let form = format!("grant_type=client_credentials&audience=inventory&{}", who(secret));
                    world.http("issue_token", &post, &form, good);
                }
                "introspection_endpoint" => {
                    world.http("introspect_token", &post, &format!("token={token}&{}", who(secret)), good);
                }
                "revocation_endpoint" => {
                    world.http("revoke_token", &post, &format!("token=unknown&{}", who(secret)), good);
                }
                "userinfo_endpoint" => {
                    world.http("get_user_info", &format!("GET {path}\nAuthorization: Bearer {token}"), "", good);
                }
                // The call decides nothing.
                "authorization_endpoint" => {}
                "registration_endpoint" => registration(world, path, good),
                other => panic!("{other} has no case here"),
            }
        }
    }
}

fn registration(world: &World, path: &str, good: bool) {
    let json = |bearer: &str| format!("Authorization: Bearer {bearer}\nContent-Type: application/json");
    let (bearer, body) = (if good { INITIAL } else { "wrong" }, r#"{"client_name":"a"}"#);
    let answer = world.http("register_client", &format!("POST {path}\n{}", json(bearer)), body, good);
    let told: Map<String, Value> = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let own = |told: &Map<String, Value>, name: &str| told.get(name).and_then(Value::as_str).unwrap_or("x").to_owned();
    let own_path = format!("{path}/{}", own(&told, "client_id"));
    let bearer = json(&own(&told, "registration_access_token"));
    let read = world.http("read_registration", &format!("GET {own_path}\n{bearer}"), "", good);
    let read: Map<String, Value> = serde_json::from_str(read.split_once("\r\n\r\n").unwrap().1).unwrap();
    let body = format!(r#"{{"client_id":"{}","client_name":"b"}}"#, own(&read, "client_id"));
    let changed = world.http("update_registration", &format!("PUT {own_path}\n{bearer}"), &body, good);
    let changed: Map<String, Value> = serde_json::from_str(changed.split_once("\r\n\r\n").unwrap().1).unwrap();
    let bearer = json(&own(&changed, "registration_access_token"));
    world.http("delete_registration", &format!("DELETE {own_path}\n{bearer}"), "", good);
}

fn text<'e>(event: &'e Map<String, Value>, name: &str) -> &'e str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_decision_of_every_method_and_endpoint_is_one_event_that_says_all() {
    let (world, root_secret) = World::start().await;
    let root: v1::IssueTokenResponse =
        world.call("IssueToken", &issue("root", &root_secret, "m2m.admin.v1"), "", true).await;
    let root = root.token.unwrap().value;
    let scopes = vec!["inventory.read".to_owned()];
    let grant = Grant { audience: "inventory".to_owned(), default_scopes: scopes.clone(), scopes };
    let orders = Client {
        client_id: "orders".to_owned(),
        grants: vec![grant],
        grant_types: vec![
            "client_credentials".to_owned(),
            "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
        ],
        ..Default::default()
    };
    let created = admin::CreateClientRequest { client: Some(orders), ..Default::default() };
    let created: admin::CreateClientResponse = world.call("CreateClient", &created, &root, true).await;
    let secret = created.client_secret;
    let token = tokens(&world, &secret).await;
    endpoints(&world, &secret, &token);
    let get_item = "/inventory.v1.InventoryService/GetItem";
    world.check(get_item, &format!("Bearer {token}"), true).await;
    world.check(get_item, "", false).await;
    world.check("/inventory.v1.InventoryService/DeleteItem", &format!("Bearer {token}"), false).await;
    // A malformed client: the stream also reports it as the caller's mistake.
    world.call::<()>("CreateClient", &admin::GetClientRequest { client_id: "\u{7}".to_owned() }, &root, false).await;
    administration(&world, &root).await;

    let (asked, events) = world.events();
    for (id, (what, granted)) in &asked {
        let [event] = &events.get(id).unwrap_or_else(|| panic!("{what} left no event"))[..] else {
            panic!("{what}: {:?}", events[id]);
        };
        let (outcome, reason) = (text(event, "outcome"), text(event, "reason"));
        assert_eq!((text(event, "operation"), text(event, "peer")), (&**what, "127.0.0.1"), "{event:?}");
        assert!(text(event, "time").ends_with('Z') && !outcome.is_empty(), "{event:?}");
        assert_eq!(outcome != "refused" && outcome != "failed", *granted, "{event:?}");
        assert_eq!(reason.is_empty(), *granted, "{event:?}");
        if *granted {
            let who = [text(event, "client_id"), text(event, "registered_with")];
            assert!(who.iter().any(|who| !who.is_empty()), "{event:?}");
            let by_registration = what.ends_with("registration") || *what == "register_client";
            // An unknown token has none.
            let unknown = *what == "revoke_token" && text(event, "jti").is_empty();
            assert!(by_registration || unknown || !text(event, "jti").is_empty(), "{event:?}");
        }
    }
    let of = |what: &str, granted: bool| asked.values().any(|asked| asked.0 == what && asked.1 == granted);
    for method in POLICY.iter().map(|method| method.path.rsplit_once('/').unwrap().1) {
        let walked = of(&snake(method), true) && of(&snake(method), false);
        assert!(walked || PUBLIC.contains(&method), "{method} is not in this test");
    }
    let denied: Vec<_> =
        events.values().flatten().filter(|event| text(event, "reason") == "SCOPE_INSUFFICIENT").collect();
    let [denied] = &denied[..] else { panic!("{denied:?}") };
    assert_eq!(
        (text(denied, "client_id"), text(denied, "resource")),
        ("orders", "/inventory.v1.InventoryService/DeleteItem")
    );
    assert!(!text(denied, "jti").is_empty(), "who was denied is known: {denied:?}");
    let unreadable = |event: &&Map<String, Value>| {
        (text(event, "operation"), text(event, "reason")) == ("create_client", "INVALID_REQUEST")
    };
    let unreadable: Vec<_> = events.values().flatten().filter(unreadable).collect();
    assert_eq!(unreadable.iter().map(|event| text(event, "outcome")).collect::<Vec<_>>(), ["refused"]);
    let created = events.values().flatten().find(|event| text(event, "operation") == "create_client").unwrap();
    assert_eq!((text(created, "client_id"), text(created, "resource")), ("root", "orders"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_decides_nothing_leaves_no_event() {
    let (world, _) = World::start().await;
    for method in PUBLIC {
        let path = POLICY.iter().map(|known| &known.path).find(|path| path.ends_with(&format!("/{method}"))).unwrap();
        let request = Request::post(&**path).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(Body::new(Full::from(&[0_u8; 5][..]).map_err(|never| match never {}))).unwrap();
        let answer = world.channel.clone().ready().await.unwrap().call(request).await.unwrap();
        assert!(Status::from_header_map(answer.headers()).is_none(), "{method}");
    }
    for path in ["/jwks.json", "/.well-known/openid-configuration", "/healthz", "/metrics", "/nowhere"] {
        exchange(&world.serving.issuer, &format!("GET {path} HTTP/1.1\r\n\r\n"));
    }
    let (_, events) = world.events();
    assert!(events.is_empty(), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_decisions_for_proxies_only_refusals_are_written_where_that_is_asked_for() {
    for (setting, expected) in [("", 2), ("audit = \"all\"", 2), ("audit = \"refused\"", 1)] {
        let (world, _) = World::start_with(setting).await;
        world.check("/inventory.v1.InventoryService/GetOpeningHours", "", true).await;
        world.check("/inventory.v1.InventoryService/GetItem", "", false).await;
        let (_, events) = world.events();
        let events: Vec<_> = events.values().flatten().collect();
        assert_eq!(events.len(), expected, "{setting}: {events:?}");
        let refused = events.iter().find(|event| text(event, "outcome") == "refused").unwrap();
        assert_eq!(text(refused, "reason"), "CREDENTIALS_MISSING", "{setting}");
    }
}
