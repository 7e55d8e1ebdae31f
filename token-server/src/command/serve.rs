//! `token-server serve`: the issuer in operation.

use std::path::PathBuf;

use clap::Args;

use super::{
    failure::{Failure, Kind},
    output::{Output, note},
    runtime,
    signals::{Asked, Signals},
};
use crate::{
    config::Config,
    server::{self, Running, ServeError},
    telemetry::{self, Writers},
};

/// Serves tokens by a configuration file, until SIGTERM or SIGINT.
///
/// Requests under way then have [limits] drain_deadline to end, or until a second signal. SIGHUP looks at the certificate files, and
/// at a file that declares the clients, at once; they are also looked at by themselves every few seconds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server serve --config /etc/token-server/token-server.toml --check
  token-server serve --config /etc/token-server/token-server.toml
  TOKEN_SERVER__LISTEN__ADDRESS=0.0.0.0:8443 token-server serve --config token-server.toml

deploy/token-server.toml is a commented example. Every setting can also come from the environment:
`url` in [issuer] is TOKEN_SERVER__ISSUER__URL.")]
pub(super) struct Serve {
    /// The configuration; without it everything comes from the environment.
    #[arg(long, env = "TOKEN_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Reports every mistake in the configuration, and starts nothing.
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let config = load(self.config.as_deref())?;
        if self.check {
            server::check(&config).map_err(|error| Failure::usage("the clients cannot be read").because(error))?;
            return Ok(output.line("The configuration is good.")?);
        }
        runtime()?.block_on(async {
            let writers = start_telemetry(&config)?;
            let (mut signals, mut early) = (Signals::listen()?, Signals::listen()?);
            tokio::select! {
                running = Running::start(config) => {
                    let running = running.map_err(cannot_start)?;
                    tracing::info!(address = %running.local_addr(), issuer = %running.issuer(), "serving");
                    until_stopped(running, &mut signals).await;
                }
                // A store that does not answer can keep the start waiting for long.
                () = told_to_stop(&mut early) => {}
            }
            tracing::info!("stopped");
            writers.close().await;
            Ok(())
        })
    }
}

/// Reads the configuration.
pub(super) fn load(file: Option<&std::path::Path>) -> Result<Config, Failure> {
    Config::load(file).map_err(|error| {
        Failure::usage(error.to_string()).next("deploy/token-server.toml shows every setting with its default")
    })
}

/// Sends logs, the audit stream and spans where the configuration says.
pub(super) fn start_telemetry(config: &Config) -> Result<Writers, Failure> {
    telemetry::init(&config.telemetry).map_err(|error| Failure::failed("cannot write logs", error))
}

/// Waits for SIGTERM or SIGINT, then for the requests under way, unless told a second time; on SIGHUP looks at the
/// certificates.
pub(super) async fn until_stopped(running: Running, signals: &mut Signals) {
    while signals.next().await == Asked::Reload {
        running.reload();
    }
    running.shutdown_unless(told_to_stop(signals)).await;
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_stop(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

/// What to do about a server that does not start.
pub(super) fn cannot_start(error: ServeError) -> Failure {
    if let Some(address) = error.address_in_use() {
        return Failure::failed("the server cannot start", error).next(format!(
            "another process listens on port {} already; end it, or choose another port",
            address.port()
        ));
    }
    Failure::new(Kind::Failed, "the server cannot start").because(error)
}

/// Tells that signals do what they do, on standard error.
pub(super) fn announce_stop() {
    note("Ctrl-C stops it; everything is kept.");
}
