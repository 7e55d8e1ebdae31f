//! `token-server client`: registers clients and changes what they may ask for.

mod changes;
mod offline;
mod plan;
mod requests;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use token_interceptor::source::TokenRequest;
use token_proto::admin::v1::{
    self as proto, AddCredentialRequest, CreateClientRequest, Credential, DeleteClientRequest, GetClientRequest,
    ListClientsRequest, RemoveCredentialRequest, RevokeClientTokensRequest,
};

use super::{
    connection::{Admin, AdminCall},
    failure::Failure,
    output::{Output, confirm, note},
    runtime,
};
use crate::admin::ADMIN_AUDIENCE;
use requests::{AddSecret, Create, FromFile, Update};

/// Registers clients, and changes what they may ask for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server client create orders --grant inventory=inventory.read,inventory.write
  token-server client list
  token-server client update orders --grant inventory=inventory.read
  token-server client add-secret orders --overlap 1day
  token-server client remove-credential orders 73ff28c615d7d75d
  token-server client revoke-tokens orders
  token-server client export > clients.toml      # edit, keep under version control, then
  token-server client plan --file clients.toml --prune
  token-server client apply --file clients.toml --prune
  token-server client create token-admin --offline --config token-server.toml \\
      --grant m2m.admin.v1=clients.read,clients.write,keys.read,keys.write,audit.read

