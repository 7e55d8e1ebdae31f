//! `token-server key`: signing keys, for operators who cannot wait for the automatic rotation.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use token_proto::{
    admin::v1::{DistrustSigningKeyRequest, ListSigningKeysRequest, RotateSigningKeyRequest},
    token::v1::{Key as ProtoKey, KeyState},
};

use super::{
    client::confirm_or_fail,
    connection::AdminCall,
    explain,
    failure::Failure,
    output::{Output, note},
    runtime::runtime,
    token,
};

/// Shows, rotates and distrusts signing keys. Keys also rotate automatically.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server key list
  token-server key rotate
  token-server key distrust Zk3...   # it has leaked: the tokens that it signed are rejected

The client that the commands authenticate as needs the audience m2m.admin.v1 with keys.read and
keys.write.")]
pub(super) struct Key {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    call: AdminCall,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists every key with its state.
    List,
    /// Publishes the next key now. It signs after [keys] visibility_period, when every verifier has fetched
    /// it.
    ///
    /// A key that must not sign any longer is distrusted: the next key then signs at once.
    Rotate {
        /// The algorithm of the key. Default: the first of [keys] algorithms.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        algorithm: String,
    },
    /// Distrusts a key that has leaked: the key and every token that it signed are rejected.
    ///
    /// The issuer rejects the tokens at once. Verifiers that follow the issuer's trust stream reject them
    /// within a second; verifiers that only fetch its keys reject them after their next fetch. Cached tokens
    /// of this user are removed.
    Distrust {
        /// The key, as `key list` names it.
        key_id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Key {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let call = self.call.clone();
        runtime()?.block_on(call.run(self.call(output)))
    }

    async fn call(self, output: &mut Output) -> Result<(), Failure> {
        let Self { command, call } = self;
        let json = call.json;
        match command {
            Command::List => {
                let answer = call.admin().await?.keys().list_signing_keys(ListSigningKeysRequest {}).await?;
                show(&answer.into_inner().keys, json, output)
            }
            Command::Rotate { algorithm } => {
                let request = RotateSigningKeyRequest { algorithm };
                let answer = call.admin().await?.keys().rotate_signing_key(request).await?.into_inner();
                show(answer.key.as_slice(), json, output)
            }
            Command::Distrust { key_id, yes } => {
                confirm_or_fail(yes, &format!("Distrust the key {key_id}? Every token that it signed is rejected."))?;
                let request = DistrustSigningKeyRequest { key_id: key_id.clone() };
                let target = call.target()?;
                target.admin().await?.keys().distrust_signing_key(request).await?;
                token::forget(&target.issuer, None);
                note(format_args!("The key {key_id} is distrusted, and the tokens that it signed are rejected."));
                Ok(())
            }
        }
    }
}

fn show(keys: &[ProtoKey], json: bool, output: &mut Output) -> Result<(), Failure> {
    let time = |time: Option<prost_types::Timestamp>| Some(explain::absolute(SystemTime::try_from(time?).ok()?));
    if json {
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| {
                json!({
                    "key_id": key.key_id,
                    "algorithm": key.algorithm,
                    "state": state(key),
                    "sign_after_time": time(key.sign_after_time),
                    "verify_until_time": time(key.verify_until_time),
                    "jwk": serde_json::from_str::<Value>(&key.jwk).unwrap_or_default(),
                })
            })
            .collect();
        return Ok(output.json(&keys)?);
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let signs = time(key.sign_after_time).unwrap_or_default();
            let until = time(key.verify_until_time).unwrap_or_default();
            [key.key_id.clone(), key.algorithm.clone(), state(key).to_owned(), signs, until]
        })
        .collect();
    output.table(["KEY", "ALGORITHM", "STATE", "SIGNS FROM", "VERIFIES UNTIL"], &rows)?;
    Ok(())
}

fn state(key: &ProtoKey) -> &'static str {
    match key.state() {
        KeyState::Pending => "pending",
        KeyState::Active => "active",
        KeyState::Retiring => "retiring",
        KeyState::Distrusted => "distrusted",
        KeyState::Unspecified => "unknown",
    }
}
