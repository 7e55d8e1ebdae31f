//! Three servers over one database, and clients for each.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tempfile::TempDir;
use token_interceptor::clock::SystemClock;
use token_issuer::{
    admin::{ADMIN_AUDIENCE, AdminRules, ClientAdmin, ClientDraft, GrantDraft, NewCredential, Operator},
    client::secret::{Pepper, Peppers},
    client_registry::ClientRegistry,
    key_material::KeyMaterial,
    store::Store,
};
use token_proto::{
    admin::v1::{self as admin, client_service_client::ClientServiceClient, key_service_client::KeyServiceClient},
    token::v1::{
        self, client_authentication::Credential, token_service_client::TokenServiceClient,
        trust_service_client::TrustServiceClient,
    },
};
use token_store::StoreLocation;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::temporary_postgres::{Database, TemporaryPostgres};

/// The sealing key and pepper of every replica.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// The time limit for a change to take effect everywhere, as the design promises.
pub(crate) const EVERYWHERE: Duration = Duration::from_secs(1);

/// The credentials of a client.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Three servers over one database.
pub(crate) struct Cluster {
    pub(crate) replicas: [Replica; 3],
    pub(crate) root: Identity,
    pub(crate) database: Database,
    _folder: TempDir,
}

impl Cluster {
    /// Starts the replicas simultaneously on an empty database; `None` if PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        Some(Self::start_on(TemporaryPostgres::get()?).await)
    }

    /// Starts the replicas on that PostgreSQL server.
    pub(crate) async fn start_on(postgres: &'static TemporaryPostgres) -> Self {
        let database = postgres.database();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), KEY).unwrap();
        let ports: [u16; 3] = free_ports();
        let replicas = ports.map(|port| {
            let key = folder.path().join("key").display().to_string();
            let settings = [
                ("ISSUER__URL", format!("http://127.0.0.1:{}", ports[0])),
                ("LISTEN__ADDRESS", format!("127.0.0.1:{port}")),
                ("STORE__URL", database.url.clone()),
                ("KEYS__SEALING_KEY_FILE", key.clone()),
                ("SECRETS__PEPPER_FILE", key),
            ];
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            Replica::start(&settings, &endpoint, &folder.path().join(format!("{port}.log")))
        });
        for replica in &replicas {
            replica.await_ready().await;
        }
        let root = root(&database.url).await;
        Self { replicas, root, database, _folder: folder }
    }

    /// Registers a client at `replica`.
    pub(crate) async fn create(&self, replica: usize, id: &str) -> Result<Identity, Status> {
        self.replicas[replica].create(&self.root, id).await
    }
}

/// One server in its own process.
pub(crate) struct Replica {
    command: Command,
    child: Option<Child>,
    channel: Channel,
}

impl Replica {
    /// Registers a client that may ask for `inventory.read` at `inventory`.
    pub(crate) async fn create(&self, by: &Identity, id: &str) -> Result<Identity, Status> {
        let mut clients = self.clients(by).await?;
        let grants = vec![admin::Grant {
            audience: "inventory".to_owned(),
            scopes: vec!["inventory.read".to_owned()],
            default_scopes: vec!["inventory.read".to_owned()],
        }];
        let client = Some(admin::Client { client_id: id.to_owned(), grants, ..admin::Client::default() });
        let created = clients.create_client(admin::CreateClientRequest { client, ..Default::default() }).await?;
        Ok(Identity { id: id.to_owned(), secret: created.into_inner().client_secret })
    }

