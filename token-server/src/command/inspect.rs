//! `token-server inspect`: what is in a token, without asking anybody unless told to.

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

/// Shows what a token says. Decodes it offline, and verifies nothing unless told by what.
///
/// A token that decodes may be forged: anybody can write one. With --issuer or --jwks it goes through the checks
/// that the server layer makes, and the exit code tells.
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
    /// The token; without it, or with "-", standard input is read. "Bearer " before it is ignored.
    token: Option<String>,
    /// Header and claims as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verification: Verification,
}

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
            .map_err(|error| Failure::usage(format!("this is no signed token (JWT): {error}")))?;
        // What it says is shown also where it is refused: that is when people look.
        let verdict = self.verification.verify(token, &decoded);
        let now = SystemClock.now();
        if self.json {
            output.json(&json!({
                "header": decoded.header,
                "claims": decoded.claims,
                "verified": matches!(verdict, Ok(Verdict::Verified)),
                "oddities": decoded.oddities(now),
            }))?;
        } else {
            output.pairs(&decoded.pairs(now))?;
            for oddity in decoded.oddities(now) {
                output.line(format_args!("Note: {oddity}"))?;
            }
        }
        match verdict? {
            Verdict::NotVerified => note("NOT VERIFIED: this is what the token says, not that it is true."),
            Verdict::Verified => note("VERIFIED: signature, issuer, type and times are good."),
        }
        Ok(())
    }
}

fn read_input() -> Result<String, Failure> {
    let mut text = String::new();
    // Longer than any header that carries a token.
    let read = io::stdin().take(1024 * 1024).read_to_string(&mut text);
    read.map_err(|error| Failure::failed("cannot read standard input", error))?;
    Ok(text)
}
