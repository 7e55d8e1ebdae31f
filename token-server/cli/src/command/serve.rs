//! `token-server serve`: the issuer in production.

use std::path::PathBuf;

use clap::Args;
use token_interceptor::clock::{Clock as _, SystemClock};
use token_server::{
    config::Config,
    server::{self, Finding, Running, ServeError, Severity},
    telemetry::{self, Writers},
};
use token_store::{Pending, Upgrade};

use super::{
    failure::{Failure, Kind},
    output::{Output, note},
    runtime::runtime,
    signals::{Asked, Signals},
    supervisor::{self, State},
};

/// Serves tokens as a configuration file says, until SIGTERM or SIGINT.
///
/// Requests in flight then have [limits] drain_deadline to end; a second signal ends them at once. SIGHUP
/// reloads the certificate files and a file that declares the clients, which are also checked for changes at
/// intervals, and reopens the audit file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server serve --config /etc/token-server/token-server.toml --check
  token-server serve --config /etc/token-server/token-server.toml --check --upgrade
  token-server serve --config /etc/token-server/token-server.toml
  TOKEN_SERVER__LISTEN__ADDRESS=0.0.0.0:8443 token-server serve --config token-server.toml

deploy/token-server.toml is a commented example. Every setting can also come from the environment:
`url` in [issuer] is TOKEN_SERVER__ISSUER__URL.")]
pub(super) struct Serve {
    /// The configuration. Without it every setting comes from the environment.
    #[arg(long, env = "TOKEN_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Report every mistake in the configuration and in the files that it names, and start nothing.
    ///
    /// Checks certificate and key (pair, host, dates), that the store and the audit file can be written, the
    /// ports, and the permissions of files with secrets. A mistake is exit code 2; a warning is not.
    #[arg(long)]
    check: bool,
    /// With --check: also list the changes that this version would make to the store, and make none.
    ///
    /// Connects to the store. A store that a later version has upgraded is exit code 1.
    #[arg(long, requires = "check")]
    upgrade: bool,
}

impl Serve {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let config = load(self.config.as_deref())?;
        if self.check {
            check(&config, output)?;
            return if self.upgrade { runtime()?.block_on(upgrade(&config, output)) } else { Ok(()) };
        }
        runtime()?.block_on(async {
            let writers = start_telemetry(&config)?;
            warn(&config);
            let (mut signals, mut early) = (Signals::listen()?, Signals::listen()?);
            tokio::select! {
                running = Running::start(config) => {
                    let running = running.map_err(cannot_start)?;
                    tracing::info!(address = %running.local_addr(), issuer = %running.issuer(), "serving");
                    supervisor::tell(State::Ready);
                    until_stopped(running, &mut signals).await;
                }
                // A store that does not answer can delay the start.
                () = told_to_stop(&mut early) => {}
            }
            tracing::info!("stopped");
            writers.close().await;
            Ok(())
        })
    }
}

/// Reports the problems that the server would have with this configuration.
fn check(config: &Config, output: &mut Output) -> Result<(), Failure> {
    server::check(config).map_err(|error| Failure::usage("the clients cannot be read").because(error))?;
    let mut mistakes = Vec::new();
    for finding in server::findings(config, SystemClock.now()) {
        match finding.severity {
            Severity::Mistake => mistakes.push(finding.to_string()),
            Severity::Warning => note(format_args!("warning: {finding}")),
        }
    }
    if mistakes.is_empty() {
        return Ok(output.line("The configuration is valid.")?);
    }
    Err(Failure::usage("the configuration cannot be served").next(mistakes.join("\n")))
}

/// Lists the changes that a start of this version would make to the tables of the store.
async fn upgrade(config: &Config, output: &mut Output) -> Result<(), Failure> {
    let compared = config.store.location.upgrade().await;
    let upgrade =
        compared.map_err(|error| Failure::new(Kind::Unavailable, "the store cannot be read").because(error))?;
    let Some(Upgrade { from, to, pending, unknown }) = upgrade else {
        return Ok(output.line("The store is in memory, and starts empty.")?);
    };
    if !unknown.is_empty() {
        let newer = format!("the store has version {from}, and this program only knows version {to}");
        let next = "a later version has upgraded it: use that version, or restore the backup from before the upgrade";
        return Err(Failure::new(Kind::Failed, newer).next(next));
    }
    if pending.is_empty() {
        return Ok(output.line(format_args!("The store has version {to}. The upgrade changes nothing in it."))?);
    }
    output.line(match from {
        0 => format!("The store is new. The first start brings it to version {to}:"),
        _ => {
            format!("The store has version {from}. The first start brings it to version {to}, while older servers run:")
        }
    })?;
    for Pending { version, sentence } in pending {
        output.line(format_args!("  {version}  {sentence}"))?;
    }
    Ok(output.line("Nothing was changed.")?)
}

/// Logs the findings of `--check` that the server does not log itself. The server starts all the same.
fn warn(config: &Config) {
    for Finding { severity, setting, problem, next } in server::findings(config, SystemClock.now()) {
        match (severity, setting.as_str()) {
            // Logged on each load of the file.
            (_, "tls.certificate") => {}
            (Severity::Warning, _) => tracing::warn!(setting, next, "{problem}"),
            (Severity::Mistake, _) => tracing::error!(setting, next, "{problem}"),
        }
    }
}

/// Reads the configuration.
pub(super) fn load(file: Option<&std::path::Path>) -> Result<Config, Failure> {
    Config::load(file).map_err(|error| {
        Failure::usage(error.to_string()).next("deploy/token-server.toml shows every setting with its default")
    })
}

/// Sends logs, the audit stream and spans to the configured destinations.
pub(super) fn start_telemetry(config: &Config) -> Result<Writers, Failure> {
    let writers = telemetry::init(&config.telemetry).map_err(|error| Failure::failed("cannot write logs", error))?;
    // The default hook writes to standard error directly. A panicking thread would then wait for the reader.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(writers)
}

/// Waits for SIGTERM or SIGINT, then for the requests in flight until a second signal. SIGHUP reloads the
/// files.
pub(super) async fn until_stopped(running: Running, signals: &mut Signals) {
    while signals.next().await == Asked::Reload {
        running.reload();
    }
    supervisor::tell(State::Stopping);
    running.shutdown_unless(told_to_stop(signals)).await;
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_stop(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

/// The failure of a server that cannot start.
pub(super) fn cannot_start(error: ServeError) -> Failure {
    if let Some(address) = error.address_in_use() {
        return Failure::failed("the server cannot start", error)
            .next(format!("another process listens on port {}: end it, or choose another port", address.port()));
    }
    Failure::new(Kind::Failed, "the server cannot start").because(error)
}

/// Prints how to stop the server, on standard error.
pub(super) fn announce_stop() {
    note("Press Ctrl-C to stop. The state is kept.");
}
