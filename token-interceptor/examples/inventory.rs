//! The example application's server: an annotated service, protected by what its `.proto` declares.
//!
//! ```sh
//! cargo run -- dev                                          # an issuer, in one terminal
//! cargo run -p token-interceptor --example inventory        # the service, in another
//! cargo run -p token-interceptor --example orders -- --inventory http://127.0.0.1:50052
//! ```

#![allow(clippy::print_stdout, unreachable_pub, dead_code, reason = "a program, and its voice")]

#[path = "application/inventory.rs"]
mod application;
#[path = "application/settings.rs"]
mod settings;

use std::net::SocketAddr;

use clap::Parser;
use tokio::net::TcpListener;

/// A service that keeps count of what is in stock, and answers nobody without a good token.
#[derive(Parser)]
#[command(name = "inventory")]
struct Command {
    /// Where to listen; plaintext, so keep it on this machine
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50052")]
    listen: SocketAddr,
    #[command(flatten)]
    issuer: settings::IssuerFlags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let issuer = command.issuer.read()?;
    let listener = TcpListener::bind(command.listen).await?;
    println!("inventory on http://{}, for callers with tokens of {}", listener.local_addr()?, issuer.url);
    for method in application::pb::POLICY.iter().filter(|method| method.path.starts_with("/inventory.")) {
        println!("  {:48} {}", method.path, demand(method));
    }
    let server = application::serve(listener, &issuer.url, issuer.http_client()?);
    tokio::select! {
        outcome = server => outcome,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}

/// What a method demands, in words.
fn demand(method: &token_proto::policy::MethodPolicy) -> String {
    use token_proto::policy::Access;
    match &method.access {
        Access::Undeclared => "denied to everybody".to_owned(),
        Access::Public => "open to everybody".to_owned(),
        Access::Require(requirement) => {
            format!("audience {}, scopes {}", method.audience, requirement.all_scopes.join(" "))
        }
    }
}
