//! The rules for the registration of clients. Each broken rule is reported with its field.
//!
//! The size limits are generous. They bound one client's share of memory and of a token.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use token_interceptor::http_url::HttpUrl;

use super::{AdminError, AdminRules, FieldViolation, GrantDraft};
use crate::{
    client::{Audience, Grant, GrantType, Scope, is_printable},
    reserved_claims::is_reserved,
};

const DISPLAY_NAME_CHARS_MAX: usize = 256;
const GRANTS_MAX: usize = 100;
const SCOPES_MAX: usize = 200;
const CLAIMS_MAX: usize = 32;
const CLAIM_NAME_BYTES_MAX: usize = 128;
const CLAIM_VALUE_BYTES_MAX: usize = 1024;
const REDIRECT_URIS_MAX: usize = 32;
const REDIRECT_URI_BYTES_MAX: usize = 2048;
const LABELS_MAX: usize = 64;
const LABEL_NAME_BYTES_MAX: usize = 63;
const LABEL_VALUE_BYTES_MAX: usize = 256;
/// The most broken rules that one error lists.
const VIOLATIONS_MAX: usize = 50;

/// Claims that RFC 9068 section 2.2.3.1 defines as lists, so that a client's text must not replace them. Also
/// `typ`, which some verifiers read from the claims.
const RESERVED_BESIDE: [&str; 4] = ["entitlements", "groups", "roles", "typ"];

/// Checks one request, and collects the rules that it breaks.
pub(super) struct Check<'a> {
    rules: &'a AdminRules,
    violations: Vec<FieldViolation>,
}

impl<'a> Check<'a> {
    pub(super) fn new(rules: &'a AdminRules) -> Self {
        Self { rules, violations: Vec::new() }
    }

    /// Returns the error with all broken rules, if there are any.
    pub(super) fn finish(self) -> Result<(), AdminError> {
        if self.violations.is_empty() { Ok(()) } else { Err(AdminError::Invalid(self.violations)) }
    }

