//! Platforms whose tokens prove workloads: the form of the issuer, and the rules that are safe.
//!
//! A name can be registered again by another owner, and many customers share one issuer. A rule must
//! therefore name what the platform never gives to another one. A rule that does not is rejected when it is
//! registered, and again when a token arrives.

use std::time::Duration;

use serde_json::{Map, Value};
use token_interceptor::verify::spiffe;

use crate::client::{FederatedIdentity, FederatedIdentityError, SubjectMatch};

const HOUR: Duration = Duration::from_secs(3600);
/// The start of the subject of a service account in Kubernetes.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// The service account of every pod that names none.
const SHARED_ACCOUNT: &str = "default";
/// The event of GitHub that runs with the repository's rights on a stranger's request.
const STRANGERS_EVENT: &str = "pull_request_target";

/// A platform that issues tokens to workloads.
///
/// Exhaustive: the rules must name a new platform before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    /// Projected service account tokens of any cluster.
    Kubernetes,
    /// GitHub Actions, also of GitHub Enterprise Server.
    Github,
    /// GitLab CI/CD, also self-managed.
    Gitlab,
    /// Buildkite.
    Buildkite,
    /// AWS STS `GetWebIdentityToken`.
    Aws,
    /// Identity tokens of Google Cloud's service accounts.
    Google,
    /// Managed identities and apps of Microsoft Entra ID.
    Azure,
    /// JWT-SVIDs of a SPIFFE trust domain.
    Spiffe,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 8] = [
        Self::Kubernetes,
        Self::Github,
        Self::Gitlab,
        Self::Buildkite,
        Self::Aws,
        Self::Google,
        Self::Azure,
        Self::Spiffe,
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Buildkite => "buildkite",
            Self::Aws => "aws",
            Self::Google => "google",
            Self::Azure => "azure",
            Self::Spiffe => "spiffe",
        }
    }

    /// Returns the platform with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.name() == name)
    }

    /// Returns the platform that alone has such an issuer. `None` if several platforms may have it, as may
    /// Kubernetes and GitLab, or an identity provider.
    #[must_use]
    pub fn of_issuer(issuer: &str) -> Option<Self> {
        if issuer.starts_with(spiffe::SCHEME) {
            return Some(Self::Spiffe);
        }
        let unmistakable = [Self::Github, Self::Buildkite, Self::Aws, Self::Google, Self::Azure];
        unmistakable.into_iter().find(|platform| platform.check_issuer(issuer).is_ok())
    }

    /// Returns true if each of its tokens has a `typ`.
    #[must_use]
    pub const fn writes_type(self) -> bool {
        match self {
            Self::Github | Self::Gitlab | Self::Google | Self::Azure => true,
            Self::Kubernetes | Self::Buildkite | Self::Aws | Self::Spiffe => false,
        }
    }

    /// The longest age of its tokens. A job asks for a new one when it needs it. Azure hands out one token
    /// for up to a day.
    #[must_use]
    pub const fn max_age(self) -> Duration {
        match self {
            Self::Github | Self::Buildkite => Duration::from_secs(600),
            Self::Kubernetes | Self::Gitlab | Self::Aws | Self::Google | Self::Spiffe => HOUR,
            Self::Azure => Duration::from_secs(86_400),
        }
    }

    /// Checks the form of the issuer identifier.
    ///
    /// # Errors
    ///
    /// The expected form.
    pub fn check_issuer(self, issuer: &str) -> Result<(), &'static str> {
        let between = |start: &str, end: &str| {
            let middle = issuer.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('/'))
        };
        let (fits, form) = match self {
            Self::Kubernetes | Self::Gitlab => (issuer.starts_with("https://"), "an https URL"),
            Self::Github => {
                let cloud = "https://token.actions.githubusercontent.com";
                let fits = issuer == cloud
                    || between("https://token.actions.githubusercontent.com/", "")
                    || between("https://", "/_services/token");
                (fits, "https://token.actions.githubusercontent.com, or https://HOST/_services/token")
            }
            Self::Spiffe => {
                let form = "a trust domain: spiffe://example.org, in lower case, without a port and a final slash";
                (spiffe::trust_domain(issuer).is_some(), form)
            }
            Self::Buildkite => (issuer == "https://agent.buildkite.com", "https://agent.buildkite.com"),
            Self::Aws => {
                let form = "the account's own https://….tokens.sts.global.api.aws";
                (between("https://", ".tokens.sts.global.api.aws"), form)
            }
            Self::Google => (issuer == "https://accounts.google.com", "https://accounts.google.com"),
            Self::Azure => {
                let tenant =
                    between("https://login.microsoftonline.com/", "/v2.0") || between("https://sts.windows.net/", "/");
                let several = ["/common/", "/organizations/", "/consumers/"].iter().any(|all| issuer.contains(all));
                let form = "one tenant's https://login.microsoftonline.com/TENANT/v2.0 or \
                            https://sts.windows.net/TENANT/, with the final slash";
                (tenant && !several, form)
            }
        };
        if fits { Ok(()) } else { Err(form) }
    }

    /// Checks that a rule names what the platform gives to no other workload.
    ///
    /// # Errors
    ///
    /// The first unsafe part, and why it is unsafe.
    pub fn check_rule(self, rule: &FederatedIdentity) -> Result<(), FederatedIdentityError> {
        let pinned = |names: &'static [&'static str], why: &'static str| {
            let missing = names.iter().find(|name| !rule.claims.contains_key(**name));
            missing.map_or(Ok(()), |name| Err(unsafe_rule("claims", format!("{name} is required. {why}"))))
        };
        match self {
            Self::Kubernetes => {
                check_service_account(&rule.subject)?;
                let why = "the kubelet hands out one token for most of its life, so only the first login would succeed";
                reused(rule, why)
            }
            Self::Github => {
                pinned(
                    &["/repository_id", "/repository_owner_id"],
                    "A repository or an owner that was renamed or deleted can be registered by another one, who then \
                     has the same sub",
                )?;
                if rule.claims.get("/event_name").is_some_and(|events| events.contains(STRANGERS_EVENT)) {
                    return Err(unsafe_rule("claims", STRANGER));
                }
                once(rule)
            }
            Self::Gitlab => {
                pinned(&["/project_id", "/namespace_id"], "A path can be registered again by another one")?;
                once(rule)
            }
            Self::Buildkite => pinned(
                &["/organization_id", "/pipeline_id"],
                "All organizations share one issuer, and a slug can be registered again",
            ),
            Self::Aws => {
                let arn = matches!(&rule.subject, SubjectMatch::Exactly(subject) if subject.starts_with("arn:"));
                if !arn {
                    return Err(unsafe_rule("subject", "the exact ARN of a role is required"));
                }
                once(rule)
            }
            Self::Google => {
                let is_number = |subject: &str| subject.bytes().all(|byte| byte.is_ascii_digit());
                let number = matches!(&rule.subject, SubjectMatch::Exactly(subject) if is_number(subject));
                let why = "the numeric ID of the service account is required. All customers share one issuer, and an \
                           email address can be registered again";
                if !number {
                    return Err(unsafe_rule("subject", why));
                }
                reused(rule, "an ID token of Google has no jti, so none can be accepted once")
            }
            Self::Spiffe => {
                let (SubjectMatch::Exactly(id) | SubjectMatch::Prefix(id)) = &rule.subject;
                if !id.strip_prefix(&rule.issuer).is_some_and(|path| path.starts_with('/')) {
                    return Err(unsafe_rule("subject", "a SPIFFE ID in the trust domain of the issuer is required"));
                }
                reused(rule, "a JWT-SVID has no jti, so none can be accepted once")
            }
            Self::Azure => {
                pinned(&["/tid", "/oid"], "A tenant and an object are named by their IDs alone")?;
                reused(rule, "Azure hands out one token for up to a day, so only the first login would succeed")
            }
        }
    }

    /// Returns the reason for which a token of the platform is accepted for nothing.
    #[must_use]
    pub(crate) fn refusal(self, claims: &Map<String, Value>) -> Option<&'static str> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Github if text("event_name") == STRANGERS_EVENT => Some(STRANGER),
            Self::Kubernetes => account(text("sub")).filter(|(_, name)| *name == SHARED_ACCOUNT).map(|_| SHARED),
            Self::Github | Self::Gitlab | Self::Buildkite | Self::Aws | Self::Google | Self::Azure | Self::Spiffe => {
                None
            }
        }
    }
}

