//! Thousands of requests that differ from valid ones in a few bytes, at every endpoint and method of a whole
//! server. Each is answered in time, none causes a server error, and invalid credentials get no token.
//!
//! The mutations follow from a seed, so a failure repeats. It names the seed of the request.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use token_issuer::{
    admin::GrantDraft,
    client::{AuthenticationMethod, GrantType},
    registration::{InitialAccessToken, InitialAccessTokens, RegistrationSettings, Template, TokenHash},
};
use token_proto::{admin::v1 as admin, token::v1};
use token_server::{
    config::Config,
    development::{DevelopmentClient, RunningDevelopment},
};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::harness::{as_admin, channel, development, issue};

/// Far longer than any of them takes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const INITIAL: &str = "an-initial-access-token-of-64-characters-or-so-0123456789abcdef";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A request that is valid, or would be with valid credentials.
#[derive(Clone)]
struct Good {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// SplitMix64. It only has to be reproducible.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Values that parsers trip over.
const MORSELS: [&[u8]; 14] = [
    b"&",
    b"=",
    b"%00",
    b"%zz",
    b"\"",
    b"\\u0000",
    b"{}",
    b"\xff",
    b"..",
    b"%C3%28",
    b"99999999999999999999",
    b"-1",
    b"\r\n",
    b"token=",
];

fn mutate(bytes: &mut Vec<u8>, draw: &mut Draw) {
    for _ in 0..=draw.below(3) {
        let place = draw.below(bytes.len());
        match draw.below(7) {
            0 if !bytes.is_empty() => bytes[place] ^= 1 << draw.below(8),
            1 if !bytes.is_empty() => bytes[place] = draw.byte(),
            2 if !bytes.is_empty() => drop(bytes.remove(place)),
            3 => bytes.insert(place, draw.byte()),
            4 => bytes.truncate(place),
            5 => {
                let again = bytes[place..(place + draw.below(64)).min(bytes.len())].to_vec();
                bytes.splice(place..place, again);
            }
            _ => drop(bytes.splice(place..place, MORSELS[draw.below(MORSELS.len())].iter().copied())),
        }
    }
}

impl Good {
    fn http(method: &'static str, path: &'static str, content_type: &str, authorization: &str, body: &str) -> Self {
        let mut headers = vec![("accept", "application/json".to_owned())];
        headers.extend((!content_type.is_empty()).then(|| ("content-type", content_type.to_owned())));
        headers.extend((!authorization.is_empty()).then(|| ("authorization", authorization.to_owned())));
        Self { method, path, headers, body: body.as_bytes().to_vec() }
    }

