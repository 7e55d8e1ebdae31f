//! `client plan`, `client apply`, `client export`: turn the registered clients into those that a file
//! declares.

mod difference;

use std::{collections::BTreeMap, path::Path};

use token_proto::admin::v1::{
    AddCredentialRequest, Client, CreateClientRequest, Credential, DeleteClientRequest, RemoveCredentialRequest,
    UpdateClientRequest, credential::Kind,
};
use token_server::client_file::{Declared, File};

use super::{handed_out, handed_out_by, with_scopes};
use crate::command::{
    connection::Admin,
    failure::Failure,
    output::{Mark, Output, note, printable},
};

/// One change.
#[derive(Debug)]
enum Step {
    /// A new client, and the credentials that it brings. Without any, the server generates a secret.
    Create(Client, Vec<Credential>),
    /// The client as it is and as it is to be, and the fields that differ. `after` has the etag that was
    /// read. The etag prevents an update from undoing another change.
    Update {
        before: Box<Client>,
        after: Client,
        paths: Vec<String>,
    },
    Delete(Client),
}

impl Step {
    /// Returns true if the step revokes the client's tokens.
    fn revokes(&self) -> bool {
        match self {
            Self::Create(..) => false,
            Self::Update { before, after, .. } => after.disabled && !before.disabled,
            Self::Delete(_) => true,
        }
    }

    fn client(&self) -> &Client {
        match self {
            Self::Create(client, _) | Self::Update { after: client, .. } | Self::Delete(client) => client,
        }
    }

    fn mark(&self) -> Mark {
        match self {
            Self::Create(..) => Mark::New,
            Self::Update { .. } => Mark::Changed,
            Self::Delete(_) => Mark::Removed,
        }
    }

    /// Writes the client, then what differs, then what becomes invalid.
    fn show(&self, output: &mut Output) -> Result<(), Failure> {
        let id = &self.client().client_id;
        match self {
            Self::Create(_, credentials) if !credentials.is_empty() => {
                output.marked(Mark::New, 0, format_args!("{id}  {}", kinds(credentials).join(", ")))?;
            }
            Self::Create(..) | Self::Update { .. } | Self::Delete(_) => output.marked(self.mark(), 0, id)?,
        }
        let lines = match self {
            Self::Create(client, _) => difference::lines(&Declared::default(), &client.clone().into()),
            Self::Update { before, after, .. } => {
                difference::lines(&Declared::from(Client::clone(before)), &after.clone().into())
            }
            Self::Delete(client) => difference::lines(&client.clone().into(), &Declared::default()),
        };
        for (mark, line) in &lines {
            output.marked(*mark, 1, line)?;
        }
        match self {
            Self::Delete(client) => {
                let count = client.credentials.len();
                let credentials = if count == 1 { "1 credential" } else { &format!("{count} credentials") };
                output.marked(Mark::Revoked, 1, format_args!("revokes its tokens, removes {credentials}"))?;
            }
            Self::Update { .. } if self.revokes() => output.marked(Mark::Revoked, 1, "revokes its tokens")?,
            Self::Update { .. } | Self::Create(..) => {}
        }
        Ok(())
    }
}

/// The change to make.
#[derive(Debug)]
pub(super) struct Plan(Vec<Step>);

impl Plan {
    /// Compares the clients with the file. With `prune`, undeclared clients are removed, except `own`, which
    /// the command authenticates as. `folder` is the folder of the file.
    ///
    /// Credentials of the file are for new clients alone, and read for them alone. A credential that an
    /// operator has replaced must not return.
    pub(super) fn new(
        (declared, folder): (&File, &Path),
        there: Vec<Client>,
        prune: bool,
        own: &str,
    ) -> Result<Self, Failure> {
        let mut there: BTreeMap<_, _> = there.into_iter().map(|client| (client.client_id.clone(), client)).collect();
        let (mut steps, mut not_compared) = (Vec::new(), Vec::new());
        for wanted in &declared.clients {
            let Some(client) = there.remove(&wanted.id) else {
                let credentials = wanted.credentials_to_proto(folder).map_err(|problem| {
                    Failure::usage(format!("{}: {problem}", wanted.id))
                        .next("use the API: token-server client add-secret, add-key, add-identity")
                })?;
                steps.push(Step::Create(proto(wanted)?, credentials));
                continue;
            };
            if wanted.has_credentials() {
                not_compared.push(printable(&wanted.id));
            }
            let paths = wanted.differences(&Declared::from(client.clone()));
            if !paths.is_empty() {
                let after = Client { etag: client.etag.clone(), ..proto(wanted)? };
                steps.push(Step::Update { before: Box::new(client), after, paths });
            }
        }
        if !not_compared.is_empty() {
            let clients = not_compared.join(", ");
            note(format_args!(
                "The credentials of {clients} are not compared: the file has them for new clients alone."
            ));
        }
        if prune {
            if there.remove(own).is_some() {
                note(format_args!("{own} is not declared, and stays: this command authenticates as it."));
            }
            steps.extend(there.into_values().map(Step::Delete));
        }
        Ok(Self(steps))
    }