const STRANGER: &str = "event_name pull_request_target: such a workflow has the rights of the repository, and can run \
                        code of a stranger's pull request";
const SHARED: &str = "the service account \"default\": every pod of its namespace that names no account has it";

fn unsafe_rule(field: &'static str, why: impl Into<String>) -> FederatedIdentityError {
    FederatedIdentityError { field, rule: why.into() }
}

/// Checks that a rule accepts each token once: the platform issues one for each request.
fn once(rule: &FederatedIdentity) -> Result<(), FederatedIdentityError> {
    let why = "the platform issues a new token for each request, so a token that comes twice was copied";
    if rule.reuse { Err(unsafe_rule("reuse", why)) } else { Ok(()) }
}

/// Checks that a rule accepts a token again: the platform hands out one token several times, or it has no
/// `jti`.
fn reused(rule: &FederatedIdentity, why: &str) -> Result<(), FederatedIdentityError> {
    if rule.reuse { Ok(()) } else { Err(unsafe_rule("reuse", why)) }
}

fn check_service_account(subject: &SubjectMatch) -> Result<(), FederatedIdentityError> {
    match subject {
        SubjectMatch::Exactly(subject) => match account(subject) {
            Some((_, SHARED_ACCOUNT)) => Err(unsafe_rule("subject", SHARED)),
            Some(_) => Ok(()),
            None => Err(unsafe_rule("subject", "system:serviceaccount:NAMESPACE:NAME is required")),
        },
        SubjectMatch::Prefix(prefix) => {
            let namespace = prefix.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.strip_suffix(':'));
            let named = namespace.is_some_and(|namespace| !namespace.is_empty() && !namespace.contains(':'));
            let why = "system:serviceaccount:NAMESPACE: is required. A shorter prefix accepts every namespace";
            if named { Ok(()) } else { Err(unsafe_rule("subject_prefix", why)) }
        }
    }
}