    fn grpc(path: &'static str, authorization: &str, message: &impl prost::Message) -> Self {
        let mut headers = vec![("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())];
        headers.extend((!authorization.is_empty()).then(|| ("authorization", authorization.to_owned())));
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Self { method: "POST", path, headers, body: [&[0][..], &length, &message].concat() }
    }

    fn is_grpc(&self) -> bool {
        self.headers.iter().any(|(_, value)| value == "application/grpc")
    }

    /// Returns one mutation of it, mostly of its body.
    fn mutated(&self, draw: &mut Draw) -> Option<Request<Body>> {
        let Self { method, path, mut headers, mut body } = self.clone();
        let (mut method, mut path) = (method.to_owned(), path.to_owned());
        match draw.below(10) {
            0 => {
                let which = draw.below(headers.len());
                let mut value = std::mem::take(&mut headers[which].1).into_bytes();
                mutate(&mut value, draw);
                headers[which].1 = String::from_utf8_lossy(&value).into_owned();
            }
            1 if !self.is_grpc() => {
                method = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "BREW"][draw.below(8)].to_owned();
            }
            2 => {
                let mut changed = path.into_bytes();
                mutate(&mut changed, draw);
                path = format!("/{}", String::from_utf8_lossy(&changed).trim_start_matches('/'));
            }
            3 if !headers.is_empty() => drop(headers.remove(draw.below(headers.len()))),
            _ => mutate(&mut body, draw),
        }
        let body = Body::new(Full::new(Bytes::from(body)).map_err(|never| match never {}));
        let mut request = Request::builder().method(&*method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // A request that cannot be encoded reaches no server.
        request.body(body).ok()
    }
}

async fn start() -> (tempfile::TempDir, RunningDevelopment) {
    development(|config: &mut Config| {
        config.limits.requests_per_second_per_peer = 0;
        config.limits.requests_per_second_per_client = 0;
        config.limits.failures_per_second = 0;
        let grant = GrantDraft {
            audience: "inventory".to_owned(),
            scopes: vec!["inventory.read".to_owned()],
            default_scopes: vec![],
        };
        let token = InitialAccessToken {
            name: "test".try_into().unwrap(),
            hash: TokenHash::of(INITIAL).unwrap(),
            expire_time: SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000),
            template: Template {
                grants: vec![grant],
                grant_types: GrantType::ALL.to_vec(),
                authentication_methods: AuthenticationMethod::ALL.to_vec(),
                credentials_max: 2,
                secret_lifetime: None,
                token_lifetime: Duration::from_secs(365 * 86_400),
                clients_max: 1_000_000,
            },
        };
        config.registration = Some(RegistrationSettings {
            tokens: InitialAccessTokens::new(vec![token]),
            requests_per_minute_per_peer: 1_000_000,
            clients_per_hour: 1_000_000,
        });
    })
    .await
}

/// Registers a client that may exchange tokens, and returns its secret.
async fn exchanger(dev: &RunningDevelopment, channel: &Channel) -> String {
    let grant =
        admin::Grant { audience: "inventory".into(), scopes: vec!["inventory.read".into()], default_scopes: vec![] };
    let client = admin::Client {
        client_id: "exchanger".into(),
        grants: vec![grant],
        grant_types: vec![EXCHANGE.into()],
        subject_audiences: vec!["inventory".into()],
        ..Default::default()
    };
    let request = admin::CreateClientRequest { client: Some(client), ..Default::default() };
    let mut clients = admin::client_service_client::ClientServiceClient::new(channel.clone());
    clients.create_client(as_admin(dev, request).await).await.unwrap().into_inner().client_secret
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Every endpoint, as this client, with this token in hand.
fn over_http(id: &str, secret: &str, exchanger: &str, token: &str, initial: &str) -> Vec<Good> {
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    let me = basic(id, secret);
    let bearer = |token: &str| format!("Bearer {token}");
    let json = serde_json::json!({
        "grant_type": "client_credentials", "client_id": id, "client_secret": secret, "audience": "inventory",
    });
    let exchange = format!(
        "grant_type={EXCHANGE}&client_id=exchanger&client_secret={exchanger}&subject_token={token}\
         &subject_token_type={ACCESS_TOKEN}&audience=inventory&scope=inventory.read"
    );
    let assertion = format!(
        "grant_type=client_credentials&client_id={id}\
         &client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={token}"
    );
    let granted = "grant_type=client_credentials&audience=inventory&scope=inventory.read&lifetime=60";
    let about = format!("token={token}&token_type_hint=access_token");
    let metadata = r#"{"client_name":"a","token_endpoint_auth_method":"client_secret_basic",
        "grant_types":["client_credentials"],"scope":"inventory.read","redirect_uris":["https://a.example/done"]}"#;
    vec![
        Good::http("POST", "/oauth/token", FORM, &me, granted),
        Good::http("POST", "/oauth/token", JSON, "", &json.to_string()),
        Good::http("POST", "/oauth/token", FORM, "", &exchange),
        Good::http("POST", "/oauth/token", FORM, "", &assertion),
        Good::http("POST", "/oauth/introspect", FORM, &me, &about),
        Good::http("POST", "/oauth/revoke", FORM, &me, "token=a.b.c"),
        Good::http("POST", "/oauth/register", JSON, &bearer(initial), metadata),
        Good::http("GET", "/oauth/register/stranger", "", &bearer(initial), ""),
        Good::http("GET", "/userinfo", "", &bearer(token), ""),
        Good::http("GET", "/jwks.json", "", "", ""),
        Good::http("GET", "/.well-known/openid-configuration", "", "", ""),
        Good::http("GET", "/.well-known/oauth-authorization-server", "", "", ""),
    ]
}

/// Every method that answers once, as this client, with these tokens in hand.
fn over_grpc(id: &str, secret: &str, exchanger: &str, token: &str, admins: &str) -> Vec<Good> {
    let client = |id: &str, secret: &str| {
        let credential = Some(v1::client_authentication::Credential::ClientSecret(secret.to_owned()));
        Some(v1::ClientAuthentication { client_id: id.to_owned(), credential })
    };
    let audiences = vec!["inventory".to_owned()];
    let issue =
        v1::IssueTokenRequest { client: client(id, secret), audiences: audiences.clone(), ..Default::default() };
    let exchange = v1::ExchangeTokenRequest {
        client: client("exchanger", exchanger),
        subject: Some(v1::SecurityToken { value: token.to_owned(), r#type: ACCESS_TOKEN.to_owned() }),
        audiences,
        scopes: vec!["inventory.read".to_owned()],
        ..Default::default()
    };
    let introspect = v1::IntrospectTokenRequest { client: client(id, secret), token: token.to_owned() };
    let revoke = v1::RevokeTokenRequest { client: client(id, secret), token: "a.b.c".to_owned() };
    let create = admin::CreateClientRequest {
        client: Some(admin::Client {
            client_id: "made".into(),
            labels: [("team".to_owned(), "blue".to_owned())].into(),
            ..Default::default()
        }),
        validate_only: true,
        credential: None,
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let admins = bearer(admins);
    vec![
        Good::grpc("/m2m.token.v1.TokenService/IssueToken", "", &issue),
        Good::grpc("/m2m.token.v1.TokenService/ExchangeToken", "", &exchange),
        Good::grpc("/m2m.token.v1.TokenService/IntrospectToken", "", &introspect),
        Good::grpc("/m2m.token.v1.TokenService/RevokeToken", "", &revoke),
        Good::grpc("/m2m.token.v1.TokenService/GetUserInfo", &bearer(token), &v1::GetUserInfoRequest {}),
        Good::grpc("/m2m.token.v1.TrustService/GetIssuer", "", &v1::GetIssuerRequest {}),
        Good::grpc("/m2m.token.v1.TrustService/ListKeys", "", &v1::ListKeysRequest {}),
        Good::grpc("/m2m.admin.v1.ClientService/CreateClient", &admins, &create),
        Good::grpc("/m2m.admin.v1.ClientService/ListClients", &admins, &admin::ListClientsRequest::default()),
        Good::grpc("/m2m.admin.v1.AuditService/ListAdminRecords", &admins, &admin::ListAdminRecordsRequest::default()),
    ]
}

/// Returns the whole response, which must come in time.
async fn answer(channel: &mut Channel, request: Request<Body>, what: &str) -> Response<Bytes> {
    let answered = async {
        let response = channel.ready().await.unwrap().call(request).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let trailers = body.trailers().cloned().unwrap_or_default();
        let mut response = Response::from_parts(parts, body.to_bytes());
        response.headers_mut().extend(trailers);
        response
    };
    tokio::time::timeout(ANSWERED_WITHIN, answered).await.unwrap_or_else(|_| panic!("{what}: no answer"))
}

/// Returns the scopes of the token in a response, if there is one.
fn granted(answer: &Response<Bytes>) -> Option<BTreeSet<String>> {
    if let Ok(json) = serde_json::from_slice::<Value>(answer.body()) {
        json.get("access_token")?;
        return Some(json["scope"].as_str().unwrap().split(' ').map(str::to_owned).collect());
    }
    // IssueToken and ExchangeToken answer alike: the token is the first field.
    let message = v1::IssueTokenResponse::decode(answer.body().get(5..)?).ok()?;
    message.token.filter(|token| token.value.starts_with("eyJ")).map(|token| token.scopes.into_iter().collect())
}

fn check(answer: &Response<Bytes>, secrets: &[&str], what: &str) {
    let shown = || format!("{what}: {} {:?} {:?}", answer.status(), answer.headers(), answer.body());
    assert!(answer.status().as_u16() < 500, "{}", shown());
    let is_grpc = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        let status = Status::from_header_map(answer.headers()).unwrap_or_else(|| panic!("{}", shown()));
        let ours = [Code::Unknown, Code::Internal, Code::DataLoss, Code::Unavailable, Code::DeadlineExceeded];
        assert!(!ours.contains(&status.code()), "{}", shown());
    }
    for secret in secrets {
        let found = answer.body().windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{what}: a secret comes back");
    }
}

/// Sends `each` mutations of every request, and returns the number of issued tokens.
async fn storm(channel: &mut Channel, goods: &[Good], each: u64, secrets: &[&str]) -> usize {
    let mut tokens = 0;
    for (number, good) in goods.iter().enumerate() {
        for seed in 0..each {
            let mut draw = Draw(seed << 8 | u64::try_from(number).unwrap());
            let Some(request) = good.mutated(&mut draw) else { continue };
            let what = format!("{} of {} {}", seed, good.method, good.path);
            let answer = answer(channel, request, &what).await;
            check(&answer, secrets, &what);
            if let Some(scopes) = granted(&answer) {
                let registered = BTreeSet::from(["inventory.read".to_owned()]);
                assert!(scopes.is_subset(&registered), "{what}: {scopes:?}");
                tokens += 1;
            }
        }
    }
    tokens
}

fn secret(client: &DevelopmentClient) -> &str {
    client.secret.expose_secret()
}

#[tokio::test]
async fn thousands_of_changed_requests_get_no_fault_no_hang_and_no_more_than_was_registered() {
    let (_folder, dev) = start().await;
    let mut channel = channel(&dev).await;
    let exchanger = exchanger(&dev, &channel).await;
    let (orders, id) = (secret(&dev.example), dev.example.id.as_str());
    let token = issue(&dev, id, orders).await.unwrap();
    let admins = issue(&dev, &dev.admin.id, secret(&dev.admin)).await.unwrap();
    let secrets = [orders, exchanger.as_str(), secret(&dev.admin)];

    let mut goods = over_http(id, orders, &exchanger, &token, INITIAL);
    goods.extend(over_grpc(id, orders, &exchanger, &token, &admins));
    let tokens = storm(&mut channel, &goods, 150, &secrets).await;
    assert!(tokens > 0, "the requests that are changed were never good");
    issue(&dev, id, orders).await.expect("it is as well as before");
    dev.server.shutdown().await;
}

#[tokio::test]
async fn no_change_of_a_request_with_bad_credentials_gets_a_token() {
    let (_folder, dev) = start().await;
    let mut channel = channel(&dev).await;
    exchanger(&dev, &channel).await;
    let forged = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.AAAA".to_owned();
    // As long as a valid one, and wrong in one character.
    let mut wrong = secret(&dev.example).to_owned();
    let last = wrong.pop().unwrap();
    wrong.push(if last == 'A' { 'B' } else { 'A' });
    let mut goods = over_http(&dev.example.id, &wrong, &wrong, &forged, "not-an-initial-access-token");
    goods.extend(over_grpc(&dev.example.id, &wrong, &wrong, &forged, &forged));
    let secrets = [secret(&dev.example), secret(&dev.admin)];
    assert_eq!(storm(&mut channel, &goods, 150, &secrets).await, 0);
    dev.server.shutdown().await;
}
