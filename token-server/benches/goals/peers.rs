//! The cost of the same token at other issuers: a client credentials grant over HTTP/1.1, an ES256-signed JWT
//! of five minutes, everything in memory, nothing logged. Each is installed from its registry into the target
//! folder, at a fixed version.
//!
//! They are favoured: they have no durable store, no audit and no limits, while the issuer has all of them.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    issuer::{CLIENT_ID, Site, secret},
    load::{self, Face, Measurement},
    process::Server,
    report::Row,
};

const ROUNDS: usize = 4;
const DURATION: Duration = Duration::from_secs(2);

const OIDC_PROVIDER: &str = "oidc-provider 9.13.3";
const HYDRA: &str = "Ory Hydra 2.3.0";

pub(crate) fn measure() -> Vec<Row> {
    let site = Site::new(0, "threads = 1", "");
    let issuer = site.start();
    let peers = [(OIDC_PROVIDER, oidc_provider()), (HYDRA, hydra())];
    let mut cases = vec![(Face::HttpIssue, &issuer)];
    for (_, peer) in &peers {
        if let Ok(peer) = peer {
            cases.push((Face::Http(peer.request.clone().into()), &peer.server));
        }
    }
    let mut measured = load::rounds(&cases, ROUNDS, DURATION).into_iter();
    let own = measured.next().unwrap();
    let mut rows = vec![Row::floor(
        "this issuer beside its peers, HTTP/1.1 form",
        format!("{:.1} µs of CPU a token, {:.0} a second", own.cpu_micros, own.per_second),
    )];
    rows.extend(peers.iter().map(|(name, peer)| row(name, peer.as_ref().map(|_| measured.next().unwrap()), own)));
    rows
}

fn row(name: &str, measured: Result<Measurement, &String>, own: Measurement) -> Row {
    let what = format!("{name}, the same");
    let goal = if name == OIDC_PROVIDER { "≥ 7 × the CPU of this issuer" } else { "more CPU than this issuer" };
    match measured {
        Ok(peer) => {
            let times = peer.cpu_micros / own.cpu_micros;
            let figure = format!("{:.0} µs, {times:.1} ×; {:.0} a second", peer.cpu_micros, peer.per_second);
            Row::goal(what, goal, figure, times >= if name == OIDC_PROVIDER { 7.0 } else { 1.0 })
        }
        Err(why) => Row::not_measured(what, goal, format!("not built here: {why}")),
    }
}

struct Peer {
    server: Server,
    request: Vec<u8>,
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs a command to its end. Its output goes to our standard error.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn oidc_provider() -> Result<Peer, String> {
    let folder = folder("oidc-provider");
    fs::write(folder.join("package.json"), include_str!("peers/package.json")).unwrap();
    fs::write(folder.join("server.mjs"), include_str!("peers/server.mjs")).unwrap();
    run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder))?;
    let address = free_address();
    let mut node = Command::new("node");
    node.arg("server.mjs").current_dir(&folder).env("NODE_ENV", "production");
    let server = Server::start_at(node.arg(address.port().to_string()).arg(secret()), address)?;
    let body = format!(
        "grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={}&resource=urn%3Ainventory\
         &scope=inventory.read",
        secret()
    );
    Ok(Peer { server, request: load::form("/token", &body) })
}

fn hydra() -> Result<Peer, String> {
    let folder = folder("hydra");
    let program = folder.join("bin/hydra");
    if !program.exists() {
        fs::write(folder.join("go.mod"), include_str!("peers/go.mod")).unwrap();
        let go = || {
            let mut go = Command::new("go");
            go.current_dir(&folder).env("GOBIN", folder.join("bin")).env("CGO_ENABLED", "1");
            go
        };
        run(go().args(["get", "-tool", "github.com/ory/hydra/v2@v2.3.0"]))?;
        run(go().args(["install", "-mod=mod", "-tags", "sqlite,json1", "github.com/ory/hydra/v2"]))?;
    }
    let (public, admin) = (free_address(), free_address());
    let config = folder.join("hydra.yml");
    fs::write(
        &config,
        include_str!("peers/hydra.yml")
            .replace("PUBLIC_PORT", &public.port().to_string())
            .replace("ADMIN_PORT", &admin.port().to_string()),
    )
    .unwrap();
    let mut serve = Command::new(&program);
    // One core, because the issuer has one thread.
    serve.args(["serve", "all", "--dev", "--sqa-opt-out", "--config"]).arg(&config).env("GOMAXPROCS", "1");
    let server = Server::start_at(&mut serve, public)?;
    let jwk = ["create", "jwk", "hydra.jwt.access-token", "--alg", "ES256", "--endpoint"];
    run(Command::new(&program).args(jwk).arg(format!("http://{admin}")))?;
    let created = Command::new(&program)
        .args(["create", "oauth2-client", "--format", "json", "--grant-type", "client_credentials"])
        .args(["--access-token-strategy", "jwt", "--token-endpoint-auth-method", "client_secret_post"])
        .args(["--scope", "inventory.read", "--audience", "inventory", "--secret", secret(), "--endpoint"])
        .arg(format!("http://{admin}"))
        .output()
        .map_err(|error| error.to_string())?;
    let created: serde_json::Value =
        serde_json::from_slice(&created.stdout).map_err(|_| String::from_utf8_lossy(&created.stderr).into_owned())?;
    let id = created["client_id"].as_str().ok_or("no client")?;
    let body = format!(
        "grant_type=client_credentials&client_id={id}&client_secret={}&audience=inventory&scope=inventory.read",
        secret()
    );
    Ok(Peer { server, request: load::form("/oauth2/token", &body) })
}
