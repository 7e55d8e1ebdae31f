//! The cases.

use token_proto::token::v1::ErrorReason::*;

use super::case::{ACCESS_TOKEN, Case, Held, Meets, Operation, Shown};

const ISSUE: Case = Case {
    claim: "a good request is granted",
    meets: Meets::Usual,
    operation: Operation::Issue,
    client: Shown::Secret("orders"),
    token: Held::Nothing,
    token_type: ACCESS_TOKEN,
    actor: Held::Nothing,
    requested_token_type: "",
    audiences: &[],
    resources: &[],
    scopes: &[],
    lifetime_seconds: None,
    redirect_uri: "",
    refused: None,
};

const EXCHANGE: Case = Case {
    claim: "delegation",
    operation: Operation::Exchange,
    client: Shown::Secret("exchanger"),
    token: Held::Of("caller"),
    audiences: &["inventory"],
    ..ISSUE
};

const INTROSPECT: Case =
    Case { claim: "one's own token", operation: Operation::Introspect, token: Held::Of("orders"), ..ISSUE };

const REVOKE: Case = Case { operation: Operation::Revoke, ..INTROSPECT };

const USER_INFO: Case =
    Case { claim: "the subject, with its name", operation: Operation::UserInfo, client: Shown::Nothing, ..INTROSPECT };

pub(super) fn cases() -> Vec<Case> {
    let client_credentials = [issued(), asked_for(), refused_to_issue()].concat();
    let every = [Operation::Issue, Operation::Exchange, Operation::Introspect, Operation::Revoke];
    let authentication = every.into_iter().flat_map(not_authenticated).collect();
    [client_credentials, exchanged(), not_exchanged(), questions(), user_info(), authentication].concat()
}

fn issued() -> Vec<Case> {
    vec![
        ISSUE,
        ISSUE.by(Shown::Basic("orders")).called("client_secret_basic"),
        ISSUE.by(Shown::Basic("odd id:+%")).called("client_secret_basic with an odd client ID"),
        ISSUE.by(Shown::Assertion("with-key")).called("private_key_jwt"),
        ISSUE.by(Shown::Secret("short")).called("a client with a lifetime of its own"),
        ISSUE.by(Shown::Secret("with-claims")).called("a client with claims"),
    ]
}

fn asked_for() -> Vec<Case> {
    let several = ISSUE.by(Shown::Secret("several"));
    vec![
        Case { claim: "scopes", scopes: &["inventory.write", "inventory.read"], ..ISSUE },
        Case { claim: "an audience by name", audiences: &["inventory"], ..ISSUE },
        Case { claim: "a repeated audience counts once", audiences: &["inventory", "inventory"], ..ISSUE },
        Case { claim: "a resource", resources: &["https://a.example/api"], scopes: &["only-a"], ..several },
        Case { claim: "an audience by its scope", scopes: &["only-a"], ..several },
        Case { claim: "several", resources: &["https://a.example/api", "https://b.example/api"], ..several },
        Case {
            claim: "an audience and a resource",
            audiences: &["https://a.example/api"],
            resources: &["https://b.example/api"],
            ..several
        },
        Case { claim: "a shorter lifetime", lifetime_seconds: Some(30), ..ISSUE },
        Case { claim: "a longer lifetime is cut", lifetime_seconds: Some(1_000_000), ..ISSUE },
        Case { claim: "a registered redirect_uri", redirect_uri: "https://client.example/done", ..ISSUE },
    ]
}

fn refused_to_issue() -> Vec<Case> {
    let refused = |claim, reason| ISSUE.refused(claim, reason);
    let several = |claim, reason| refused(claim, reason).by(Shown::Secret("several"));
    vec![
        refused("a secret without a client ID", InvalidRequest).by(Shown::Secret("")),
        refused("client without grants", ClientNotAuthorized).by(Shown::Secret("nothing")),
        refused("a client of token exchange alone", ClientNotAuthorized).by(Shown::Secret("exchanger")),
        Case { audiences: &["billing"], ..refused("unregistered audience", InvalidTarget) },
        Case { resources: &["https://c.example"], ..refused("unregistered resource", InvalidTarget) },
        Case { audiences: &["inventory", "billing"], ..refused("one unregistered audience of two", InvalidTarget) },
        Case { audiences: &["a b"], ..refused("impossible audience", InvalidTarget) },
        several("several audiences and none named", InvalidTarget),
        Case { scopes: &["inventory.read", "admin"], ..refused("unregistered scope", InvalidScope) },
        Case { scopes: &["in\"valid"], ..refused("impossible scope", InvalidScope) },
        refused("no scope asked and no defaults", InvalidScope).by(Shown::Secret("no-defaults")),
        Case {
            resources: &["https://a.example/api", "https://b.example/api"],
            scopes: &["only-a"],
            ..several("a scope of only one of two audiences", InvalidScope)
        },
        Case { lifetime_seconds: Some(0), ..refused("no lifetime at all", InvalidRequest) },
        Case { lifetime_seconds: Some(-1), ..refused("a negative lifetime", InvalidRequest) },
        Case { redirect_uri: "https://evil.example", ..refused("unregistered redirect_uri", InvalidRequest) },
        refused("token over the header budget", TokenTooLarge).by(Shown::Secret("oversize")),
        Case { meets: Meets::NoKey, ..refused("an audience without a key", Internal) },
    ]
}

