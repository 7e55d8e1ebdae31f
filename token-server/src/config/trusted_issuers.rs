//! `[[trusted_issuer]]`: other issuers, their keys, and what their tokens are accepted for.
//!
//! Each use is a door of its own, a table below the issuer. A door without a table is closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use token_interceptor::{
    error_chain,
    http_client::{HttpClient, HttpError},
    http_url::{HttpUrl, shown},
    key_set::KeySet,
    signature::Algorithm,
    verify::TokenProfile,
};
use token_issuer::{
    client::{Audience, ClientId, Scope},
    identity_provider::{
        ClientAuthenticationRules, ExchangeRules, IdentityProvider, Namespace, Platform, ProviderKeys, RequiredClaim,
        SubjectRule,
    },
    reserved_claims::is_reserved,
};

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
    tokens::IssuerUrl,
};

/// The time after which a provider counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The default limit for a provider's token, in bytes. Entra ID writes up to 200 groups into one, 14 KiB.
const TOKEN_BYTES: usize = 32 * 1024;
/// The range of that limit. A token arrives in a request body, which has at most 64 KiB.
const TOKEN_BYTES_RANGE: RangeInclusive<usize> = 1024..=60 * 1024;

/// The default limit of the age of an assertion. The kubelet replaces a token of an hour after 48 minutes.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// The range of that limit. An older token proves little about the workload that holds it now.
const MAX_AGE_RANGE: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);

/// Reads `[[trusted_issuer]]`. `own` is this server's issuer identifier.
pub(super) fn read(root: &mut Section<'_>, own: Option<&IssuerUrl>) -> Vec<IdentityProvider> {
    reject_former_section(root);
    let own = own.map(IssuerUrl::as_str);
    let mut taken = Taken { issuers: own.map(str::to_owned).into_iter().collect(), namespaces: Vec::new() };
    let mut trusted = Vec::new();
    for mut issuer in root.sections("trusted_issuer") {
        trusted.extend(provider(&mut issuer, own, &mut taken));
        issuer.finish();
    }
    trusted
}

/// The settings were in `[[token_exchange.trusted_issuer]]` when they served one door only.
fn reject_former_section(root: &mut Section<'_>) {
    if root.has("token_exchange") {
        let problem = "its trusted issuers now serve client authentication too, and have a table of their own";
        root.reject("token_exchange", problem.to_owned(), MOVED);
        root.known("token_exchange");
    }
}

/// The new form of `[[token_exchange.trusted_issuer]]`.
const MOVED: &str = "[[trusted_issuer]] with issuer, audience, keys, types and required_claims; below it \
                     [trusted_issuer.token_exchange] with clients, subjects, subject_prefixes, any_subject, \
                     subject_template, copied_claims and grants";

/// The names that this server and the trusted issuers so far have taken, also those with another mistake.
struct Taken {
    issuers: BTreeSet<String>,
    /// Each with its issuer.
    namespaces: Vec<(String, Namespace)>,
}

impl Taken {
    fn take_issuer(&mut self, section: &Section<'_>, issuer: &str) {
        if !self.issuers.insert(issuer.to_owned()) {
            section.reject("issuer", format!("{issuer:?} is already trusted"), "each issuer once, and not this one");
        }
    }

    /// Subjects of two issuers must never have the same name.
    fn take_namespace(&mut self, section: &Section<'_>, issuer: &str, namespace: &Namespace) {
        if self.namespaces.iter().any(|(of, known)| of != issuer && known.overlaps(namespace)) {
            let problem = "a subject of another issuer could have the same name".to_owned();
            section.reject("subject_template", problem, "a prefix that no other template continues");
        }
        self.namespaces.push((issuer.to_owned(), namespace.clone()));
    }
}