/// Returns namespace and name of a service account.
fn account(subject: &str) -> Option<(&str, &str)> {
    let (namespace, name) = subject.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn rule(subject: SubjectMatch, claims: &[(&str, &str)], reuse: bool) -> FederatedIdentity {
        let claim = |(pointer, value): &(&str, &str)| ((*pointer).to_owned(), [(*value).to_owned()].into());
        let claims: BTreeMap<_, _> = claims.iter().map(claim).collect();
        FederatedIdentity { issuer: "https://i.example".to_owned(), subject, claims, max_age: None, reuse }
    }

    fn exactly(subject: &str) -> SubjectMatch {
        SubjectMatch::Exactly(subject.to_owned())
    }

    fn prefix(subject: &str) -> SubjectMatch {
        SubjectMatch::Prefix(subject.to_owned())
    }

    /// A safe rule of each platform.
    fn safe(platform: Platform) -> FederatedIdentity {
        match platform {
            Platform::Kubernetes => rule(exactly("system:serviceaccount:prod:orders"), &[], true),
            Platform::Github => {
                rule(prefix("repo:acme/orders:"), &[("/repository_id", "1"), ("/repository_owner_id", "2")], false)
            }
            Platform::Gitlab => {
                rule(prefix("project_path:a/b:"), &[("/project_id", "1"), ("/namespace_id", "2")], false)
            }
            Platform::Buildkite => {
                rule(prefix("organization:a:"), &[("/organization_id", "1"), ("/pipeline_id", "2")], false)
            }
            Platform::Aws => rule(exactly("arn:aws:iam::123456789012:role/orders"), &[], false),
            Platform::Google => rule(exactly("104563217890123456789"), &[], true),
            Platform::Spiffe => {
                let rule = rule(exactly("spiffe://example.org/orders"), &[], true);
                FederatedIdentity { issuer: "spiffe://example.org".to_owned(), ..rule }
            }
            Platform::Azure => rule(exactly("x"), &[("/tid", "1"), ("/oid", "2")], true),
        }
    }

    #[test]
    fn a_rule_without_what_a_platform_never_gives_again_is_unsafe() {
        for platform in Platform::ALL {
            assert_eq!(platform.check_rule(&safe(platform)), Ok(()), "{platform:?}");
            assert_eq!(Platform::from_name(platform.name()), Some(platform));
            for pointer in safe(platform).claims.keys() {
                let mut bare = safe(platform);
                bare.claims.remove(pointer);
                let error = platform.check_rule(&bare).unwrap_err();
                assert!(error.field == "claims" && error.rule.contains(pointer.as_str()), "{platform:?} {error}");
            }
        }
    }

    #[test]
    fn unsafe_subjects_and_events_are_refused_with_the_reason() {
        let kubernetes = |subject| Platform::Kubernetes.check_rule(&rule(subject, &[], true));
        assert!(kubernetes(exactly("system:serviceaccount:prod:default")).unwrap_err().rule.contains("every pod"));
        assert!(kubernetes(prefix("system:serviceaccount:prod:")).is_ok());
        for bad in [exactly("system:serviceaccount:prod"), exactly("orders"), exactly("system:serviceaccount::a")] {
            assert_eq!(kubernetes(bad).unwrap_err().field, "subject");
        }
        for bad in ["system:serviceaccount:", "system:", "system:serviceaccount:a:b:"] {
            assert_eq!(kubernetes(prefix(bad)).unwrap_err().field, "subject_prefix", "{bad}");
        }
        let mut github = safe(Platform::Github);
        github.claims.insert("/event_name".to_owned(), ["push".to_owned(), STRANGERS_EVENT.to_owned()].into());
        assert!(Platform::Github.check_rule(&github).unwrap_err().rule.contains("stranger"));
        for (platform, subject) in
            [(Platform::Google, "a@b.iam.gserviceaccount.com"), (Platform::Aws, "AROA123"), (Platform::Google, "")]
        {
            let bad = FederatedIdentity { subject: exactly(subject), ..safe(platform) };
            let unsafe_subject = platform.check_rule(&bad).is_err() || bad.check().is_err();
            assert!(unsafe_subject, "{subject}");
        }
        for id in ["spiffe://example.org.evil/orders", "spiffe://other.example/orders", "orders"] {
            let foreign = FederatedIdentity { subject: exactly(id), ..safe(Platform::Spiffe) };
            assert_eq!(Platform::Spiffe.check_rule(&foreign).unwrap_err().field, "subject", "{id}");
        }
        let any_role = FederatedIdentity { subject: prefix("arn:aws:iam::1:"), ..safe(Platform::Aws) };
        assert_eq!(Platform::Aws.check_rule(&any_role).unwrap_err().field, "subject");
    }

    #[test]
    fn reuse_fits_the_way_in_which_a_platform_issues_tokens() {
        for platform in Platform::ALL.into_iter().filter(|platform| *platform != Platform::Buildkite) {
            let safe = safe(platform);
            let other = FederatedIdentity { reuse: !safe.reuse, ..safe };
            assert_eq!(platform.check_rule(&other).unwrap_err().field, "reuse", "{platform:?}");
        }
    }

    #[test]
    fn some_tokens_prove_no_client_by_any_rule() {
        let refused = |platform: Platform, claims: Value| platform.refusal(claims.as_object().unwrap()).is_some();
        assert!(refused(Platform::Github, json!({"event_name": "pull_request_target"})));
        assert!(!refused(Platform::Github, json!({"event_name": "push"})));
        assert!(refused(Platform::Kubernetes, json!({"sub": "system:serviceaccount:prod:default"})));
        assert!(!refused(Platform::Kubernetes, json!({"sub": "system:serviceaccount:default:orders"})));
        assert!(!refused(Platform::Gitlab, json!({"event_name": "pull_request_target"})));
    }

    #[test]
    fn an_unmistakable_issuer_names_its_platform() {
        for (issuer, platform) in [
            ("https://token.actions.githubusercontent.com", Some(Platform::Github)),
            ("https://token.actions.githubusercontent.com/acme", Some(Platform::Github)),
            ("https://github.acme.example/_services/token", Some(Platform::Github)),
            ("https://agent.buildkite.com", Some(Platform::Buildkite)),
            ("https://abc123-def456.tokens.sts.global.api.aws", Some(Platform::Aws)),
            ("https://accounts.google.com", Some(Platform::Google)),
            ("https://login.microsoftonline.com/72f988bf/v2.0", Some(Platform::Azure)),
            ("https://sts.windows.net/72f988bf/", Some(Platform::Azure)),
            ("spiffe://example.org", Some(Platform::Spiffe)),
            // Its form is then refused.
            ("spiffe://Example.org/", Some(Platform::Spiffe)),
            ("https://gitlab.com", None),
            ("https://oidc.eks.eu-west-1.amazonaws.com/id/ABC", None),
            ("https://token.actions.githubusercontent.com.example", None),
            ("https://login.example", None),
        ] {
            assert_eq!(Platform::of_issuer(issuer), platform, "{issuer}");
        }
    }

    #[test]
    fn an_issuer_of_another_form_is_refused() {
        for (platform, good) in [
            (Platform::Kubernetes, "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"),
            (Platform::Kubernetes, "https://westeurope.oic.prod-aks.azure.com/tenant/cluster/"),
            (Platform::Github, "https://token.actions.githubusercontent.com"),
            (Platform::Github, "https://token.actions.githubusercontent.com/acme"),
            (Platform::Github, "https://github.acme.example/_services/token"),
            (Platform::Gitlab, "https://gitlab.acme.example"),
            (Platform::Buildkite, "https://agent.buildkite.com"),
            (Platform::Aws, "https://abc123-def456.tokens.sts.global.api.aws"),
            (Platform::Google, "https://accounts.google.com"),
            (Platform::Azure, "https://login.microsoftonline.com/72f988bf/v2.0"),
            (Platform::Azure, "https://sts.windows.net/72f988bf/"),
            (Platform::Spiffe, "spiffe://example.org"),
        ] {
            assert_eq!(platform.check_issuer(good), Ok(()), "{good}");
        }
        for (platform, bad) in [
            (Platform::Kubernetes, "kubernetes/serviceaccount"),
            (Platform::Github, "https://token.actions.githubusercontent.com/"),
            (Platform::Github, "https://token.actions.githubusercontent.com.evil.example"),
            (Platform::Github, "https://evil.example/x/_services/token"),
            (Platform::Buildkite, "https://agent.buildkite.com/"),
            (Platform::Aws, "https://tokens.sts.global.api.aws"),
            (Platform::Aws, "https://evil.example/.tokens.sts.global.api.aws"),
            (Platform::Google, "accounts.google.com"),
            (Platform::Spiffe, "spiffe://example.org/"),
            (Platform::Spiffe, "spiffe://"),
            (Platform::Spiffe, "spiffe://Example.org"),
            (Platform::Spiffe, "spiffe://example.org:443"),
            (Platform::Spiffe, "spiffe://user@example.org"),
            (Platform::Spiffe, "https://example.org"),
            (Platform::Azure, "https://login.microsoftonline.com/common/v2.0"),
            (Platform::Azure, "https://sts.windows.net/72f988bf"),
            (Platform::Azure, "https://login.microsoftonline.com/a/b/v2.0"),
        ] {
            assert!(platform.check_issuer(bad).is_err(), "{bad}");
        }
    }
}