/// The rejections of every operation that authenticates clients.
fn not_authenticated(operation: Operation) -> Vec<Case> {
    let refused = |claim, reason| {
        let token = if operation == Operation::Issue { Held::Nothing } else { Held::Garbage("x") };
        Case { operation, token, ..ISSUE.refused(claim, reason) }
    };
    let failed = |claim, client| refused(claim, ClientAuthenticationFailed).by(client);
    let meets = |meets, reason| Case { meets, ..refused("the world is not as usual", reason) };
    vec![
        failed("unknown client", Shown::Secret("stranger")),
        failed("wrong secret", Shown::WrongSecret("orders")),
        failed("disabled client", Shown::Secret("disabled")),
        failed("expired credential", Shown::Secret("expired")),
        failed("client without credentials", Shown::Secret("no-credentials")),
        failed("impossible client ID", Shown::Secret("line\nbreak")),
        failed("a secret of a client that has a key", Shown::Secret("with-key")),
        failed("no secret", Shown::EmptySecret("orders")),
        failed("nothing at all", Shown::Nothing),
        failed("assertion of an unknown client", Shown::Assertion("stranger")),
        failed("assertion of a client without keys", Shown::Assertion("orders")),
        failed("assertion by another key", Shown::ForgedAssertion("with-key")),
        failed("expired key", Shown::Assertion("expired-key")),
        failed("disabled client with a key", Shown::Assertion("disabled-with-key")),
        failed("a client ID that is not the assertion's", Shown::ContradictedAssertion("with-key")),
        failed("an assertion of an unknown type", Shown::AssertionOfUnknownType("with-key")),
        refused("two secrets", InvalidRequest).by(Shown::SecretAndBasic("orders")),
        refused("a secret and an assertion", InvalidRequest).by(Shown::SecretAndAssertion("with-key")),
        meets(Meets::SpentLimit, RateLimited),
        meets(Meets::StoreOutOfReach, IssuerUnavailable),
    ]
}

fn exchanged() -> Vec<Case> {
    let wide = EXCHANGE.with(Held::WideOf("caller"));
    vec![
        EXCHANGE,
        EXCHANGE.with(Held::Delegated).by(Shown::Secret("second-exchanger")).called("actors before are inside"),
        EXCHANGE.by(Shown::Secret("impersonator")).called("impersonation"),
        EXCHANGE.with(Held::Delegated).by(Shown::Secret("impersonator")).called("impersonation of a delegate"),
        EXCHANGE.by(Shown::Basic("exchanger")).called("client_secret_basic"),
        EXCHANGE.with(Held::Of("with-claims")).called("the subject's claims travel"),
        Case { actor: Held::Of("short"), ..EXCHANGE.called("an actor of its own") },
        Case { requested_token_type: ACCESS_TOKEN, ..EXCHANGE.called("the type that is issued") },
        Case { token_type: "urn:ietf:params:oauth:token-type:jwt", ..EXCHANGE.called("it is a JWT too") },
        Case { scopes: &["inventory.write"], ..wide.called("narrower scopes") },
        Case {
            audiences: &["warehouse"],
            scopes: &["warehouse.read"],
            ..EXCHANGE.called("another audience that both are registered for")
        },
        Case { lifetime_seconds: Some(30), ..EXCHANGE.called("a shorter lifetime") },
        Case { lifetime_seconds: Some(3600), ..EXCHANGE.called("a longer lifetime is cut") },
    ]
}

