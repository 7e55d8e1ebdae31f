//! Connections to issuers: the provider of their TLS, and the proxy of the environment.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/trust_service.rs"]
mod trust_service;

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, GetRandomFailed, SecureRandom, ring},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use token_interceptor::{
    attach::AttachLayer,
    http_client::{HttpClient, connect, grpc_endpoint},
    source::{ClientCredentials, IssuerBuilder, StaticToken, TokenRequest, TokenSource as _},
    test_util::TestIssuer,
    token::UnverifiedToken,
    verify::{IssuerChannel, TrustedIssuer, Verifier},
};
use token_proto::token::v1::{
    GetIssuerRequest, KeyState, trust_service_client::TrustServiceClient, trust_service_server::TrustServiceServer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::spawn_blocking,
    time::timeout,
};
use tonic::{
    service::Routes,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use trust_service::{Trust, key};

const ISSUER: &str = "https://issuer.invalid";
const LONGEST: Duration = Duration::from_secs(30);

/// Counts the handshakes that take random bytes from its provider.
#[derive(Debug)]
struct Counting(AtomicUsize);

static INSTALLED: Counting = Counting(AtomicUsize::new(0));
static OWN: Counting = Counting(AtomicUsize::new(0));

impl SecureRandom for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.fetch_add(1, Ordering::SeqCst);
        ring::default_provider().secure_random.fill(bytes)
    }
}

impl Counting {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn counting(counter: &'static Counting) -> CryptoProvider {
    CryptoProvider { secure_random: counter, ..ring::default_provider() }
}

/// An issuer over TLS, for `localhost` and for the host of [`ISSUER`].
struct World {
    issuer: TestIssuer,
    ca_pem: String,
    port: u16,
}

impl World {
    fn start() -> Self {
        // tonic's server needs one where two are compiled. The clients are processes of their own.
        let _ = ring::default_provider().install_default();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = params.self_signed(&ca_key).unwrap().pem();
        let (leaf_key, ca) = (KeyPair::generate().unwrap(), Issuer::new(params, ca_key));
        let hosts = ["localhost".to_owned(), "issuer.invalid".to_owned()];
        let leaf = CertificateParams::new(hosts).unwrap().signed_by(&leaf_key, &ca).unwrap();
        let identity = Identity::from_pem(leaf.pem(), leaf_key.serialize_pem());

        let issuer = TestIssuer::new(ISSUER);
        let trust = Trust::new(issuer.issuer(), vec![key(&issuer, KeyState::Active)]);
        let jwks = format!(r#"{{"keys":[{}]}}"#, issuer.key().public_jwk().to_json());
        let routes = Routes::new(TrustServiceServer::new(trust)).into_axum_router();
        let routes = routes.route("/jwks.json", get(move || async move { jwks }));
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = incoming.local_addr().unwrap().port();
        let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        tokio::spawn(server.add_routes(Routes::from(routes)).serve_with_incoming(incoming));
        Self { issuer, ca_pem, port }
    }
}

fn roots(ca_pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    roots
}

fn config(provider: CryptoProvider, ca_pem: &str) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots(ca_pem)).with_no_client_auth();
    // The connections choose their protocols themselves.
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    Arc::new(config)
}

/// A proxy that connects every CONNECT to `port`, and records the targets.
async fn proxy(port: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let targets = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&targets);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            seen.lock().unwrap().push(head.split(" HTTP").next().unwrap().to_owned());
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (format!("http://{address}"), targets)
}

/// Each way to an issuer or a service, with the answer that shows that its server was reached.
const WAYS: [(&str, &str); 8] = [
    ("jwks", "ready"),
    ("watch", "ready"),
    ("poll", "ready"),
    ("endpoint", "ready"),
    ("grpc source", "Unimplemented"),
    ("token endpoint", "the token endpoint's answer"),
    ("service", ISSUER),
    ("connection", ISSUER),
];

/// Makes the connection `way` in a process of its own, as environment and provider are the process's. Returns
/// its answer.
async fn child(world: &World, proxy: &str, way: &str, no_proxy: &str) -> String {
    child_with(world, proxy, way, &[("NO_PROXY", no_proxy)]).await
}

async fn child_with(world: &World, proxy: &str, way: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "connects_as_the_environment_says", "--nocapture"]).stdin(Stdio::null());
    let token = world.issuer.token().audience("inventory").sign();
    child.envs([("WAY", way), ("CA_PEM", &*world.ca_pem), ("HTTPS_PROXY", proxy)]);
    child.env("TOKEN", token);
    for name in ["ALL_PROXY", "all_proxy", "https_proxy", "NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy"] {
        child.env_remove(name);
    }
    child.envs(variables.iter().copied());
    let output = spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let answer = text.split("answer: ").nth(1).unwrap_or_else(|| panic!("{way}: {text}"));
    answer.lines().next().unwrap().to_owned()
}

/// The server's process has a provider, so the client is in a process without one.
#[tokio::test]
async fn tls_takes_the_programs_provider_and_installs_none() {
    let world = World::start();
    let (proxy, _) = proxy(world.port).await;
    assert_eq!(child(&world, &proxy, "providers", "").await, "each in its turn");
}

/// Verifies the token of the environment with the keys of `trusted`.
async fn verifies(trusted: TrustedIssuer) {
    let clock = TestIssuer::new(ISSUER).clock();
    let verifier = Verifier::builder().issuer(trusted).clock(clock).build().unwrap();
    verifier.ready().await;
    let token = env::var("TOKEN").unwrap();
    verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).unwrap();
}

