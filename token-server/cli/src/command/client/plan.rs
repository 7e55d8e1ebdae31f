//! `client plan`, `client apply`, `client export`: turn the registered clients into those that a file
//! declares.

use std::{collections::BTreeMap, path::Path};

use token_proto::admin::v1::{
    AddCredentialRequest, Client, CreateClientRequest, Credential, DeleteClientRequest, UpdateClientRequest,
    credential::Kind,
};
use token_server::client_file::{Declared, File};

use super::{handed_out, handed_out_by, with_scopes};
use crate::command::{
    connection::Admin,
    failure::Failure,
    output::{Output, note},
};

/// One change.
#[derive(Debug)]
enum Step {
    /// A new client, and the credentials that it brings. Without any, the server generates a secret.
    Create(Client, Vec<Credential>),
    /// The fields that differ, and the etag that was read. The etag prevents an update from undoing another
    /// change.
    Update {
        client: Client,
        paths: Vec<String>,
    },
    Delete {
        id: String,
        etag: String,
    },
}

/// The change to make.
#[derive(Debug)]
pub(super) struct Plan(Vec<Step>);

impl Plan {
    /// Compares the clients with the file. With `prune`, undeclared clients are removed, except `own`, which
    /// the command authenticates as. `folder` is the folder of the file.
    ///
    /// Credentials of the file are for new clients alone. A credential that an operator has replaced must not
    /// return.
    pub(super) fn new(
        (declared, folder): (&File, &Path),
        there: Vec<Client>,
        prune: bool,
        own: &str,
    ) -> Result<Self, Failure> {
        let mut there: BTreeMap<_, _> = there.into_iter().map(|client| (client.client_id.clone(), client)).collect();
        let mut steps = Vec::new();
        for wanted in &declared.clients {
            let credentials = wanted.credentials_to_proto(folder).map_err(|problem| {
                Failure::usage(format!("{}: {problem}", wanted.id))
                    .next("use the API: token-server client add-secret, add-key, add-identity")
            })?;
            let Some(client) = there.remove(&wanted.id) else {
                steps.push(Step::Create(proto(wanted)?, credentials));
                continue;
            };
            let etag = client.etag.clone();
            let paths = wanted.differences(&Declared::from(client));
            if !paths.is_empty() {
                steps.push(Step::Update { client: Client { etag, ..proto(wanted)? }, paths });
            }
        }
        if prune {
            if there.remove(own).is_some() {
                note(format_args!("{own} is not declared, and stays: this command authenticates as it."));
            }
            steps.extend(there.into_values().map(|client| Step::Delete { id: client.client_id, etag: client.etag }));
        }
        Ok(Self(steps))
    }

    /// Returns true if there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a client would be removed.
    pub(super) fn removes(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Delete { .. }))
    }

    /// One line for each change.
    pub(super) fn show(&self, output: &mut Output) -> Result<(), Failure> {
        for step in &self.0 {
            output.line(match step {
                Step::Create(client, credentials) if credentials.is_empty() => format!("+ {}", client.client_id),
                Step::Create(client, credentials) => format!("+ {}  {}", client.client_id, brought(credentials)),
                Step::Update { client, paths } => format!("~ {}: {}", client.client_id, paths.join(", ")),
                Step::Delete { id, .. } => format!("- {id}"),
            })?;
        }
        if self.is_empty() {
            note("The clients are as the file declares them.");
        }
        Ok(())
    }

    /// Makes the changes in order, and stops at the first failure; earlier changes stay. Secrets of new
    /// clients go to the output.
    pub(super) async fn apply(self, admin: &Admin, output: &mut Output) -> Result<(), Failure> {
        for step in self.0 {
            let mut clients = admin.clients();
            match step {
                Step::Create(client, credentials) => {
                    let (id, scopes) = (client.client_id.clone(), handed_out(&client));
                    let brought = brought(&credentials);
                    let mut credentials = credentials.into_iter();
                    let credential = credentials.next();
                    let request = CreateClientRequest { client: Some(client), credential, ..Default::default() };
                    let answer = clients.create_client(with_scopes(request, scopes.clone())).await?.into_inner();
                    for credential in credentials {
                        let credential = Some(credential);
                        let request = AddCredentialRequest { client_id: id.clone(), credential, overlap: None };
                        clients.add_credential(with_scopes(request, scopes.clone())).await?;
                    }
                    match answer.client_secret.as_str() {
                        "" => output.line(format_args!("+ {id}  {brought}"))?,
                        secret => output.line(format_args!("+ {id}  secret {secret}"))?,
                    }
                }
                Step::Update { client, paths } => {
                    let line = format!("~ {}: {}", client.client_id, paths.join(", "));
                    let (update_mask, scopes) = (Some(prost_types::FieldMask { paths }), handed_out(&client));
                    let request = UpdateClientRequest { client: Some(client), update_mask, ..Default::default() };
                    clients.update_client(with_scopes(request, scopes)).await?;
                    output.line(line)?;
                }
                Step::Delete { id, etag } => {
                    let scopes = handed_out_by(admin, &id).await?;
                    let request = DeleteClientRequest { client_id: id.clone(), etag, keep_tokens: false };
                    clients.delete_client(with_scopes(request, scopes)).await?;
                    output.line(format_args!("- {id}"))?;
                }
            }
        }
        Ok(())
    }
}