    fn broken(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(FieldViolation { field: field.into(), description: description.into() });
        }
    }

    fn expect(&mut self, kept: bool, field: &str, rule: impl Into<String>) {
        if !kept {
            self.broken(field, rule);
        }
    }

    pub(super) fn display_name(&mut self, name: &str) -> String {
        let kept = name.chars().count() <= DISPLAY_NAME_CHARS_MAX && is_printable(name);
        let rule = format!("at most {DISPLAY_NAME_CHARS_MAX} characters, none of them a control character");
        self.expect(kept, "client.display_name", rule);
        name.to_owned()
    }

    pub(super) fn grants(&mut self, drafts: &[GrantDraft]) -> Vec<Grant> {
        self.expect(drafts.len() <= GRANTS_MAX, "client.grants", format!("at most {GRANTS_MAX} grants"));
        let mut audiences = BTreeSet::new();
        let mut grants = Vec::new();
        for (place, draft) in drafts.iter().take(GRANTS_MAX).enumerate() {
            let field = format!("client.grants[{place}]");
            if !audiences.insert(&draft.audience) {
                self.broken(format!("{field}.audience"), "an audience has one grant; put all its scopes there");
            }
            grants.extend(self.grant(draft, &field));
        }
        grants
    }

    fn grant(&mut self, draft: &GrantDraft, field: &str) -> Option<Grant> {
        let audience = Audience::try_from(draft.audience.as_str());
        let audience = audience.map_err(|error| self.broken(format!("{field}.audience"), error.to_string())).ok();
        let scopes = self.scopes(&draft.scopes, &format!("{field}.scopes"));
        let default_scopes = self.scopes(&draft.default_scopes, &format!("{field}.default_scopes"));
        for scope in default_scopes.difference(&scopes) {
            self.broken(format!("{field}.default_scopes"), format!("{scope} is not among the grant's scopes"));
        }
        Some(Grant { audience: audience?, scopes, default_scopes })
    }

    fn scopes(&mut self, texts: &[String], field: &str) -> BTreeSet<Scope> {
        self.expect(texts.len() <= SCOPES_MAX, field, format!("at most {SCOPES_MAX} scopes"));
        let mut scopes = BTreeSet::new();
        for (place, text) in texts.iter().take(SCOPES_MAX).enumerate() {
            match Scope::try_from(text.as_str()) {
                Ok(scope) => drop(scopes.insert(scope)),
                Err(error) => self.broken(format!("{field}[{place}]"), error.to_string()),
            }
        }
        scopes
    }

    pub(super) fn subject_audiences(&mut self, texts: &[String]) -> BTreeSet<Audience> {
        let field = "client.subject_audiences";
        self.expect(texts.len() <= GRANTS_MAX, field, format!("at most {GRANTS_MAX} audiences"));
        let mut audiences = BTreeSet::new();
        for (place, text) in texts.iter().take(GRANTS_MAX).enumerate() {
            match Audience::try_from(text.as_str()) {
                Ok(audience) => drop(audiences.insert(audience)),
                Err(error) => self.broken(format!("{field}[{place}]"), error.to_string()),
            }
        }
        audiences
    }

    pub(super) fn token_lifetime(&mut self, lifetime: Option<Duration>) -> Option<Duration> {
        let max = self.rules.token_lifetime_max;
        let kept = lifetime.is_none_or(|lifetime| lifetime >= Duration::from_secs(1) && lifetime <= max);
        let rule = format!("from one second to the server's maximum, {} seconds", max.as_secs());
        self.expect(kept, "client.token_lifetime", rule);
        lifetime
    }

    /// Checks custom claims. RFC 7519 section 4.3. A custom claim never replaces one that the issuer sets.
    pub(super) fn claims(&mut self, claims: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        self.expect(claims.len() <= CLAIMS_MAX, "client.claims", format!("at most {CLAIMS_MAX} claims"));
        for (name, value) in claims.iter().take(CLAIMS_MAX + 1) {
            let field = format!("client.claims[{name:?}]");
            let registered = is_reserved(name) || RESERVED_BESIDE.contains(&name.as_str());
            self.expect(!registered, &field, "the name belongs to a registered claim, which the issuer sets");
            let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
            let rule = format!("a claim's name is 1 to {CLAIM_NAME_BYTES_MAX} printable ASCII characters");
            self.expect((1..=CLAIM_NAME_BYTES_MAX).contains(&name.len()) && printable, &field, rule);
            let kept = value.len() <= CLAIM_VALUE_BYTES_MAX && is_printable(value);
            let rule = format!("a claim's value has at most {CLAIM_VALUE_BYTES_MAX} bytes, and no control characters");
            self.expect(kept, &field, rule);
        }
        claims.clone()
    }

    /// RFC 6749 section 3.1.2: absolute, without a fragment. Compared as text, so kept as text.
    pub(super) fn redirect_uris(&mut self, uris: &[String]) -> Vec<String> {
        let field = "client.redirect_uris";
        self.expect(uris.len() <= REDIRECT_URIS_MAX, field, format!("at most {REDIRECT_URIS_MAX} URIs"));
        for (place, uri) in uris.iter().take(REDIRECT_URIS_MAX).enumerate() {
            let kept = uri.len() <= REDIRECT_URI_BYTES_MAX && is_plain_uri(uri);
            let rule = format!(
                "an absolute URI with a host, without fragment and user name, of at most {REDIRECT_URI_BYTES_MAX} bytes"
            );
            self.expect(kept, &format!("{field}[{place}]"), rule);
        }
        uris.to_vec()
    }

    pub(super) fn grant_types(&mut self, names: &[String]) -> BTreeSet<GrantType> {
        let mut grant_types = BTreeSet::new();
        for (place, name) in names.iter().enumerate() {
            match GrantType::from_name(name) {
                Some(grant_type) => drop(grant_types.insert(grant_type)),
                None => {
                    let known = GrantType::ALL.map(GrantType::name).join(", ");
                    self.broken(format!("client.grant_types[{place}]"), format!("it must be one of {known}"));
                }
            }
        }
        grant_types
    }

    /// The key set URI of RFC 7591 section 2. It must use https, so that an attacker on the path cannot
    /// substitute a key.
    pub(super) fn jwks_uri(&mut self, uri: &str) -> Option<String> {
        // Read as the request for the keys reads it.
        let usable = || HttpUrl::parse(uri).is_ok_and(|url| url.is_https());
        let kept = uri.is_empty() || (uri.len() <= REDIRECT_URI_BYTES_MAX && usable());
        let rule = format!("an https URL without fragment and user name, of at most {REDIRECT_URI_BYTES_MAX} bytes");
        self.expect(kept, "client.jwks_uri", rule);
        (!uri.is_empty()).then(|| uri.to_owned())
    }

    pub(super) fn labels(&mut self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        self.expect(labels.len() <= LABELS_MAX, "client.labels", format!("at most {LABELS_MAX} labels"));
        for (name, value) in labels.iter().take(LABELS_MAX + 1) {
            let field = format!("client.labels[{name:?}]");
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
            let rule = format!("a label's name is 1 to {LABEL_NAME_BYTES_MAX} letters, digits and -_./");
            self.expect((1..=LABEL_NAME_BYTES_MAX).contains(&name.len()) && plain, &field, rule);
            let kept = value.len() <= LABEL_VALUE_BYTES_MAX && is_printable(value);
            let rule = format!("a label's value has at most {LABEL_VALUE_BYTES_MAX} bytes, and no control characters");
            self.expect(kept, &field, rule);
        }
        labels.clone()
    }
}

