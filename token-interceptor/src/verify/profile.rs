//! The form of one issuer's tokens: the claims that name the client, the scopes, the audience and the token
//! itself, and the marks of an access token.

mod presets;
pub mod spiffe;

use std::{borrow::Cow, time::Duration};

use serde_json::{Map, Value};

use crate::{json, signature::Algorithm};

/// The form of an issuer's access tokens, for [`TrustedIssuer::profile`](super::TrustedIssuer::profile).
///
/// The default is RFC 9068, the form of this project's issuer. Other issuers name the client, the scopes or
/// the token by other claims. A preset knows them for each provider:
///
/// ```no_run
/// use token_interceptor::verify::{TokenProfile, TrustedIssuer, Verifier};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenant = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";
/// let entra = TrustedIssuer::discover(tenant)?
///     .profile(TokenProfile::entra())
///     .audience_names("inventory", ["6e74172b-be56-4843-9ff4-e66a39bb12e3"]);
/// let verifier = Verifier::builder().issuer(entra).build()?;
/// # let _ = verifier;
/// # Ok(()) }
/// ```
///
/// For another provider, start with [`TokenProfile::rfc7519`] and name the claims:
///
/// ```
/// use std::time::Duration;
/// use token_interceptor::verify::TokenProfile;
///
/// let profile = TokenProfile::rfc7519()
///     .types(["JWT"])
///     .client_claim("azp")
///     .scope_claims(["/realm_access/roles"])
///     .token_id_optional()
///     .lifetime_max(Duration::from_secs(3600));
/// # let _ = profile;
/// ```
///
/// A claim is given by its name, or by a JSON Pointer (RFC 6901) that begins with a slash. A profile only
/// says where a value stands. Signature, issuer, audience, times and revocation are checked for all of them.
/// The [table of providers](crate::profiles) shows a token of each, and the values that
/// [`Caller`](crate::caller::Caller) then returns.
#[derive(Clone, Debug)]
pub struct TokenProfile {
    pub(super) form: Form,
    /// `None`: the token names no client, as an ID token.
    pub(super) client: Option<Place>,
    /// The first that is present decides.
    pub(super) scopes: Vec<Place>,
    pub(super) audience: Place,
    pub(super) token_id: Place,
    pub(super) token_id_required: bool,
    pub(super) rules: Vec<ClaimRule>,
    pub(super) types: Vec<String>,
    pub(super) untyped: bool,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) lifetime_max: Option<Duration>,
    pub(super) issuer: NamedBy,
    /// True if strangers have accounts at the issuer, and choose the audience of their tokens.
    pub(super) shared: bool,
}

/// The specification that rules the form of header and claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 9068: whole times, `iat`, text as `scope`, no key in the header.
    Rfc9068,
    /// RFC 7515 and RFC 7519, which allow more.
    Rfc7519,
}

/// The claim that names the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    Issuer,
    /// The trust domain of `sub`: SPIFFE JWT-SVID section 3.
    TrustDomain,
}

/// A claim, and the texts that it must or must not be.
#[derive(Clone, Debug)]
pub(super) struct ClaimRule {
    pub(super) place: Place,
    pub(super) texts: Vec<String>,
    /// True if it must be one of them.
    pub(super) required: bool,
}

/// The place of a value among the claims: a name, or a JSON Pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(Cow<'static, str>);

impl TokenProfile {
    /// RFC 9068: `typ` is `at+jwt`, and `iss sub client_id aud exp iat jti` are present. `scope` is text, and
    /// times are whole numbers. A header with a key or a key's URL is rejected. The algorithms are
    /// [`Algorithm::ISSUED`].
    #[must_use]
    pub fn rfc9068() -> Self {
        Self {
            form: Form::Rfc9068,
            client: Some(Place::from("client_id")),
            scopes: vec![Place::from("scope")],
            audience: Place::from("aud"),
            token_id: Place::from("jti"),
            token_id_required: true,
            rules: Vec::new(),
            types: vec!["at+jwt".to_owned()],
            untyped: false,
            algorithms: Algorithm::ISSUED.to_vec(),
            lifetime_max: None,
            issuer: NamedBy::Issuer,
            shared: false,
        }
    }

    /// The claims of RFC 9068, in the form of RFC 7515 and RFC 7519, with every algorithm. A token may have
    /// 32 KiB. A key or a key's URL in its header is ignored. Times may have a fraction, which is rounded
    /// towards rejection. `iat` may be missing, and `scope` may be a list.
    #[must_use]
    pub fn rfc7519() -> Self {
        Self { form: Form::Rfc7519, algorithms: Algorithm::ALL.to_vec(), ..Self::rfc9068() }
    }

    /// Statements about a subject, such as ID tokens (OpenID Connect Core section 2), instead of access
    /// tokens. Only these `typ` are accepted, and `client_id` and `jti` may be missing. This is for a token
    /// exchange (RFC 8693); a resource server does not need it.
    #[must_use]
    pub fn identity<T: Into<String>>(types: impl IntoIterator<Item = T>) -> Self {
        Self { client: None, token_id_required: false, ..Self::rfc7519() }.types(types)
    }

    /// Reads the client ID from this claim, which must be present.
    #[must_use]
    pub fn client_claim(mut self, claim: impl Into<Cow<'static, str>>) -> Self {
        self.client = Some(Place(claim.into()));
        self
    }

