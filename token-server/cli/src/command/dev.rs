//! `token-server dev`: an issuer for development.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use secrecy::ExposeSecret as _;
use token_server::{
    config::{AuditedDecisions, DescriptorPolicy, ExtAuthz},
    development::{self, Development, DevelopmentError, RunningDevelopment},
};

use super::{
    failure::Failure,
    output::Output,
    runtime::runtime,
    serve::{announce_stop, cannot_start, start_telemetry, until_stopped},
    signals::Signals,
};

/// The port of a development issuer.
const PORT: u16 = 8443;
/// The port for decisions for a local Envoy.
const EXT_AUTHZ_PORT: u16 = 9191;

/// Serves tokens on https://localhost:8443 for development. Needs no configuration.
///
/// Creates a state folder with an SQLite store, keys, a CA for this machine, and two clients: "orders", which
/// may read the inventory, and "token-admin", which `token-server client` and `token-server key` use. A
/// second start uses the same folder. Listens on loopback alone. One `dev` at a time uses a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server dev
  token-server dev --port 0 --state-dir /tmp/issuer     # any free port
  token-server dev --ext-authz inventory.binpb          # decides for Envoy as well
  rm -r .token-server                                   # start afresh

For production: token-server serve --help")]
pub(super) struct Dev {
    /// The port on 127.0.0.1; 0 chooses a free one.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// The state folder.
    #[arg(long, env = "TOKEN_STATE_DIR", value_name = "DIR", default_value = super::connection::STATE_DIR)]
    state_dir: PathBuf,
    /// Decide for Envoy (ext_authz) by the annotations in this descriptor set; repeat it for more.
    #[arg(long, value_name = "FILE")]
    ext_authz: Vec<PathBuf>,
    /// The port on 127.0.0.1 for Envoy, in plaintext; 0 chooses a free one.
    #[arg(long, value_name = "PORT", default_value_t = EXT_AUTHZ_PORT, requires = "ext_authz")]
    ext_authz_port: u16,
}

impl Dev {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        // Held until the process ends.
        let _lock = development::lock(&self.state_dir).map_err(not_usable)?;
        let mut development = Development::open(&self.state_dir, self.port).map_err(not_usable)?;
        development.config_mut().ext_authz = self.ext_authz()?;
        runtime()?.block_on(async {
            let writers = start_telemetry(development.config())?;
            let mut signals = Signals::listen()?;
            let running = development.start().await.map_err(not_usable)?;
            tell(&running, &self.state_dir, output)?;
            announce_stop();
            until_stopped(running.server, &mut signals).await;
            writers.close().await;
            Ok(())
        })
    }

    fn ext_authz(&self) -> Result<Option<ExtAuthz>, Failure> {
        if self.ext_authz.is_empty() {
            return Ok(None);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ext_authz_port));
        let declared = DescriptorPolicy::read(&self.ext_authz).map_err(Failure::usage)?;
        Ok(Some(ExtAuthz { address, client_ca: None, policy: declared.policy, audit: AuditedDecisions::All }))
    }
}

fn not_usable(error: DevelopmentError) -> Failure {
    match error {
        DevelopmentError::Serve(error) if error.address_in_use().is_some() => cannot_start(error)
            .next("another `token-server dev`? Choose another port: --port 8444, or --port 0 for a free one"),
        DevelopmentError::Serve(error) => cannot_start(error),
        error @ DevelopmentError::InUse { .. } => Failure::failed("the development issuer cannot start", error)
            .next("use the one that runs, or start this one on a folder of its own: --state-dir DIR --port 0"),
        error @ (DevelopmentError::File { .. }
        | DevelopmentError::Foreign { .. }
        | DevelopmentError::LocalCa(_)
        | DevelopmentError::NoRandomness) => Failure::failed("the development issuer cannot start", error)
            .next("name another folder with --state-dir, or remove this one to start afresh"),
    }
}

/// Reports that the server is ready, with commands to paste that get a token.
fn tell(running: &RunningDevelopment, state_dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let RunningDevelopment { server, ca_file, example, .. } = running;
    let (issuer, port) = (server.issuer(), server.local_addr().port());
    let (ca, secret) = (ca_file.display(), example.secret.expose_secret());
    let program = program();
    // Needed only with another folder; otherwise it is noise.
    let state = if state_dir == Path::new(super::connection::STATE_DIR) {
        String::new()
    } else {
        format!(" --state-dir {}", state_dir.display())
    };
    output.line(format_args!(
        "\
ready: {issuer}

  client   {id}
  secret   {secret}
  CA       {ca}

A token, with curl:
  curl --cacert {ca} -u {id}:{secret} -d grant_type=client_credentials -d audience=inventory {issuer}/oauth/token

A token, with grpcurl:
  grpcurl -cacert {ca} -d '{{\"client\":{{\"client_id\":\"{id}\",\"client_secret\":\"{secret}\"}},\"audiences\":[\"inventory\"]}}' \
         localhost:{port} m2m.token.v1.TokenService/IssueToken

A token for a header, and its content:
  {program} token{state} --audience inventory
  {program} token{state} --audience inventory --explain

The example application, which reads, and is denied writing:
  . {env} && cargo run -p token-interceptor --example orders

More clients:
  {program} client{state} create billing --grant inventory=inventory.read,inventory.write
",
        id = example.id,
        env = example.env_file.display(),
    ))?;
    if let Some(address) = server.ext_authz_addr() {
        output.line(format_args!("Decisions for Envoy (ext_authz), in plaintext:\n  {address}\n"))?;
    }
    Ok(())
}

/// The name by which this program was called, so that the printed commands work unchanged.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if called.contains("target/") { called } else { "token-server".to_owned() }
}
