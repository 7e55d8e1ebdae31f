//! `[registration]`: clients that register themselves. RFC 7591.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use secrecy::ExposeSecret as _;
use token_issuer::{
    admin::{ADMIN_AUDIENCE, GrantDraft},
    client::{Audience, AuthenticationMethod, ClientId, GrantType, Scope},
    registration::{InitialAccessToken, InitialAccessTokens, RegistrationSettings, Template, TokenHash},
};

use super::reader::Section;

const REQUESTS_PER_MINUTE: u32 = 60;
const CLIENTS_PER_HOUR: u32 = 100;
/// The range of live credentials that an operator may allow a client.
const CREDENTIALS_RANGE: std::ops::RangeInclusive<usize> = 1..=20;
/// The default number of registered clients of one initial access token.
const CLIENTS_MAX: u64 = 1000;
const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[registration]`. Returns `None` if it is off, which is the default.
pub(super) fn read(mut section: Section<'_>) -> Option<RegistrationSettings> {
    let enabled = section.or("enabled", false);
    let requests_per_minute_per_peer = section.within("requests_per_minute_per_peer", REQUESTS_PER_MINUTE, 1..=100_000);
    let clients_per_hour = section.within("clients_per_hour", CLIENTS_PER_HOUR, 1..=1_000_000);
    let given = section.sections("initial_access_token");
    let (count, mut names) = (given.len(), BTreeSet::new());
    let tokens: Vec<_> = given.into_iter().filter_map(|token| initial_access_token(token, &mut names)).collect();
    if enabled && count == 0 {
        let problem = "no client could register: add an initial access token".to_owned();
        section.reject("enabled", problem, "false, or an [[registration.initial_access_token]]");
    }
    section.finish();
    let tokens = InitialAccessTokens::new(tokens);
    enabled.then_some(RegistrationSettings { tokens, requests_per_minute_per_peer, clients_per_hour })
}

/// Returns `None` only if a mistake has been recorded.
fn initial_access_token(mut section: Section<'_>, names: &mut BTreeSet<ClientId>) -> Option<InitialAccessToken> {
    let name = name(&mut section, names);
    let hash = hash(&mut section);
    let expire_time: Option<SystemTime> = section.required("expires");
    let authentication_methods: Option<Vec<AuthenticationMethod>> = section.required("authentication_methods");
    if authentication_methods.as_ref().is_some_and(Vec::is_empty) {
        let problem = "at least one is required".to_owned();
        section.reject("authentication_methods", problem, <AuthenticationMethod as super::setting::Setting>::ALLOWED);
    }
    let grant_types = section.or("grant_types", vec![GrantType::ClientCredentials]);
    let credentials_max = section.within("maximum_credentials", 2, CREDENTIALS_RANGE);
    let secret_lifetime = section
        .has("secret_lifetime")
        .then(|| section.within("secret_lifetime", 90 * DAY, Duration::from_secs(60)..=3650 * DAY));
    let token_lifetime = section.within("registration_token_lifetime", 365 * DAY, Duration::from_secs(60)..=3650 * DAY);
    let clients_max = section.within("maximum_clients", CLIENTS_MAX, 1..=10_000_000);
    let grants: Vec<_> = section.sections("grant").into_iter().filter_map(grant).collect();
    if !section.has("grant") {
        let problem = "it is missing: a client could request nothing".to_owned();
        section.reject("grant", problem, "[[registration.initial_access_token.grant]] audience, scopes");
    }
    section.finish();
    let template = Template {
        grants,
        grant_types,
        authentication_methods: authentication_methods?,
        credentials_max,
        secret_lifetime,
        token_lifetime,
        clients_max,
    };
    Some(InitialAccessToken { name: name?, hash: hash?, expire_time: expire_time?, template })
}

fn name(section: &mut Section<'_>, names: &mut BTreeSet<ClientId>) -> Option<ClientId> {
    let name: String = section.required("name")?;
    let Ok(name) = ClientId::try_from(name) else {
        section.reject("name", "it must be 1 to 255 printable ASCII characters".to_owned(), "a name for the audit");
        return None;
    };
    if !names.insert(name.clone()) {
        section.reject("name", format!("the name {name} is used twice"), "a unique name");
    }
    Some(name)
}

/// Reads `sha256`, or `token_file` for the token itself. The token is never in this file.
fn hash(section: &mut Section<'_>) -> Option<TokenHash> {
    const MAKE: &str = "openssl rand -hex 32 > token, then the digits of: tr -d '\\n' < token | sha256sum";
    if section.has("token_file") {
        let token = section.secret_in("token_file")?;
        let hash = TokenHash::of(token.expose_secret());
        if hash.is_none() {
            section.reject("token_file", "the token is short enough to be guessed".to_owned(), MAKE);
        }
        section.known("sha256");
        return hash;
    }
    section.known("token_file");
    let text: String = section.required("sha256")?;
    let hash = TokenHash::from_hex(&text);
    if hash.is_none() {
        // The error does not repeat the text, which may be the token itself.
        section.reject("sha256", "it is not a SHA-256 in hexadecimal digits".to_owned(), MAKE);
    }
    hash
}

/// Reads `[[registration.initial_access_token.grant]]`.
fn grant(mut section: Section<'_>) -> Option<GrantDraft> {
    let audience: Option<String> = section.required("audience");
    let scopes: Option<Vec<String>> = section.required("scopes");
    let default_scopes: Vec<String> = section.or("default_scopes", Vec::new());
    if let Some(audience) = &audience {
        if let Err(error) = Audience::try_from(audience.as_str()) {
            section.reject("audience", error.to_string(), "an audience, as in `aud`");
        }
        if audience == ADMIN_AUDIENCE {
            let problem = "a client cannot register itself for the admin API".to_owned();
            section.reject("audience", problem, "another audience");
        }
    }
    for scope in scopes.iter().flatten().chain(&default_scopes) {
        if let Err(error) = Scope::try_from(scope.as_str()) {
            section.reject("scopes", format!("{scope:?}: {error}"), "scopes");
        }
    }
    if let Some(other) = default_scopes.iter().find(|scope| !scopes.iter().flatten().any(|known| known == *scope)) {
        section.reject("default_scopes", format!("{other:?} is not among the scopes"), "some of the scopes");
    }
    section.finish();
    Some(GrantDraft { audience: audience?, scopes: scopes?, default_scopes })
}
