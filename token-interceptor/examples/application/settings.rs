//! The settings of issuer and client: flags first, then the environment, then the files of `token-server
//! dev`.

use std::{collections::HashMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use token_interceptor::verify::TrustedIssuer;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// The hint that names the command `token-server dev`.
const START: &str = "Start one, in another terminal, and try again:\n\n    cargo run -- dev\n";

/// The issuer's address.
#[derive(Args, Clone, Debug)]
pub struct IssuerFlags {
    /// The folder in which `token-server dev` keeps its state
    #[arg(long, value_name = "DIR", default_value = ".token-server", env = "TOKEN_STATE_DIR")]
    state_dir: PathBuf,
    /// The issuer identifier [default: what the state folder says]
    #[arg(long, value_name = "URL", env = "TOKEN_ISSUER")]
    issuer: Option<String>,
    /// The CA that signed the issuer's certificate, as PEM [default: the one in the state folder]
    #[arg(long, value_name = "FILE", env = "TOKEN_CA_FILE")]
    ca: Option<PathBuf>,
}

/// An issuer, and the means to connect to it.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The issuer identifier.
    pub url: String,
    ca_pem: Option<Vec<u8>>,
    values: HashMap<String, String>,
}

impl IssuerFlags {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// Returns an error if no issuer is named and none has been set up. The error names the next step.
    pub fn read(&self) -> Result<Issuer> {
        let file = self.state_dir.join("example.env");
        let values = fs::read_to_string(&file).map(|text| parse(&text)).unwrap_or_default();
        let Some(url) = self.issuer.clone().or_else(|| values.get("TOKEN_ISSUER").cloned()) else {
            bail!("There is no development issuer here: {} is missing.\n{START}", file.display());
        };
        let own = self.issuer.as_ref().is_none_or(|issuer| values.get("TOKEN_ISSUER") == Some(issuer));
        let ca = self.ca.clone().or_else(|| Some(self.state_dir.join("ca.pem")).filter(|ca| own && ca.exists()));
        let ca_pem = ca.map(|ca| fs::read(&ca).with_context(|| format!("The CA cannot be read: {}", ca.display())));
        let values = if own { values } else { HashMap::new() };
        Ok(Issuer { url, ca_pem: ca_pem.transpose()?, values })
    }
}

impl Issuer {
    /// Returns the client's identifier and secret, unless flags or environment name others.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no client.
    pub fn client(&self, id: Option<String>, secret: Option<String>) -> Result<(String, String)> {
        let value = |given: Option<String>, name: &str| {
            let found = given.or_else(|| self.values.get(name).cloned());
            found.ok_or_else(|| anyhow!("Who calls? Name the client by {name}, or by a flag: --help."))
        };
        Ok((value(id, "TOKEN_CLIENT_ID")?, value(secret, "TOKEN_CLIENT_SECRET")?))
    }

    /// Connects over gRPC.
    ///
    /// # Errors
    ///
    /// Returns an error if the identifier is not a URL, or the CA not a certificate.
    pub fn endpoint(&self) -> Result<Endpoint> {
        self.trusted(&self.url)
    }

    /// Connects to another server, whose certificate is of the same CA.
    ///
    /// # Errors
    ///
    /// Returns an error if the address is not a URL, or the CA not a certificate.
    pub fn trusted(&self, url: &str) -> Result<Endpoint> {
        let endpoint = Endpoint::from_shared(url.to_owned()).with_context(|| format!("Not a URL: {url}"))?;
        match &self.ca_pem {
            Some(ca) if url.starts_with("https:") => {
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
                endpoint.tls_config(tls).context("The CA cannot be used")
            }
            Some(_) | None => Ok(endpoint),
        }
    }

    /// Trusts the issuer, which pushes its keys and revocations over gRPC.
    ///
    /// # Errors
    ///
    /// When the identifier is not a URL, or the CA not a certificate.
    pub fn watched(&self) -> Result<TrustedIssuer> {
        Ok(TrustedIssuer::watch(&self.url, self.endpoint()?)?)
    }

    /// Returns the advice when the issuer does not answer.
    pub fn not_there(&self) -> String {
        format!("The issuer does not answer: {}\n{START}", self.url)
    }
}

/// Reads `NAME=value` lines, as a shell would source them.
fn parse(text: &str) -> HashMap<String, String> {
    let lines =
        text.lines().map(|line| line.trim().trim_start_matches("export ")).filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.split_once('='));
    values.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['\'', '"']).to_owned())).collect()
}