/// Returns `None` only if a mistake has been recorded. Every setting is read first, so that each mistake is
/// recorded, and no setting counts as unknown.
fn provider(section: &mut Section<'_>, own: Option<&str>, taken: &mut Taken) -> Option<IdentityProvider> {
    let issuer: Option<String> = section.required("issuer");
    if let Some(issuer) = &issuer {
        taken.take_issuer(section, issuer);
    }
    // A workload chooses the audience of its token. The issuer identifier names this server and no other.
    let audience = section.optional("audience").or_else(|| own.map(str::to_owned));
    let platform = platform(section, issuer.as_deref());
    let algorithms = algorithms(section, platform);
    let keys = keys(section, issuer.as_deref(), platform, &algorithms);
    let types = section.or("types", vec!["JWT".to_owned()]);
    let untyped = !section.or("type_required", platform.is_none_or(Platform::writes_type));
    let token_bytes = section.within("token_bytes", TOKEN_BYTES, TOKEN_BYTES_RANGE);
    let required_claims = required_claims(section);
    check_doors(section, platform);
    let exchange = match section.has("token_exchange") {
        true => exchange(section.section("token_exchange"), issuer.as_deref(), taken).map(Some),
        false => Some(None),
    };
    section.known("token_exchange");
    let client_authentication = match section.has("client_authentication") {
        true => Some(client_authentication(section.section("client_authentication"), platform)),
        false => None,
    };
    section.known("client_authentication");
    Some(IdentityProvider {
        issuer: issuer?,
        platform,
        audience: audience?,
        types,
        untyped,
        token_bytes,
        algorithms,
        keys: keys?,
        required_claims,
        exchange: exchange?.map(Arc::new),
        client_authentication,
    })
}

/// Checks that the issuer's tokens are accepted for something, and for what they can prove.
fn check_doors(section: &Section<'_>, platform: Option<Platform>) {
    let (exchange, client_authentication) = (section.has("token_exchange"), section.has("client_authentication"));
    if exchange && platform == Some(Platform::Spiffe) {
        let problem = "a JWT-SVID proves a client, and names no user".to_owned();
        section.reject("token_exchange", problem, "[trusted_issuer.client_authentication] alone");
    }
    if !exchange && !client_authentication {
        section.reject("issuer", "its tokens are accepted for nothing".to_owned(), DOORS);
    }
}

const DOORS: &str = "[trusted_issuer.client_authentication] or [trusted_issuer.token_exchange] below it, or both";

/// Reads `[trusted_issuer.client_authentication]`.
fn client_authentication(mut section: Section<'_>, platform: Option<Platform>) -> ClientAuthenticationRules {
    let rules = ClientAuthenticationRules {
        max_age: section.within("max_age", platform.map_or(MAX_AGE, Platform::max_age), MAX_AGE_RANGE),
        tokens_may_outlive: section.or("tokens_may_outlive_assertion", false),
    };
    section.finish();
    rules
}

/// Reads `[trusted_issuer.token_exchange]`.
fn exchange(mut section: Section<'_>, issuer: Option<&str>, taken: &mut Taken) -> Option<ExchangeRules> {
    let namespace = namespace(&mut section, issuer);
    if let (Some(issuer), Some(namespace)) = (issuer, &namespace) {
        taken.take_namespace(&section, issuer, namespace);
    }
    let clients = names(&mut section, "clients");
    if clients.as_ref().is_some_and(Vec::is_empty) {
        section.reject("clients", "no client may exchange its tokens".to_owned(), "the IDs of one or more clients");
    }
    let (subjects, copied_claims) = (subjects(&mut section), copied_claims(&mut section));
    let grants = grants(&mut section);
    section.finish();
    let clients = clients?.into_iter().collect();
    Some(ExchangeRules { clients, subjects, namespace: namespace?, copied_claims, grants })
}

/// Reads the platform, whose issuers have a form of their own. An issuer that only one platform can have
/// names it, so that its rules hold even if the file does not name it.
fn platform(section: &mut Section<'_>, issuer: Option<&str>) -> Option<Platform> {
    let implied = issuer.and_then(Platform::of_issuer);
    let named: Option<String> = section.optional("platform");
    let named = named.and_then(|name| {
        let platform = Platform::from_name(&name);
        if platform.is_none() {
            let names = Platform::ALL.map(Platform::name).join(", ");
            section.reject("platform", format!("{name:?} is not a known platform"), &names);
        }
        platform
    });
    if let (Some(issuer), Some(implied), Some(named)) = (issuer, implied, named)
        && implied != named
    {
        let problem = format!("{issuer:?} is an issuer of {}, and not of {}", implied.name(), named.name());
        section.reject("platform", problem, implied.name());
    }
    let platform = implied.or(named)?;
    if let Some((issuer, Err(form))) = issuer.map(|issuer| (issuer, platform.check_issuer(issuer))) {
        section.reject("issuer", format!("{issuer:?} is not an issuer of {}", platform.name()), form);
    }
    Some(platform)
}

