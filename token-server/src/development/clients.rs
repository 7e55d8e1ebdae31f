//! The two clients of a development issuer, and the files with their credentials.
//!
//! The store holds only hashes of secrets. A development issuer serves one person on one machine, so it also
//! keeps the secrets themselves, in files that only the owner may read.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use secrecy::SecretString;
use token_issuer::{
    client::{
        Audience, Client, ClientId, Credential, CredentialKind, Grant, Scope,
        secret::{ClientSecret, Peppers},
    },
    store::{Store, StoreError},
};

use super::{DevelopmentError, env_file};
use crate::{
    config::{Config, IssuerUrl},
    server::{self, ServeError},
};

/// A client of a development issuer.
#[derive(Clone, Debug)]
pub struct DevelopmentClient {
    /// Its ID.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
    /// The file with the client's credentials, for a shell to source.
    pub env_file: PathBuf,
}

/// The client that must exist.
struct Wanted {
    id: &'static str,
    display_name: &'static str,
    audience: &'static str,
    scopes: &'static [&'static str],
    file: &'static str,
    title: &'static str,
    id_variable: &'static str,
    secret_variable: &'static str,
}

const EXAMPLE: Wanted = Wanted {
    id: "orders",
    display_name: "Example: may read the inventory, but not write to it",
    audience: "inventory",
    scopes: &["inventory.read"],
    file: "example.env",
    title: "The example client of `token-server dev`: source this file to act as it.",
    id_variable: "TOKEN_CLIENT_ID",
    secret_variable: "TOKEN_CLIENT_SECRET",
};

const ADMIN: Wanted = Wanted {
    id: "token-admin",
    display_name: "The command line: token-server client, token-server key",
    audience: "m2m.admin.v1",
    scopes: &["clients.read", "clients.write", "keys.read", "keys.write", "audit.read"],
    file: "admin.env",
    title: "The credentials of `token-server client` and `token-server key`.",
    id_variable: "TOKEN_ADMIN_CLIENT_ID",
    secret_variable: "TOKEN_ADMIN_CLIENT_SECRET",
};

/// A client in the store, and its secret.
pub(super) struct Registered {
    wanted: Wanted,
    secret: ClientSecret,
    env_file: PathBuf,
}

/// Creates the clients that are missing in the store: the example's, and the command line's.
pub(super) async fn register(
    folder: &Path,
    config: &Config,
    now: SystemTime,
) -> Result<[Registered; 2], DevelopmentError> {
    let peppers = server::peppers(&config.secrets);
    let store = server::open_store(config).await?;
    let registered = async |wanted: Wanted| {
        let env_file = folder.join(wanted.file);
        let secret = secret(&wanted, &env_file)?;
        ensure(&*store, &peppers, &wanted, &secret, now).await.map_err(ServeError::from)?;
        Ok::<_, DevelopmentError>(Registered { wanted, secret, env_file })
    };
    let clients = [registered(EXAMPLE).await?, registered(ADMIN).await?];
    store.close().await;
    Ok(clients)
}

impl Registered {
    /// Writes the file with the client's credentials.
    pub(super) fn tell(self, issuer: &IssuerUrl, ca_file: &Path) -> Result<DevelopmentClient, DevelopmentError> {
        let Self { wanted, secret, env_file } = self;
        let values = [
            ("TOKEN_ISSUER", issuer.as_str()),
            ("TOKEN_CA_FILE", &ca_file.to_string_lossy()),
            (wanted.id_variable, wanted.id),
            (wanted.secret_variable, secret.expose()),
        ];
        env_file::write(&env_file, wanted.title, &values).map_err(DevelopmentError::file(&env_file))?;
        Ok(DevelopmentClient { id: wanted.id.to_owned(), secret: secret.expose().to_owned().into(), env_file })
    }
}

/// Reads the secret in the file, or generates one.
fn secret(wanted: &Wanted, env_file: &Path) -> Result<ClientSecret, DevelopmentError> {
    let kept = env_file::read(env_file).unwrap_or_default();
    match kept.get(wanted.secret_variable).map(|secret| ClientSecret::parse(secret)) {
        Some(Ok(secret)) => Ok(secret),
        Some(Err(_)) => Err(DevelopmentError::Foreign { path: env_file.to_owned() }),
        None => ClientSecret::generate().map_err(|_| DevelopmentError::NoRandomness),
    }
}

/// Creates the client if it is missing, and adds the secret. An operator's other changes stay.
async fn ensure(
    store: &dyn Store,
    peppers: &Peppers,
    wanted: &Wanted,
    secret: &ClientSecret,
    now: SystemTime,
) -> Result<(), StoreError> {
    let id = ClientId::try_from(wanted.id).map_err(StoreError::corrupt)?;
    let hash = peppers.hash(secret);
    let stored = store.client(&id).await?;
    let known = |client: &Client| {
        client.credentials.iter().any(|credential| credential.kind == CredentialKind::Secret(hash.clone()))
    };
    if stored.as_ref().is_some_and(known) {
        return Ok(());
    }
    let is_new = stored.is_none();
    let mut client = match stored {
        Some(client) => client,
        None => wanted.client(id, now)?,
    };
    client.credentials.push(Credential {
        id: format!("development-{}", client.credentials.len() + 1),
        kind: CredentialKind::Secret(hash),
        create_time: now,
        expire_time: None,
        last_used_time: None,
    });
    if is_new { store.create_client(&client, None).await } else { store.update_client(&client, None).await }?;
    Ok(())
}

impl Wanted {
    fn client(&self, id: ClientId, now: SystemTime) -> Result<Client, StoreError> {
        let scopes: Result<std::collections::BTreeSet<_>, _> =
            self.scopes.iter().map(|scope| Scope::try_from(*scope)).collect();
        let scopes = scopes.map_err(StoreError::corrupt)?;
        let audience = Audience::try_from(self.audience).map_err(StoreError::corrupt)?;
        let mut client = Client::new(id, now);
        client.display_name = self.display_name.to_owned();
        client.grants = vec![Grant { audience, default_scopes: scopes.clone(), scopes }];
        Ok(client)
    }
}
