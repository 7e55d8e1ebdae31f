//! An issuer over a store in memory, and clients for both of its protocols.

pub(crate) mod calls;
pub(crate) mod draw;
pub(crate) mod registration;
pub(crate) mod store;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use token_interceptor::{
    clock::Clock,
    signature::{Algorithm, SigningKey},
};
use token_issuer::{
    admin::{AdminRules, ClientAdmin, RevocationAdmin},
    client::{
        Client, Credential, CredentialKind, Grant, GrantType, PublicKeyJwk, SecretHash,
        secret::{ClientSecret, Pepper, Peppers},
    },
    client_registry::ClientRegistry,
    issuer::{Dependencies, Issuer, Settings},
    key::KeyRing,
    key_material::KeyMaterial,
    limit::LimitSettings,
    own_tokens,
    registration::Registrar,
    revocation::RevocationRegistry,
};

use store::CountingStore;

pub(crate) const ISSUER: &str = "https://issuer.example";

/// 2026-01-01T00:00:00Z, in the middle of a second.
pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_250)
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<SystemTime>);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// The issuer, with everything that a test inspects.
pub(crate) struct World {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) store: Arc<CountingStore>,
    pub(crate) registry: ClientRegistry,
    pub(crate) clock: Arc<TestClock>,
    /// The secret of the client `orders`.
    pub(crate) secret: String,
    pub(crate) signing_key: Arc<SigningKey>,
    /// The key of the client `with-key`.
    pub(crate) client_key: SigningKey,
    /// The admin operations on clients.
    pub(crate) admin: ClientAdmin,
    pub(crate) revoking: RevocationAdmin,
    /// Set if `Settings::registration` is.
    pub(crate) registrar: Option<Arc<Registrar>>,
}

/// An issuer with the clients of [`clients`] and no limits.
pub(crate) async fn world() -> World {
    world_with(|_| {}).await
}

pub(crate) async fn world_with(change: impl FnOnce(&mut Settings)) -> World {
    world_of(vec![], change).await
}

/// A world with further signing keys beside the default one.
pub(crate) async fn world_of(others: Vec<SigningKey>, change: impl FnOnce(&mut Settings)) -> World {
    build(others, peppers(), change).await
}

/// A world in which imported secrets are accepted: [`IMPORTED`] is the secret of `imported`.
pub(crate) async fn world_with_imported() -> World {
    world_with_imported_and(|_| {}).await
}

pub(crate) async fn world_with_imported_and(change: impl FnOnce(&mut Settings)) -> World {
    build(vec![], peppers().accept_imported().unwrap(), change).await
}

/// A secret that was generated elsewhere.
pub(crate) const IMPORTED: &str = "correct horse battery staple";

fn peppers() -> Peppers {
    let pepper = |byte| Pepper::new(&KeyMaterial::from_bytes([byte; 32]));
    Peppers::new(pepper(7), vec![pepper(8)])
}

async fn build(others: Vec<SigningKey>, peppers: Peppers, change: impl FnOnce(&mut Settings)) -> World {
    let secret = ClientSecret::generate().unwrap();
    let client_key = SigningKey::from_der(Algorithm::Es256, &SigningKey::generate_pkcs8(Algorithm::Es256).unwrap());
    let client_key = client_key.unwrap();
    let mut registered = clients(&peppers, &secret);
    registered.push(client_with_imported_secret(&registered[0]));
    registered.extend(clients_with_key(&client_key));
    let store = Arc::new(CountingStore::new(registered));
    let clock = Arc::new(TestClock(Mutex::new(start())));
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let key = || SigningKey::from_der(Algorithm::Es256, &der).unwrap();
    let mut settings = Settings::new(ISSUER);
    settings.limits = LimitSettings::unlimited();
    change(&mut settings);
    let registry = ClientRegistry::new(Arc::clone(&store) as _);
    let revocations = RevocationRegistry::start(Arc::clone(&store) as _, Arc::clone(&clock) as _).await.unwrap();
    let rules = AdminRules::trusting(settings.terms.lifetime_max, settings.federation.providers());
    let revoking = RevocationAdmin::new(revocations.clone(), Arc::clone(&clock) as _, rules.clone());
    let admin =
        ClientAdmin::new(Arc::clone(&store) as _, registry.clone(), peppers.clone(), Arc::clone(&clock) as _, rules);
    let admin = admin.revoking(revoking.clone());
    let keys = KeyRing::fixed(key(), others);
    let verifier = own_tokens::verifier(ISSUER, &keys, revocations.verifying(), Arc::clone(&clock) as _).unwrap();
    let parts = Dependencies {
        verifier,
        registry: registry.clone(),
        assertions: Arc::clone(&store) as _,
        peppers,
        keys,
        revocations,
    };
    let registering = settings.registration;
    let issuer = Arc::new(Issuer::new(settings, parts, Arc::clone(&clock) as _));
    let registrar = registering.then(|| {
        let (issuer, clock) = (Arc::clone(&issuer), Arc::clone(&clock));
        Arc::new(Registrar::new(registration::settings(), issuer, admin.clone(), clock))
    });
    World {
        issuer,
        admin,
        revoking,
        registrar,
        store,
        registry,
        clock,
        secret: secret.expose().to_owned(),
        signing_key: Arc::new(key()),
        client_key,
    }
}

