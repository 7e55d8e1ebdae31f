//! A server whose methods only need a valid token: a target for security tools.
//!
//! ```text
//! cargo run -p token-interceptor --example protected_server -- \
//!     --listen 127.0.0.1:50051 --watch https://localhost:8443 --audience inventory
//! ```
//!
//! `--watch` is for issuers of this project: keys and revocations are pushed. `--issuer` is for all others:
//! keys are fetched, and revocations are unknown.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures_util::{Stream, StreamExt as _};
use token_interceptor::{
    caller::Caller,
    danger::AllowPlaintext,
    layer::AuthorizationLayer,
    policy::{Policy, ServedPolicy},
    verify::{TrustedIssuer, Verifier},
};
use token_proto::policy::MethodPolicy;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tokio_stream::wrappers::IntervalStream;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use protected::{
    PingResponse, WatchResponse,
    protected_service_server::{ProtectedService, ProtectedServiceServer, SERVICE_NAME},
};

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated code")]
pub(crate) mod protected {
    tonic::include_proto!("protected.v1");
}

/// The policy that `build.rs` read from the annotations in `proto/`.
static POLICY: &[MethodPolicy] = token_proto::include_policy!();

/// The end of `--help`.
const METHODS: &str = "\
Methods, over gRPC in plaintext on loopback; the first two take google.protobuf.Empty:
  /protected.v1.ProtectedService/Ping    unary
  /protected.v1.ProtectedService/Watch   server streaming: a message every 0.2 s for a minute; ends
                                         with TOKEN_EXPIRED when the token does
  /grpc.health.v1.Health/Check, /Watch   open to every caller

Every other path is PERMISSION_DENIED. An invalid token reads UNAUTHENTICATED. UNAVAILABLE with RetryInfo
says that the keys of the token's issuer are unreachable.

Environment:
  SSL_CERT_FILE   a PEM file of certificates to trust in place of the system's";

/// The time that open calls get to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(2);
/// Larger than any accepted token, so that a token that is too large gets the right error.
const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Serves two methods that only need a valid token for --audience from one of the --issuer or --watch.
#[derive(Parser)]
#[command(after_help = METHODS)]
pub(crate) struct Arguments {
    /// The address to listen on: a loopback address and a port; port 0 takes any, which the ready line names.
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// An issuer to trust, found by its OpenID configuration or its RFC 8414 metadata. Repeatable.
    #[arg(long = "issuer", value_name = "URL", required_unless_present = "watched")]
    issuers: Vec<String>,
    /// A token server to trust, which pushes its keys and revocations over gRPC. Repeatable.
    #[arg(long = "watch", value_name = "URL")]
    watched: Vec<String>,
    /// The `aud` that tokens must carry.
    #[arg(long, value_name = "NAME")]
    audience: String,
    /// The seconds by which the clocks of issuer and server may disagree; at most 600.
    #[arg(long, value_name = "SECS", default_value_t = 5)]
    leeway: u64,
    /// The age at which a key set is fetched again.
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    max_cache_age: u64,
    /// The minimum interval between fetches of a key set that tokens with unknown keys cause.
    #[arg(long, value_name = "SECS", default_value_t = 5)]
    cooldown: u64,
    /// Allows http issuers on any host, not on loopback alone. An attacker on the network path can then forge
    /// tokens.
    #[arg(long)]
    insecure_issuer: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let listener =
        TcpListener::bind(&arguments.listen).await.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(&arguments, listener, stop).await
}

/// Serves until `stop`, and then until the open calls have ended or [`DRAIN`] has passed.
pub(crate) async fn serve(
    arguments: &Arguments,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    ensure!(address.ip().is_loopback(), "{address} is not loopback, and this server speaks plaintext");
    let authorization = AuthorizationLayer::new(verifier(arguments)?, policy(&arguments.audience)?);
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<ProtectedServiceServer<Protected>>().await;

    announce(address);
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serve = Server::builder()
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .layer(authorization)
        .add_service(health)
        .add_service(ProtectedServiceServer::new(Protected))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async {
            let _ = stopped.await;
        });
    let stop = async {
        stop.await;
        let _ = stopping.send(());
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serve => served?,
        () = stop => {}
    }
    Ok(())
}

fn verifier(arguments: &Arguments) -> anyhow::Result<Verifier> {
    let mut verifier = Verifier::builder().leeway(Duration::from_secs(arguments.leeway));
    for issuer in &arguments.issuers {
        let mut issuer = TrustedIssuer::discover(issuer)?
            .max_age(Duration::from_secs(arguments.max_cache_age))
            .cooldown(Duration::from_secs(arguments.cooldown));
        if arguments.insecure_issuer {
            issuer = issuer.plaintext(AllowPlaintext);
        }
        verifier = verifier.issuer(issuer);
    }
    for issuer in &arguments.watched {
        let mut issuer = TrustedIssuer::watch(issuer, issuer.as_str())?;
        if arguments.insecure_issuer {
            issuer = issuer.plaintext(AllowPlaintext);
        }
        verifier = verifier.issuer(issuer);
    }
    Ok(verifier.build()?)
}

fn addressed(method: &MethodPolicy, audience: &str) -> MethodPolicy {
    MethodPolicy::new(method.path.clone(), audience.to_owned().into(), method.access.clone(), method.kind)
}

/// The annotations of this service, with the audience of the command line.
fn policy(audience: &str) -> anyhow::Result<ServedPolicy> {
    let prefix = format!("/{SERVICE_NAME}/");
    let methods = POLICY.iter().filter(|method| method.path.starts_with(&prefix));
    let methods: Vec<MethodPolicy> = methods.map(|method| addressed(method, audience)).collect();
    Ok(Policy::new(&methods)?.serves(token_proto::include_descriptor_set!(), &[SERVICE_NAME])?)
}

#[expect(clippy::print_stdout, reason = "the ready line is what a program that starts this one waits for")]
fn announce(address: SocketAddr) {
    println!("ready: listening on {address}");
}

struct Protected;

#[tonic::async_trait]
impl ProtectedService for Protected {
    async fn ping(&self, request: Request<()>) -> Result<Response<PingResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(PingResponse {
            client_id: caller.client_id().to_owned(),
            subject: caller.subject().to_owned(),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<()>) -> Result<Response<Self::WatchStream>, Status> {
        let ticks = IntervalStream::new(interval(Duration::from_millis(200)));
        let messages = ticks.zip(futures_util::stream::iter(0..300));
        Ok(Response::new(Box::pin(messages.map(|(_, sequence)| Ok(WatchResponse { sequence })))))
    }
}
