//! The Rust program of the interop matrix: `matrix server`, or `matrix client HOST:PORT`.
//!
//! `tests/interop/matrix/run` documents the commands, and runs it with the programs of the other languages.

#![allow(clippy::print_stdout, unreachable_pub, dead_code, reason = "a program, and its voice")]

#[path = "quickstart/pb.rs"]
mod pb;
#[path = "application/settings.rs"]
mod settings;

use std::{io::BufRead as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use futures_util::StreamExt as _;
use token_interceptor::{
    attach::{Attach, AttachLayer},
    caller::Caller,
    layer::AuthorizationLayer,
    policy::Policy,
    source::{ClientCredentials, IssuerBuilder},
    verify::Verifier,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::IntervalStream;
use tonic::{
    Request, Response, Status, Streaming,
    codegen::BoxStream,
    transport::{Channel, Endpoint, Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use tonic_types::StatusExt as _;

use pb::{
    inventory_service_client::InventoryServiceClient,
    inventory_service_server::{InventoryService, InventoryServiceServer, SERVICE_NAME},
};

/// The time between two messages of a stream.
const TICK: Duration = Duration::from_millis(100);

#[derive(Parser)]
#[command(name = "matrix")]
struct Command {
    #[command(subcommand)]
    end: End,
    #[command(flatten)]
    issuer: settings::IssuerFlags,
}

#[derive(Subcommand)]
enum End {
    /// Serves until the end of standard input
    Server {
        #[arg(long, env = "TOKEN_TLS_CERTIFICATE")]
        certificate: PathBuf,
        #[arg(long, env = "TOKEN_TLS_KEY")]
        key: PathBuf,
    },
    /// Calls as the lines of standard input say
    Client {
        address: String,
        #[arg(long, env = "TOKEN_CLIENT_ID")]
        client_id: String,
        #[arg(long, env = "TOKEN_CLIENT_SECRET", hide_env_values = true)]
        client_secret: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let command = Command::parse();
    let issuer = command.issuer.read()?;
    let lines = lines();
    match command.end {
        End::Server { certificate, key } => {
            let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
            serve(&issuer, identity, lines).await
        }
        End::Client { address, client_id, client_secret } => {
            let endpoint = issuer.trusted(&format!("https://{address}"))?;
            let source = ClientCredentials::new(client_id, client_secret, IssuerBuilder::grpc(issuer.endpoint()?))?;
            follow(AttachLayer::new(source).policy(pb::POLICY), endpoint, lines).await
        }
    }
}

/// The lines of standard input.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn serve(
    issuer: &settings::Issuer,
    identity: Identity,
    mut lines: mpsc::UnboundedReceiver<String>,
) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    let verifier = Verifier::builder().issuer(issuer.watched()?).build()?;
    let policy = Policy::new(pb::POLICY)?.serves(pb::DESCRIPTOR_SET, &[SERVICE_NAME])?;
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .layer(AuthorizationLayer::new(verifier, policy))
        .add_service(InventoryServiceServer::new(Inventory))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
            while lines.recv().await.is_some() {}
        })
        .await?;
    Ok(())
}

struct Inventory;

/// An item that is named by the token of the call.
fn item(token: String) -> Option<pb::Item> {
    Some(pb::Item { sku: String::new(), name: token, in_stock: 1 })
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    type ListItemsStream = BoxStream<pb::ListItemsResponse>;

    async fn get_item(&self, request: Request<pb::GetItemRequest>) -> Result<Response<pb::GetItemResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (asked_by, token) = (
            caller.client_id().to_owned(),
            caller.bearer().map_or_else(String::new, |token| token.expose().to_owned()),
        );
        Ok(Response::new(pb::GetItemResponse { item: item(token), asked_by }))
    }

    async fn list_items(
        &self,
        request: Request<pb::ListItemsRequest>,
    ) -> Result<Response<Self::ListItemsStream>, Status> {
        let token = Caller::of(&request)?.bearer().map_or_else(String::new, |token| token.expose().to_owned());
        let ticks = IntervalStream::new(tokio::time::interval(TICK));
        let items = ticks.map(move |_| Ok(pb::ListItemsResponse { item: item(token.clone()) }));
        Ok(Response::new(Box::pin(items)))
    }

    async fn delete_item(&self, _: Request<pb::DeleteItemRequest>) -> Result<Response<pb::DeleteItemResponse>, Status> {
        Ok(Response::new(pb::DeleteItemResponse {}))
    }

    async fn get_opening_hours(
        &self,
        _: Request<pb::GetOpeningHoursRequest>,
    ) -> Result<Response<pb::GetOpeningHoursResponse>, Status> {
        Ok(Response::new(pb::GetOpeningHoursResponse { hours: "around the clock".into() }))
    }
}

async fn follow(tokens: AttachLayer, endpoint: Endpoint, mut lines: mpsc::UnboundedReceiver<String>) -> Result<()> {
    let mut bare = InventoryServiceClient::new(endpoint.connect_lazy());
    let mut inventory: InventoryServiceClient<Attach<Channel>> =
        InventoryServiceClient::new(tokens.connect_lazy(&endpoint)?);
    let mut stream = None;
    while let Some(line) = lines.recv().await {
        let answer = match line.as_str() {
            "bare" => bare.get_item(pb::GetItemRequest::default()).await.map(described),
            "hours" => {
                let answer = inventory.get_opening_hours(pb::GetOpeningHoursRequest {}).await;
                answer.map(|answer| answer.into_inner().hours)
            }
            "get" => inventory.get_item(pb::GetItemRequest::default()).await.map(described),
            "delete" => {
                let answer = inventory.delete_item(pb::DeleteItemRequest::default()).await;
                answer.map(|_| "deleted".to_owned())
            }
            "open" => match inventory.list_items(pb::ListItemsRequest {}).await {
                Ok(opened) => first(stream.insert(opened.into_inner())).await,
                Err(status) => Err(status),
            },
            "end" => last(stream.take().context("no stream is open")?).await,
            other => bail!("not a command: {other}"),
        };
        match answer {
            Ok(text) => println!("ok {text}"),
            Err(status) => {
                let reason = status.get_details_error_info().map_or_else(|| "none".into(), |info| info.reason);
                println!("error {} {reason}", i32::from(status.code()));
            }
        }
    }
    Ok(())
}

fn described(answer: Response<pb::GetItemResponse>) -> String {
    let answer = answer.into_inner();
    format!("{} {}", answer.asked_by, answer.item.unwrap_or_default().name)
}

async fn first(stream: &mut Streaming<pb::ListItemsResponse>) -> Result<String, Status> {
    let message = stream.message().await?.unwrap_or_default();
    Ok(message.item.unwrap_or_default().name)
}

async fn last(mut stream: Streaming<pb::ListItemsResponse>) -> Result<String, Status> {
    while stream.message().await?.is_some() {}
    Ok("the stream ended".into())
}
