//! The checks of the server layer for one token, except revocation.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use token_interceptor::{
    error::VerifyError,
    http_client::HttpClient,
    key_set::KeySet,
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};

use crate::command::{
    connection::{client_certificate::ClientCertificateFiles, named, reach},
    explain::Decoded,
    failure::{Failure, Kind},
    runtime::runtime,
};

/// The keys to verify a token with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Verification")]
pub(super) struct Verification {
    /// Verify with the keys of this issuer, found by discovery. The token must name it as its issuer.
    ///
    /// Revocation is not checked.
    #[arg(long, value_name = "URL", conflicts_with = "jwks")]
    issuer: Option<String>,
    /// Trust this CA, in PEM, beside the machine's CAs.
    #[arg(long, env = "TOKEN_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    client_certificate: ClientCertificateFiles,
    /// Verify with the keys in this file, a JWK Set. The token may name any issuer.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The audience that the token must be for. Without it the audience is not checked.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

/// The result of the verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No keys were named.
    NotVerified,
    /// Every check passed. Holds the audience if one was required.
    Verified(Option<String>),
}

impl Verification {
    /// Verifies the token if keys are named.
    pub(super) fn verify(&self, token: &str, decoded: &Decoded) -> Result<Verdict, Failure> {
        let Some(Trusted { issuer, client }) = self.trusted(decoded)? else { return Ok(Verdict::NotVerified) };
        let verifier = Verifier::builder().issuer(issuer).build();
        let verifier =
            verifier.map_err(|error| Failure::usage("the keys cannot be used for verification").because(error))?;
        let claimed = decoded.claims.get("aud").and_then(first).unwrap_or_default();
        let audience = self.audience.as_deref().unwrap_or(claimed);
        runtime()?.block_on(async {
            let verified = verifier.verify_with_fetch(UnverifiedToken::new(token), audience, verifier.now());
            match verified.await {
                Ok(_) => Ok(Verdict::Verified(self.audience.clone())),
                Err(error) if error.is_transient() => Err(self.no_keys(error, client).await),
                Err(error) => {
                    let refused = Failure::new(Kind::Denied, "INVALID: a verifier rejects this token").because(error);
                    Err(self.other_issuer(refused, decoded, client).await)
                }
            }
        })
    }

    /// Returns the failure for a token that names another issuer than --issuer. The option may be the one
    /// that is misspelt.
    async fn other_issuer(&self, refused: Failure, decoded: &Decoded, client: Option<HttpClient>) -> Failure {
        let (Some(issuer), Some(client)) = (&self.issuer, client) else { return refused };
        if decoded.claims.get("iss").is_some_and(|named| named == issuer.as_str()) {
            return refused;
        }
        let look = reach::look(&client, issuer).await;
        reach::after_look(refused, issuer, look)
    }

    /// Returns the cause when the keys could not be fetched. The verifier's error does not contain it, so the
    /// metadata is requested.
    async fn no_keys(&self, error: VerifyError, client: Option<HttpClient>) -> Failure {
        let failure = Failure::new(Kind::Unavailable, "the issuer's keys cannot be fetched").because(error);
        let (Some(issuer), Some(client)) = (&self.issuer, client) else { return failure };
        let look = reach::look(&client, issuer).await;
        reach::after_look(failure.next("the metadata can be fetched, the key set cannot: try again"), issuer, look)
    }

    fn trusted(&self, decoded: &Decoded) -> Result<Option<Trusted>, Failure> {
        let unusable = |what: &str| Failure::usage(format!("{what} cannot be used for verification"));
        if let Some(path) = &self.jwks {
            let unusable = || unusable(&path.display().to_string());
            let document = std::fs::read(path).map_err(|error| unusable().because(error))?;
            let keys = KeySet::from_jwks(&document).map_err(|error| unusable().because(error))?;
            let issuer = decoded.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            let issuer = TrustedIssuer::fixed(issuer, keys).map_err(|error| unusable().because(error))?;
            return Ok(Some(Trusted { issuer, client: None }));
        }
        let Some(issuer) = &self.issuer else { return Ok(None) };
        named::url("--issuer", issuer)?;
        let mut client = HttpClient::builder();
        if let Some(path) = &self.ca_file {
            client = client.extra_roots_pem(named::ca(path)?);
        }
        if let Some(shown) = self.client_certificate.read()? {
            client = shown.show_by_http(client);
        }
        let client = client.build().map_err(|error| unusable("the issuer").because(error))?;
        let issuer = TrustedIssuer::discover(issuer).map_err(|error| unusable("the issuer").because(error))?;
        Ok(Some(Trusted { issuer: issuer.http_client(client.clone()), client: Some(client) }))
    }
}

/// The issuer, and the HTTP client that fetches its keys.
struct Trusted {
    issuer: TrustedIssuer,
    client: Option<HttpClient>,
}

fn first(audience: &Value) -> Option<&str> {
    audience.as_str().or_else(|| audience.as_array()?.first()?.as_str())
}
