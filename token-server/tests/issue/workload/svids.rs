//! JWT-SVIDs of SPIFFE, as SPIRE 1.13 issues them. draft-ietf-oauth-spiffe-client-auth-02.

use token_interceptor::test_util::Es512Key;
use token_issuer::identity_provider::Platform;

use super::*;

const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const DOMAIN: &str = "spiffe://example.org";
const ORDERS: &str = "spiffe://example.org/orders";

struct Spire {
    world: World,
    domain: TestIssuer,
    cluster: TestIssuer,
}

/// Trusts a trust domain and a cluster, and registers `orders-svid`.
async fn spire() -> Spire {
    spire_with(TestIssuer::new(DOMAIN), &Algorithm::ALL).await
}

/// As [`spire`], with the domain's key and the algorithms that the operator has listed.
async fn spire_with(domain: TestIssuer, algorithms: &[Algorithm]) -> Spire {
    let jwks = domain.jwks();
    spire_with_keys(domain, &jwks, algorithms).await
}

/// As [`spire_with`], with other keys than the domain's own.
async fn spire_with_keys(domain: TestIssuer, jwks: &str, algorithms: &[Algorithm]) -> Spire {
    let cluster = TestIssuer::new(CLUSTER);
    let bundle = jwks.replace("\"use\":\"sig\"", "\"use\":\"jwt-svid\"");
    assert!(bundle.contains("jwt-svid"));
    let trusted = IdentityProvider {
        keys: ProviderKeys::Fixed(KeySet::from_spiffe_bundle(bundle.as_bytes()).unwrap()),
        platform: Some(Platform::Spiffe),
        algorithms: algorithms.to_vec(),
        ..provider(&domain, false)
    };
    let federation = IdentityProviders::new(vec![trusted, provider(&cluster, true)]).unwrap();
    let world = world_with(|settings| settings.federation = federation).await;
    let rule = identity(DOMAIN, SubjectMatch::Exactly(ORDERS.to_owned()));
    world.admin.add_credential(&Operator::local("test"), "orders", &new(rule.clone()), None).await.unwrap_err();
    let rule = FederatedIdentity { reuse: true, ..rule };
    world.admin.add_credential(&Operator::local("test"), "orders", &new(rule), None).await.unwrap();
    world.admin.add_credential(&Operator::local("test"), "inventory", &new(pod_rule()), None).await.unwrap();
    Spire { world, domain, cluster }
}

fn svid_of(domain: &TestIssuer) -> TokenBuilder {
    let token = domain.token().header("typ", "JWT").without_claim("client_id").without_claim("scope");
    let token = token.without_claim("iss").without_claim("jti").claim("sub", ORDERS).claim("aud", json!([ISSUER]));
    token.claim("iat", now()).claim("exp", now() + 300)
}

impl Spire {
    async fn http(&self, kind: &str, client_id: &str, assertion: &str) -> u16 {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials").append_pair("client_id", client_id);
        form.append_pair("client_assertion_type", kind).append_pair("client_assertion", assertion);
        post(&self.world, &form.finish()).await.status.as_u16()
    }