/// Reads the source of the keys. The default is discovery.
fn keys(
    section: &mut Section<'_>,
    issuer: Option<&str>,
    platform: Option<Platform>,
    algorithms: &[Algorithm],
) -> Option<ProviderKeys> {
    let is_spiffe = platform == Some(Platform::Spiffe);
    let http = http_client(section);
    let url: Option<String> = section.optional("jwks_uri");
    let file = section.file("jwks_file");
    if url.is_some() && section.has("jwks_file") {
        section.reject("jwks_file", "jwks_uri is also set".to_owned(), "one of the two, or neither for discovery");
    }
    if section.has("jwks_file") {
        let document = std::fs::read(file?).ok()?;
        let keys = if is_spiffe { KeySet::from_spiffe_bundle(&document) } else { KeySet::from_jwks(&document) };
        let keys = keys.ok().filter(|set| set.keys().any(|key| algorithms.contains(&key.algorithm())));
        if keys.is_none() {
            let problem = "it contains no public signing key of an accepted algorithm".to_owned();
            let allowed = "a JWK Set (RFC 7517 section 5), or the bundle of a SPIFFE trust domain with jwt-svid keys";
            section.reject("jwks_file", problem, allowed);
        }
        return keys.map(ProviderKeys::Fixed);
    }
    if url.is_none() && section.has("jwks_uri") {
        return None;
    }
    if url.is_none() && is_spiffe {
        let problem = "a trust domain has no discovery".to_owned();
        section.reject("jwks_uri", problem, "the URL of its bundle endpoint (https_web), or its bundle as jwks_file");
        return None;
    }
    let (setting, address) = if url.is_some() { ("jwks_uri", url.as_deref()) } else { ("issuer", issuer) };
    let http = http?;
    let address = address?;
    let checked = HttpUrl::parse(address).map_err(HttpError::from).and_then(|url| http.check(&url));
    if let Err(error) = checked {
        section.reject(
            setting,
            format!("keys cannot be fetched from {}: {}", shown(address), error_chain::of(&error)),
            "an https URL; on a private network only with private_addresses = true; or a jwks_file",
        );
        return None;
    }
    Some(url.map_or_else(|| ProviderKeys::Discovery(http.clone()), |url| ProviderKeys::Jwks(url, http.clone())))
}

/// Builds the HTTP client. By default it connects only to public addresses, because a provider's metadata
/// names the next URL.
fn http_client(section: &mut Section<'_>) -> Option<HttpClient> {
    let private: Option<bool> = section.optional("private_addresses");
    let roots = section.roots("ca_file");
    if (private.is_none() && section.has("private_addresses")) || (roots.is_none() && section.has("ca_file")) {
        return None;
    }
    let builder = HttpClient::builder().timeout(TIMEOUT).extra_roots_pem(roots.unwrap_or_default());
    let builder = if private == Some(true) { builder } else { builder.public_addresses_only() };
    builder.build().ok()
}

