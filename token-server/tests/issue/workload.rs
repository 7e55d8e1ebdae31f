//! Client authentication with a workload's own identity, over both protocols: tokens of the forms that
//! Kubernetes and GitHub Actions issue, and for each check a token that fails only that check.

mod bounds;
mod choice;
mod forgeries;
mod platforms;
mod svids;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use token_interceptor::{
    key_set::KeySet,
    signature::Algorithm,
    test_util::{TestIssuer, TokenBuilder},
};
use token_issuer::{
    admin::{ClientDraft, ClientField, ClientUpdate, GrantDraft, NewCredential, NewCredentialKind, Operator},
    client::{FederatedIdentity, SubjectMatch},
    identity_provider::{ClientAuthenticationRules, IdentityProvider, IdentityProviders, ProviderKeys},
};
use token_proto::token::v1::{self, client_authentication::Credential};
use tonic::Code;

use crate::{
    assertion::JWT_BEARER,
    support::{
        ISSUER, World,
        calls::{claims, grpc, post, reason},
        start, world_with,
    },
};

/// An AKS cluster's issuer. It ends with a slash.
const CLUSTER: &str = "https://westeurope.oic.prod-aks.azure.com/tenant/cluster/";
const GITHUB: &str = "https://token.actions.githubusercontent.com";
const POD: &str = "system:serviceaccount:prod:orders";
const WORKFLOW: &str = "repo:acme/orders:ref:refs/heads/main";