    async fn grpc(&self, kind: &str, client_id: &str, assertion: &str) -> Result<String, Code> {
        let assertion = v1::ClientAssertion { r#type: kind.to_owned(), value: assertion.to_owned() };
        let credential = Some(Credential::Assertion(assertion));
        let client = v1::ClientAuthentication { client_id: client_id.to_owned(), credential };
        let request = v1::IssueTokenRequest { client: Some(client), ..Default::default() };
        let issued = grpc(&self.world).issue_token(request).await.map_err(|status| status.code())?;
        Ok(issued.into_inner().token.unwrap().value)
    }

    async fn refused(&self, what: &str, kind: &str, client_id: &str, token: &TokenBuilder) {
        assert_eq!(self.http(kind, client_id, &token.sign()).await, 401, "{what}");
        assert_eq!(self.grpc(kind, client_id, &token.sign()).await, Err(Code::Unauthenticated), "{what}");
    }
}

#[tokio::test]
async fn a_jwt_svid_proves_a_client_by_its_spiffe_id() {
    let spire = spire().await;
    let svid = svid_of(&spire.domain).sign();
    for client_id in ["orders", ""] {
        assert_eq!(spire.http(JWT_SPIFFE, client_id, &svid).await, 200);
        let token = spire.grpc(JWT_SPIFFE, client_id, &svid).await.unwrap();
        assert_eq!(claims(&spire.world, &token)["sub"], "orders");
    }
    let untyped = svid_of(&spire.domain).without_header("typ").claim("exp", now() + 42);
    let token = spire.grpc(JWT_SPIFFE, "orders", &untyped.sign()).await.unwrap();
    assert_eq!(claims(&spire.world, &token)["exp"], now() + 42);
}

#[tokio::test]
async fn each_near_miss_of_a_jwt_svid_is_refused() {
    let spire = spire().await;
    let svid = || svid_of(&spire.domain);
    let stranger = TestIssuer::new("spiffe://other.example");
    for (what, token) in [
        ("another workload", svid().claim("sub", "spiffe://example.org/billing")),
        ("a workload below", svid().claim("sub", "spiffe://example.org/orders/x")),
        ("the trust domain itself", svid().claim("sub", DOMAIN)),
        ("another trust domain", svid().claim("sub", "spiffe://other.example/orders")),
        ("a trust domain that begins alike", svid().claim("sub", "spiffe://example.org.evil/orders")),
        ("a trust domain in other letters", svid().claim("sub", "spiffe://Example.org/orders")),
        ("a path that climbs", svid().claim("sub", "spiffe://example.org/x/../orders")),
        ("no SPIFFE ID", svid().claim("sub", "orders")),
        ("another domain's key", svid_of(&stranger)),
        ("another audience", svid().claim("aud", "https://other.example")),
        ("a second audience", svid().claim("aud", json!([ISSUER, "https://other.example"]))),
        ("expired", svid().claim("iat", now() - 600).claim("exp", now() - 1)),
        ("no expiry", svid().without_claim("exp")),
        ("another issuer's iss", svid().claim("iss", CLUSTER)),
        ("an access token's type", svid().header("typ", "at+jwt")),
        ("no key ID", svid().header("kid", "x")),
    ] {
        for client_id in ["orders", ""] {
            spire.refused(what, JWT_SPIFFE, client_id, &token).await;
        }
    }
    spire.refused("another client", JWT_SPIFFE, "inventory", &svid()).await;
    assert_eq!(spire.http(JWT_SPIFFE, "orders", &svid().sign()).await, 200);
}

/// SPIFFE JWT-SVID section 2.1 lists the algorithms. The operator can shorten the list, and not extend it.
#[tokio::test]
async fn an_svid_of_an_algorithm_that_is_not_listed_is_refused() {
    for (algorithm, listed, accepted) in [
        (Algorithm::Es384, &Algorithm::ALL[..], true),
        (Algorithm::EdDsa, &Algorithm::ALL[..], false),
        (Algorithm::EdDsa, &[Algorithm::EdDsa], false),
        (Algorithm::Es384, &[Algorithm::Es256], false),
    ] {
        let spire = spire_with(TestIssuer::with_algorithm(DOMAIN, algorithm), listed).await;
        let svid = svid_of(&spire.domain);
        if accepted {
            assert_eq!(spire.http(JWT_SPIFFE, "orders", &svid.sign()).await, 200, "{algorithm:?}");
        } else {
            spire.refused(algorithm.name(), JWT_SPIFFE, "orders", &svid).await;
        }
    }
}

/// ES512 is on the list of SPIFFE JWT-SVID section 2.1 too.
#[tokio::test]
async fn an_svid_signed_with_es512_is_accepted_where_it_is_listed() {
    for (listed, status) in [(&Algorithm::ALL[..], 200), (&[Algorithm::Es512], 200), (&[Algorithm::Es256], 401)] {
        let (domain, key) = (TestIssuer::new(DOMAIN), Es512Key::generate());
        let spire = spire_with_keys(domain, &key.jwks(), listed).await;
        assert_eq!(spire.http(JWT_SPIFFE, "orders", &key.sign(svid_of(&spire.domain))).await, status, "{listed:?}");
        let stranger = svid_of(&spire.domain).header("alg", "ES512").header("kid", key.key_id());
        spire.refused("another key", JWT_SPIFFE, "orders", &stranger).await;
    }
}

/// The type chooses the claim that names the issuer, and no second way is tried.
#[tokio::test]
async fn a_token_of_one_type_never_passes_as_the_other() {
    let spire = spire().await;
    let svid = || svid_of(&spire.domain);
    spire.refused("an SVID as a JWT", JWT_BEARER, "orders", &svid()).await;
    spire.refused("with iss", JWT_BEARER, "orders", &svid().claim("iss", DOMAIN)).await;
    let pod = || pod_of(&spire.cluster);
    assert_eq!(spire.http(JWT_BEARER, "inventory", &pod().sign()).await, 200);
    spire.refused("a pod's token as an SVID", JWT_SPIFFE, "inventory", &pod()).await;
    spire.refused("with an SVID's subject", JWT_SPIFFE, "orders", &pod().claim("sub", ORDERS)).await;
    let own = || crate::assertion::sign(&spire.world.client_key, &crate::assertion::good("with-key"));
    assert_eq!(spire.http(JWT_BEARER, "with-key", &own()).await, 200);
    assert_eq!(spire.http(JWT_SPIFFE, "with-key", &own()).await, 401);
    let unknown = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    assert_eq!(spire.http(unknown, "orders", &svid().sign()).await, 401);
}
