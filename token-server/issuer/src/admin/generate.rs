//! Random values generated for clients: client IDs, credential IDs and secrets.

use std::time::SystemTime;

use ring::rand::{SecureRandom as _, SystemRandom};

use super::AdminError;
use crate::client::{
    ClientId, Credential, CredentialKind,
    secret::{ClientSecret, Peppers},
};

pub(super) fn client_id() -> Result<ClientId, AdminError> {
    ClientId::try_from(hex::<16>()?).map_err(|error| AdminError::Internal(error.into()))
}

/// Generates a secret. Returns it with the credential to store.
pub(super) fn secret(peppers: &Peppers, now: SystemTime) -> Result<(Credential, ClientSecret), AdminError> {
    let secret = ClientSecret::generate()?;
    Ok((credential(CredentialKind::Secret(peppers.hash(&secret)), now)?, secret))
}

pub(super) fn credential(kind: CredentialKind, now: SystemTime) -> Result<Credential, AdminError> {
    Ok(Credential { id: hex::<8>()?, kind, create_time: now, expire_time: None, last_used_time: None })
}

fn hex<const BYTES: usize>() -> Result<String, AdminError> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
