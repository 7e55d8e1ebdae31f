//! One client on its way from another issuer, checked piece by piece by the rules of the admin API.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use token_issuer::{
    admin::{AdminError, AdminRules},
    client::{SecretHash, secret::Peppers},
    mint::Terms,
};
use token_proto::admin::v1;
use token_server::client_file::Declared;
use zeroize::Zeroizing;

use super::{
    fields::{Fields, Unreadable},
    report::Report,
};
use crate::command::client::keys;

pub(super) const PEOPLE: &str = "It concerns the sign-in of people. The issuer serves machines.";
pub(super) const UNKNOWN: &str = "The import knows no equivalent. Check if the client needs it.";
/// The ID of an imported secret.
const SECRET: &str = "imported";

/// The operator's answers for what the input does not say.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// The audience of scopes without one.
    pub(super) audience: Option<&'a str>,
    /// The scopes of audiences without any.
    pub(super) scopes: &'a [String],
}

/// The scopes at one audience. `true` marks a default scope.
type Scopes = BTreeMap<String, bool>;

struct Secret {
    text: Zeroizing<String>,
    expires: Option<SystemTime>,
}

/// A client, before it is declared.
pub(super) struct Draft {
    client: v1::Client,
    grants: BTreeMap<String, Scopes>,
    secret: Option<Secret>,
    /// Each public key as a JWK.
    keys: Vec<String>,
}

impl Draft {
    pub(super) fn new(id: String, origin: &str) -> Self {
        let labels = [("imported-from".to_owned(), origin.to_owned())].into();
        let client = v1::Client { client_id: id, labels, ..v1::Client::default() };
        Self { client, grants: BTreeMap::new(), secret: None, keys: Vec::new() }
    }

    pub(super) fn id(&self) -> &str {
        &self.client.client_id
    }

    pub(super) fn disable(&mut self) {
        self.client.disabled = true;
    }