fn not_exchanged() -> Vec<Case> {
    let refused = |claim, reason| EXCHANGE.refused(claim, reason);
    let bad = |claim, token| refused(claim, InvalidGrant).with(token);
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    vec![
        refused("a client that may not exchange", ClientNotAuthorized).by(Shown::Secret("orders")),
        refused("no subject token", InvalidRequest).with(Held::Nothing),
        Case { token_type: "", ..refused("no type of the subject token", InvalidRequest) },
        Case { token_type: id_token, ..refused("a subject token of another type", InvalidRequest) },
        Case { requested_token_type: id_token, ..refused("a type that is not issued", InvalidRequest) },
        bad("garbage", Held::Garbage("x")),
        bad("garbage in three parts", Held::Garbage("a.b.c")),
        bad("another issuer's token", Held::Foreign),
        bad("an expired token", Held::Expired("caller")),
        bad("a token for another client", Held::Of("caller")).by(Shown::Secret("warehouse")),
        bad("a revoked token", Held::Revoked("caller")),
        Case { actor: Held::Garbage("x"), ..refused("a bad actor token", InvalidGrant) },
        Case { actor: Held::WideOf("caller"), ..refused("the subject as its own actor", InvalidGrant) },
        Case { actor: Held::Revoked("short"), ..refused("a revoked actor token", InvalidGrant) },
        Case { scopes: &["inventory.write"], ..refused("a scope beyond the subject token's", InvalidScope) },
        Case {
            scopes: &["inventory.write"],
            ..refused("a scope beyond the client's", InvalidScope)
                .with(Held::WideOf("caller"))
                .by(Shown::Secret("second-exchanger"))
        },
        Case { audiences: &["billing"], ..refused("an audience of the client alone", InvalidTarget) },
        Case { audiences: &["ledger"], ..refused("an audience of the subject alone", InvalidTarget) },
        Case { audiences: &["nowhere"], ..refused("an unknown audience", InvalidTarget) },
        Case { lifetime_seconds: Some(0), ..refused("no lifetime at all", InvalidRequest) },
    ]
}

/// Introspection and revocation.
fn questions() -> Vec<Case> {
    vec![
        INTROSPECT,
        INTROSPECT.by(Shown::Secret("inventory")).called("the resource server asks"),
        INTROSPECT.by(Shown::Secret("auditor")).called("by a client that may introspect every token"),
        INTROSPECT.by(Shown::Secret("short")).called("by a client that may not know"),
        INTROSPECT.by(Shown::Assertion("with-key")).called("private_key_jwt"),
        INTROSPECT.by(Shown::Secret("auditor")).with(Held::Delegated).called("a delegated token"),
        INTROSPECT.with(Held::Garbage("x")).called("garbage"),
        INTROSPECT.with(Held::Foreign).called("another issuer's token"),
        INTROSPECT.with(Held::Expired("orders")).called("an expired token"),
        INTROSPECT.with(Held::Revoked("orders")).called("a revoked token"),
        INTROSPECT.with(Held::Nothing).refused("no token", InvalidRequest),
        REVOKE,
        REVOKE.by(Shown::Basic("orders")).called("client_secret_basic"),
        REVOKE.with(Held::Garbage("x")).called("garbage is revoked enough"),
        REVOKE.with(Held::Foreign).called("another issuer's token is revoked enough"),
        REVOKE.with(Held::Revoked("orders")).called("revoked before"),
        REVOKE.with(Held::Expired("orders")).called("expired before"),
        REVOKE.with(Held::Of("short")).refused("another client's token", ClientNotAuthorized),
        REVOKE.with(Held::Nothing).refused("no token", InvalidRequest),
    ]
}

/// RFC 6750 section 3.1.
fn user_info() -> Vec<Case> {
    let bad = |claim, token| USER_INFO.refused(claim, TokenInvalid).with(token);
    vec![
        USER_INFO,
        USER_INFO.with(Held::Of("short")).called("a subject without a name"),
        USER_INFO.with(Held::Delegated).called("the subject of a delegated token"),
        USER_INFO.refused("no token", CredentialsMissing).with(Held::Nothing),
        bad("garbage", Held::Garbage("x")),
        bad("garbage in three parts", Held::Garbage("a.b.c")),
        bad("another issuer's token", Held::Foreign),
        bad("an expired token", Held::Expired("orders")),
        bad("a revoked token", Held::Revoked("orders")),
        Case { meets: Meets::SpentLimit, ..USER_INFO.refused("too often", RateLimited).with(Held::Garbage("x")) },
    ]
}