async fn providers(ca_pem: &str) -> String {
    let by_http = || TrustedIssuer::jwks(ISSUER, &format!("{ISSUER}/jwks.json")).unwrap();
    let with_ca = || HttpClient::builder().extra_roots_pem(ca_pem).build().unwrap();
    verifies(by_http().http_client(with_ca())).await;
    assert!(CryptoProvider::get_default().is_none(), "the library installed a provider");

    counting(&INSTALLED).install_default().unwrap();
    verifies(by_http().http_client(with_ca())).await;
    let by_installed = INSTALLED.count();
    assert!(by_installed > 0, "the installed provider was passed by");

    let own = config(counting(&OWN), ca_pem);
    let mut before = OWN.count();
    for trusted in [by_http(), TrustedIssuer::watch(ISSUER, ISSUER).unwrap()] {
        verifies(trusted.tls_config(Arc::clone(&own))).await;
        assert!(OWN.count() > before, "the program's own settings were passed by");
        before = OWN.count();
    }
    let error = fetched(IssuerBuilder::grpc(ISSUER).tls_config(own)).await;
    assert!(OWN.count() > before && error.contains("Unimplemented"), "{error}");
    assert_eq!(INSTALLED.count(), by_installed, "another provider was used too");

    let mut bytes = [0; 8];
    CryptoProvider::get_default().unwrap().secure_random.fill(&mut bytes).unwrap();
    assert_eq!(INSTALLED.count(), by_installed + 1, "the installed provider was replaced");
    "each in its turn".to_owned()
}

#[tokio::test]
async fn every_connection_takes_the_proxy_of_the_environment() {
    let world = World::start();
    let (proxy, targets) = proxy(world.port).await;
    let child = async |way: &str, no_proxy: &str| {
        let answer = child(&world, &proxy, way, no_proxy).await;
        (std::mem::take(&mut *targets.lock().unwrap()), answer)
    };
    for (way, answer) in WAYS {
        let (asked, text) = child(way, "").await;
        assert!(text.contains(answer), "{way}: {text}");
        assert!(asked.iter().all(|target| target == "CONNECT issuer.invalid:443"), "{way}: {asked:?}");
        assert!(!asked.is_empty(), "{way} passed the proxy by");
    }
    // A name that no resolver knows.
    for way in ["grpc source", "token endpoint", "service"] {
        let (asked, text) = child(way, ".invalid").await;
        assert!(asked.is_empty(), "{way}: {asked:?} {text}");
    }
}

/// A program with both providers, as one of its other libraries may turn `aws-lc-rs` on.
#[cfg(feature = "aws-lc")]
#[tokio::test]
async fn every_connection_works_with_aws_lc_as_the_programs_provider() {
    let world = World::start();
    let (proxy, _) = proxy(world.port).await;
    for (way, answer) in WAYS {
        let text = child_with(&world, &proxy, way, &[("AWS_LC", "installed")]).await;
        assert!(text.contains(answer), "{way}: {text}");
    }
}

/// The child's part of the tests above. Without its variables it has nothing to do.
#[tokio::test]
async fn connects_as_the_environment_says() {
    let (Ok(way), Ok(ca_pem)) = (env::var("WAY"), env::var("CA_PEM")) else { return };
    let answer = timeout(LONGEST, answer(&way, &ca_pem)).await.unwrap();
    println!("answer: {answer}");
}

async fn answer(way: &str, ca_pem: &str) -> String {
    if way == "providers" {
        return providers(ca_pem).await;
    }
    #[cfg(feature = "aws-lc")]
    if env::var_os("AWS_LC").is_some() {
        rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    }
    let provider = CryptoProvider::get_default().map_or_else(ring::default_provider, |installed| (**installed).clone());
    let tls = config(provider, ca_pem);
    let endpoint = || grpc_endpoint(ISSUER, ca_pem.as_bytes()).unwrap();
    let trusted = match way {
        "jwks" => TrustedIssuer::jwks(ISSUER, &format!("{ISSUER}/jwks.json")),
        "watch" => TrustedIssuer::watch(ISSUER, ISSUER),
        "poll" => TrustedIssuer::grpc(ISSUER, ISSUER),
        "endpoint" => TrustedIssuer::watch(ISSUER, IssuerChannel::from(endpoint())),
        "grpc source" => return fetched(IssuerBuilder::grpc(ISSUER).tls_config(tls)).await,
        "token endpoint" => return fetched(IssuerBuilder::token_endpoint(format!("{ISSUER}/t")).tls_config(tls)).await,
        "service" => {
            let source = StaticToken::new("token").unwrap();
            let channel = AttachLayer::new(source).connect_lazy(&endpoint()).unwrap();
            let issuer = TrustServiceClient::new(channel).get_issuer(GetIssuerRequest {}).await;
            return issuer
                .map_or_else(|status| status.to_string(), |issuer| issuer.into_inner().issuer.unwrap().issuer);
        }
        "connection" => {
            let channel = connect(&endpoint()).await.unwrap();
            let issuer = TrustServiceClient::new(channel).get_issuer(GetIssuerRequest {}).await.unwrap();
            return issuer.into_inner().issuer.unwrap().issuer;
        }
        _ => panic!("{way}"),
    };
    let verifier = Verifier::builder().issuer(trusted.unwrap().tls_config(tls)).build().unwrap();
    verifier.ready().await;
    "ready".to_owned()
}

async fn fetched(issuer: IssuerBuilder) -> String {
    let source = ClientCredentials::new("a", "b", issuer).unwrap();
    token_interceptor::error_chain::of(&source.fetch(&TokenRequest::without_audience()).await.unwrap_err())
}
