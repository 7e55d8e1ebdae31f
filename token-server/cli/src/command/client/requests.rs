//! The arguments of `client create`, `update`, `add-secret` and `apply`, and the requests that they make.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use token_proto::admin::v1::{
    self as proto, AddCredentialRequest, CreateClientRequest, Credential, UpdateClientRequest,
};
use token_server::client_file::File;

use super::{
    changes::{self, Changes},
    identity::Identity,
    keys::FirstKey,
    list_all, offline,
    plan::Plan,
    scopes_of, show, with_scopes,
};
use crate::command::{
    connection::{Admin, AdminCall},
    failure::Failure,
    output::{Output, note},
    serve::load,
};

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The client's ID. Default: the issuer generates one.
    id: Option<String>,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    key: FirstKey,
    #[command(flatten)]
    identity: Identity,
    /// Work on the store of this configuration, for the first client of an installation.
    ///
    /// The server may run at the same time, and learns of the client within a second. Run it as the user that
    /// owns the store.
    #[arg(long, requires = "config")]
    pub(super) offline: bool,
    /// The server's configuration.
    #[arg(long, value_name = "FILE", requires = "offline")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    /// The client.
    id: String,
    #[command(flatten)]
    changes: Changes,
    /// Issue it no more tokens, and revoke those that it has.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// With --disable: leave its tokens valid until they expire.
    #[arg(long, requires = "disable")]
    keep_tokens: bool,
    /// Issue it tokens again.
    #[arg(long)]
    enable: bool,
}

#[derive(Debug, Args)]
pub(super) struct FromFile {
    /// A TOML file that declares clients, as `export` writes it.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Also remove clients that are not in the file.
    #[arg(long)]
    prune: bool,
}

#[derive(Debug, Args)]
pub(super) struct AddSecret {
    /// The client.
    id: String,
    /// The client's other secrets expire after this time. Default: they stay valid.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    overlap: Option<Duration>,
    /// The new secret expires after this time. Default: never.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
}

impl Create {
    pub(super) fn request(self) -> Result<CreateClientRequest, Failure> {
        let credential = match (self.key.credential()?, self.identity.credential()?) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("a client is created with one credential: --key or --identity-issuer")
                    .next("add the other one: client add-key, client add-identity"));
            }
            (key, identity) => key.or(identity),
        };
        let mut client = proto::Client { client_id: self.id.unwrap_or_default(), ..Default::default() };
        self.changes.apply(&mut client)?;
        if client.grants.is_empty() {
            note("Without --grant AUDIENCE=SCOPE the client can ask for nothing yet.");
        }
        if let Some(character) = awkward(&client.client_id) {
            note(format_args!(
                "warning: the ID contains {character:?}. RFC 6749 section 2.3.1 encodes it in HTTP Basic, and many \
                 libraries do not: they will be refused. Letters, digits, \"-\", \".\" and \"_\" are safe."
            ));
        }
        Ok(CreateClientRequest { client: Some(client), validate_only: false, credential })
    }

    pub(super) async fn offline(self, json: bool, output: &mut Output) -> Result<(), Failure> {
        let config = load(self.config.as_deref())?;
        let answer = offline::create(&config, self.request()?).await?;
        show::created(&answer.client.unwrap_or_default(), &answer.client_secret, json, output)
    }
}

/// The first character of an ID that form encoding changes, as HTTP Basic demands it (RFC 6749 section
/// 2.3.1).
fn awkward(id: &str) -> Option<char> {
    id.chars().find(|character| !character.is_ascii_alphanumeric() && !matches!(character, '-' | '.' | '_' | '*'))
}

impl Update {
    pub(super) fn request(self) -> Result<UpdateClientRequest, Failure> {
        let mut client = proto::Client { client_id: self.id, ..Default::default() };
        let mut paths = self.changes.apply(&mut client)?;
        if self.disable || self.enable {
            client.disabled = self.disable;
            paths.push("disabled".to_owned());
        }
        if paths.is_empty() {
            let nothing = Failure::usage("there is nothing to change");
            return Err(nothing.next("`token-server client update --help` lists the settings"));
        }
        let update_mask = Some(prost_types::FieldMask { paths });
        let keep_tokens = self.keep_tokens;
        Ok(UpdateClientRequest { client: Some(client), update_mask, validate_only: false, keep_tokens })
    }
}

impl AddSecret {
    pub(super) async fn run(self, admin: &Admin, json: bool, output: &mut Output) -> Result<(), Failure> {
        let expire_time = self.expires_in.map(|lifetime| (changes::now() + lifetime).into());
        let request = AddCredentialRequest {
            client_id: self.id.clone(),
            credential: Some(Credential { expire_time, ..Default::default() }),
            overlap: self.overlap.map(changes::duration).transpose()?,
        };
        let scopes = scopes_of(admin, &self.id).await;
        let answer = admin.clients().add_credential(with_scopes(request, scopes)).await?.into_inner();
        show::added(&self.id, &answer.credential.unwrap_or_default(), &answer.client_secret, json, output)
    }
}

impl FromFile {
    pub(super) async fn plan(&self, call: &AdminCall) -> Result<(Admin, Plan), Failure> {
        let declared =
            File::read(&self.file).map_err(|error| Failure::usage("there is nothing to plan").because(error))?;
        let target = call.target()?;
        let admin = target.admin().await?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let plan = Plan::new((&declared, folder), list_all(&admin).await?, self.prune, &target.identity.client_id)?;
        Ok((admin, plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_basic_encodes_is_awkward() {
        for (id, expected) in
            [("orders", None), ("a-b.c_d", None), ("a:b", Some(':')), ("a b", Some(' ')), ("a/b~", Some('/'))]
        {
            assert_eq!(awkward(id), expected, "{id}");
        }
    }
}
