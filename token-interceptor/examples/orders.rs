//! The example application's client: calls the inventory through both layers, against a running issuer.
//!
//! ```sh
//! cargo run -- dev                                          # an issuer, in one terminal
//! cargo run -p token-interceptor --example orders           # this, in another
//! ```
//!
//! The inventory service runs in the same process, unless `--inventory` names a running one. The program ends
//! with an error if one of its claims is false.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, reason = "a program, and its voice")]

#[path = "application/inventory.rs"]
mod application;
#[path = "application/renewal.rs"]
mod renewal;
#[path = "application/settings.rs"]
mod settings;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use application::pb::{self, inventory_service_client::InventoryServiceClient};
use clap::Parser;
use token_interceptor::{
    attach::{Attach, AttachLayer},
    source::{ClientCredentials, IssuerBuilder, TokenRequest},
};
use tokio::net::TcpListener;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

type Inventory = InventoryServiceClient<Attach<Channel>>;

/// Calls the inventory: allowed, denied, and while its token is being renewed.
#[derive(Parser)]
#[command(name = "orders")]
struct Command {
    #[command(flatten)]
    issuer: settings::IssuerFlags,
    /// The client ID [default: the example client of `token-server dev`]
    #[arg(long, value_name = "ID", env = "TOKEN_CLIENT_ID")]
    client_id: Option<String>,
    /// Its secret
    #[arg(long, value_name = "SECRET", env = "TOKEN_CLIENT_SECRET", hide_env_values = true)]
    client_secret: Option<String>,
    /// A running inventory service, in any language; over https by the same CA [default: one in this
    /// process]
    #[arg(long, value_name = "URL")]
    inventory: Option<String>,
    /// The seconds to call while tokens are renewed; 0 leaves that out
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{}", format!("{error:#}").trim_end());
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    let issuer = command.issuer.read()?;
    let (client_id, secret) = issuer.client(command.client_id, command.client_secret)?;
    println!("orders → inventory, through both layers\n");
    println!("  issuer     {}", issuer.url);
    println!("  client     {client_id}");

    let inventory = match command.inventory {
        Some(url) => url,
        None => serve_inventory(&issuer).await?,
    };
    println!("  inventory  {inventory}\n");

    // Short-lived tokens cause renewals. Each request for a token takes half a second longer than necessary,
    // so that a call that waited for one would show.
    let source = ClientCredentials::new(client_id, secret, IssuerBuilder::grpc(issuer.endpoint()?))?;
    let source = Arc::new(renewal::Slow::new(source.lifetime(renewal::LIFETIME)));
    let tokens = AttachLayer::new(Arc::clone(&source)).policy(pb::POLICY);
    let channel = tokens.connect_lazy(&issuer.trusted(&inventory)?)?;
    let mut client = InventoryServiceClient::new(channel);

    say("a public method needs no token", public(&mut client).await)?;
    let allowed = allowed(&mut client).await;
    let allowed = if source.out_of_reach() { allowed.map_err(|_| anyhow!(issuer.not_there())) } else { allowed };
    say("a call is allowed", allowed)?;
    say("a stream is allowed", streamed(&mut client).await)?;
    say("the issuer does not grant what the client may not have", not_granted(&mut client).await)?;
    say("the inventory denies a token that lacks a scope", denied(&mut client).await)?;
    if command.seconds > 0 {
        let watched = renewal::watch(&client, &source, Duration::from_secs(command.seconds)).await;
        say("tokens are renewed while calls go on, and none waits", watched)?;
    }
    println!("\nEverything holds.");
    Ok(())
}

/// Prints one line for each claim that is true. An error ends the program.
fn say(claim: &str, outcome: Result<String>) -> Result<()> {
    match outcome {
        Ok(detail) => {
            println!("  ✓ {claim}\n      {detail}");
            Ok(())
        }
        Err(error) => {
            println!("  ✗ {claim}");
            Err(error)
        }
    }
}

async fn serve_inventory(issuer: &settings::Issuer) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let issuer = issuer.watched()?;
    tokio::spawn(async move {
        if let Err(error) = application::serve(listener, issuer, None).await {
            eprintln!("the inventory service ended: {error:#}");
        }
    });
    Ok(url)
}

async fn public(client: &mut Inventory) -> Result<String> {
    let hours = client.get_opening_hours(pb::GetOpeningHoursRequest {}).await?.into_inner().hours;
    Ok(format!("GetOpeningHours: open {hours}"))
}

async fn allowed(client: &mut Inventory) -> Result<String> {
    let request = pb::GetItemRequest { sku: "sp-1".into() };
    let answer = client.get_item(request).await.map_err(|status| failed("GetItem", &status))?.into_inner();
    let item = answer.item.context("GetItem answered without an item")?;
    Ok(format!("GetItem: {} × {}, asked by {}", item.in_stock, item.name, answer.asked_by))
}

async fn streamed(client: &mut Inventory) -> Result<String> {
    let mut items =
        client.list_items(pb::ListItemsRequest {}).await.map_err(|status| failed("ListItems", &status))?.into_inner();
    let mut count = 0;
    while items.message().await?.is_some() {
        count += 1;
    }
    ensure!(count > 0, "ListItems answered nothing");
    Ok(format!("ListItems: {count} items"))
}

/// The layer requests the scope that the method demands. The issuer denies it, and the call is not sent.
async fn not_granted(client: &mut Inventory) -> Result<String> {
    let request = pb::DeleteItemRequest { sku: "sp-1".into() };
    Ok(format!("DeleteItem: {}; nothing was sent", expect_denied(client.delete_item(request).await.map(drop))?))
}

/// Makes the same call with the token for reading, which a single call may request. Now the inventory denies
/// it.
async fn denied(client: &mut Inventory) -> Result<String> {
    let mut request = Request::new(pb::DeleteItemRequest { sku: "sp-1".into() });
    request.extensions_mut().insert(TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]));
    let denied = expect_denied(client.delete_item(request).await.map(drop))?;
    Ok(format!("DeleteItem with a token for inventory.read: {denied}"))
}

/// Describes the answer of the callee or of the layer: its sentence, and the stable reason.
fn failed(method: &str, status: &Status) -> anyhow::Error {
    let reason = status.get_details_error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason);
    anyhow!("{method} failed: {} ({reason})", status.message())
}

fn expect_denied(outcome: Result<(), Status>) -> Result<String> {
    let Err(status) = outcome else { bail!("DeleteItem was allowed: does this client have inventory.write?") };
    ensure!(status.code() == Code::PermissionDenied, failed("DeleteItem", &status));
    let info = status.get_details_error_info().context("the denial does not say why")?;
    let missing = info.metadata.get("scope").context("the denial does not name the missing scope")?;
    Ok(format!("PERMISSION_DENIED {}, missing scope: {missing}", info.reason))
}
