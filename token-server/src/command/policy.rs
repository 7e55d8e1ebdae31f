//! `token-server policy`: what `.proto` files declare, as configuration for proxies.

mod envoy;
mod istio;
mod rules;
mod yaml;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{failure::Failure, output::Output};
use crate::config::{Declared, IssuerUrl};
use rules::Rules;

/// Writes what `.proto` files declare as configuration for proxies that verify tokens by themselves.
///
/// They know less than our own layer does: revoked tokens pass until they expire, and what cannot be said in their
/// terms is denied, which the output says in its comments. Where that does not do, Envoy can ask this server instead:
/// token-server serve, [ext_authz].
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  buf build -o inventory.binpb
  token-server policy envoy --descriptor inventory.binpb --issuer https://tokens.example.com
  token-server policy istio --descriptor inventory.binpb --issuer https://tokens.example.com \\
      --app inventory")]
pub(super) struct Policy {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    Envoy(envoy::Envoy),
    Istio(istio::Istio),
}

impl Policy {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let written = match self.target {
            Target::Envoy(envoy) => envoy.write()?,
            Target::Istio(istio) => istio.write()?,
        };
        output.line(written.trim_end())?;
        Ok(())
    }
}

/// What both are written from.
#[derive(Debug, Args)]
struct Source {
    /// A descriptor set: what `buf build -o FILE` or `protoc --include_imports --descriptor_set_out=FILE` writes;
    /// may be given more than once
    #[arg(long = "descriptor", value_name = "FILE", required = true)]
    descriptors: Vec<PathBuf>,
    /// The issuer, as it stands in its tokens
    #[arg(long, env = "TOKEN_ISSUER", value_name = "URL")]
    issuer: String,
    /// Let streaming methods through although their streams will outlive their tokens
    #[arg(long)]
    danger_streams_outlive_tokens: bool,
}

impl Source {
    fn issuer(&self) -> Result<IssuerUrl, Failure> {
        IssuerUrl::parse(&self.issuer).map_err(Failure::usage)
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let declared = Declared::read(&self.descriptors).map_err(Failure::usage)?;
        Ok(Rules::of(&declared.table, self.danger_streams_outlive_tokens))
    }

    fn jwks_uri(&self) -> String {
        format!("{}/jwks.json", self.issuer.trim_end_matches('/'))
    }
}
