//! The issuer with everything on: durable SQLite, change feed, limits, metrics, the audit stream.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use token_interceptor::{
    clock::{Clock as _, SystemClock},
    signature::{Algorithm, SigningKey},
};
use token_server::{
    client::{
        Client, Credential, CredentialKind, Grant,
        registry::ClientRegistry,
        secret::{ClientSecret, Pepper, Peppers},
    },
    feed::{Feed, FeedSettings},
    http,
    issuer::{Issuer, Parts, Settings},
    key::KeyRing,
    key_material::KeyMaterial,
    revocation::RevocationRegistry,
    service,
    store::{ClientStore as _, sqlite::SqliteStore},
};
use tonic::{service::Routes, transport::Server};

pub(crate) const CLIENT_ID: &str = "orders";

/// Of the client, made once.
pub(crate) fn secret() -> &'static str {
    static SECRET: OnceLock<ClientSecret> = OnceLock::new();
    SECRET.get_or_init(|| ClientSecret::generate().unwrap()).expose()
}

fn client(peppers: &Peppers, now: SystemTime) -> Client {
    let scopes = |names: &[&str]| names.iter().map(|name| (*name).try_into().unwrap()).collect();
    let mut client = Client::new(CLIENT_ID.try_into().unwrap(), now);
    client.grants = vec![Grant {
        audience: "inventory".try_into().unwrap(),
        scopes: scopes(&["inventory.read", "inventory.write"]),
        default_scopes: scopes(&["inventory.read"]),
    }];
    client.credentials = vec![Credential {
        id: "c1".to_owned(),
        kind: CredentialKind::Secret(peppers.hash(&ClientSecret::parse(secret()).unwrap())),
        create_time: now,
        expire_time: None,
        last_used_time: None,
    }];
    client
}

async fn issuer(directory: &std::path::Path) -> (Arc<Issuer>, Feed) {
    let store = Arc::new(SqliteStore::open(&directory.join("issuer.db")).await.unwrap());
    let peppers = Peppers::new(Pepper::new(&KeyMaterial::generate().unwrap()), vec![]);
    store.create_client(&client(&peppers, SystemClock.now()), None).await.unwrap();
    let feed = Feed::start(Arc::clone(&store) as _, FeedSettings::default()).await.unwrap();
    let registry = ClientRegistry::new(store.clone());
    registry.follow(&feed);
    let revocations = RevocationRegistry::start(store, SystemClock::shared()).await.unwrap();
    revocations.follow(&feed);
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let keys = KeyRing::fixed(SigningKey::from_der(Algorithm::Es256, &der).unwrap(), vec![]);
    let settings = Settings::new("https://issuer.example");
    let parts = Parts { registry, peppers, keys, revocations };
    (Arc::new(Issuer::new(settings, parts, SystemClock::shared())), feed)
}

/// Serves until the process ends, on a thread and a runtime of its own.
pub(crate) fn start() -> SocketAddr {
    let log = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    tracing_subscriber::fmt().json().with_writer(std::sync::Mutex::new(log)).init();
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("issuer".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let directory = tempfile::tempdir().unwrap();
                let (issuer, _feed) = issuer(directory.path()).await;
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
                let grpc = Routes::new(service::token::server(Arc::clone(&issuer)));
                let routes = grpc.into_axum_router().merge(http::router(issuer)).with_state(());
                Server::builder().accept_http1(true).serve_with_incoming(Routes::from(routes), incoming).await
            })
        })
        .unwrap();
    address.recv().unwrap()
}
