//! The tokens of providers, as they document them.

use std::time::Duration;

use super::{NamedBy, Place, TokenProfile};
use crate::signature::Algorithm;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The algorithms of JWT-SVIDs: SPIFFE JWT-SVID section 2.1.
const SPIFFE: [Algorithm; 9] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Ps256,
    Algorithm::Rs256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Es512,
];

impl TokenProfile {
    /// Access tokens of Microsoft Entra ID, version 2.0: issuer
    /// `https://login.microsoftonline.com/{tenant}/v2.0`.
    ///
    /// The client is `azp`, which an ID token lacks. The scopes are `scp`, or without it the app's `roles`.
    /// The token's ID is `uti`. A token lives for 29 hours at most: 28 for clients with continuous access
    /// evaluation, and `iat` is set back by minutes.
    #[must_use]
    pub fn entra() -> Self {
        let claims = Self::rfc7519().client_claim("azp").scope_claims(["scp", "roles"]).token_id_claim("uti");
        claims.types(["JWT"]).signed_with(&[Algorithm::Rs256]).lifetime_max(29 * HOUR)
    }

    /// Access tokens of Microsoft Entra ID, version 1.0, the default of an API's registration: issuer
    /// `https://sts.windows.net/{tenant}/`. As [`TokenProfile::entra`], but the client is `appid`.
    #[must_use]
    pub fn entra_v1() -> Self {
        Self::entra().client_claim("appid")
    }

    /// Access tokens of Auth0 in its own dialect: issuer `https://{tenant}.auth0.com/`.
    ///
    /// The client is `azp`, which an ID token lacks, and the scopes are `scope`. With role-based access
    /// control, `scope_claims(["permissions"])` reads the permissions. A token has no ID, and lives for 30
    /// days at most. For the dialect `rfc9068_profile` use [`TokenProfile::rfc7519`].
    #[must_use]
    pub fn auth0() -> Self {
        let claims = Self::rfc7519().client_claim("azp").token_id_optional().types(["JWT"]);
        let algorithms = [Algorithm::Rs256, Algorithm::Rs512, Algorithm::Ps256];
        claims.signed_with(&algorithms).lifetime_max(30 * DAY)
    }

    /// Access tokens of a custom authorization server of Okta: issuer `https://{org}.okta.com/oauth2/{id}`.
    ///
    /// The client is `cid`, which an ID token lacks. The scopes are the list `scp`. A token has no `typ`, and
    /// lives for a day at most.
    #[must_use]
    pub fn okta() -> Self {
        let claims = Self::rfc7519().client_claim("cid").scope_claims(["scp"]).untyped();
        claims.signed_with(&[Algorithm::Rs256]).lifetime_max(DAY)
    }

    /// Access tokens of an Amazon Cognito user pool: issuer
    /// `https://cognito-idp.{region}.amazonaws.com/{pool}`.
    ///
    /// A token has no `aud`, so `client_id` is both client and audience. Name the clients of each audience
    /// with [`TrustedIssuer::audience_names`](crate::verify::TrustedIssuer::audience_names). For a pool that
    /// writes `aud`, add `audience_claim("aud")`. `token_use` must be `access`. A token lives for a day at
    /// most.
    #[must_use]
    pub fn cognito() -> Self {
        let claims = Self::rfc7519().audience_claim("client_id").require_claim("token_use", ["access"]);
        let untyped = Self { types: Vec::new(), ..claims.untyped() };
        untyped.signed_with(&[Algorithm::Rs256]).lifetime_max(DAY)
    }

    /// Access tokens of a Keycloak realm: issuer `https://{host}/realms/{realm}`.
    ///
    /// The client is `azp`, and the claim `typ` must be `Bearer`, as the header does not tell an ID token
    /// from an access token. The scopes are `scope`. `scope_claims(["/realm_access/roles"])` reads the roles
    /// of the realm, and `scope_claims(["/resource_access/inventory/roles"])` those of a client. A token
    /// lives for a day at most.
    #[must_use]
    pub fn keycloak() -> Self {
        let claims = Self::rfc7519().client_claim("azp").require_claim("typ", ["Bearer"]);
        claims.types(["JWT", "at+jwt"]).lifetime_max(DAY)
    }

