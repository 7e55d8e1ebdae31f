//! Client registration of a development issuer, with the token in `initial-access.token`.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use super::{DevelopmentError, key_file};

use token_issuer::{
    admin::GrantDraft,
    client::{AuthenticationMethod, ClientId, GrantType},
    registration::{InitialAccessToken, InitialAccessTokens, RegistrationSettings, Template, TokenHash},
};

const TOKEN_FILE: &str = "initial-access.token";
/// The expiry of the token: 2100-01-01, because the folder serves one person on one machine.
const EXPIRES_AFTER_1970: Duration = Duration::from_secs(4_102_444_800);

/// Returns the settings for the registration token in `folder`: it registers clients like the example.
pub(super) fn settings(folder: &Path) -> Result<RegistrationSettings, DevelopmentError> {
    let path = folder.join(TOKEN_FILE);
    let foreign = || DevelopmentError::Foreign { path: path.clone() };
    let token = key_file(&path)?.to_text();
    let scopes = vec!["inventory.read".to_owned()];
    let template = Template {
        grants: vec![GrantDraft { audience: "inventory".to_owned(), scopes: scopes.clone(), default_scopes: scopes }],
        grant_types: GrantType::ALL.to_vec(),
        authentication_methods: AuthenticationMethod::ALL.to_vec(),
        credentials_max: 4,
        secret_lifetime: None,
        token_lifetime: Duration::from_secs(365 * 86_400),
        clients_max: 1_000_000,
    };
    let token = InitialAccessToken {
        name: ClientId::try_from("development").map_err(|_| foreign())?,
        hash: TokenHash::of(&token).ok_or_else(foreign)?,
        expire_time: SystemTime::UNIX_EPOCH + EXPIRES_AFTER_1970,
        template,
    };
    Ok(RegistrationSettings {
        tokens: InitialAccessTokens::new(vec![token]),
        requests_per_minute_per_peer: 100_000,
        clients_per_hour: 100_000,
    })
}
