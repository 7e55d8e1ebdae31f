//! The rehearsal's environment: three replicas, their database, their certificates, and callers.

use std::{
    env, fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{sync::watch, time::sleep};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use crate::{
    ca::Ca,
    cluster::{Identity, KEY, Replica, free_ports, root},
    load::Load,
    record::Record,
    shown,
    side::{Failure, Side},
    temporary_postgres::{Database, TemporaryPostgres},
};

/// The next sealing key and pepper.
const NEXT_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// The time for which a key is published before it signs.
const VISIBILITY: &str = "2s";
/// Callers at each replica: enough for calls in flight at every moment, and few enough for a busy machine.
const CALLERS: usize = 2;
/// The duration of the rehearsal without pauses. `HOLDS` is the number of pauses.
const AT_LEAST: Duration = Duration::from_secs(30);
const HOLDS: u32 = 17;

/// The approximate length of the rehearsal.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    /// The pause after each step.
    pub(crate) hold: Duration,
    /// The number of replicas that are killed.
    pub(crate) kills: usize,
    /// True to also wait for metrics that take seconds to change.
    pub(crate) patient: bool,
}

impl Length {
    pub(crate) fn from_environment() -> Self {
        let seconds = env::var("REHEARSAL_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
        match seconds.map(Duration::from_secs) {
            Some(time) => Self { hold: time.saturating_sub(AT_LEAST) / HOLDS, kills: 3, patient: true },
            None => Self { hold: Duration::from_millis(100), kills: 1, patient: false },
        }
    }
}

/// The time limit of each wait, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The whole environment.
pub(crate) struct World {
    pub(crate) length: Length,
    pub(crate) folder: TempDir,
    pub(crate) postgres: &'static TemporaryPostgres,
    pub(crate) database: Database,
    postgres_port: u16,
    /// The CAs of servers and of clients: the current one, and the next.
    pub(crate) server_cas: [Ca; 2],
    pub(crate) client_cas: [Ca; 2],
    /// The certificate and key of callers and operators.
    pub(crate) certificate: (String, String),
    pub(crate) replicas: Vec<Replica>,
    pub(crate) ports: [u16; 3],
    /// The port of each replica's metrics.
    pub(crate) operations: [u16; 3],
    pub(crate) root: Identity,
    pub(crate) orders: Identity,
    pub(crate) side: watch::Sender<Arc<Side>>,
    load: Load<Failure>,
    pub(crate) record: Record,
    /// Clients whose creation was acknowledged.
    pub(crate) acknowledged: Vec<Identity>,
    /// Tokens whose revocation was acknowledged.
    pub(crate) revoked: Vec<String>,
}

impl World {
    /// Starts the environment; `None` if PostgreSQL is not installed.
    pub(crate) async fn start(length: Length) -> Option<Self> {
        let (server_cas, client_cas) = ([Ca::new(), Ca::new()], [Ca::new(), Ca::new()]);
        let (certificate, key) = server_cas[0].leaf();
        let (postgres, postgres_port) = TemporaryPostgres::with_tls(&certificate, &key)?;
        let database = postgres.database();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
        write("trusted.pem", &[server_cas[0].pem(), server_cas[1].pem()].concat());
        write("client-ca.pem", client_cas[0].pem());
        write("key", KEY);
        write("next-key", NEXT_KEY);
        let [a, b, c, d, e, f]: [u16; 6] = free_ports();
        let (ports, operations) = ([a, b, c], [d, e, f]);
        let certificate = client_cas[0].leaf();
        let trusted = fs::read_to_string(folder.path().join("trusted.pem")).unwrap();
        let endpoints = ports.map(|port| endpoint(port, &trusted, &certificate));
        let url = database_url(&folder, postgres_port, &database);
        let start = |number: usize| {
            let own = folder.path().join(number.to_string());
            fs::create_dir(&own).unwrap();
            server_cas[0].write_leaf(&own);
            let settings = settings(&folder, &own, &url, a, (ports[number], operations[number]));
            Replica::start(&settings, &endpoints[number], &own.join("log"))
        };
        let replicas: Vec<_> = (0..3).map(start).collect();
        for replica in &replicas {
            replica.await_ready().await;
        }
        let root = root(&database.url).await;
        let orders = replicas[0].create(&root, "orders").await.unwrap();
        for replica in &replicas {
            eventually("created", async || replica.token(&orders).await.is_ok()).await;
        }
        let side = watch::Sender::new(Arc::new(Side::new(&issuer(a), &endpoints, &orders)));
        let callers = side.subscribe();
        let load = Load::calling(CALLERS, 0..3, move |replica| {
            let side = Arc::clone(&callers.borrow());
            async move { side.call(replica).await }
        });
        let record = Record::default();
        let (acknowledged, revoked) = (Vec::new(), Vec::new());
        Some(Self {
            length,
            folder,
            postgres,
            database,
            postgres_port,
            server_cas,
            client_cas,
            certificate,
            replicas,
            ports,
            operations,
            root,
            orders,
            side,
            load,
            record,
            acknowledged,
            revoked,
        })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The endpoint of a replica, with the current certificates of callers and operators.
    pub(crate) fn endpoint(&self, port: u16) -> Endpoint {
        endpoint(port, &fs::read_to_string(self.file("trusted.pem")).unwrap(), &self.certificate)
    }

    /// Starts another replica over another database.
    pub(crate) fn replica_over(&self, database: &Database) -> (Replica, u16) {
        let [port, operations] = free_ports();
        let own = self.file("restored");
        fs::create_dir(&own).unwrap();
        self.server_cas[1].write_leaf(&own);
        let url = database_url(&self.folder, self.postgres_port, database);
        let mut settings = settings(&self.folder, &own, &url, self.ports[0], (port, operations));
        settings.push(("KEYS__SEALING_KEY_FILE", self.file("next-key").display().to_string()));
        settings.push(("SECRETS__PEPPER_FILE", self.file("next-key").display().to_string()));
        (Replica::start(&settings, &self.endpoint(port), &own.join("log")), operations)
    }

    /// Switches the callers to the current client and certificate. Returns when no call with the former ones
    /// is in flight.
    pub(crate) async fn switch_callers(&self) {
        let endpoints = self.ports.map(|port| self.endpoint(port));
        let side = Arc::new(Side::new(&issuer(self.ports[0]), &endpoints, &self.orders));
        let before = self.side.send_replace(side);
        while Arc::strong_count(&before) > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `holds` accepts the value of the series at every replica.
    pub(crate) async fn all_show(&self, series: &str, holds: impl Fn(f64) -> bool) {
        for port in self.operations {
            shown::until(port, series, &holds).await;
        }
    }

    /// Returns the current value of a series at one replica.
    pub(crate) async fn shown(&self, replica: usize, series: &str) -> f64 {
        shown::until(self.operations[replica], series, |_| true).await
    }

    /// Registers a client, and records that its creation was acknowledged.
    pub(crate) async fn create(&mut self, replica: usize, id: &str) {
        let created = self.replicas[replica].create(&self.root, id).await.unwrap();
        self.acknowledged.push(created);
    }

    /// Pauses after a step.
    pub(crate) async fn hold(&self) {
        sleep(self.length.hold).await;
    }

    /// Restarts the replicas one after another, with other settings.
    pub(crate) async fn roll(&mut self, change: impl Fn(&mut Replica)) {
        for number in 0..3 {
            let from = Instant::now();
            let replica = &mut self.replicas[number];
            change(replica);
            replica.stop().await;
            replica.start_again().await;
            shown::until(self.operations[number], "token_server_ready", |ready| ready == 1.0).await;
            self.record.outage(Some(number), from);
        }
    }

    /// Runs without any change, as a baseline.
    pub(crate) async fn nothing_happens(&mut self) {
        self.record.begin("nothing happens", "token_server_ready");
        self.all_show("token_server_ready", |ready| ready == 1.0).await;
        self.create(1, "from-the-start").await;
        self.hold().await;
    }

    /// Checks that every acknowledged change is in effect at every replica, and prints the table.
    pub(crate) async fn end(self) {
        let ended = Instant::now();
        for replica in &self.replicas {
            for client in self.acknowledged.iter().chain([&self.orders]) {
                let known = async || replica.token(client).await.is_ok();
                eventually(&format!("{} is known", client.id), known).await;
            }
            for token in &self.revoked {
                assert!(!replica.is_active(&self.orders, token).await.unwrap(), "revoked, and stays so");
            }
        }
        let calls = self.load.stop().await;
        let unexplained = self.record.print(ended, &calls);
        assert!(unexplained.is_empty(), "{} calls failed outside of outages: {unexplained:#?}", unexplained.len());
        for number in 0..3 {
            let good = calls.iter().filter(|call| call.replica == number && call.outcome.is_ok()).count();
            assert!(good > 100, "replica {number} was under load: {good}");
        }
    }
}

/// Waits for `holds`, with a limit that suits a busy machine. Other tests check the limit of one second.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn issuer(port: u16) -> String {
    format!("https://localhost:{port}")
}

fn database_url(folder: &TempDir, port: u16, database: &Database) -> String {
    let root = folder.path().join("trusted.pem");
    format!("postgres://test@localhost:{port}/{}?sslmode=verify-full&sslrootcert={}", database.name, root.display())
}

fn endpoint(port: u16, trusted: &str, certificate: &(String, String)) -> Endpoint {
    let (certificate, key) = certificate;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted));
    let tls = tls.identity(TlsIdentity::from_pem(certificate, key));
    Endpoint::from_shared(issuer(port)).unwrap().tls_config(tls).unwrap()
}

fn settings(
    folder: &TempDir,
    own: &std::path::Path,
    database: &str,
    issuer_port: u16,
    (port, operations): (u16, u16),
) -> Vec<(&'static str, String)> {
    let file = |name: &str| folder.path().join(name).display().to_string();
    vec![
        ("ISSUER__URL", issuer(issuer_port)),
        ("LISTEN__ADDRESS", format!("127.0.0.1:{port}")),
        ("LISTEN__OPERATIONS_ADDRESS", format!("127.0.0.1:{operations}")),
        ("LISTEN__THREADS", "1".to_owned()),
        ("TLS__CERTIFICATE", own.join("tls.crt").display().to_string()),
        ("TLS__PRIVATE_KEY", own.join("tls.key").display().to_string()),
        ("TLS__CLIENT_CA", file("client-ca.pem")),
        ("TLS__CLIENT_CERTIFICATE_REQUIRED", "true".to_owned()),
        ("STORE__URL", database.to_owned()),
        ("KEYS__SEALING_KEY_FILE", file("key")),
        ("KEYS__VISIBILITY_PERIOD", VISIBILITY.to_owned()),
        ("SECRETS__PEPPER_FILE", file("key")),
    ]
}