/// The credentials that a new client brings, for people.
fn brought(credentials: &[Credential]) -> String {
    let kind = |credential: &Credential| match &credential.kind {
        Some(Kind::PublicKey(_)) => "key",
        Some(Kind::FederatedIdentity(_)) => "identity",
        Some(Kind::Secret(_)) | None => "imported secret",
    };
    credentials.iter().map(kind).collect::<Vec<_>>().join(", ")
}

fn proto(declared: &Declared) -> Result<Client, Failure> {
    declared
        .to_proto()
        .map_err(|error| Failure::usage(format!("{}: a lifetime is too long", declared.id)).because(error))
}

/// Prints the registered clients as a file that declares them.
pub(super) fn export(there: Vec<Client>, output: &mut Output) -> Result<(), Failure> {
    let file = File { clients: there.into_iter().map(Declared::from).collect() };
    output
        .line("# Clients of token-server, for `token-server client apply --file`. The file contains no secrets.\n")?;
    let text = file.to_toml().map_err(|error| Failure::failed("the clients cannot be written as TOML", error))?;
    Ok(output.line(text.trim_end())?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use token_proto::admin::v1::GetClientRequest;

    use super::*;
    use crate::command::{
        client::list_all,
        connection::{Connection, Role},
    };
    use token_server::development::Development;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        connection: Connection,
    }

    async fn rename(admin: &Admin, name: &str) {
        let client = Client { client_id: "orders".to_owned(), display_name: name.to_owned(), ..Client::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
        let request = UpdateClientRequest { client: Some(client), update_mask, ..Default::default() };
        admin.clients().update_client(request).await.unwrap();
    }

    #[tokio::test]
    async fn changes_made_since_the_plan_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let running = Development::open(folder.path(), 0).unwrap().start().await.unwrap();
        let state_dir = folder.path().to_str().unwrap();
        let command = Command::parse_from(["token-server", "--state-dir", state_dir]);
        let target = command.connection.resolve(Role::Admin).unwrap();
        let admin = target.admin().await.unwrap();
        let path = folder.path().join("clients.toml");
        for (declared, name) in [("[[client]]\nid = \"orders\"\nname = \"Declared\"\n", "Theirs"), ("", "Theirs again")]
        {
            std::fs::write(&path, declared).unwrap();
            let there = list_all(&admin).await.unwrap();
            let plan = Plan::new((&File::read(&path).unwrap(), folder.path()), there, true, &target.identity.client_id)
                .unwrap();
            assert_eq!(plan.0.len(), 1, "{plan:?}");
            rename(&admin, name).await;
            let refused = plan.apply(&admin, &mut Output::standard()).await.unwrap_err().to_string();
            assert!(refused.contains("has changed since it was read"), "{refused}");
            let orders = GetClientRequest { client_id: "orders".to_owned() };
            let orders = admin.clients().get_client(orders).await.unwrap().into_inner().client.unwrap();
            assert_eq!(orders.display_name, name);
        }
        running.server.shutdown().await;
    }
}
