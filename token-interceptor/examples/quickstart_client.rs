//! The README's client, complete: `cargo run -p token-interceptor --example quickstart_client`, with
//! `quickstart_server` running and the environment of the development issuer's example client.

#![allow(clippy::print_stdout, reason = "a program, and its voice")]

#[path = "quickstart/pb.rs"]
mod pb;

use std::env;

// README: client_use
use token_interceptor::{
    attach::AttachLayer,
    source::{ClientCredentials, IssuerBuilder},
};
use tonic::transport::Endpoint;

use pb::inventory_service_client::InventoryServiceClient;
// README: end

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (id, secret) = (env::var("TOKEN_CLIENT_ID")?, env::var("TOKEN_CLIENT_SECRET")?);
    // README: client
    let issuer = IssuerBuilder::discover("https://localhost:8443");
    let tokens = AttachLayer::new(ClientCredentials::new(id, secret, issuer)?).policy(pb::POLICY);
    let channel = tokens.connect_lazy(&Endpoint::from_static("http://127.0.0.1:50051"))?;
    let mut inventory = InventoryServiceClient::new(channel);
    let answer = inventory.get_item(pb::GetItemRequest { sku: "sp-1".into() }).await?;
    // README: end
    println!("asked by {}", answer.into_inner().asked_by);
    Ok(())
}