/// Clients that differ in one thing each; all of them have the same secret.
fn clients(peppers: &Peppers, secret: &ClientSecret) -> Vec<Client> {
    let client = |id: &str| {
        let mut client = Client::new(id.try_into().unwrap(), start());
        client.credentials = vec![credential("c1", peppers, secret, None)];
        client.grants = vec![grant("inventory", &["inventory.read", "inventory.write"], &["inventory.read"])];
        client.redirect_uris = vec!["https://client.example/done".to_owned()];
        client
    };
    let several = vec![
        grant("https://a.example/api", &["read", "only-a"], &["read"]),
        grant("https://b.example/api", &["read"], &["read"]),
    ];
    vec![
        Client { display_name: "Order service".to_owned(), ..client("orders") },
        // The resource server, and a client that may introspect every token.
        client("inventory"),
        Client { grants: vec![grant("m2m.token.v1", &["tokens.introspect"], &[])], ..client("auditor") },
        Client { grants: several, ..client("several") },
        Client { grants: vec![], ..client("nothing") },
        Client { grants: vec![grant("inventory", &["inventory.read"], &[])], ..client("no-defaults") },
        Client { disabled: true, ..client("disabled") },
        Client { credentials: vec![], ..client("no-credentials") },
        Client {
            credentials: vec![credential("old", peppers, secret, Some(start() - Duration::from_secs(1)))],
            ..client("expired")
        },
        Client { token_lifetime: Some(Duration::from_secs(60)), ..client("short") },
        Client {
            claims: BTreeMap::from([
                ("department".to_owned(), "sales \"north\"".to_owned()),
                ("sub".to_owned(), "admin".to_owned()),
                ("scope".to_owned(), "everything".to_owned()),
            ]),
            ..client("with-claims")
        },
        Client { claims: BTreeMap::from([("long".to_owned(), "x".repeat(5000))]), ..client("oversize") },
        client("odd id:+%"),
    ]
    .into_iter()
    .chain(exchangers(&client))
    .collect()
}

/// Hashed once for all tests: it takes a while.
fn client_with_imported_secret(like: &Client) -> Client {
    static HASH: LazyLock<SecretHash> = LazyLock::new(|| Peppers::hash_imported(IMPORTED).unwrap());
    let credential = Credential { kind: CredentialKind::Secret(HASH.clone()), ..like.credentials[0].clone() };
    Client { id: "imported".try_into().unwrap(), credentials: vec![credential], ..like.clone() }
}

fn exchangers(client: &impl Fn(&str) -> Client) -> Vec<Client> {
    let grants = vec![
        grant("inventory", &["inventory.read", "inventory.write"], &[]),
        grant("warehouse", &["warehouse.read", "warehouse.write"], &[]),
        grant("billing", &["billing.read"], &[]),
    ];
    let exchanger = |id: &str| Client {
        grants: grants.clone(),
        grant_types: [GrantType::TokenExchange].into(),
        subject_audiences: ["inventory".try_into().unwrap()].into(),
        claims: BTreeMap::from([("team".to_owned(), "platform".to_owned())]),
        ..client(id)
    };
    let caller = vec![
        grant("inventory", &["inventory.read", "inventory.write"], &["inventory.read"]),
        grant("warehouse", &["warehouse.read"], &[]),
        grant("ledger", &["ledger.read"], &[]),
    ];
    vec![
        Client { grants: caller, ..client("caller") },
        exchanger("exchanger"),
        Client { grants: vec![grant("inventory", &["inventory.read"], &[])], ..exchanger("second-exchanger") },
        Client { may_impersonate: true, ..exchanger("impersonator") },
        Client { subject_audiences: [].into(), ..exchanger("warehouse") },
    ]
}

fn clients_with_key(key: &SigningKey) -> Vec<Client> {
    let credential = |expire_time| Credential {
        id: "k1".to_owned(),
        kind: CredentialKind::PublicKey(PublicKeyJwk::parse(&key.public_jwk().to_json()).unwrap()),
        create_time: start(),
        expire_time,
        last_used_time: None,
    };
    let client = |id: &str, expire_time| {
        let mut client = Client::new(id.try_into().unwrap(), start());
        client.credentials = vec![credential(expire_time)];
        client.grants = vec![grant("inventory", &["inventory.read"], &["inventory.read"])];
        client
    };
    vec![
        client("with-key", None),
        Client { accept_token_endpoint_audience: true, ..client("with-older-library", None) },
        client("expired-key", Some(start())),
        Client { disabled: true, ..client("disabled-with-key", None) },
    ]
}

pub(crate) fn grant(audience: &str, scopes: &[&str], defaults: &[&str]) -> Grant {
    let set = |names: &[&str]| names.iter().map(|name| (*name).try_into().unwrap()).collect();
    Grant { audience: audience.try_into().unwrap(), scopes: set(scopes), default_scopes: set(defaults) }
}

fn credential(id: &str, peppers: &Peppers, secret: &ClientSecret, expire_time: Option<SystemTime>) -> Credential {
    Credential {
        id: id.to_owned(),
        kind: CredentialKind::Secret(peppers.hash(secret)),
        create_time: start(),
        expire_time,
        last_used_time: None,
    }
}
