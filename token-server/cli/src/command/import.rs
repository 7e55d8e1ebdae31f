//! `token-server import`: the clients of another issuer, as a file for `client plan` and `client apply`.
//!
//! Each reader takes the members of the JSON that it carries over. The members that it leaves go into the
//! report with a reason, so that nothing is dropped silently. A message names members, never their values.

mod auth0;
mod draft;
mod fields;
mod hydra;
mod keycloak;
mod report;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::Value;
use token_interceptor::clock::{Clock as _, SystemClock};
use token_server::client_file::{Declared, File};
use token_store::private_file;
use zeroize::Zeroizing;

use super::{failure::Failure, output::Output};
use draft::{Draft, Names};
use report::Report;

/// Turns the clients of another issuer into a file for `client plan` and `client apply`.
///
/// Prints a report of everything that was not carried over, with the reasons. Secrets become Argon2id hashes.
/// They keep working with [secrets] accept_imported until they are replaced, and are shown as imported.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kc.sh export --realm acme --users same_file --file realm.json
  token-server import keycloak realm.json --out clients.toml

  curl http://localhost:4445/admin/clients?page_size=500 > clients.json
  token-server import hydra clients.json --audience inventory --out clients.toml

  API=https://TENANT.auth0.com/api/v2
  curl -H \"authorization: Bearer $TOKEN\" \"$API/clients?per_page=100\" > clients.json
  curl -H \"authorization: Bearer $TOKEN\" \"$API/client-grants?per_page=100\" > grants.json
  token-server import auth0 clients.json --client-grants grants.json --out clients.toml

  token-server client plan --file clients.toml
  token-server client apply --file clients.toml

FILE \"-\" is standard input. docs/operations/moving-in.md has the whole path, and the way back.")]
pub(super) struct Import {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// A realm export of Keycloak, made with `kc.sh export --users same_file`.
    Keycloak(From),
    /// The clients of Ory Hydra: `GET /admin/clients`, every page in one JSON list.
    Hydra(From),
    /// The clients of Auth0: `GET /api/v2/clients` and `GET /api/v2/client-grants`.
    Auth0 {
        #[command(flatten)]
        from: From,
        /// The answer of `GET /api/v2/client-grants`: the audiences and scopes of the clients.
        #[arg(long, value_name = "FILE")]
        client_grants: PathBuf,
    },
}

#[derive(Debug, Args)]
struct From {
    /// The JSON file, or - for standard input.
    file: PathBuf,
    /// The file to write. Only its owner may read it (0600) if it has the hash of a secret.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The audience of scopes to which the input gives none.
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
    /// The scope of an audience to which the input gives none; repeat it for more.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Replace a file that an earlier import wrote. Hashes of unchanged secrets stay as they are.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let (from, kind) = self.source.parts();
        let earlier = from.earlier()?;
        let mut report = Report::default();
        let drafts = self.source.drafts(&mut report)?;
        let mut clients = Vec::with_capacity(drafts.len());
        let now = SystemClock.now();
        for draft in drafts {
            clients.extend(draft.declare(&earlier, now, &mut report));
        }
        clients.sort_by(|left, right| left.id.cmp(&right.id));
        from.write(kind, &clients)?;
        report.print(&clients, &from.out, from.json, output)
    }
}

impl Source {
    fn parts(&self) -> (&From, &'static str) {
        match self {
            Self::Keycloak(from) => (from, "keycloak"),
            Self::Hydra(from) => (from, "hydra"),
            Self::Auth0 { from, .. } => (from, "auth0"),
        }
    }

    /// Reads the input.
    fn drafts(&self, report: &mut Report) -> Result<Vec<Draft>, Failure> {
        let (from, _) = self.parts();
        let input = read(&from.file)?;
        let names = Names { audience: from.audience.as_deref(), scopes: &from.scopes };
        match self {
            Self::Keycloak(_) => keycloak::clients(input, names, report),
            Self::Hydra(_) => hydra::clients(input, names, report),
            Self::Auth0 { client_grants, .. } => auth0::clients(input, read(client_grants)?, names, report),
        }
    }
}

impl From {
    /// The clients of the file that the import replaces.
    fn earlier(&self) -> Result<Vec<Declared>, Failure> {
        if !self.out.exists() {
            return Ok(Vec::new());
        }
        if !self.force {
            let exists = Failure::usage(format!("{} exists", self.out.display()));
            return Err(exists.next("choose another --out, or replace the file with --force"));
        }
        let file = File::read(&self.out).map_err(|error| Failure::usage("the file is not replaced").because(error))?;
        Ok(file.clients)
    }

    fn write(&self, kind: &str, clients: &[Declared]) -> Result<(), Failure> {
        let cannot = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::failed(format!("cannot write {}", self.out.display()), error)
        };
        let file = File { clients: clients.to_vec() };
        let declared = Zeroizing::new(file.to_toml().map_err(|error| cannot(error.into()))?);
        let text = Zeroizing::new(format!(
            "# Clients from {kind}, written by `token-server import`. For `token-server client plan --file`.\n\n{}",
            *declared
        ));
        let mode = if clients.iter().any(Declared::has_credentials) { 0o600 } else { 0o644 };
        private_file::write_with_mode(&self.out, text.as_bytes(), mode).map_err(|error| cannot(error.into()))
    }
}

/// Reads JSON. The error gives the place of a mistake, never the text.
fn read(path: &Path) -> Result<Value, Failure> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Zeroizing::new(Vec::new());
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path).map(Zeroizing::new)
    };
    let bytes = bytes.map_err(|error| Failure::usage(format!("cannot read {}", path.display())).because(error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Failure::usage(format!("{} is not JSON: {place}", path.display()))
    })
}

/// A file of another kind.
fn other_form(expected: &str) -> Failure {
    Failure::usage(format!("the file is not {expected}")).next("`token-server import --help` shows how to get it")
}
