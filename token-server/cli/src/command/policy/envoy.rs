//! Configuration for Envoy: `jwt_authn` verifies (RFC 7519, parts of RFC 9068 section 4), `rbac` checks the
//! verified claims.

use std::path::PathBuf;

use clap::Args;
use token_interceptor::signature::Algorithm;
use url::{Host, Url};

use super::{
    Source,
    rules::{Demand, Rule, Rules, comment},
    yaml::Yaml,
};
use crate::command::failure::Failure;

/// The file with the roots of public CAs in Debian, Alpine and Envoy's own images.
const PUBLIC_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Header fields that identify the caller, and their claims.
const TOLD: [(&str, &str); 3] =
    [("x-token-client-id", "client_id"), ("x-token-subject", "sub"), ("x-token-scopes", "scope")];
/// All claims, as Base64url.
const PAYLOAD: &str = "x-token-payload";
/// Header fields of the same kind that only ext_authz would set.
const NOT_TOLD: [&str; 3] = ["x-token-actor", "x-token-id", "x-token-expires-at"];

const ABOUT: &[&str] = &[
    "HTTP filters and a cluster for Envoy, written by `token-server policy envoy` from m2m.auth.v1 annotations.",
    "Place the filters before the router in this order, after grpc_web if present. Methods not named are denied.",
    "Set headers_with_underscores_action: REJECT_REQUEST in the connection manager: some servers treat _ as -.",
    "",
    "Not enforced here: a revoked token passes until it expires; a stream goes on after its token has expired",
    "(max_stream_duration in the route bounds that). Both are enforced by our own layer, the first by ext_authz too.",
];

/// Envoy's filters jwt_authn and rbac.
#[derive(Debug, Args)]
pub(super) struct Envoy {
    #[command(flatten)]
    source: Source,
    /// The name of the cluster that leads to the issuer.
    #[arg(long, value_name = "NAME", default_value = "token-issuer")]
    cluster: String,
    /// The file of CAs in PEM, on Envoy's machine, that Envoy trusts for the issuer.
    #[arg(long, value_name = "FILE", default_value = PUBLIC_ROOTS)]
    ca: PathBuf,
}

impl Envoy {
    pub(super) fn write(&self) -> Result<String, Failure> {
        let issuer = self.source.issuer()?;
        let rules = self.source.rules()?;
        let url = Url::parse(issuer.as_str()).map_err(|error| Failure::usage(error.to_string()))?;
        let filters = Yaml::List(vec![self.header_mutation(), self.jwt_authn(&rules), rbac(&rules)]);
        let document = Yaml::Map(vec![("http_filters", filters), ("clusters", Yaml::List(vec![self.cluster(&url)]))]);
        Ok(comment(ABOUT, &rules.denied) + &document.document())
    }

    /// Removes the identity headers that the client sent. `jwt_authn` would remove them only where it
    /// verifies.
    fn header_mutation(&self) -> Yaml {
        let names = TOLD.iter().map(|(header, _)| *header).chain([PAYLOAD]).chain(NOT_TOLD);
        let removals = names.map(|name| Yaml::Map(vec![("remove", Yaml::text(name))])).collect();
        let mutations = Yaml::Map(vec![("request_mutations", Yaml::List(removals))]);
        filter("header_mutation", "HeaderMutation", vec![("mutations", mutations)])
    }

    fn jwt_authn(&self, rules: &Rules) -> Yaml {
        let provider = |audience: &str| (audience.to_owned(), self.provider(audience));
        let providers = rules.audiences().into_iter().map(provider).collect();
        let rule = |rule: &Rule| {
            let path = Yaml::Map(vec![("path", Yaml::text(&*rule.path))]);
            let demand = rule.token.as_ref()?;
            let requires = Yaml::Map(vec![("provider_name", Yaml::text(&*demand.audience))]);
            Some(Yaml::Map(vec![("match", path), ("requires", requires)]))
        };
        let rules = rules.allowed.iter().filter_map(rule).collect();
        filter(
            "jwt_authn",
            "JwtAuthentication",
            vec![("providers", Yaml::Named(providers)), ("rules", Yaml::List(rules))],
        )
    }

