//! The same checks that the server layer makes, for one token.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use token_interceptor::{
    http_client::HttpClient,
    key_set::KeySet,
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};

use crate::command::{
    connection::{
        client_certificate::{ClientCertificateFiles, HINT},
        named,
    },
    explain::Decoded,
    failure::{Failure, Kind},
    runtime,
};

/// What to verify a token by.
#[derive(Debug, Args)]
#[command(next_help_heading = "Verification")]
pub(super) struct Verification {
    /// Verify with the keys of this issuer, found by discovery; the token's `iss` must be it.
    #[arg(long, value_name = "URL", conflicts_with = "jwks")]
    issuer: Option<String>,
    /// Trust this CA, in PEM, beside the machine's.
    #[arg(long, env = "TOKEN_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    client_certificate: ClientCertificateFiles,
    /// Verify with the keys in this file, a JWK Set, whatever issuer the token names.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The audience that the token must be for. Default: the one that it names, so that this is not checked.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

/// What became of the verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to verify by was given.
    NotVerified,
    /// Every check that the server layer makes was passed.
    Verified,
}

impl Verification {
    /// Verifies the token, where there is something to verify it by.
    pub(super) fn verify(&self, token: &str, decoded: &Decoded) -> Result<Verdict, Failure> {
        let Some(issuer) = self.trusted(decoded)? else { return Ok(Verdict::NotVerified) };
        let verifier = Verifier::builder().issuer(issuer).build();
        let verifier = verifier.map_err(|error| Failure::usage("there is nothing to verify by").because(error))?;
        let claimed = decoded.claims.get("aud").and_then(first).unwrap_or_default();
        let audience = self.audience.as_deref().unwrap_or(claimed);
        let verified =
            runtime()?.block_on(verifier.verify_with_fetch(UnverifiedToken::new(token), audience, verifier.now()));
        match verified {
            Ok(_) => Ok(Verdict::Verified),
            Err(error) if error.is_transient() => {
                Err(Failure::new(Kind::Unavailable, "the issuer's keys cannot be had").because(error).next(HINT))
            }
            Err(error) => Err(Failure::new(Kind::Denied, "NOT GOOD: a verifier refuses this token").because(error)),
        }
    }

    fn trusted(&self, decoded: &Decoded) -> Result<Option<TrustedIssuer>, Failure> {
        let unusable = |what: &str| Failure::usage(format!("{what} cannot be used to verify by"));
        if let Some(path) = &self.jwks {
            let unusable = || unusable(&path.display().to_string());
            let document = std::fs::read(path).map_err(|error| unusable().because(error))?;
            let keys = KeySet::from_jwks(&document).map_err(|error| unusable().because(error))?;
            let issuer = decoded.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            return TrustedIssuer::fixed(issuer, keys).map(Some).map_err(|error| unusable().because(error));
        }
        let Some(issuer) = &self.issuer else { return Ok(None) };
        let mut client = HttpClient::builder();
        if let Some(path) = &self.ca_file {
            client = client.extra_roots_pem(named::ca(path)?);
        }
        if let Some(shown) = self.client_certificate.read()? {
            client = shown.show_by_http(client);
        }
        let client = client.build().map_err(|error| unusable("the issuer").because(error))?;
        let issuer = TrustedIssuer::discover(issuer).map_err(|error| unusable("the issuer").because(error))?;
        Ok(Some(issuer.http_client(client)))
    }
}

fn first(audience: &Value) -> Option<&str> {
    audience.as_str().or_else(|| audience.as_array()?.first()?.as_str())
}
