//! `token-server client`: registers clients and changes what they may ask for.

mod changes;
mod identity;
pub(super) mod keys;
mod list;
mod offline;
mod plan;
mod requests;
mod show;
mod spki;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use token_interceptor::source::TokenRequest;
use token_issuer::admin::ADMIN_AUDIENCE;
use token_proto::admin::v1::{
    self as proto, DeleteClientRequest, GetClientRequest, ListClientsRequest, RemoveCredentialRequest,
    ReplaceRegistrationTokenRequest, RevokeClientTokensRequest,
};

use super::{
    connection::{Admin, AdminCall},
    failure::{Failure, Kind},
    output::{Answer, Output, confirm, note},
    runtime::runtime,
    token,
};
use identity::AddIdentity;
use keys::{AddKey, NewKey};
use list::List;
use plan::Secrets;
use requests::{AddSecret, Create, FromFile, Update};

/// Registers clients, and changes what they may ask for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server client create orders --grant inventory=inventory.read,inventory.write
  token-server client list --expiring 14d --sort expires
  token-server client list --unused 90d
  token-server client update orders --grant inventory=inventory.read
  token-server client add-secret orders --overlap 1day
  token-server client remove-credential orders 73ff28c615d7d75d
  token-server client revoke-tokens orders

  token-server client new-key --out orders.pem > orders.jwk
  token-server client create orders --key orders.jwk --grant inventory=inventory.read
  token-server client add-key orders --key orders.jwk

  token-server client add-identity orders --identity-subject system:serviceaccount:prod:orders \\
      --identity-issuer https://kubernetes.default.svc.cluster.local --identity-reuse

  token-server client export > clients.toml      # edit, keep under version control, then
  token-server client plan --file clients.toml --prune
  token-server client apply --file clients.toml --prune

  token-server client create token-admin --offline --config token-server.toml \\
      --grant m2m.admin.v1=clients.read,clients.write,keys.read,keys.write,audit.read