    /// Reads the scopes from the first of these claims that is present: names separated by spaces, or a list
    /// of names. A name in a list that contains a space is ignored, as a scope cannot contain one.
    ///
    /// The others are ignored even if the first grants nothing. Otherwise a user's roles would count as
    /// rights of a client that has fewer scopes.
    #[must_use]
    pub fn scope_claims<T: Into<Cow<'static, str>>>(mut self, claims: impl IntoIterator<Item = T>) -> Self {
        self.scopes = claims.into_iter().map(|claim| Place(claim.into())).collect();
        self
    }

    /// Reads the audience from this claim, which must be present: one name, or a list of names.
    #[must_use]
    pub fn audience_claim(mut self, claim: impl Into<Cow<'static, str>>) -> Self {
        self.audience = Place(claim.into());
        self
    }

    /// Reads the token's ID from this claim, which must be present.
    #[must_use]
    pub fn token_id_claim(mut self, claim: impl Into<Cow<'static, str>>) -> Self {
        self.token_id = Place(claim.into());
        self.token_id_required = true;
        self
    }

    /// Accepts tokens without an ID. Only their client can be revoked.
    #[must_use]
    pub fn token_id_optional(mut self) -> Self {
        self.token_id_required = false;
        self
    }

    /// Rejects tokens in which this claim is not one of these texts. Use it where the issuer tells its access
    /// tokens from its other tokens by a claim.
    #[must_use]
    pub fn require_claim<T: Into<String>>(
        self,
        claim: impl Into<Cow<'static, str>>,
        any_of: impl IntoIterator<Item = T>,
    ) -> Self {
        self.rule(Place(claim.into()), any_of, true)
    }

    /// Rejects tokens in which this claim is one of these texts, or is present and not text.
    #[must_use]
    pub fn reject_claim<T: Into<String>>(
        self,
        claim: impl Into<Cow<'static, str>>,
        any_of: impl IntoIterator<Item = T>,
    ) -> Self {
        self.rule(Place(claim.into()), any_of, false)
    }

    fn rule<T: Into<String>>(mut self, place: Place, texts: impl IntoIterator<Item = T>, required: bool) -> Self {
        let texts = texts.into_iter().map(Into::into).collect();
        self.rules.push(ClaimRule { place, texts, required });
        self
    }

    /// Accepts only these `typ` (RFC 7515 section 4.1.9). Make sure that nothing else that the issuer signs,
    /// such as an ID token, can pass for an access token.
    #[must_use]
    pub fn types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts tokens without `typ` too, for an issuer that writes none. Only audience and claims then tell
    /// its kinds of token apart.
    #[must_use]
    pub fn untyped(mut self) -> Self {
        self.untyped = true;
        self
    }

    /// Rejects tokens with a longer lifetime, from `iat` to `exp`, in whole seconds. Without `iat` the
    /// lifetime counts from the verification.
    #[must_use]
    pub fn lifetime_max(mut self, lifetime_max: Duration) -> Self {
        self.lifetime_max = Some(lifetime_max);
        self
    }

    /// Accepts tokens of any lifetime.
    #[must_use]
    pub fn any_lifetime(mut self) -> Self {
        self.lifetime_max = None;
        self
    }

    /// The algorithms that are accepted, unless
    /// [`TrustedIssuer::algorithms`](super::TrustedIssuer::algorithms) replaces them.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Returns true if a client ID is a SPIFFE ID of the issuer's own trust domain. No other issuer has such
    /// clients.
    pub(super) fn is_of_own_domain(&self) -> bool {
        self.issuer == NamedBy::TrustDomain && self.client.as_ref().is_some_and(|client| client.0 == "sub")
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.form == Form::Rfc7519
    }

    /// Returns the fault of a profile that no token could meet.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let named = [&self.audience, &self.token_id];
        let ruled = self.rules.iter().map(|rule| &rule.place);
        let mut places = named.into_iter().chain(&self.client).chain(&self.scopes).chain(ruled);
        if places.any(|place| place.0.is_empty()) {
            return Some("a claim of the profile has no name");
        }
        (self.types.is_empty() && !self.untyped).then_some("the profile accepts no type of token")
    }
}

impl ClaimRule {
    /// Returns true if the claims follow the rule.
    pub(super) fn is_met(&self, claims: &Map<String, Value>) -> bool {
        match self.place.of(claims) {
            Some(Value::String(text)) => self.texts.contains(text) == self.required,
            Some(_) => false,
            None => !self.required,
        }
    }
}

impl Default for TokenProfile {
    fn default() -> Self {
        Self::rfc9068()
    }
}

impl Place {
    /// Returns the name, for errors.
    pub(super) fn name(&self) -> Cow<'static, str> {
        self.0.clone()
    }

    /// Returns the value; `None` where it is missing.
    pub(super) fn of<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        json::member(claims, &self.0)
    }
}

impl From<&'static str> for Place {
    fn from(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Place;

    /// RFC 6901 section 5.
    #[test]
    fn a_place_is_a_name_or_a_json_pointer() {
        let claims = json!({
            "scope": "a", "https://acme.example/roles": 1, "kubernetes.io": { "pod": { "name": "p" } },
            "a/b": 2, "m~n": { "x": [3, 4] },
        });
        let claims = claims.as_object().unwrap();
        for (place, value) in [
            ("scope", json!("a")),
            ("/scope", json!("a")),
            ("https://acme.example/roles", json!(1)),
            ("/kubernetes.io/pod/name", json!("p")),
            ("/a~1b", json!(2)),
            ("/m~0n/x/1", json!(4)),
        ] {
            assert_eq!(Place::from(place).of(claims), Some(&value), "{place}");
        }
        for place in ["/", "", "kubernetes.io/pod", "/kubernetes.io/node", "/scope/a", "/a/b"] {
            assert_eq!(Place::from(place).of(claims), None, "{place}");
        }
    }
}
