//! Client authentication with another issuer's token: the identity that a workload already has. RFC 7523
//! section 2.2, RFC 7521 section 4.2.
//!
//! The claims of the token choose its issuer among the configured ones, and never an address to fetch from.
//! `client_id` selects the client, and the token proves it. Without `client_id`, exactly one client must
//! have a rule that accepts the token. The caller learns nothing about a refusal. The audit event says what
//! came and what was configured.

use std::{fmt::Write as _, sync::Arc, time::SystemTime};

use secrecy::ExposeSecret as _;
use token_interceptor::{clock::numeric_date, token::VerifiedToken};

use super::{AuthenticatedClient, ClientAuthenticator, assertion::UnverifiedAssertion, find};
use crate::{
    client::{Client, Credential, CredentialKind, FederatedIdentity, Mismatch},
    cost::{Step, takes},
    error::{AuthenticationFailure, IssueError},
    identity_provider::{AssertionIssuer, quoted},
    origin::Peer,
};

/// The most clients whose rules are compared with an assertion that names no client. More than a few would be
/// ambiguous anyway. It bounds the work of a request: the index and at most 16 clients are read, each with at
/// most 20 rules (`CREDENTIALS_MAX` of the admin API).
const CANDIDATES_MAX: u32 = 16;
/// The most rules that one audit event describes.
const DESCRIBED_MAX: usize = 4;
/// The tolerated difference between the clocks of the issuers, in seconds.
const LEEWAY_SECONDS: u64 = 10;

/// The other issuer's view of an authenticated client, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenIdentity {
    /// `iss` of the assertion.
    pub issuer: String,
    /// `sub` of the assertion.
    pub subject: String,
    /// `jti` of the assertion; empty if it has none.
    pub token_id: String,
}

/// A verified assertion, and its issuer's rules.
struct Proof<'a> {
    token: VerifiedToken,
    issuer: AssertionIssuer<'a>,
    now: SystemTime,
}

impl ClientAuthenticator {
    /// Authenticates a client by an assertion of a trusted issuer.
    ///
    /// # Errors
    ///
    /// [`IssueError::ClientAuthenticationFailed`] when any check fails. [`IssueError::Unavailable`] when the
    /// issuer's keys or the store are unreachable.
    pub(super) async fn federated(
        &self,
        peer: Peer,
        assertion: &UnverifiedAssertion,
        issuer: AssertionIssuer<'_>,
        now: SystemTime,
    ) -> Result<AuthenticatedClient, IssueError> {
        // Looked up before the signature is checked, so that an unknown client costs what a known one costs.
        let claimed = match assertion.client_id() {
            Some(id) => Some(find(&self.registry, peer, id).await?),
            None => None,
        };
        // The work of the check depends on the assertion and its issuer, never on the client. At most four
        // keys of the issuer are tried, and none if the key ID is unknown.
        takes(Step::SignatureCheck);
        let token = self.federation.verify_assertion(issuer, assertion.text().expose_secret(), now).await?;
        let proof = Proof { token, issuer, now };
        let client = match claimed {
            Some(Some(client)) => client,
            Some(None) => return Err(failed(AuthenticationFailure::UnknownClient)),
            None => self.only_match(peer, &proof).await?,
        };
        if client.disabled {
            return Err(failed(AuthenticationFailure::ClientDisabled));
        }
        let (credential, identity) = proof.matching(&client).ok_or_else(|| proof.refused(&[&client]))?;
        if !identity.reuse {
            self.use_once(&client, &proof).await?;
        }
        self.registry.credential_used(&client.id, &credential.id, now);
        let token = &proof.token;
        let proven = ProvenIdentity {
            issuer: token.issuer().to_owned(),
            subject: token.subject().to_owned(),
            token_id: token.token_id().to_owned(),
        };
        let not_after = (!issuer.rules.tokens_may_outlive).then(|| token.expires_at());
        Ok(AuthenticatedClient { client, addressee: None, proven: Some(Box::new(proven)), not_after })
    }

    /// Returns the one client with a rule that accepts the assertion. A disabled client counts only if no
    /// other one has such a rule: the index holds none, but may be older than the change that disabled it.
    async fn only_match(&self, peer: Peer, proof: &Proof<'_>) -> Result<Arc<Client>, IssueError> {
        takes(Step::Lookup);
        let unavailable = |error: crate::store::StoreError| IssueError::Unavailable(error.into());
        let (issuer, subject) = (proof.token.issuer(), proof.token.subject());
        let ids = self.registry.federated(peer, issuer, subject, CANDIDATES_MAX + 1).await.map_err(unavailable)?;
        if ids.len() > CANDIDATES_MAX as usize {
            let problem = format!(
                "over {CANDIDATES_MAX} clients have a rule for its subject, so the request must name one of them as \
                 client_id"
            );
            return Err(proof.because(&problem));
        }
        let mut candidates = Vec::with_capacity(ids.len());
        for id in ids {
            takes(Step::Lookup);
            candidates.extend(self.registry.find_for(Some(peer), &id).await.map_err(unavailable)?);
        }
        let matching = candidates.iter().filter(|client| proof.matching(client).is_some());
        let (disabled, enabled): (Vec<_>, Vec<_>) = matching.partition(|client| client.disabled);
        match (enabled.as_slice(), disabled.as_slice()) {
            (&[only], _) | (&[], &[only, ..]) => Ok(Arc::clone(only)),
            (&[_, _, ..], _) => {
                Err(proof.because("several clients accept it, so the request must name one of them as client_id"))
            }
            (&[], &[]) => Err(proof.refused(&candidates.iter().map(|client| &**client).collect::<Vec<_>>())),
        }
    }

