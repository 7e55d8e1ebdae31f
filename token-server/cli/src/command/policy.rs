//! `token-server policy`: the annotations of `.proto` files, as configuration for proxies.

mod envoy;
mod istio;
mod rules;
mod yaml;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use token_server::config::{DescriptorPolicy, IssuerUrl};

use super::{failure::Failure, output::Output};
use rules::Rules;

/// Converts the annotations of `.proto` files into configuration for proxies that verify tokens.
///
/// A proxy checks less than the server layer: a revoked token passes until it expires. What its configuration
/// cannot express is denied, and the output says so in a comment. Envoy can also ask this server for each
/// request: token-server serve, [ext_authz].
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

/// The input for both proxies.
#[derive(Debug, Args)]
struct Source {
    /// A descriptor set, from `buf build -o FILE` or `protoc --include_imports --descriptor_set_out=FILE`;
    /// repeat it for more.
    #[arg(long = "descriptor", value_name = "FILE", required = true)]
    descriptors: Vec<PathBuf>,
    /// The issuer, as its tokens name it.
    #[arg(long, env = "TOKEN_ISSUER", value_name = "URL")]
    issuer: String,
    /// Allow streaming methods, although a stream goes on after its token has expired.
    #[arg(long)]
    danger_streams_outlive_tokens: bool,
}

impl Source {
    fn issuer(&self) -> Result<IssuerUrl, Failure> {
        IssuerUrl::parse(&self.issuer).map_err(Failure::usage)
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let declared = DescriptorPolicy::read(&self.descriptors).map_err(Failure::usage)?;
        Ok(Rules::of(&declared.table, self.danger_streams_outlive_tokens))
    }

    fn jwks_uri(&self) -> String {
        format!("{}/jwks.json", self.issuer.trim_end_matches('/'))
    }
}