fn now() -> u64 {
    start().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// An issuer with two platforms that it trusts, and their signing keys.
struct Platforms {
    world: World,
    cluster: TestIssuer,
    github: TestIssuer,
}

fn provider(signer: &TestIssuer, untyped: bool) -> IdentityProvider {
    IdentityProvider {
        issuer: signer.issuer().to_owned(),
        platform: None,
        audience: ISSUER.to_owned(),
        types: vec!["JWT".to_owned()],
        untyped,
        token_bytes: 16 * 1024,
        algorithms: Algorithm::ALL.to_vec(),
        keys: ProviderKeys::Fixed(KeySet::from_jwks(signer.jwks().as_bytes()).unwrap()),
        required_claims: Vec::new(),
        exchange: None,
        client_authentication: Some(rules()),
    }
}

fn rules() -> ClientAuthenticationRules {
    ClientAuthenticationRules { max_age: Duration::from_secs(3600), tokens_may_outlive: false }
}

/// Trusts both platforms, with a change to their settings: the cluster's first.
async fn platforms_with(change: impl FnOnce(&mut [IdentityProvider; 2])) -> Platforms {
    let (cluster, github) = (TestIssuer::new(CLUSTER), TestIssuer::new(GITHUB));
    let mut providers = [provider(&cluster, true), provider(&github, false)];
    change(&mut providers);
    let federation = IdentityProviders::new(providers.into()).unwrap();
    Platforms { world: world_with(|settings| settings.federation = federation).await, cluster, github }
}

/// Trusts both platforms, and registers `orders-pod` and `orders-ci` without a secret.
async fn platforms() -> Platforms {
    let platforms = platforms_with(|_| ()).await;
    platforms.register("orders-pod", pod_rule()).await;
    platforms.register("orders-ci", workflow_rule()).await;
    platforms
}

fn identity(issuer: &str, subject: SubjectMatch) -> FederatedIdentity {
    FederatedIdentity { issuer: issuer.to_owned(), subject, claims: BTreeMap::new(), max_age: None, reuse: false }
}

fn with_claim(mut identity: FederatedIdentity, pointer: &str, values: &[&str]) -> FederatedIdentity {
    let values: BTreeSet<String> = values.iter().map(|value| (*value).to_owned()).collect();
    identity.claims.insert(pointer.to_owned(), values);
    identity
}

/// The rule for the pods of one service account. The kubelet hands out one token several times.
fn pod_rule() -> FederatedIdentity {
    let rule = FederatedIdentity { reuse: true, ..identity(CLUSTER, SubjectMatch::Exactly(POD.to_owned())) };
    with_claim(rule, "/kubernetes.io/serviceaccount/uid", &["sa-uid"])
}

/// The rule for one repository's workflows, by the IDs that are never given again.
fn workflow_rule() -> FederatedIdentity {
    let rule = identity(GITHUB, SubjectMatch::Prefix("repo:acme/orders:".to_owned()));
    let rule = with_claim(rule, "/repository_id", &["11"]);
    with_claim(with_claim(rule, "/repository_owner_id", &["22"]), "/event_name", &["push", "workflow_dispatch"])
}

fn new(identity: FederatedIdentity) -> NewCredential {
    NewCredential { kind: NewCredentialKind::FederatedIdentity(identity), expire_time: None }
}

impl Platforms {
    /// Registers a client that has the identity and no secret.
    async fn register(&self, id: &str, identity: FederatedIdentity) {
        let scopes = || vec!["inventory.read".to_owned()];
        let grant = GrantDraft { audience: "inventory".to_owned(), scopes: scopes(), default_scopes: scopes() };
        let draft = ClientDraft { client_id: id.to_owned(), grants: vec![grant], ..ClientDraft::default() };
        let by = Operator::local("test");
        let created = self.world.admin.create(&by, &draft, &new(identity), false).await.unwrap();
        assert!(created.secret.is_none() && created.client.credentials.len() == 1);
    }

    async fn add(&self, id: &str, credential: &NewCredential) -> String {
        let added = self.world.admin.add_credential(&Operator::local("test"), id, credential, None).await.unwrap();
        added.credential.id
    }

    /// A projected token, as an API server 1.36 issues it: no `typ`, and `aud` as a list.
    fn pod(&self) -> TokenBuilder {
        pod_of(&self.cluster)
    }

    /// A token of GitHub Actions.
    fn workflow(&self) -> TokenBuilder {
        let token = self.github.token().header("typ", "JWT").without_claim("client_id").without_claim("scope");
        token
            .claim("sub", WORKFLOW)
            .claim("aud", ISSUER)
            .claim("repository", "acme/orders")
            .claim("repository_id", "11")
            .claim("repository_owner_id", "22")
            .claim("event_name", "push")
            .claim("jti", next_id())
            .claim("iat", now())
            .claim("nbf", now() - 5)
            .claim("exp", now() + 300)
    }

    /// Logs in over both protocols, each with a token of its own. Returns the claims of the new token.
    async fn granted(&self, client_id: &str, token: impl Fn() -> TokenBuilder) -> BTreeMap<String, Value> {
        let over_http = http(&self.world, client_id, &token().sign()).await;
        let over_http = over_http.unwrap_or_else(|status| panic!("{client_id:?} over HTTP: {status}"));
        let over_grpc = over_grpc(&self.world, client_id, &token().sign()).await.unwrap();
        let (mut one, mut other) = (claims(&self.world, &over_http), claims(&self.world, &over_grpc));
        one.remove("jti");
        other.remove("jti");
        assert_eq!(one, other, "the protocols differ");
        one
    }

    /// Is refused over both protocols. The caller learns nothing.
    async fn refused(&self, what: &str, client_id: &str, token: impl Fn() -> TokenBuilder) {
        self.refused_text(what, client_id, || token().sign()).await;
    }

    async fn refused_text(&self, what: &str, client_id: &str, token: impl Fn() -> String) {
        assert_eq!(http(&self.world, client_id, &token()).await.unwrap_err(), 401, "{what}");
        let expected = (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned());
        assert_eq!(over_grpc(&self.world, client_id, &token()).await.unwrap_err(), expected, "{what}");
    }
}

fn pod_of(cluster: &TestIssuer) -> TokenBuilder {
    let token = cluster.token().without_header("typ").without_claim("client_id").without_claim("scope");
    let kubernetes = json!({
        "namespace": "prod",
        "serviceaccount": {"name": "orders", "uid": "sa-uid"},
        "pod": {"name": "orders-7d", "uid": "pod-uid"},
        "node": {"name": "node-1", "uid": "node-uid"},
    });
    token
        .claim("sub", POD)
        .claim("aud", json!([ISSUER]))
        .claim("kubernetes.io", kubernetes)
        .claim("jti", next_id())
        .claim("iat", now())
        .claim("nbf", now())
        .claim("exp", now() + 3600)
}

fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// The new token, or the status of a rejection whose answer says nothing but `invalid_client`.
async fn http(world: &World, client_id: &str, assertion: &str) -> Result<String, u16> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials").append_pair("client_id", client_id);
    form.append_pair("client_assertion_type", JWT_BEARER).append_pair("client_assertion", assertion);
    let answer = post(world, &form.finish()).await;
    if answer.status == 200 {
        return Ok(answer.json()["access_token"].as_str().unwrap().to_owned());
    }
    if answer.status == 401 {
        assert_eq!(answer.json()["error"], "invalid_client");
        assert_eq!(answer.json()["error_description"], "Client authentication failed.");
    }
    Err(answer.status.as_u16())
}

async fn over_grpc(world: &World, client_id: &str, assertion: &str) -> Result<String, (Code, String)> {
    let assertion = v1::ClientAssertion { r#type: JWT_BEARER.to_owned(), value: assertion.to_owned() };
    let client = v1::ClientAuthentication {
        client_id: client_id.to_owned(),
        credential: Some(Credential::Assertion(assertion)),
    };
    let request = v1::IssueTokenRequest { client: Some(client), ..Default::default() };
    let issued = grpc(world).issue_token(request).await.map_err(|status| reason(&status))?;
    Ok(issued.into_inner().token.unwrap().value)
}

#[tokio::test]
async fn a_pod_and_a_workflow_get_tokens_without_a_secret() {
    let platforms = platforms().await;
    for client_id in ["orders-pod", ""] {
        let claims = platforms.granted(client_id, || platforms.pod()).await;
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("orders-pod"), &json!("orders-pod")));
        assert_eq!((&claims["scope"], &claims["iss"]), (&json!("inventory.read"), &json!(ISSUER)));
        let claims = platforms.granted(client_id.replace("pod", "ci").as_str(), || platforms.workflow()).await;
        assert_eq!(claims["sub"], "orders-ci");
    }
}