    /// Uses up the assertion. It is the last check: only an otherwise valid assertion is used up.
    async fn use_once(&self, client: &Client, proof: &Proof<'_>) -> Result<(), IssueError> {
        let token = &proof.token;
        if token.token_id().is_empty() {
            return Err(proof.because("it has no jti, and the client's rule accepts each assertion once: set reuse"));
        }
        // Afterwards it is too old for every client's rule.
        let too_old = token.issued_at() + proof.issuer.rules.max_age;
        let forget = token.expires_at().min(too_old) + std::time::Duration::from_secs(2 * LEEWAY_SECONDS);
        let used =
            self.assertions.use_foreign(client.id.as_str(), (token.issuer(), token.token_id()), forget, proof.now);
        match used.await {
            Err(IssueError::ClientAuthenticationFailed(_)) => Err(proof.because(
                "it was used before, and the client's rule accepts each assertion once. Send a new one, or set reuse \
                 for an issuer that hands out one token several times, as Kubernetes does",
            )),
            used => used,
        }
    }
}

impl Proof<'_> {
    fn max_age(&self, identity: &FederatedIdentity) -> std::time::Duration {
        identity.max_age.map_or(self.issuer.rules.max_age, |age| age.min(self.issuer.rules.max_age))
    }

    /// Returns true if the assertion is young enough. One without `iat` counts as too old.
    fn is_young(&self, identity: &FederatedIdentity) -> bool {
        let age = numeric_date(self.now).saturating_sub(numeric_date(self.token.issued_at()));
        age <= self.max_age(identity).as_secs() + LEEWAY_SECONDS
    }

    /// Returns true if the platform calls the rule safe. It may have been registered before the platform was
    /// configured.
    fn is_safe(&self, identity: &FederatedIdentity) -> bool {
        self.issuer.platform().is_none_or(|platform| platform.check_rule(identity).is_ok())
    }

    /// Returns the live credential that accepts the assertion. One that allows reuse is preferred.
    fn matching<'c>(&self, client: &'c Client) -> Option<(&'c Credential, &'c FederatedIdentity)> {
        let accepts = |(_, identity): &(&Credential, &FederatedIdentity)| {
            identity.mismatch(self.token.claims()).is_none() && self.is_young(identity) && self.is_safe(identity)
        };
        self.rules(client).filter(accepts).max_by_key(|(_, identity)| identity.reuse)
    }

    /// The client's live rules for the assertion's issuer.
    fn rules<'c>(&self, client: &'c Client) -> impl Iterator<Item = (&'c Credential, &'c FederatedIdentity)> {
        let live = client.credentials.iter().filter(|credential| credential.is_live(self.now));
        live.filter_map(|credential| match &credential.kind {
            CredentialKind::FederatedIdentity(identity) => Some((credential, identity)),
            CredentialKind::Secret(_) | CredentialKind::PublicKey(_) => None,
        })
        .filter(|(_, identity)| identity.issuer == self.token.issuer())
    }

    fn because(&self, problem: &str) -> IssueError {
        let (issuer, subject) = (self.token.issuer().into(), self.token.subject().into());
        refused(format!("iss: {}, sub: {}: {problem}", quoted(&issuer), quoted(&subject)))
    }

    /// Returns the refusal of clients whose rules do not accept the assertion, with each rule.
    fn refused(&self, clients: &[&Client]) -> IssueError {
        let rules: Vec<_> =
            clients.iter().flat_map(|client| self.rules(client).map(move |(rule, of)| (client, rule, of))).collect();
        if rules.is_empty() {
            return self.because("no client in question has a live credential for it");
        }
        let mut problem = String::from("no credential accepts it");
        for (client, credential, identity) in rules.iter().take(DESCRIBED_MAX) {
            let (client, credential) = (&client.id, &credential.id);
            let _ = write!(problem, "; credential {credential} of {client}: {}", self.reason(identity));
        }
        if rules.len() > DESCRIBED_MAX {
            let _ = write!(problem, "; and {} more", rules.len() - DESCRIBED_MAX);
        }
        self.because(&problem)
    }

    /// Says which check of the rule fails: the claim, its value, and the configured value.
    fn reason(&self, identity: &FederatedIdentity) -> String {
        match identity.mismatch(self.token.claims()) {
            Some(Mismatch::Subject(wanted)) => format!("sub: expected {wanted}"),
            Some(Mismatch::Claim { pointer, came, values }) => {
                let came = came.as_ref().map_or_else(|| "nothing".to_owned(), quoted);
                format!("{pointer}: {came}, expected one of {}", quoted(&serde_json::json!(values)))
            }
            None if !self.is_safe(identity) => {
                let unsafe_rule = self.issuer.platform().and_then(|platform| platform.check_rule(identity).err());
                format!("unsafe rule: {}", unsafe_rule.map(|why| why.to_string()).unwrap_or_default())
            }
            None => {
                let (issued, most) = (numeric_date(self.token.issued_at()), self.max_age(identity).as_secs());
                format!("iat: {issued} (now {}), expected an age of at most {most} seconds", numeric_date(self.now))
            }
        }
    }
}

fn refused(detail: String) -> IssueError {
    failed(AuthenticationFailure::FederationRefused(detail.into_boxed_str()))
}

fn failed(failure: AuthenticationFailure) -> IssueError {
    IssueError::ClientAuthenticationFailed(failure)
}
