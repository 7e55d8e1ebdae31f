//! `token-server inspect`: the content of a token. It is decoded offline unless an issuer is named.

mod verification;

use std::{io, io::Read as _};

use clap::Args;
use serde_json::json;
use token_interceptor::clock::{Clock as _, SystemClock};

use verification::{Verdict, Verification};

use super::{
    explain,
    failure::Failure,
    output::{Output, note},
};

/// Shows the content of a token. Decodes it offline; with --issuer or --jwks it verifies the token too.
///
/// A token that decodes may be forged. With --issuer or --jwks the command makes the checks of the server
/// layer, except revocation: the exit code is 0 for a valid token and 3 for an invalid one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server inspect eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9...
  token-server token --audience inventory | token-server inspect
  pbpaste | token-server inspect --json | jq .claims.scope
  token-server inspect --issuer https://tokens.example.com --audience inventory eyJ0...
  curl -s https://tokens.example.com/jwks.json > keys.json
  token-server inspect --jwks keys.json eyJ0...")]
pub(super) struct Inspect {
    /// The token. Without it, or with "-", it is read from standard input. "Bearer " before it is ignored.
    token: Option<String>,
    /// Print header and claims as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verification: Verification,
}

/// The note that a revoked token passes every check that needs only the keys.
const NOT_CHECKED: &str = "Revocation was not checked.";

impl Inspect {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let text = match self.token.filter(|token| token != "-") {
            Some(token) => token,
            None => read_input()?,
        };
        let token = text.trim().trim_start_matches("Bearer ").trim();
        if token.is_empty() {
            return Err(Failure::usage("there is no token").next("give it as the argument or on standard input"));
        }
        let decoded = explain::decode(token)
            .map_err(|error| Failure::usage(format!("this is not a signed token (JWT): {error}")))?;
        // An invalid token is shown too: its content explains the rejection.
        let verdict = self.verification.verify(token, &decoded);
        let now = SystemClock.now();
        if self.json {
            output.json(&json!({
                "header": decoded.header,
                "claims": decoded.claims,
                "verified": matches!(verdict, Ok(Verdict::Verified(_))),
                "revocation_checked": false,
                "oddities": decoded.oddities(now),
            }))?;
        } else {
            output.pairs(&decoded.pairs(now))?;
            for oddity in decoded.oddities(now) {
                output.line(format_args!("Note: {oddity}"))?;
            }
        }
        match verdict? {
            Verdict::NotVerified => note("NOT VERIFIED: this is what the token says. It may be forged."),
            Verdict::Verified(Some(audience)) => note(format_args!(
                "VERIFIED: signature, issuer, type, times and the audience {audience:?} are valid. {NOT_CHECKED}"
            )),
            Verdict::Verified(None) => note(format_args!(
                "VERIFIED: signature, issuer, type and times are valid. The audience was not checked: --audience. \
                 {NOT_CHECKED}"
            )),
        }
        Ok(())
    }
}

fn read_input() -> Result<String, Failure> {
    let mut text = String::new();
    // The limit is longer than any header with a token.
    let read = io::stdin().take(1024 * 1024).read_to_string(&mut text);
    read.map_err(|error| Failure::failed("cannot read standard input", error))?;
    Ok(text)
}
