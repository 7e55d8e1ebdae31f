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

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;
use tonic::transport::Identity;

/// A service that counts the items in stock, and rejects callers without a valid token.
#[derive(Parser)]
#[command(name = "inventory")]
struct Command {
    /// The address to listen on; without a certificate in plaintext, so keep it on this machine
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50052")]
    listen: SocketAddr,
    /// Serve over TLS with this certificate chain, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    issuer: settings::IssuerFlags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let issuer = command.issuer.read()?;
    let listener = TcpListener::bind(command.listen).await?;
    let identity = command.identity()?;
    let scheme = if identity.is_some() { "https" } else { "http" };
    println!("inventory on {scheme}://{}, for callers with tokens of {}", listener.local_addr()?, issuer.url);
    for method in application::pb::POLICY.iter().filter(|method| method.path.starts_with("/inventory.")) {
        println!("  {:48} {}", method.path, demand(method));
    }
    let server = application::serve(listener, issuer.watched()?, identity);
    tokio::select! {
        outcome = server => outcome,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}

impl Command {
    fn identity(&self) -> anyhow::Result<Option<Identity>> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else { return Ok(None) };
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Some(Identity::from_pem(read(certificate)?, read(key)?)))
    }
}

/// Describes the requirement of a method.
fn demand(method: &token_proto::policy::MethodPolicy) -> String {
    use token_proto::policy::Access;
    match &method.access {
        Access::Undeclared => "denied to every caller".to_owned(),
        Access::Public | Access::Identify => "open to every caller".to_owned(),
        Access::Require(requirement) => {
            format!("audience {}, scopes {}", method.audience, requirement.all_scopes.join(" "))
        }
    }
}