    /// Starts the server with these settings. `endpoint` is its address.
    pub(crate) fn start(settings: &[(&str, String)], endpoint: &Endpoint, log: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-server"));
        command.arg("serve").env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().create(true).append(true).open(log).unwrap());
        let mut replica = Self { command, child: None, channel: reach(endpoint) };
        replica.set("ADMIN__ENABLED", "true");
        // Prevents load shedding on a busy machine.
        replica.set("LIMITS__QUEUE_TIME_MAX", "10s");
        for (name, value) in settings {
            replica.set(name, value);
        }
        replica.child = Some(replica.command.spawn().unwrap());
        replica
    }

    /// Another connection to a running server. Dropping it does not stop the server.
    #[allow(dead_code, reason = "not every test program has several ways")]
    pub(crate) fn another_way(endpoint: &Endpoint) -> Self {
        Self { command: Command::new("true"), child: None, channel: reach(endpoint) }
    }

    /// Changes a setting for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.command.env(format!("TOKEN_SERVER__{name}"), value);
    }

    /// Removes a setting for the next start.
    #[allow(dead_code, reason = "not every test program changes settings")]
    pub(crate) fn unset(&mut self, name: &str) {
        self.command.env_remove(format!("TOKEN_SERVER__{name}"));
    }

    /// Uses this endpoint from now on.
    #[allow(dead_code, reason = "not every test program changes it")]
    pub(crate) fn reach_by(&mut self, endpoint: &Endpoint) {
        self.channel = reach(endpoint);
    }

    /// `kill -HUP`.
    #[allow(dead_code, reason = "not every test program has it look at files")]
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// `kill -STOP`: suspends the server until [`Replica::resume`].
    #[allow(dead_code, reason = "not every test program has it pause")]
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// `kill -CONT`.
    #[allow(dead_code, reason = "not every test program has it pause")]
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// `kill -TERM`, then waits for the exit.
    #[allow(dead_code, reason = "not every test program stops it so")]
    pub(crate) async fn stop(&mut self) {
        self.signal("-TERM");
        let mut child = self.child.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }

    fn signal(&self, signal: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.child = Some(self.command.spawn().unwrap());
        self.await_ready().await;
    }

    pub(crate) async fn await_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.key_ids().await.is_err() {
            assert!(Instant::now() < deadline, "the replica does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the IDs of the published keys.
    pub(crate) async fn key_ids(&self) -> Result<Vec<String>, Status> {
        Ok(self.published().await?.into_iter().map(|key| key.key_id).collect())
    }

    pub(crate) async fn published(&self) -> Result<Vec<v1::Key>, Status> {
        let keys = TrustServiceClient::new(self.channel.clone()).list_keys(v1::ListKeysRequest {}).await?;
        Ok(keys.into_inner().keys)
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    /// Gets a token for `inventory`.
    pub(crate) async fn token(&self, client: &Identity) -> Result<String, Status> {
        issue(&mut self.tokens(), client, "inventory").await
    }

    /// The admin API of this replica, with a token from this replica.
    pub(crate) async fn clients(&self, by: &Identity) -> Result<ClientServiceClient<Guarded>, Status> {
        Ok(ClientServiceClient::new(self.guarded(by).await?))
    }

    pub(crate) async fn keys(&self, by: &Identity) -> Result<KeyServiceClient<Guarded>, Status> {
        Ok(KeyServiceClient::new(self.guarded(by).await?))
    }

    async fn guarded(&self, by: &Identity) -> Result<Guarded, Status> {
        let bearer = Bearer(issue(&mut self.tokens(), by, ADMIN_AUDIENCE).await?);
        Ok(InterceptedService::new(self.channel.clone(), bearer))
    }

    pub(crate) async fn is_active(&self, by: &Identity, token: &str) -> Result<bool, Status> {
        let request = v1::IntrospectTokenRequest { client: Some(authentication(by)), token: token.to_owned() };
        Ok(self.tokens().introspect_token(request).await?.into_inner().active)
    }

    pub(crate) async fn revoke(&self, by: &Identity, token: &str) -> Result<(), Status> {
        let request = v1::RevokeTokenRequest { client: Some(authentication(by)), token: token.to_owned() };
        self.tokens().revoke_token(request).await.map(drop)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) type Guarded = InterceptedService<Channel, Bearer>;

/// An interceptor that adds a bearer token.
#[derive(Clone)]
pub(crate) struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.0).parse().unwrap());
        Ok(request)
    }
}

pub(crate) async fn issue(
    tokens: &mut TokenServiceClient<Channel>,
    client: &Identity,
    audience: &str,
) -> Result<String, Status> {
    let request = v1::IssueTokenRequest {
        client: Some(authentication(client)),
        audiences: vec![audience.to_owned()],
        ..v1::IssueTokenRequest::default()
    };
    Ok(tokens.issue_token(request).await?.into_inner().token.unwrap().value)
}

fn authentication(client: &Identity) -> v1::ClientAuthentication {
    let credential = Some(Credential::ClientSecret(client.secret.clone()));
    v1::ClientAuthentication { client_id: client.id.clone(), credential }
}

/// Waits for `holds`. Fails after the time in which a change must take effect everywhere.
pub(crate) async fn within_a_second(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < EVERYWHERE, "{what}: not within {EVERYWHERE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Connects with timeouts, so that a dead replica is detected.
fn reach(endpoint: &Endpoint) -> Channel {
    endpoint.clone().connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(10)).connect_lazy()
}

/// Returns free ports. All are bound at the same time, so that they differ.
pub(crate) fn free_ports<const PORTS: usize>() -> [u16; PORTS] {
    let listeners = [(); PORTS].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Registers the first client directly in the database, as an operator would.
pub(crate) async fn root(database: &str) -> Identity {
    let store: Arc<dyn Store> = StoreLocation::parse(database).unwrap().open().await.unwrap();
    let peppers = Peppers::new(Pepper::new(&KeyMaterial::parse(KEY).unwrap()), vec![]);
    let rules = AdminRules::new(Duration::from_secs(3600));
    let registry = ClientRegistry::new(store.clone());
    let clients = ClientAdmin::new(store.clone(), registry, peppers, SystemClock::shared(), rules);
    let scopes = ["clients.read", "clients.write", "keys.read", "keys.write"].map(str::to_owned).to_vec();
    let grant = GrantDraft { audience: ADMIN_AUDIENCE.to_owned(), scopes: scopes.clone(), default_scopes: scopes };
    let draft = ClientDraft { client_id: "root".to_owned(), grants: vec![grant], ..ClientDraft::default() };
    let created = clients.create(&Operator::local("test"), &draft, &NewCredential::SECRET, false).await.unwrap();
    assert!(created.client.create_time > SystemTime::UNIX_EPOCH);
    store.close().await;
    Identity { id: "root".to_owned(), secret: created.secret.unwrap().expose().to_owned() }
}