    fn provider(&self, audience: &str) -> Yaml {
        let uri = Yaml::Map(vec![
            ("uri", Yaml::text(self.source.jwks_uri())),
            ("cluster", Yaml::text(&*self.cluster)),
            ("timeout", Yaml::text("5s")),
        ]);
        let jwks = Yaml::Map(vec![
            ("http_uri", uri),
            ("cache_duration", Yaml::text("300s")),
            ("async_fetch", Yaml::Map(vec![("fast_listener", Yaml::plain(false))])),
        ]);
        // Set explicitly, so that the query parameter access_token is not accepted: RFC 6750 section 5.3.
        let from = Yaml::Map(vec![("name", Yaml::text("authorization")), ("value_prefix", Yaml::text("Bearer "))]);
        let told = |(header, claim): (&str, &str)| {
            Yaml::Map(vec![("header_name", Yaml::text(header)), ("claim_name", Yaml::text(claim))])
        };
        Yaml::Map(vec![
            ("issuer", Yaml::text(&*self.source.issuer)),
            ("audiences", Yaml::texts([audience])),
            ("require_expiration", Yaml::plain(true)),
            ("remote_jwks", jwks),
            ("from_headers", Yaml::List(vec![from])),
            ("forward", Yaml::plain(true)),
            ("forward_payload_header", Yaml::text(PAYLOAD)),
            ("claim_to_headers", Yaml::List(TOLD.into_iter().map(told).collect())),
            ("header_in_metadata", Yaml::text("header")),
            ("payload_in_metadata", Yaml::text("payload")),
            ("normalize_payload_in_metadata", Yaml::Map(vec![("space_delimited_claims", Yaml::texts(["scope"]))])),
        ])
    }

    fn cluster(&self, issuer: &Url) -> Yaml {
        let host = issuer.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let socket = Yaml::Map(vec![
            ("address", Yaml::text(host)),
            ("port_value", Yaml::plain(issuer.port_or_known_default().unwrap_or_default())),
        ]);
        let endpoint = Yaml::Map(vec![("address", Yaml::Map(vec![("socket_address", socket)]))]);
        let endpoints = Yaml::List(vec![Yaml::Map(vec![("endpoint", endpoint)])]);
        let locality = Yaml::Map(vec![("lb_endpoints", endpoints)]);
        let assignment =
            Yaml::Map(vec![("cluster_name", Yaml::text(&*self.cluster)), ("endpoints", Yaml::List(vec![locality]))]);
        let mut cluster = vec![
            ("name", Yaml::text(&*self.cluster)),
            // Tries all addresses of the host in turn.
            ("type", Yaml::text("LOGICAL_DNS")),
            ("dns_lookup_family", Yaml::text("ALL")),
            ("connect_timeout", Yaml::text("5s")),
            ("load_assignment", assignment),
        ];
        if issuer.scheme() == "https" {
            cluster.push(("transport_socket", self.tls(issuer, host)));
        }
        Yaml::Map(cluster)
    }

