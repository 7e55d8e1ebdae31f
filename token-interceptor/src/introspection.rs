//! Opaque bearer tokens: the issuer's introspection endpoint states what they mean. RFC 7662.
//!
//! It needs the features `server`, `client` and `http`, as it authenticates as a client of the issuer.
//!
//! | metric | labels |
//! |---|---|
//! | `token_introspections_total` | `issuer`; `outcome`: active, inactive, failed, shed |

mod answer;
mod cache;
mod lookup;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub use lookup::IntrospectionBuilder;

use crate::{
    error::{Denied, Unverified},
    scheme::{Asked, Authenticate, CredentialPlace, Identity},
    source::ClientCredential,
    token::UnverifiedToken,
    verify::Verifier,
};
use answer::Answer;
use cache::TokenHash;
use lookup::Lookup;

/// Accepts bearer tokens that are not JWTs, by asking their issuer: a scheme for
/// [`AuthorizationLayer::scheme`](crate::layer::AuthorizationLayer::scheme).
///
/// The issuer's answer is checked like the claims of a JWT, by the settings of a
/// [`TrustedIssuer`](crate::verify::TrustedIssuer) of the verifier: profile, audiences, clients, scopes,
/// lifetime, revocations. `aud`, `exp` and the client must be in the answer.
///
/// ```no_run
/// use token_interceptor::{
///     introspection::Introspection,
///     key_set::KeySet,
///     layer::AuthorizationLayer,
///     verify::{TokenProfile, TrustedIssuer, Verifier},
/// };
///
/// # fn layer(policy: token_interceptor::policy::ServedPolicy) -> Result<(), Box<dyn std::error::Error>> {
/// // An issuer of opaque tokens alone: it has no keys.
/// let issuer = TrustedIssuer::fixed("https://login.example", KeySet::default())?
///     .profile(TokenProfile::rfc7519().token_id_optional());
/// let verifier = Verifier::builder().issuer(issuer).build()?;
/// let opaque = Introspection::builder(&verifier, "https://login.example", "https://login.example/introspect")
///     .client("inventory", "the secret of this service")
///     .build()?;
/// let layer = AuthorizationLayer::new(verifier, policy).scheme(opaque)?;
/// # let _ = layer;
/// # Ok(()) }
/// ```
///
/// # Cost
///
/// An answer is cached, so a revoked token is accepted for up to [`IntrospectionBuilder::keep`], a minute by
/// default. A token has one request in flight, and all tokens 64: above that, calls read UNAVAILABLE. So do
/// calls while the endpoint is unreachable, unless the token is cached. An open stream is checked again when
/// its answer is too old, and ends with `exp`.
#[derive(Clone, Debug)]
pub struct Introspection(Arc<Lookup>);

/// The failed check of a token that the endpoint calls inactive.
const INACTIVE: Denied = Denied::credential("introspection_inactive", "the token is not valid");
/// The retry delay of a caller while the endpoint does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Introspection {
    /// Returns settings for the tokens of `issuer`, which the verifier must trust, and for the URL of its
    /// introspection endpoint.
    pub fn builder(verifier: &Verifier, issuer: &str, endpoint: &str) -> IntrospectionBuilder {
        IntrospectionBuilder::new(verifier.clone(), issuer, endpoint)
    }
}

#[async_trait]
impl Authenticate for Introspection {
    fn name(&self) -> &'static str {
        "introspection"
    }

    fn place(&self) -> CredentialPlace {
        CredentialPlace::OpaqueBearer
    }

    async fn authenticate(&self, token: UnverifiedToken<'_>, asked: &Asked<'_>) -> Result<Identity, Denied> {
        let (length, length_max) = (token.expose().len(), self.0.verifier.token_bytes_max_of(&self.0.issuer));
        if length > length_max {
            let (came, expected) = (format!("{length} bytes"), format!("at most {length_max} bytes"));
            return Err(Unverified::TooLarge.about("token", came, expected).into());
        }
        let (token, hash) = (Arc::<str>::from(token.expose()), TokenHash::of(token.expose()));
        let answer = match self.0.cached(&hash, asked.now) {
            Some(answer) => answer,
            None => self.0.ask(Arc::clone(&token), hash, asked.now).await?,
        };
        let Answer::Active(members) = answer else { return Err(INACTIVE) };
        let (verifier, issuer) = (&self.0.verifier, &self.0.issuer);
        let verified = verifier.check_introspected(issuer, (*members).clone(), asked.audience, asked.now)?;
        let (lookup, audience) = (Arc::clone(&self.0), asked.audience.to_owned());
        Ok(Identity::of_token(verified).while_ok(move |now| lookup.check_again(&token, &hash, &audience, now)))
    }
}

/// The credential of the service at the endpoint: its client ID, and a secret or a private key.
#[derive(Clone, Debug)]
struct Client {
    id: String,
    credential: ClientCredential,
}

#[cfg(test)]
mod tests;