fn namespace(section: &mut Section<'_>, issuer: Option<&str>) -> Option<Namespace> {
    // An issuer identifier has no fragment (RFC 8414 section 2), so this subject cannot collide with another
    // provider's.
    let template = section.optional("subject_template").or_else(|| Some(format!("{}#{{sub}}", issuer?)))?;
    let namespace = Namespace::parse(&template);
    if namespace.is_none() {
        let problem = format!("{template:?} is not a prefix followed by {{sub}}");
        section.reject("subject_template", problem, r#"printable ASCII and {sub} at the end, as in "corporate:{sub}""#);
    }
    namespace
}

fn algorithms(section: &mut Section<'_>, platform: Option<Platform>) -> Vec<Algorithm> {
    let svid = TokenProfile::spiffe();
    let allowed = if platform == Some(Platform::Spiffe) { svid.algorithms() } else { &Algorithm::ALL };
    let algorithms = section.or("algorithms", allowed.to_vec());
    if algorithms.is_empty() {
        section.reject("algorithms", "at least one is required".to_owned(), Algorithm::ALLOWED);
        return allowed.to_vec();
    }
    if let Some(forbidden) = algorithms.iter().find(|algorithm| !allowed.contains(algorithm)) {
        let names: Vec<_> = allowed.iter().map(|algorithm| algorithm.name()).collect();
        section.reject("algorithms", format!("a JWT-SVID is not signed with {}", forbidden.name()), &names.join(", "));
        return allowed.to_vec();
    }
    algorithms
}

fn subjects(section: &mut Section<'_>) -> SubjectRule {
    let exactly: Option<BTreeSet<String>> =
        section.optional("subjects").map(|subjects: Vec<String>| subjects.into_iter().collect());
    let prefixes: Option<Vec<String>> = section.optional("subject_prefixes");
    let any: Option<bool> = section.optional("any_subject");
    let given = ["subjects", "subject_prefixes", "any_subject"].map(|setting| section.has(setting));
    let is_read = given == [exactly.is_some(), prefixes.is_some(), any.is_some()];
    let rule = SubjectRule {
        exactly: exactly.unwrap_or_default(),
        prefixes: prefixes.unwrap_or_default(),
        any: any.unwrap_or_default(),
    };
    // The mistake in one of them has been recorded.
    if !is_read {
        return rule;
    }
    let named = !rule.exactly.is_empty() || !rule.prefixes.is_empty();
    if named == rule.any {
        let problem = if named {
            "it contradicts the listed subjects"
        } else {
            "the subjects whose tokens may be exchanged are missing"
        };
        let setting = if named { "any_subject" } else { "subjects" };
        section.reject(setting, problem.to_owned(), "subjects, subject_prefixes or both; or any_subject = true");
    }
    rule
}

fn required_claims(section: &mut Section<'_>) -> Vec<RequiredClaim> {
    let claims = section.table::<AnyOf>("required_claims").into_iter();
    claims.map(|(name, AnyOf(any_of))| RequiredClaim { name, any_of }).collect()
}

fn copied_claims(section: &mut Section<'_>) -> BTreeSet<String> {
    let claims: BTreeSet<String> = section.or("copied_claims", Vec::new()).into_iter().collect();
    if let Some(claim) = claims.iter().find(|claim| is_reserved(claim)) {
        let problem = format!("{claim} is a claim that only this server sets");
        section.reject("copied_claims", problem, "claims that no specification defines");
    }
    claims
}

/// Reads `grants = { inventory = ["inventory.read"] }`.
fn grants(section: &mut Section<'_>) -> Option<BTreeMap<Audience, BTreeSet<Scope>>> {
    if !section.has("grants") {
        section.known("grants");
        return None;
    }
    let mut grants = BTreeMap::new();
    for (audience, scopes) in section.table::<Vec<String>>("grants") {
        let scopes: Result<BTreeSet<Scope>, _> = scopes.into_iter().map(Scope::try_from).collect();
        match Audience::try_from(audience.as_str()).and_then(|audience| Ok((audience, scopes?))) {
            Ok((audience, scopes)) => drop(grants.insert(audience, scopes)),
            Err(error) => section.reject("grants", error.to_string(), "scopes by audience"),
        }
    }
    Some(grants)
}

fn names(section: &mut Section<'_>, key: &'static str) -> Option<Vec<ClientId>> {
    let names: Vec<String> = section.required(key)?;
    let names: Result<Vec<ClientId>, _> = names.into_iter().map(ClientId::try_from).collect();
    names.map_err(|error| section.reject(key, error.to_string(), "client IDs")).ok()
}

/// One value of a claim, or several alternatives.
struct AnyOf(Vec<serde_json::Value>);

impl Setting for AnyOf {
    const ALLOWED: &'static str = "text, a whole number, true or false; or a list of alternatives";

    fn read(value: &Value) -> Result<Self, String> {
        let one = |value: &Value| match value {
            Value::Text(text) => Ok(text.as_str().into()),
            Value::Integer(number) => Ok((*number).into()),
            Value::Boolean(flag) => Ok((*flag).into()),
            Value::Float(_) | Value::Variable(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                Err(format!("{} is not the value of a claim", describe(value)))
            }
        };
        match value {
            Value::List(items) if items.is_empty() => Err("it has no alternatives".to_owned()),
            Value::List(items) => items.iter().map(|item| one(&item.value)).collect::<Result<_, _>>().map(Self),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Variable(_)
            | Value::Table(_)
            | Value::Other(_) => Ok(Self(vec![one(value)?])),
        }
    }
}