    /// Verifies the chain and the name. Envoy checks neither by default.
    fn tls(&self, issuer: &Url, host: &str) -> Yaml {
        let is_name = matches!(issuer.host(), Some(Host::Domain(_)));
        let san = Yaml::Map(vec![
            ("san_type", Yaml::text(if is_name { "DNS" } else { "IP_ADDRESS" })),
            ("matcher", Yaml::Map(vec![("exact", Yaml::text(host))])),
        ]);
        let trusted = Yaml::Map(vec![("filename", Yaml::text(self.ca.display().to_string()))]);
        let validation =
            Yaml::Map(vec![("trusted_ca", trusted), ("match_typed_subject_alt_names", Yaml::List(vec![san]))]);
        let mut tls = vec![(
            "@type",
            Yaml::text("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        )];
        if is_name {
            tls.push(("sni", Yaml::text(host)));
        }
        tls.push(("common_tls_context", Yaml::Map(vec![("validation_context", validation)])));
        Yaml::Map(vec![("name", Yaml::text("envoy.transport_sockets.tls")), ("typed_config", Yaml::Map(tls))])
    }
}

fn filter(name: &str, message: &str, mut config: Vec<(&'static str, Yaml)>) -> Yaml {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{name}.v3.{message}");
    config.insert(0, ("@type", Yaml::text(kind)));
    Yaml::Map(vec![("name", Yaml::text(format!("envoy.filters.http.{name}"))), ("typed_config", Yaml::Map(config))])
}

fn rbac(rules: &Rules) -> Yaml {
    let policy = |rule: &Rule| {
        let path = Yaml::Map(vec![("exact", Yaml::text(&*rule.path))]);
        let url_path = Yaml::Map(vec![("path", path)]);
        let principal = match &rule.token {
            Some(demand) => Yaml::Map(vec![("and_ids", ids(demanded(demand)))]),
            None => Yaml::Map(vec![("any", Yaml::plain(true))]),
        };
        let policy = Yaml::Map(vec![
            ("permissions", Yaml::List(vec![Yaml::Map(vec![("url_path", url_path)])])),
            ("principals", Yaml::List(vec![principal])),
        ]);
        (rule.path.clone(), policy)
    };
    let policies = Yaml::Named(rules.allowed.iter().map(policy).collect());
    let allow = Yaml::Map(vec![("action", Yaml::text("ALLOW")), ("policies", policies)]);
    filter("rbac", "RBAC", vec![("rules", allow)])
}

/// The checks that `jwt_authn` does not make, and the demands of the method.
///
/// The token must be an access token (RFC 9068 section 4), signed with a private key and not with a secret of
/// the key set. It must not be bound to a key, and must have no extensions that must be understood (RFC 7515
/// section 4.1.11).
fn demanded(demand: &Demand) -> Vec<Yaml> {
    let of_type = |name: &str| metadata(&["header", "typ"], string("exact", name, true));
    let by = |algorithm: &Algorithm| metadata(&["header", "alg"], string("exact", algorithm.name(), false));
    let mut all = vec![
        any_of(vec![of_type("at+jwt"), of_type("application/at+jwt")]),
        any_of(Algorithm::ISSUED.iter().map(by).collect()),
        Yaml::Map(vec![("not_id", metadata(&["header", "crit"], present()))]),
        Yaml::Map(vec![("not_id", metadata(&["payload", "cnf"], present()))]),
    ];
    all.extend(["client_id", "sub", "iat", "jti"].map(|claim| metadata(&["payload", claim], present())));
    for scopes in &demand.scopes {
        let one = |scope: &String| {
            let item = Yaml::Map(vec![("one_of", string("exact", scope, false))]);
            metadata(&["payload", "scope"], Yaml::Map(vec![("list_match", item)]))
        };
        all.push(any_of(scopes.iter().map(one).collect()));
    }
    if !demand.callers.is_empty() {
        let caller = |pattern: &String| {
            let matcher = match pattern.strip_suffix('*') {
                // Envoy rejects an empty prefix.
                Some("") => present(),
                Some(prefix) => string("prefix", prefix, false),
                None => string("exact", pattern, false),
            };
            metadata(&["payload", "client_id"], matcher)
        };
        all.push(any_of(demand.callers.iter().map(caller).collect()));
    }
    all
}

fn any_of(mut principals: Vec<Yaml>) -> Yaml {
    match principals.len() {
        1 => principals.remove(0),
        _ => Yaml::Map(vec![("or_ids", ids(principals))]),
    }
}

fn ids(principals: Vec<Yaml>) -> Yaml {
    Yaml::Map(vec![("ids", Yaml::List(principals))])
}

fn metadata(path: &[&str], value: Yaml) -> Yaml {
    let path = path.iter().map(|key| Yaml::Map(vec![("key", Yaml::text(*key))])).collect();
    let matcher =
        vec![("filter", Yaml::text("envoy.filters.http.jwt_authn")), ("path", Yaml::List(path)), ("value", value)];
    Yaml::Map(vec![("metadata", Yaml::Map(matcher))])
}

fn present() -> Yaml {
    Yaml::Map(vec![("present_match", Yaml::plain(true))])
}

fn string(kind: &'static str, text: &str, ignore_case: bool) -> Yaml {
    let mut matcher = vec![(kind, Yaml::text(text))];
    if ignore_case {
        matcher.push(("ignore_case", Yaml::plain(true)));
    }
    Yaml::Map(vec![("string_match", Yaml::Map(matcher))])
}