    /// ID tokens of Google for service accounts: issuer `https://accounts.google.com`.
    ///
    /// The client is `sub`, the account's numeric ID, which is never used again. There are no scopes and no
    /// token ID. A token lives for an hour. Every Google account can get a token for any audience, so
    /// [`TrustedIssuer::clients`](crate::verify::TrustedIssuer::clients) is required.
    #[must_use]
    pub fn google() -> Self {
        Self::workload().types(["JWT"]).signed_with(&[Algorithm::Rs256]).lifetime_max(HOUR).shared()
    }

    /// ID tokens of GitHub Actions: issuer `https://token.actions.githubusercontent.com`.
    ///
    /// The client is `sub`, such as `repo:acme/orders:ref:refs/heads/main`. There are no scopes. A token
    /// lives for an hour at most. Every workflow on GitHub can get a token for any audience, so
    /// [`TrustedIssuer::clients`](crate::verify::TrustedIssuer::clients) is required, such as
    /// `repo:acme/orders:*`. Workflows on `pull_request_target` are rejected. A stranger's pull request can
    /// start them, and their `sub` is that of the branch.
    #[must_use]
    pub fn github_actions() -> Self {
        let claims = Self::workload().token_id_claim("jti").reject_claim("event_name", ["pull_request_target"]);
        let claims = claims.types(["JWT"]);
        claims.signed_with(&[Algorithm::Rs256]).lifetime_max(HOUR).shared()
    }

    /// Projected service account tokens of Kubernetes: the issuer of the cluster.
    ///
    /// The client is `sub`, such as `system:serviceaccount:prod:orders`. There are no scopes. `jti` may be
    /// missing, as before version 1.30, and so may `typ`. A token lives for a day at most.
    #[must_use]
    pub fn kubernetes() -> Self {
        let algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384];
        Self::workload().types(["JWT"]).untyped().signed_with(&algorithms).lifetime_max(DAY)
    }

    /// JWT-SVIDs of a SPIFFE trust domain: issuer `spiffe://{trust domain}`.
    ///
    /// `sub` is the workload's SPIFFE ID. Its trust domain selects the keys, as a JWT-SVID need not have an
    /// `iss`. The client is `sub`. There are no scopes, and mostly no token ID. A token lives for an hour at
    /// most. The keys are those of the bundle with `use: jwt-svid`:
    ///
    /// ```no_run
    /// use token_interceptor::{key_set::KeySet, verify::{TokenProfile, TrustedIssuer}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let fetched = TrustedIssuer::jwks("spiffe://example.org", "https://spire.example.org/bundle.json")?
    ///     .profile(TokenProfile::spiffe());
    /// let from_a_file = KeySet::from_spiffe_bundle(&std::fs::read("bundle.json")?)?;
    /// let fixed = TrustedIssuer::fixed("spiffe://partner.example", from_a_file)?
    ///     .profile(TokenProfile::spiffe());
    /// # let _ = (fetched, fixed);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn spiffe() -> Self {
        let claims = Self::workload().types(["JWT", "JOSE"]).untyped().signed_with(&SPIFFE).lifetime_max(HOUR);
        Self { issuer: NamedBy::TrustDomain, ..claims }
    }

    /// Tokens of a workload, which is its own client: as RFC 9068 section 2.2 recommends for `sub` where no
    /// user is involved.
    fn workload() -> Self {
        Self { scopes: Vec::new(), client: Some(Place::from("sub")), ..Self::rfc7519() }.token_id_optional()
    }

    fn signed_with(self, algorithms: &[Algorithm]) -> Self {
        Self { algorithms: algorithms.to_vec(), ..self }
    }

    fn shared(self) -> Self {
        Self { shared: true, ..self }
    }
}