fn is_plain_uri(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|uri| {
        uri.has_host() && uri.fragment().is_none() && uri.username().is_empty() && uri.password().is_none()
    }) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AdminRules = AdminRules::new(Duration::from_secs(3600));

    /// The fields that `check` finds broken.
    fn broken(check: impl FnOnce(&mut Check<'_>)) -> Vec<String> {
        let rules = RULES;
        let mut all = Check::new(&rules);
        check(&mut all);
        all.violations.into_iter().map(|broken| broken.field).collect()
    }

    fn map(name: &str, value: &str) -> BTreeMap<String, String> {
        [(name.to_owned(), value.to_owned())].into()
    }

    fn grant(audience: &str, scopes: &[&str], default_scopes: &[&str]) -> GrantDraft {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        GrantDraft { audience: audience.to_owned(), scopes: texts(scopes), default_scopes: texts(default_scopes) }
    }

    fn grants(grants: &[GrantDraft]) -> Vec<String> {
        broken(|check| drop(check.grants(grants)))
    }

    #[test]
    fn display_name_is_short_and_without_control_characters() {
        for good in ["", "Orders", "注文 ✓", &"é".repeat(256)] {
            assert!(broken(|check| drop(check.display_name(good))).is_empty(), "{good}");
        }
        for bad in ["a\nb", "\u{1b}[31m", &"é".repeat(257)] {
            assert_eq!(broken(|check| drop(check.display_name(bad))), ["client.display_name"], "{bad}");
        }
    }

    #[test]
    fn every_broken_rule_of_a_grant_is_named_with_its_place() {
        assert!(grants(&[grant("inventory", &["read", "write"], &["read"]), grant("billing", &[], &[])]).is_empty());
        let bad = [grant("in ventory", &["read", "wr ite"], &[]), grant("a", &["x"], &["y"]), grant("a", &[], &[])];
        let expected = [
            "client.grants[0].audience",
            "client.grants[0].scopes[1]",
            "client.grants[1].default_scopes",
            "client.grants[2].audience",
        ];
        assert_eq!(grants(&bad), expected);
    }

    #[test]
    fn numbers_are_bounded() {
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let map = |count| many(count).into_iter().map(|name| (name, String::new())).collect();
        let audiences = |count| many(count).iter().map(|name| grant(name, &[], &[])).collect::<Vec<_>>();
        let uris = |count| many(count).iter().map(|n| format!("https://a.example/{n}")).collect::<Vec<_>>();
        assert!(grants(&audiences(GRANTS_MAX)).is_empty());
        assert_eq!(grants(&audiences(GRANTS_MAX + 1)), ["client.grants"]);
        let scopes = |count| grants(&[GrantDraft { scopes: many(count), ..grant("a", &[], &[]) }]);
        assert!(scopes(SCOPES_MAX).is_empty());
        assert_eq!(scopes(SCOPES_MAX + 1), ["client.grants[0].scopes"]);
        assert!(broken(|check| drop(check.claims(&map(CLAIMS_MAX)))).is_empty());
        assert_eq!(broken(|check| drop(check.claims(&map(CLAIMS_MAX + 1)))), ["client.claims"]);
        assert!(broken(|check| drop(check.labels(&map(LABELS_MAX)))).is_empty());
        assert_eq!(broken(|check| drop(check.labels(&map(LABELS_MAX + 1)))), ["client.labels"]);
        assert!(broken(|check| drop(check.redirect_uris(&uris(REDIRECT_URIS_MAX)))).is_empty());
        let fields = broken(|check| drop(check.redirect_uris(&uris(REDIRECT_URIS_MAX + 1))));
        assert_eq!(fields, ["client.redirect_uris"]);
    }

    #[test]
    fn token_lifetime_is_within_the_servers_maximum() {
        let lifetime = |lifetime| {
            broken(|check| {
                check.token_lifetime(lifetime);
            })
        };
        assert!(lifetime(None).is_empty());
        assert!(lifetime(Some(Duration::from_secs(3600))).is_empty());
        assert_eq!(lifetime(Some(Duration::from_secs(3601))), ["client.token_lifetime"]);
        assert_eq!(lifetime(Some(Duration::from_millis(999))), ["client.token_lifetime"]);
    }

    #[test]
    fn claims_never_shadow_registered_ones() {
        for good in ["tenant", "https://claims.example/tenant", "x"] {
            assert!(broken(|check| drop(check.claims(&map(good, "blue")))).is_empty(), "{good}");
        }
        let registered = [
            "iss",
            "sub",
            "aud",
            "exp",
            "nbf",
            "iat",
            "jti",
            "scope",
            "client_id",
            "act",
            "may_act",
            "cnf",
            "typ",
            "auth_time",
            "acr",
            "amr",
            "roles",
            "groups",
            "entitlements",
            "azp",
            "nonce",
            "sid",
        ];
        for bad in registered {
            assert_eq!(broken(|check| drop(check.claims(&map(bad, "x")))), [format!("client.claims[{bad:?}]")]);
        }
        for bad in ["", "a b", "a\n", "é"] {
            assert_eq!(broken(|check| drop(check.claims(&map(bad, "x")))).len(), 1, "{bad:?}");
        }
        for bad in ["a\0b", &"x".repeat(1025)] {
            assert_eq!(broken(|check| drop(check.claims(&map("tenant", bad)))).len(), 1);
        }
    }

    #[test]
    fn redirect_uris_are_absolute_and_without_fragment() {
        let uri = |uri: &str| broken(|check| drop(check.redirect_uris(&[uri.to_owned()])));
        for good in ["https://orders.example/done", "http://127.0.0.1:8000/", "com.example.app://done"] {
            assert!(uri(good).is_empty(), "{good}");
        }
        for bad in [
            "",
            "/done",
            "orders.example",
            "https://orders.example/#x",
            "javascript:alert(1)",
            "https://u:p@a/",
            "https://a/ b",
        ] {
            assert_eq!(uri(bad), ["client.redirect_uris[0]"], "{bad}");
        }
    }

    #[test]
    fn grant_types_are_known_ones() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let fields = |given: &[&str]| broken(|check| drop(check.grant_types(&names(given))));
        assert!(fields(&["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"]).is_empty());
        assert_eq!(fields(&["client_credentials", "password"]), ["client.grant_types[1]"]);
    }

    #[test]
    fn keys_are_fetched_over_https_alone() {
        let uri = |uri: &str| broken(|check| drop(check.jwks_uri(uri)));
        assert!(uri("").is_empty());
        assert!(uri("https://orders.example/jwks.json").is_empty());
        for bad in [
            "http://orders.example/jwks.json",
            "https://u@a/",
            "https://a/#b",
            "/jwks.json",
            "file:///etc/passwd",
            "https://127.1/jwks.json",
            "https://a:/jwks.json",
        ] {
            assert_eq!(uri(bad), ["client.jwks_uri"], "{bad}");
        }
    }

    #[test]
    fn labels_are_plain() {
        let label = |name: &str, value: &str| broken(|check| drop(check.labels(&map(name, value))));
        assert!(label("app.example/team", "warehouse ✓").is_empty());
        for (name, value) in [("", "x"), ("a b", "x"), ("a", "x\ny"), (&*"a".repeat(64), "x"), ("a", &*"x".repeat(257))]
        {
            assert_eq!(label(name, value).len(), 1, "{name:?} {value:?}");
        }
    }
}