    /// Returns true if there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a client would be removed.
    pub(super) fn removes(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Delete(_)))
    }

    /// Writes each change with its differences, then a summary with the clients whose tokens are revoked.
    pub(super) fn show(&self, output: &mut Output) -> Result<(), Failure> {
        if self.is_empty() {
            note("The clients are as the file declares them.");
            return Ok(());
        }
        for step in &self.0 {
            step.show(output)?;
        }
        let count = |mark| self.0.iter().filter(|step| step.mark() == mark).count();
        let (new, changed, removed) = (count(Mark::New), count(Mark::Changed), count(Mark::Removed));
        output.line(format_args!("\n{new} new, {changed} changed, {removed} removed."))?;
        let revoked = self.0.iter().filter(|step| step.revokes()).map(|step| step.client().client_id.as_str());
        let revoked: Vec<_> = revoked.collect();
        match revoked.as_slice() {
            [] => output.line("No token is revoked. Issued tokens keep what is removed here until they expire.")?,
            revoked => output.marked(Mark::Revoked, 0, format_args!("tokens revoked: {}", revoked.join(", ")))?,
        }
        Ok(())
    }

    /// Makes the changes in order, and stops at the first failure; earlier changes stay. Secrets of new
    /// clients go to the output, or are removed at once.
    pub(super) async fn apply(self, secrets: Secrets, admin: &Admin, output: &mut Output) -> Result<(), Failure> {
        for step in self.0 {
            let mut clients = admin.clients();
            match step {
                Step::Create(client, credentials) => create(client, credentials, secrets, admin, output).await?,
                Step::Update { before: _, after, paths } => {
                    let line = format!("~ {}: {}", after.client_id, paths.join(", "));
                    let (update_mask, scopes) = (Some(prost_types::FieldMask { paths }), handed_out(&after));
                    let request = UpdateClientRequest { client: Some(after), update_mask, ..Default::default() };
                    clients.update_client(with_scopes(request, scopes)).await?;
                    output.line(line)?;
                }
                Step::Delete(Client { client_id: id, etag, .. }) => {
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

/// Creates a client, with a call for each credential. An error names what was registered, because a second
/// `apply` adds no credential to a registered client.
async fn create(
    client: Client,
    credentials: Vec<Credential>,
    secrets: Secrets,
    admin: &Admin,
    output: &mut Output,
) -> Result<(), Failure> {
    let (id, scopes, mut clients) = (client.client_id.clone(), handed_out(&client), admin.clients());
    let kinds = kinds(&credentials);
    let mut credentials = credentials.into_iter();
    let request = CreateClientRequest { client: Some(client), credential: credentials.next(), ..Default::default() };
    let answer = clients.create_client(with_scopes(request, scopes.clone())).await?.into_inner();
    for (added, credential) in (1..).zip(credentials) {
        let request = AddCredentialRequest { client_id: id.clone(), credential: Some(credential), overlap: None };
        clients.add_credential(with_scopes(request, scopes.clone())).await.map_err(|status| {
            Failure::from(status)
                .after(format_args!(
                    "{id} is registered with {added} of its {} credentials ({})",
                    kinds.len(),
                    kinds.get(..added).unwrap_or_default().join(", ")
                ))
                .next(
                    "a later `apply` does not add the others: correct them, and add them with token-server client \
                     add-key, add-identity or add-secret",
                )
        })?;
    }
    match (answer.client_secret.as_str(), secrets) {
        ("", _) => output.line(format_args!("+ {id}  {}", kinds.join(", ")))?,
        (secret, Secrets::Shown) => output.line(format_args!("+ {id}  secret {secret}"))?,
        (_, Secrets::Discarded) => {
            discard(admin, answer.client.unwrap_or_default()).await.map_err(|failure| {
                failure.after(format_args!("{id} is registered with a generated secret")).next(format!(
                    "remove the secret: token-server client show {id}, token-server client remove-credential {id} …"
                ))
            })?;
            output.line(format_args!("+ {id}"))?;
        }
    }
    Ok(())
}

/// The kinds of the credentials that a new client brings, for people.
fn kinds(credentials: &[Credential]) -> Vec<&'static str> {
    let kind = |credential: &Credential| match &credential.kind {
        Some(Kind::PublicKey(_)) => "key",
        Some(Kind::FederatedIdentity(_)) => "identity",
        Some(Kind::Secret(_)) | None => "imported secret",
    };
    credentials.iter().map(kind).collect()
}

/// The fate of the secrets that the server generates for new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// They are printed once.
    Shown,
    /// They are removed, for clients that authenticate without a secret.
    Discarded,
}

/// Removes the secrets of a client that was just created.
async fn discard(admin: &Admin, client: Client) -> Result<(), Failure> {
    let scopes = handed_out(&client);
    for credential in client.credentials {
        let (client_id, credential_id) = (client.client_id.clone(), credential.credential_id);
        let request = RemoveCredentialRequest { client_id, credential_id, revoke_tokens: false };
        admin.clients().remove_credential(with_scopes(request, scopes.clone())).await?;
    }
    Ok(())
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
            let refused = plan.apply(Secrets::Shown, &admin, &mut Output::standard()).await.unwrap_err().to_string();
            assert!(refused.contains("has changed since it was read"), "{refused}");
            let orders = GetClientRequest { client_id: "orders".to_owned() };
            let orders = admin.clients().get_client(orders).await.unwrap().into_inner().client.unwrap();
            assert_eq!(orders.display_name, name);
        }
        running.server.shutdown().await;
    }
}