    /// Lets the client use token exchange too.
    pub(super) fn exchanges(&mut self) {
        self.client.grant_types =
            vec!["client_credentials".to_owned(), "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()];
    }

    pub(super) fn name(&mut self, name: Option<String>, report: &mut Report) {
        let Some(name) = name else { return };
        let piece = v1::Client { display_name: name.clone(), ..v1::Client::default() };
        if self.keeps_rules("name", piece, report) {
            self.client.display_name = name;
        }
    }

    pub(super) fn label(&mut self, field: &str, name: &str, value: Option<String>, report: &mut Report) {
        let Some(value) = value else { return };
        let piece = v1::Client { labels: [(name.to_owned(), value.clone())].into(), ..v1::Client::default() };
        if self.keeps_rules(field, piece, report) {
            self.client.labels.insert(name.to_owned(), value);
        }
    }

    pub(super) fn claim(&mut self, field: &str, name: &str, value: &str, report: &mut Report) {
        let piece = v1::Client { claims: [(name.to_owned(), value.to_owned())].into(), ..v1::Client::default() };
        if self.keeps_rules(field, piece, report) {
            self.client.claims.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(super) fn jwks_uri(&mut self, field: &str, uri: Option<String>, report: &mut Report) {
        let Some(uri) = uri else { return };
        let piece = v1::Client { jwks_uri: uri.clone(), ..v1::Client::default() };
        if self.keeps_rules(field, piece, report) {
            self.client.jwks_uri = uri;
        }
    }

    pub(super) fn lifetime(&mut self, field: &str, lifetime: Duration, report: &mut Report) {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let token_lifetime = Some(prost_types::Duration { seconds, nanos: 0 });
        if self.keeps_rules(field, v1::Client { token_lifetime, ..v1::Client::default() }, report) {
            self.client.token_lifetime = token_lifetime;
            if lifetime > Terms::LIFETIME_MAX_DEFAULT {
                let shown = humantime::format_duration(lifetime);
                report
                    .step(format!("{}: its tokens live {shown}. Allow it with [tokens] maximum_lifetime.", self.id()));
            }
        }
    }

    /// Adds public keys: a JWK, a JWK Set, or PEM.
    pub(super) fn keys(&mut self, field: &str, text: &str, algorithm: Option<&str>, report: &mut Report) {
        match keys::public_jwks(text.as_bytes(), algorithm) {
            Ok(keys) => self.keys.extend(keys),
            Err(problem) => report.leave(self.id(), field, format!("The key cannot be registered: {problem}.")),
        }
    }

    pub(super) fn secret(&mut self, secret: String) {
        self.secret = Some(Secret { text: Zeroizing::new(secret), expires: None });
    }

    /// Carries over a secret that expires at the time in the member `name`. If the time is unreadable, the
    /// secret is left: it must not last for ever.
    pub(super) fn expiring_secret(&mut self, secret: String, fields: &mut Fields, name: &str, report: &mut Report) {
        let secret = Zeroizing::new(secret);
        match fields.expiry(name) {
            Ok(expires) => self.secret = Some(Secret { text: secret, expires }),
            Err(Unreadable) => report.leave(self.id(), "the secret", format!("Its {name} is not a time in seconds.")),
        }
    }

    /// Grants `scope` at each audience. Without an audience, at the one that the operator named.
    pub(super) fn scope(&mut self, scope: &str, audiences: &[String], is_default: bool, names: Names<'_>) -> bool {
        let named: Vec<_> = names.audience.map(str::to_owned).into_iter().collect();
        let audiences = if audiences.is_empty() { &named } else { audiences };
        for audience in audiences {
            let scopes = self.grants.entry(audience.clone()).or_default();
            *scopes.entry(scope.to_owned()).or_default() |= is_default;
        }
        !audiences.is_empty()
    }

    /// Grants an audience, whose scopes may follow.
    pub(super) fn audience(&mut self, audience: String) {
        self.grants.entry(audience).or_default();
    }

    /// Returns the client as the file has it, or reports why it cannot be registered.
    pub(super) fn declare(mut self, earlier: &[Declared], now: SystemTime, report: &mut Report) -> Option<Declared> {
        let id = self.id().to_owned();
        if !self.keeps_rules("the client", v1::Client { client_id: id.clone(), ..v1::Client::default() }, report) {
            return None;
        }
        self.client.grants = std::mem::take(&mut self.grants)
            .into_iter()
            .map(|(audience, scopes)| v1::Grant {
                audience,
                default_scopes: scopes
                    .iter()
                    .filter(|(_, is_default)| **is_default)
                    .map(|(name, _)| name.clone())
                    .collect(),
                scopes: scopes.into_keys().collect(),
            })
            .collect();
        if self.client.grants.is_empty() {
            report.step(format!("{id}: it has no grant, and gets no token. Add one to the file."));
        }
        let mut declared = Declared::from(self.client.clone());
        if let Err(error) = declared.check(&rules()) {
            report.leave(&id, "the client", format!("It breaks a rule: {}.", rule_of(&error)));
            return None;
        }
        for (number, key) in self.keys.drain(..).enumerate() {
            declared = declared.with_key(&format!("imported-{}", number + 1), key);
        }
        if let Some(Secret { text, expires }) = self.secret.take() {
            let known = earlier.iter().find(|known| known.id == id).and_then(Declared::imported_hash);
            let is_expired = expires.is_some_and(|expires| expires <= now);
            let hash = if is_expired { Err("It has expired.".to_owned()) } else { hash(&text, known) };
            match hash {
                Ok(hash) => {
                    declared = declared.with_secret(SECRET, hash, expires);
                    report
                        .step("Set accept_imported = true in [secrets] of the server, until every secret is replaced.");
                }
                Err(problem) => report.leave(&id, "the secret", problem),
            }
        }
        if !declared.has_credentials() && self.client.jwks_uri.is_empty() {
            report.step(format!("{id}: it brings no credential. `client apply` prints a new secret for it."));
        }
        Some(declared)
    }

    /// Finishes the grants: reports invalid names, and audiences without a scope.
    pub(super) fn settle(&mut self, names: Names<'_>, report: &mut Report) {
        let id = self.id().to_owned();
        for (audience, mut scopes) in std::mem::take(&mut self.grants) {
            if scopes.is_empty() {
                scopes.extend(names.scopes.iter().map(|scope| (scope.clone(), true)));
            }
            let invalid: BTreeSet<_> =
                scopes.keys().filter(|scope| !self.keeps_grant(&audience, scope, report)).cloned().collect();
            scopes.retain(|scope, _| !invalid.contains(scope));
            if !scopes.is_empty() {
                self.grants.insert(audience, scopes);
            } else if invalid.is_empty() {
                let reason = "The input gives it no scope, and a token needs one. Name it with --scope.";
                report.leave(&id, &format!("audience {audience}"), reason);
            }
        }
    }

    fn keeps_grant(&self, audience: &str, scope: &str, report: &mut Report) -> bool {
        let grant = v1::Grant { audience: audience.to_owned(), scopes: vec![scope.to_owned()], ..v1::Grant::default() };
        let field = format!("scope {scope} at {audience}");
        self.keeps_rules(&field, v1::Client { grants: vec![grant], ..v1::Client::default() }, report)
    }

    /// Returns true if a client with nothing but this piece keeps the rules. Otherwise it reports the rule.
    fn keeps_rules(&self, field: &str, piece: v1::Client, report: &mut Report) -> bool {
        let client_id = if piece.client_id.is_empty() { "piece".to_owned() } else { piece.client_id };
        match Declared::from(v1::Client { client_id, ..piece }).check(&rules()) {
            Ok(()) => true,
            Err(error) => {
                report.leave(self.id(), field, format!("It breaks a rule: {}.", rule_of(&error)));
                false
            }
        }
    }
}

/// Returns the first rule that is broken, without the value that breaks it.
fn rule_of(error: &AdminError) -> String {
    match error {
        AdminError::Invalid(violations) => {
            violations.first().map(|broken| broken.description.clone()).unwrap_or_default()
        }
        AdminError::NotFound(_)
        | AdminError::AlreadyExists
        | AdminError::EtagMismatch
        | AdminError::TooManyClients
        | AdminError::Precondition(_)
        | AdminError::BeyondOwnScopes { .. }
        | AdminError::Unavailable(_)
        | AdminError::Internal(_) => error.to_string(),
    }
}

/// The rules of every server. The longest lifetime is a setting of one server, so only `apply` checks it.
fn rules() -> AdminRules {
    AdminRules::new(Duration::from_secs(i32::MAX.unsigned_abs().into()))
}

/// Keeps the hash of an earlier import if it is still that of the secret, so that the file does not change.
fn hash(secret: &str, known: Option<&SecretHash>) -> Result<SecretHash, String> {
    match known.filter(|known| known.is_of_imported(secret)) {
        Some(known) => Ok(known.clone()),
        None => Peppers::hash_imported(secret).map_err(|error| format!("The secret cannot be imported: {error}.")),
    }
}

/// Reports the members that are left, each with the reason that `reasons` gives its name.
pub(super) fn leave(subject: &str, fields: Fields, prefix: &str, reasons: &[(&[&str], &str)], report: &mut Report) {
    for name in fields.left("") {
        let reason = reasons.iter().find(|(names, _)| names.iter().any(|known| matches(known, &name)));
        report.leave(subject, &format!("{prefix}{name}"), reason.map_or(UNKNOWN, |(_, reason)| reason));
    }
}

/// `known` is a name, or the start of one if it ends in `*`.
fn matches(known: &str, name: &str) -> bool {
    known.strip_suffix('*').map_or(known == name, |start| name.starts_with(start))
}
