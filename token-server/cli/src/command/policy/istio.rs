//! Configuration for Istio: a `RequestAuthentication` verifies, an `AuthorizationPolicy` of the same workload
//! checks the claims.

use clap::Args;

use super::{
    Source,
    rules::{Demand, Rule, Rules, comment},
    yaml::Yaml,
};
use crate::command::failure::Failure;

const ABOUT: &[&str] = &[
    "For Istio 1.21 or later, written by `token-server policy istio` from m2m.auth.v1 annotations.",
    "Methods that are not named are denied, unless another AuthorizationPolicy of the same workload allows them.",
    "",
    "Not enforced here: a revoked token passes until it expires; a stream goes on after its token has expired; the",
    "token's `typ` is not checked, so the issuer must sign nothing but access tokens for this audience, as",
    "token-server does. Istio itself splits `scope` at spaces.",
];

/// The reason for denying a scope or caller that Istio would read as a pattern.
const WILDCARD: &str = "a scope or caller begins or ends with *, which Istio reads as a pattern";

/// Istio's RequestAuthentication and AuthorizationPolicy.
#[derive(Debug, Args)]
pub(super) struct Istio {
    #[command(flatten)]
    source: Source,
    /// The label `app` of the pods that serve; also the name of the resources.
    #[arg(long, value_name = "NAME")]
    app: String,
    /// The namespace of the pods.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
}

impl Istio {
    pub(super) fn write(&self) -> Result<String, Failure> {
        self.source.issuer()?;
        let rules = self.source.rules()?.without(inexpressible);
        let documents = [self.authentication(&rules), self.authorization(&rules)].map(|document| document.document());
        Ok(comment(ABOUT, &rules.denied) + &documents.join("---\n"))
    }

    fn authentication(&self, rules: &Rules) -> Yaml {
        let told = |(header, claim): (&str, &str)| {
            Yaml::Map(vec![("header", Yaml::text(header)), ("claim", Yaml::text(claim))])
        };
        // Set explicitly, so that the query parameter access_token is not accepted: RFC 6750 section 5.3.
        let from = Yaml::Map(vec![("name", Yaml::text("authorization")), ("prefix", Yaml::text("Bearer "))]);
        let told =
            [("x-token-client-id", "client_id"), ("x-token-subject", "sub"), ("x-token-scopes", "scope")].map(told);
        let rule = Yaml::Map(vec![
            ("issuer", Yaml::text(&*self.source.issuer)),
            ("jwksUri", Yaml::text(self.source.jwks_uri())),
            ("audiences", Yaml::texts(rules.audiences())),
            ("fromHeaders", Yaml::List(vec![from])),
            ("forwardOriginalToken", Yaml::plain(true)),
            ("outputClaimToHeaders", Yaml::List(told.into())),
        ]);
        self.resource("RequestAuthentication", vec![("jwtRules", Yaml::List(vec![rule]))])
    }

    fn authorization(&self, rules: &Rules) -> Yaml {
        let rules = rules.allowed.iter().map(|rule| self.rule(rule)).collect();
        self.resource("AuthorizationPolicy", vec![("action", Yaml::text("ALLOW")), ("rules", Yaml::List(rules))])
    }

    fn rule(&self, rule: &Rule) -> Yaml {
        let paths = Yaml::Map(vec![("paths", Yaml::texts([&*rule.path]))]);
        let to = Yaml::List(vec![Yaml::Map(vec![("operation", paths)])]);
        let Some(demand) = &rule.token else { return Yaml::Map(vec![("to", to)]) };
        let principals = Yaml::texts([format!("{}/*", self.source.issuer)]);
        let from = Yaml::Map(vec![("source", Yaml::Map(vec![("requestPrincipals", principals)]))]);
        Yaml::Map(vec![("from", Yaml::List(vec![from])), ("to", to), ("when", Yaml::List(conditions(demand)))])
    }

    fn resource(&self, kind: &str, spec: Vec<(&'static str, Yaml)>) -> Yaml {
        let labels = Yaml::Map(vec![("app", Yaml::text(&*self.app))]);
        let selector = Yaml::Map(vec![("matchLabels", labels)]);
        let metadata = Yaml::Map(vec![("name", Yaml::text(&*self.app)), ("namespace", Yaml::text(&*self.namespace))]);
        let spec = [("selector", selector)].into_iter().chain(spec).collect();
        Yaml::Map(vec![
            ("apiVersion", Yaml::text("security.istio.io/v1")),
            ("kind", Yaml::text(kind)),
            ("metadata", metadata),
            ("spec", Yaml::Map(spec)),
        ])
    }
}

/// All conditions must hold; for each, one of the values is enough.
fn conditions(demand: &Demand) -> Vec<Yaml> {
    let condition = |key: &str, kind, values: &[String]| {
        Yaml::Map(vec![("key", Yaml::text(key)), (kind, Yaml::texts(values.iter().cloned()))])
    };
    let any = ["*".to_owned()];
    let mut all = vec![condition("request.auth.audiences", "values", std::slice::from_ref(&demand.audience))];
    // An access token has this claim (RFC 9068 section 2.2), an ID token does not.
    let callers = if demand.callers.is_empty() { &any } else { &*demand.callers };
    all.push(condition("request.auth.claims[client_id]", "values", callers));
    // Reject tokens bound to a key, because Istio cannot verify possession of it: RFC 7800, RFC 8705 section
    // 3.1, RFC 9449 section 6.1.
    for member in ["jkt", "x5t#S256"] {
        all.push(condition(&format!("request.auth.claims[cnf][{member}]"), "notValues", &any));
    }
    for scopes in &demand.scopes {
        all.push(condition("request.auth.claims[scope]", "values", scopes));
    }
    all
}

fn inexpressible(demand: &Demand) -> Option<&'static str> {
    let is_pattern = |text: &String| text.starts_with('*') || text.ends_with('*');
    let prefix = |caller: &String| caller.strip_suffix('*').is_some_and(|prefix| prefix.starts_with('*'));
    let scopes = demand.scopes.iter().flatten().any(is_pattern) || is_pattern(&demand.audience);
    let callers = demand.callers.iter().any(|caller| prefix(caller) || (caller.starts_with('*') && caller != "*"));
    (scopes || callers).then_some(WILDCARD)
}
