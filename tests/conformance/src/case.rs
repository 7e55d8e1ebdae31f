//! The cases in `cases/*.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) server: Vec<ServerCase>,
    #[serde(default)]
    pub(crate) client: Vec<ClientCase>,
}

/// A call that reaches the server layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerCase {
    pub(crate) name: String,
    /// Present: the server has one service, with this annotation, in place of those of the catalog.
    #[serde(default)]
    pub(crate) annotation: Option<Annotation>,
    #[serde(default = "catalog_service")]
    pub(crate) services: Vec<String>,
    /// The keys of this case, with their algorithms.
    #[serde(default = "one_key")]
    pub(crate) keys: BTreeMap<String, String>,
    #[serde(default = "one_issuer")]
    pub(crate) issuers: Vec<Issuer>,
    #[serde(default = "default_method")]
    pub(crate) method: String,
    /// Values of `authorization`. `{}` in a value stands for the token.
    #[serde(default = "one_bearer")]
    pub(crate) authorization: Vec<String>,
    #[serde(default)]
    pub(crate) token: Token,
    #[serde(default)]
    pub(crate) handler_marks: Vec<String>,
    #[serde(default)]
    pub(crate) revoked_token_ids: Vec<String>,
    #[serde(default)]
    pub(crate) observe: bool,
    pub(crate) expect: ServerExpectation,
}

/// The annotation of `conformance.annotated.v1.Annotated` and its one method, `Get`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Annotation {
    /// The value of the option `(m2m.auth.v1.service)`, as a `.proto` has it. Absent: there is no option.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// The value of the option `(m2m.auth.v1.method)`.
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) contract: Contract,
}

/// The contract that the annotated file was compiled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contract {
    #[default]
    Current,
    /// A later one: each message of the annotations has a field more, `field_1000`. The descriptors have it.
    Newer,
    /// A later one, but the descriptors have the current one: the field is unknown.
    NewerUnknown,
}

/// An issuer that the server trusts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    #[serde(default = "default_issuer")]
    pub(crate) issuer: String,
    /// The key set. A member `"$key": "a"` of a key is replaced by the public members of that key; `null`
    /// removes one.
    #[serde(default)]
    pub(crate) jwks: Option<Value>,
    /// The key set as text, if it is not JSON.
    #[serde(default)]
    pub(crate) jwks_text: Option<String>,
    #[serde(default)]
    pub(crate) unreachable: bool,
    #[serde(default)]
    pub(crate) algorithms: Vec<String>,
}

/// The token of a case: the default one, with these members set, or removed by `null`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    #[serde(default)]
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) header: Map<String, Value>,
    #[serde(default)]
    pub(crate) claims: Map<String, Value>,
    #[serde(default)]
    pub(crate) signature: SignatureChange,
}

/// A change of the signature of an elliptic curve: r and s, each as long as a coordinate. RFC 7518 section
/// 3.4.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SignatureChange {
    #[default]
    None,
    FirstBitOfRFlipped,
    LastBitOfRFlipped,
    FirstBitOfSFlipped,
    LastBitOfSFlipped,
    RZero,
    SZero,
    RAndSZero,
    ROrder,
    SOrder,
    /// The same number modulo the curve's order.
    RPlusOrder,
    SPlusOrder,
    RAndSMaximal,
    LeadingZero,
    TrailingZero,
    CutAtTheEnd,
    CutInBothNumbers,
    RAlone,
    Der,
}

/// The expected result of a server case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerExpectation {
    /// Texts that the error of the start contains.
    #[serde(default)]
    pub(crate) start_error: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) allowed: Option<Caller>,
    #[serde(default)]
    pub(crate) refused: Option<Refusal>,
    /// In observe mode, the refusal that is recorded.
    #[serde(default)]
    pub(crate) would_deny: Option<Refusal>,
    #[serde(default)]
    pub(crate) marks: Vec<String>,
}

/// The expected caller. Absent members are not compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Caller {
    #[serde(default)]
    pub(crate) issuer: Option<String>,
    #[serde(default)]
    pub(crate) subject: Option<String>,
    #[serde(default)]
    pub(crate) client_id: Option<String>,
    #[serde(default)]
    pub(crate) token_id: Option<String>,
    #[serde(default)]
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) actors: Option<Vec<String>>,
}

/// The expected answer to a rejected call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Not compared if absent.
    #[serde(default)]
    pub(crate) www_authenticate: Option<String>,
    #[serde(default)]
    pub(crate) retry: bool,
}

/// A client layer that runs for a while. Times are in milliseconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCase {
    pub(crate) name: String,
    pub(crate) answers: Vec<IssuerAnswer>,
    pub(crate) calls: Vec<Call>,
    #[serde(default)]
    pub(crate) jumps: Vec<Jump>,
    #[serde(default = "a_minute")]
    pub(crate) until: i64,
    #[serde(default = "half")]
    pub(crate) draw: f64,
    #[serde(default)]
    pub(crate) sharing: Vec<String>,
    pub(crate) expect: ClientExpectation,
}

/// One answer of the token endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerAnswer {
    #[serde(default)]
    pub(crate) delay: i64,
    #[serde(default)]
    pub(crate) connection_failed: bool,
    #[serde(default = "ok")]
    pub(crate) status: i32,
    #[serde(default)]
    pub(crate) retry_after: String,
    /// The body: a text as it is, and anything else as JSON.
    #[serde(default)]
    pub(crate) body: Value,
}

/// One call of the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) at: i64,
    #[serde(default = "default_method")]
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) deadline: Option<i64>,
    #[serde(default)]
    pub(crate) answers: Vec<ServerAnswer>,
}

/// The called server's answer to one attempt.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerAnswer {
    #[serde(default)]
    pub(crate) code: i32,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) marks: Vec<String>,
}

/// A jump of the wall clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jump {
    pub(crate) at: i64,
    pub(crate) by: i64,
}

/// The expected result of a client case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientExpectation {
    pub(crate) requests: Vec<TokenRequest>,
    pub(crate) calls: Vec<CallResult>,
}

/// One expected request to the token endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) at: i64,
    #[serde(default = "catalog")]
    pub(crate) audience: String,
    #[serde(default = "default_scopes")]
    pub(crate) scopes: Vec<String>,
}

/// The expected outcome of one call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallResult {
    #[serde(default)]
    pub(crate) attempts: Vec<String>,
    pub(crate) at: i64,
    #[serde(default)]
    pub(crate) code: i32,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) marks: Vec<String>,
}

fn catalog() -> String {
    "catalog".to_owned()
}

fn catalog_service() -> Vec<String> {
    vec!["conformance.catalog.v1.Catalog".to_owned()]
}

fn one_key() -> BTreeMap<String, String> {
    [("a".to_owned(), "ES256".to_owned())].into()
}

fn default_issuer() -> String {
    crate::token::ISSUER.to_owned()
}

fn one_issuer() -> Vec<Issuer> {
    let jwks = Some(serde_json::json!({ "keys": [{ "$key": "a" }] }));
    vec![Issuer { issuer: default_issuer(), jwks, jwks_text: None, unreachable: false, algorithms: Vec::new() }]
}

fn default_method() -> String {
    "/conformance.catalog.v1.Catalog/Get".to_owned()
}

fn one_bearer() -> Vec<String> {
    vec!["Bearer {}".to_owned()]
}

fn a_minute() -> i64 {
    60_000
}

fn half() -> f64 {
    0.5
}

fn ok() -> i32 {
    200
}

fn default_scopes() -> Vec<String> {
    vec!["catalog.read".to_owned()]
}
