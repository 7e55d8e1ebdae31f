//! A real PostgreSQL server for the tests, started once from the distribution's binaries. It listens only on
//! a socket in a temporary folder. It ends with the test process, even if that crashes.

use std::{
    env, fs,
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// The variable that makes tests fail, not skip, if PostgreSQL is missing. `CI` has the same effect.
const REQUIRE: &str = "REQUIRE_POSTGRES";

/// The server of this test process.
pub(crate) struct TemporaryPostgres {
    folder: PathBuf,
    binaries: PathBuf,
    owner: Option<(u32, u32)>,
    databases: AtomicU32,
    /// The port, which is also part of the socket's name.
    port: u16,
    /// The shell that runs the server. When its standard input closes, because this process ended, it stops
    /// the server.
    guard: Mutex<Child>,
}

/// An empty database for one test.
pub(crate) struct Database {
    server: &'static TemporaryPostgres,
    pub(crate) name: String,
    pub(crate) url: String,
}

impl TemporaryPostgres {
    /// The server of this test process; `None` if the binaries are missing and no variable requires them.
    pub(crate) fn get() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<TemporaryPostgres>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// Another server, which the test may kill.
    #[allow(dead_code, reason = "not every test program kills it")]
    pub(crate) fn of_its_own() -> Option<&'static Self> {
        Some(Box::leak(Box::new(Self::start()?)))
    }

    /// Another server, which accepts only TLS on a loopback port. Returns the server and the port.
    #[allow(dead_code, reason = "not every test program connects by TLS")]
    pub(crate) fn with_tls(certificate_pem: &str, key_pem: &str) -> Option<(&'static Self, u16)> {
        let port = free_port();
        let files = [
            ("tls.crt", certificate_pem),
            ("tls.key", key_pem),
            ("hba", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"),
        ];
        let settings = ["listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=../tls.crt", "ssl_key_file=../tls.key"];
        let settings = settings.into_iter().chain(["hba_file=hba"]).map(str::to_owned).collect();
        Some((Box::leak(Box::new(Self::start_with(&files, port, settings)?)), port))
    }

    /// Another server on a loopback port, which a standby can follow. Returns the server and the port.
    #[allow(dead_code, reason = "not every test program fails over")]
    pub(crate) fn on_a_port() -> Option<(&'static Self, u16)> {
        let port = free_port();
        let settings = vec!["listen_addresses=127.0.0.1".to_owned()];
        Some((Box::leak(Box::new(Self::start_with(&[], port, settings)?)), port))
    }

    /// Starts an asynchronous standby of this server. Returns the standby and its port.
    #[allow(dead_code, reason = "not every test program fails over")]
    pub(crate) fn standby(&self) -> (&'static Self, u16) {
        let port = free_port();
        let source = format!("{} -p {}", self.folder.display(), self.port);
        let settings = vec!["listen_addresses=127.0.0.1".to_owned()];
        let standby = Self::start_from(Some(source), &[], port, settings);
        (Box::leak(Box::new(standby.expect("there are binaries"))), port)
    }

    /// Runs a statement in a database that another server created.
    #[allow(dead_code, reason = "not every test program fails over")]
    pub(crate) fn query(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Creates an empty database.
    pub(crate) fn database(&'static self) -> Database {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let output = self.psql("postgres", &format!("CREATE DATABASE {name}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let url = format!("postgres://test@localhost:{}/{name}?host={}", self.port, self.folder.display());
        Database { server: self, name, url }
    }

    /// Replaces the certificate files. New connections use them.
    #[allow(dead_code, reason = "not every test program connects by TLS")]
    pub(crate) fn renew_certificate(&self, certificate_pem: &str, key_pem: &str) {
        fs::write(self.folder.join("tls.crt"), certificate_pem).unwrap();
        fs::write(self.folder.join("tls.key"), key_pem).unwrap();
        self.order("reload");
    }

    /// Creates a database and restores a dump into it.
    #[allow(dead_code, reason = "not every test program restores")]
    pub(crate) fn restored(&'static self, dump: &Path) -> Database {
        let database = self.database();
        // The handbook's command.
        self.client("pg_restore", &["--clean", "--if-exists", "--exit-on-error", "--dbname", &database.name], dump);
        database
    }

    fn client(&self, program: &str, arguments: &[&str], file: &Path) {
        let mut command = as_owner(&self.binaries.join(program), self.owner, &self.folder);
        command.args(["-U", "test", "-p", &self.port.to_string(), "-h"]).arg(&self.folder).args(arguments).arg(file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        let mut psql = as_owner(&self.binaries.join("psql"), self.owner, &self.folder);
        psql.args(["-X", "-q", "-t", "-A", "-U", "test", "-d", database, "-c", sql]).arg("-h").arg(&self.folder);
        psql.args(["-p", &self.port.to_string()]);
        psql.output().unwrap()
    }

    fn start() -> Option<Self> {
        Self::start_with(&[], 5432, vec!["listen_addresses=".to_owned()])
    }

    /// Starts a server with these files in its folder, and these settings.
    fn start_with(files: &[(&str, &str)], port: u16, settings: Vec<String>) -> Option<Self> {
        Self::start_from(None, files, port, settings)
    }

    /// Starts a server. With a source, it is a standby of the server whose socket and port the source names.
    fn start_from(
        source: Option<String>,
        files: &[(&str, &str)],
        port: u16,
        mut settings: Vec<String>,
    ) -> Option<Self> {
        let Some(binaries) = binaries() else {
            let demanded = env::var_os(REQUIRE).is_some() || env::var_os("CI").is_some();
            assert!(!demanded, "no PostgreSQL binaries: install the package postgresql");
            eprintln!("SKIPPED: no PostgreSQL binaries. Install the package postgresql to run these tests.");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        let owner = unprivileged();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        if let Some((user, group)) = owner {
            for path in files.iter().map(|(name, _)| folder.join(name)).chain([folder.clone()]) {
                std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
            }
        }
        settings.push(format!("port={port}"));
        let guard = Mutex::new(guard(&folder, &binaries, owner, (source.as_deref(), &settings)));
        let server = Self { folder, binaries, owner, databases: AtomicU32::new(0), port, guard };
        server.await_ready();
        Some(server)
    }

    fn await_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start: see {}/log", self.folder.display());
            self.order("start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`.
    #[allow(dead_code, reason = "not every test program kills it")]
    pub(crate) fn kill(&self) {
        self.order("kill");
    }

    /// Restarts the server after [`TemporaryPostgres::kill`].
    #[allow(dead_code, reason = "not every test program kills it")]
    pub(crate) fn start_again(&self) {
        self.await_ready();
    }

    fn order(&self, order: &str) {
        let mut guard = self.guard.lock().unwrap();
        writeln!(guard.stdin.as_mut().unwrap(), "{order}").unwrap();
    }
}

impl Database {
    /// Dumps the database with `pg_dump`. The file is deleted with the server.
    #[allow(dead_code, reason = "not every test program dumps")]
    pub(crate) fn dump(&self) -> PathBuf {
        let file = self.server.folder.join(format!("{}.dump", self.name));
        self.server.client("pg_dump", &["--format=custom", "--dbname", &self.name, "--file"], &file);
        file
    }

    /// Runs a statement outside the store's own connections. Returns its output.
    pub(crate) fn query(&self, sql: &str) -> String {
        let output = self.server.psql(&self.name, sql);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Starts a shell that initializes and runs the server. When its standard input closes, the shell stops the
/// server and deletes its files.
fn guard(
    folder: &Path,
    binaries: &Path,
    owner: Option<(u32, u32)>,
    (source, settings): (Option<&str>, &[String]),
) -> Child {
    const SCRIPT: &str = r#"
        start() {
            binaries=$1 folder=$2
            shift 2
            "$binaries/postgres" -D "$folder/data" -c unix_socket_directories="$folder" -c fsync=off \
                -c full_page_writes=off -c max_connections=400 "$@" >>"$folder/log" 2>&1 </dev/null &
            server=$!
        }
        if [ -n "$SOURCE" ]; then
            "$1/pg_basebackup" -D "$2/data" -U test -h $SOURCE -R -X stream -c fast >"$2/log" 2>&1 || exit 1
            chmod 700 "$2/data"
        else
            "$1/initdb" -D "$2/data" -U test -A trust -E UTF8 --no-sync --locale=C >"$2/log" 2>&1 || exit 1
        fi
        start "$@"
        while read -r order; do
            case $order in
                kill) kill -KILL $server ;;
                reload) kill -HUP $server ;;
                start) kill -0 $server 2>/dev/null || start "$@" ;;
            esac
        done
        kill -QUIT $server
        wait
        rm -rf "$2"
    "#;
    let mut shell = as_owner(Path::new("/bin/sh"), owner, folder);
    shell.env("SOURCE", source.unwrap_or_default());
    shell.args(["-c", SCRIPT, "sh"]).arg(binaries).arg(folder);
    shell.args(settings.iter().flat_map(|setting| ["-c", setting]));
    // A terminal's interrupt must reach the tests but not the shell, which has to clean up after them.
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn as_owner(program: &Path, owner: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir(folder);
    command
}

/// The newest installed version of the distribution.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|version| version.path().join("bin"));
    versions.filter(|binaries| binaries.join("initdb").exists()).max()
}

/// The user to run as if the tests run as root, which PostgreSQL refuses: `postgres`, or else an unprivileged
/// ID.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|user| user.starts_with("postgres:"));
    let ids = user.map(|user| user.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect::<Vec<_>>());
    ids.map_or(Some((65534, 65534)), |ids| Some((ids[0], ids[1])))
}