A grant is AUDIENCE=SCOPE,SCOPE: the scopes of the client at one resource server. The commands
call the admin API. The client that they authenticate as needs the audience m2m.admin.v1 with the
scopes clients.read and clients.write. `create --offline` works on the store; the server may run.")]
pub(super) struct Client {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    call: AdminCall,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Registers a client, by default with a secret that is shown once.
    Create(Create),
    /// Lists the clients, by default all of them.
    List(List),
    /// Shows one client.
    Show {
        /// The client.
        id: String,
    },
    /// Changes the settings that are named, and no others.
    Update(Update),
    /// Removes a client and revokes its tokens. Its ID stays taken.
    Delete {
        /// The client.
        id: String,
        /// Leave its tokens valid until they expire.
        #[arg(long)]
        keep_tokens: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Generates one more secret and shows it once; the old ones stay valid.
    AddSecret(AddSecret),
    /// Generates a private key for private_key_jwt, without a server, and prints its public half.
    NewKey(NewKey),
    /// Registers public keys for private_key_jwt, from a JWK, a JWK Set or PEM.
    AddKey(AddKey),
    /// Registers the identity of a workload at another issuer, such as Kubernetes or GitHub Actions. The
    /// client then needs no secret.
    AddIdentity(AddIdentity),
    /// Revokes every token that a client has been issued so far.
    ///
    /// The issuer rejects them at once. Verifiers that follow the issuer's trust stream reject them within a
    /// second; verifiers that only fetch its keys accept them until they expire. Cached tokens of this user
    /// are removed.
    RevokeTokens {
        /// The client.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Generates a new registration access token for a client that has registered itself, and shows it once.
    /// The server rejects the old token from now on.
    ReplaceRegistrationToken {
        /// The client.
        id: String,
        /// The lifetime of the new token. Default: a year.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        expires_in: Option<std::time::Duration>,
    },
    /// Shows what `apply` would change: + new, ~ changed, - removed, ! revoked.
    Plan {
        #[command(flatten)]
        from: FromFile,
        /// Exit with 0 if nothing would change, 2 if something would, and 1 on a mistake in the file.
        #[arg(long)]
        exit_code: bool,
    },
    /// Changes the clients to what a file declares, and prints the secrets of new clients once.
    Apply {
        #[command(flatten)]
        from: FromFile,
        /// Do not ask before a client is removed.
        #[arg(long)]
        yes: bool,
        /// Do not print the secrets that the server generates for new clients, and remove them at once.
        ///
        /// For a pipeline, whose output is a log. Credentials of the file stay. A new client without any
        /// authenticates with a key (jwks_uri, add-key), or gets a secret from add-secret.
        #[arg(long)]
        discard_secrets: bool,
    },
    /// Generates a secret for a file that is the store (`[store] url = "file://…"`), and prints it with its hash.
    NewSecret {
        /// The server's configuration. The hash is keyed with its pepper.
        #[arg(long, env = "TOKEN_SERVER_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Prints the clients as a file for `plan` and `apply`, without their secrets.
    Export,
    /// Removes a secret, key or identity of a client at once.
    RemoveCredential {
        /// The client.
        id: String,
        /// The credential, as `client show` names it.
        credential: String,
        /// Revoke every token of the client too: for a credential that has leaked.
        #[arg(long)]
        revoke_tokens: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Client {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let call = self.call.clone();
        runtime()?.block_on(call.run(self.call(output)))
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each subcommand")]
    async fn call(self, output: &mut Output) -> Result<(), Failure> {
        let Self { command, call } = self;
        let json = call.json;
        match command {
            Command::Create(create) if create.offline => create.offline(json, output).await,
            // Mistakes in the arguments are reported before the server is called.
            Command::Create(create) => {
                let request = create.request()?;
                let scopes = request.client.as_ref().map(handed_out).unwrap_or_default();
                let answer =
                    call.admin().await?.clients().create_client(with_scopes(request, scopes)).await?.into_inner();
                show::created(&answer.client.unwrap_or_default(), &answer.client_secret, json, output)
            }
            Command::List(list) => list.run(list_all(&call.admin().await?).await?, changes::now(), json, output),
            Command::Plan { from, exit_code } => {
                let (_, plan) = from.plan(&call).await.map_err(|failure| mistaken(failure, exit_code))?;
                plan.show(output)?;
                let differs = exit_code && !plan.is_empty();
                if differs { Err(Failure::new(Kind::Differs, "the clients differ from the file")) } else { Ok(()) }
            }
            Command::Apply { from, yes, discard_secrets } => {
                let (admin, plan) = from.plan(&call).await?;
                if plan.is_empty() {
                    return plan.show(output);
                }
                if plan.removes() {
                    confirm_or_fail(yes, "Clients that are not declared are removed. Continue?")?;
                }
                let secrets = if discard_secrets { Secrets::Discarded } else { Secrets::Shown };
                plan.apply(secrets, &admin, output).await
            }
            Command::NewSecret { config } => offline::new_secret(config.as_deref(), json, output),
            Command::Export => plan::export(list_all(&call.admin().await?).await?, output),
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
            Command::Delete { id, keep_tokens, yes } => {
                confirm_or_fail(yes, &format!("Remove the client {id} and its credentials?"))?;
                let admin = call.admin().await?;
                let scopes = handed_out_by(&admin, &id).await?;
                let request = DeleteClientRequest { client_id: id.clone(), etag: String::new(), keep_tokens };
                admin.clients().delete_client(with_scopes(request, scopes)).await?;
                let tokens =
                    if keep_tokens { "Its tokens are valid until they expire." } else { "Its tokens are revoked." };
                note(format_args!("The client {id} is removed. {tokens}"));
                Ok(())
            }
            Command::AddSecret(add) => add.run(&call.admin().await?, json, output).await,
            Command::NewKey(new) => new.run(output),
            Command::AddKey(add) => {
                let jwks = add.jwks()?;
                add.run(jwks, &call.admin().await?, json, output).await
            }
            Command::AddIdentity(add) => {
                let request = add.request()?;
                identity::add(request, &call.admin().await?, json, output).await
            }
            Command::RevokeTokens { id, yes } => {
                confirm_or_fail(yes, &format!("Revoke every token that {id} has been issued so far?"))?;
                let target = call.target()?;
                let admin = target.admin().await?;
                let scopes = handed_out_by(&admin, &id).await?;
                let request = RevokeClientTokensRequest { client_id: id.clone(), issued_before_time: None };
                admin.clients().revoke_client_tokens(with_scopes(request, scopes)).await?;
                token::forget(&target.issuer, Some(&id));
                note(format_args!("All tokens issued to {id} so far are revoked. It can get new ones."));
                Ok(())
            }
            Command::ReplaceRegistrationToken { id, expires_in } => {
                let admin = call.admin().await?;
                let scopes = handed_out_by(&admin, &id).await?;
                let expire_time = expires_in.map(|lifetime| (changes::now() + lifetime).into());
                let request = ReplaceRegistrationTokenRequest { client_id: id, expire_time };
                let answer =
                    admin.clients().replace_registration_token(with_scopes(request, scopes)).await?.into_inner();
                let token = answer.registration_access_token.as_str();
                if json {
                    return Ok(output.json(&serde_json::json!({ "registration_access_token": token }))?);
                }
                note("The new registration access token, shown once, for the owner of the client:");
                Ok(output.line(token)?)
            }
            Command::RemoveCredential { id, credential, revoke_tokens, yes } => {
                confirm_or_fail(
                    yes,
                    &format!("Remove the credential {credential} of {id}? A client that uses it gets no more tokens."),
                )?;
                let admin = call.admin().await?;
                let scopes = handed_out_by(&admin, &id).await?;
                let request =
                    RemoveCredentialRequest { client_id: id, credential_id: credential.clone(), revoke_tokens };
                admin.clients().remove_credential(with_scopes(request, scopes)).await?;
                note(format_args!("The credential {credential} is removed."));
                Ok(())
            }
        }
    }
}

/// Scopes of the admin API that a registered client has: a caller needs them too to add a credential of its.
async fn scopes_of(admin: &Admin, id: &str) -> Vec<String> {
    let asked = admin.clients().get_client(GetClientRequest { client_id: id.to_owned() }).await;
    // The change itself reports what is wrong.
    asked.ok().and_then(|answer| answer.into_inner().client).as_ref().map(handed_out).unwrap_or_default()
}

/// Scopes of the admin API that `client` is to have. The caller must have them too.
fn handed_out(client: &proto::Client) -> Vec<String> {
    let grants = client.grants.iter().filter(|grant| grant.audience == ADMIN_AUDIENCE);
    grants.flat_map(|grant| grant.scopes.iter().cloned()).collect()
}

/// The same for a client that is registered: the scopes that an operator needs to take something from it.
async fn handed_out_by(admin: &Admin, id: &str) -> Result<Vec<String>, Failure> {
    match admin.clients().get_client(GetClientRequest { client_id: id.to_owned() }).await {
        Ok(answer) => Ok(answer.into_inner().client.as_ref().map(handed_out).unwrap_or_default()),
        // The call itself reports it, if it matters.
        Err(status) if status.code() == tonic::Code::NotFound => Ok(Vec::new()),
        Err(status) => Err(status.into()),
    }
}

/// Creates a call whose token has these scopes in addition to those that the method requires.
fn with_scopes<T>(message: T, mut scopes: Vec<String>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if !scopes.is_empty() {
        scopes.push("clients.write".to_owned());
        request.extensions_mut().insert(TokenRequest::for_audience(ADMIN_AUDIENCE).with_scopes(scopes));
    }
    request
}

/// A mistake of `plan --exit-code`, which must not look like clients that differ: both would be exit code 2.
fn mistaken(failure: Failure, exit_code: bool) -> Failure {
    let is_mistake = exit_code && failure.kind() == Kind::Usage;
    if is_mistake { failure.with_kind(Kind::Failed) } else { failure }
}

/// Asks before a change that cannot be undone.
pub(super) fn confirm_or_fail(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match confirm(question) {
        Answer::Yes => Ok(()),
        Answer::No => Err(Failure::new(Kind::Failed, "nothing was changed")),
        Answer::NotAsked => {
            Err(Failure::usage("nothing was changed: there is no terminal to ask on").next("confirm with --yes"))
        }
    }
}

/// Returns the clients of every page.
async fn list_all(admin: &Admin) -> Result<Vec<proto::Client>, Failure> {
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