A grant is AUDIENCE=SCOPE,SCOPE: what the client may ask for at one resource server. The commands
speak to the issuer's admin API; the client that they authenticate as needs the audience
m2m.admin.v1 with the scopes clients.read and clients.write.")]
pub(super) struct Client {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    call: AdminCall,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Registers a client and shows its secret, this once.
    Create(Create),
    /// Lists the clients.
    List,
    /// Shows one client.
    Show {
        /// The client.
        id: String,
    },
    /// Changes what is named, and nothing else.
    Update(Update),
    /// Removes a client; the tokens that it has are good until they expire.
    Delete {
        /// The client.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Makes one more secret, and shows it this once; the old ones go on working.
    AddSecret(AddSecret),
    /// Registers a public key for private_key_jwt.
    AddKey {
        /// The client.
        id: String,
        /// The public key, a file with one JWK.
        #[arg(long, value_name = "FILE")]
        jwk: PathBuf,
    },
    /// Refuses every token that a client has been issued so far, everywhere within a second.
    RevokeTokens {
        /// The client.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Shows what `apply` would change: + new, ~ changed, - removed.
    Plan(FromFile),
    /// Makes the clients what a file declares; prints new clients' secrets, this once.
    Apply {
        #[command(flatten)]
        from: FromFile,
        /// Do not ask before a client is removed.
        #[arg(long)]
        yes: bool,
    },
    /// Makes a secret for a file that is the store (`[store] url = "file://…"`), and prints it with its hash.
    NewSecret {
        /// The server's configuration: the hash is keyed with its pepper.
        #[arg(long, env = "TOKEN_SERVER_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Writes the clients as such a file; secrets are not in it.
    Export,
    /// Removes a secret or key of a client at once.
    RemoveCredential {
        /// The client.
        id: String,
        /// The credential, as `client show` names it.
        credential: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Client {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        runtime()?.block_on(self.call(output))
    }

    async fn call(self, output: &mut Output) -> Result<(), Failure> {
        let Self { command, call } = self;
        let json = call.json;
        match command {
            Command::Create(create) if create.offline => create.offline(json, output).await,
            // What is wrong with the arguments is told before anybody is spoken to.
            Command::Create(create) => {
                let client = create.client()?;
                let scopes = handed_out(&client);
                let request = CreateClientRequest { client: Some(client), validate_only: false };
                let answer =
                    call.admin().await?.clients().create_client(with_scopes(request, scopes)).await?.into_inner();
                show::created(&answer.client.unwrap_or_default(), &answer.client_secret, json, output)
            }
            Command::List => show::clients(&every(&call.admin().await?).await?, json, output),
            Command::Plan(from) => {
                let (_, plan) = from.plan(&call).await?;
                plan.show(output)
            }
            Command::Apply { from, yes } => {
                let (admin, plan) = from.plan(&call).await?;
                if plan.is_empty() {
                    return plan.show(output);
                }
                if plan.removes() {
                    sure(yes, "Clients that are not declared are removed. Go on?")?;
                }
                plan.apply(&admin, output).await
            }
            Command::NewSecret { config } => offline::new_secret(config.as_deref(), json, output),
            Command::Export => plan::export(every(&call.admin().await?).await?, output),
            Command::Show { id } => {
                let answer =
                    call.admin().await?.clients().get_client(GetClientRequest { client_id: id }).await?.into_inner();
                show::client(&answer.client.unwrap_or_default(), json, output)
            }
            Command::Update(update) => {
                let request = update.request()?;
                let scopes = request.client.as_ref().map(handed_out).unwrap_or_default();
                let answer =
                    call.admin().await?.clients().update_client(with_scopes(request, scopes)).await?.into_inner();
                show::client(&answer.client.unwrap_or_default(), json, output)
            }
            Command::Delete { id, yes } => {
                sure(yes, &format!("Remove the client {id} and its credentials?"))?;
                let request = DeleteClientRequest { client_id: id.clone(), etag: String::new() };
                call.admin().await?.clients().delete_client(request).await?;
                note(format_args!("The client {id} is removed; the tokens that it has are good until they expire."));
                Ok(())
            }
            Command::AddSecret(add) => add.run(&call.admin().await?, json, output).await,
            Command::AddKey { id, jwk } => add_key(&call.admin().await?, id, &jwk, json, output).await,
            Command::RevokeTokens { id, yes } => {
                sure(yes, &format!("Refuse every token that {id} has been issued so far?"))?;
                let request = RevokeClientTokensRequest { client_id: id.clone(), issued_before_time: None };
                call.admin().await?.clients().revoke_client_tokens(request).await?;
                note(format_args!("The tokens that {id} has been issued so far are refused; it can get new ones."));
                Ok(())
            }
            Command::RemoveCredential { id, credential, yes } => {
                sure(
                    yes,
                    &format!("Remove the credential {credential} of {id}? Whoever uses it gets no more tokens."),
                )?;
                let request = RemoveCredentialRequest { client_id: id, credential_id: credential.clone() };
                call.admin().await?.clients().remove_credential(request).await?;
                note(format_args!("The credential {credential} is removed."));
                Ok(())
            }
        }
    }
}

/// Scopes of the admin API that `client` is to have: whoever gives them must have them.
fn handed_out(client: &proto::Client) -> Vec<String> {
    let grants = client.grants.iter().filter(|grant| grant.audience == ADMIN_AUDIENCE);
    grants.flat_map(|grant| grant.scopes.iter().cloned()).collect()
}

/// A call whose token has these scopes too, beside what the method demands.
fn with_scopes<T>(message: T, mut scopes: Vec<String>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if !scopes.is_empty() {
        scopes.push("clients.write".to_owned());
        request.extensions_mut().insert(TokenRequest::for_audience(ADMIN_AUDIENCE).with_scopes(scopes));
    }
    request
}

/// What cannot be undone is asked about.
pub(super) fn sure(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || confirm(question) {
        return Ok(());
    }
    Err(Failure::usage("nothing was changed").next("confirm with --yes where there is no terminal to ask on"))
}

async fn add_key(admin: &Admin, id: String, jwk: &Path, json: bool, output: &mut Output) -> Result<(), Failure> {
    let jwk = std::fs::read_to_string(jwk)
        .map_err(|error| Failure::usage(format!("cannot read {}", jwk.display())).because(error))?;
    let kind = Some(proto::credential::Kind::PublicKey(proto::PublicKey { jwk }));
    let credential = Some(Credential { kind, ..Default::default() });
    let request = AddCredentialRequest { client_id: id.clone(), credential, overlap: None };
    let answer = admin.clients().add_credential(request).await?.into_inner();
    show::added(&id, &answer.credential.unwrap_or_default(), "", json, output)
}

/// Every page.
async fn every(admin: &Admin) -> Result<Vec<proto::Client>, Failure> {
    let mut clients = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListClientsRequest { page_size: 1000, page_token };
        let page = admin.clients().list_clients(request).await?.into_inner();
        clients.extend(page.clients);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(clients);
        }
    }
}
