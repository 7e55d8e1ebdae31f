//! A workload logs in with the token of its platform. No secret is configured anywhere.

use std::{fs, path::Path, time::UNIX_EPOCH};

use serde_json::{Value, json};
use token_interceptor::{
    clock::{Clock as _, SystemClock},
    test_util::{TestIssuer, TokenBuilder},
};
use token_proto::token::v1::{self, client_authentication::Credential, token_service_client::TokenServiceClient};

use crate::{
    harness::{Ran, create_offline, program, request_token, run},
    serve::{Serving, config},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn now() -> u64 {
    SystemClock.now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A server that trusts a cluster and GitHub by files of their keys.
fn trusting(home: &Path, cluster: &TestIssuer, github: &TestIssuer) -> Serving {
    let mut text = config(home);
    for (name, signer) in [("kubernetes", cluster), ("github", github)] {
        let file = home.join(format!("{name}.json"));
        fs::write(&file, signer.jwks()).unwrap();
        text += &format!(
            "[[trusted_issuer]]\nplatform = \"{name}\"\nissuer = \"{}\"\naudience = \"token-server\"\n\
             jwks_file = \"{}\"\n[trusted_issuer.client_authentication]\n",
            signer.issuer(),
            file.display()
        );
    }
    fs::write(home.join("a.toml"), text).unwrap();
    Serving::start(home)
}

fn create(home: &Path, id: &str, identity: &[&str]) -> Ran {
    let client = ["client", "create", id, "--offline", "--config", "a.toml", "--grant", "inventory=inventory.read"];
    run(home, &[&client[..], identity].concat())
}

fn pod(cluster: &TestIssuer) -> TokenBuilder {
    let token = cluster.token().without_header("typ").without_claim("client_id");
    let token = token.claim("sub", "system:serviceaccount:prod:orders").claim("aud", json!(["token-server"]));
    token.claim("iat", now()).claim("exp", now() + 3600)
}

fn workflow(github: &TestIssuer, id: &str) -> TokenBuilder {
    let token = github.token().header("typ", "JWT").without_claim("client_id").claim("aud", "token-server");
    let token = token.claim("sub", "repo:acme/orders:ref:refs/heads/main").claim("jti", id);
    token.claim("repository_id", "11").claim("repository_owner_id", "22").claim("iat", now()).claim("exp", now() + 300)
}

fn over_http(serving: &Serving, client_id: &str, assertion: &str) -> (u16, Value) {
    let form = format!(
        "grant_type=client_credentials&client_id={client_id}&client_assertion_type={JWT_BEARER}\
         &client_assertion={assertion}"
    );
    let (status, body) = request_token(&serving.issuer, &form);
    (status, serde_json::from_str(&body).unwrap())
}

fn over_grpc(serving: &Serving, client_id: &str, assertion: &str) -> Result<v1::Token, tonic::Code> {
    let assertion = v1::ClientAssertion { r#type: JWT_BEARER.to_owned(), value: assertion.to_owned() };
    let client = v1::ClientAuthentication {
        client_id: client_id.to_owned(),
        credential: Some(Credential::Assertion(assertion)),
    };
    let request = v1::IssueTokenRequest { client: Some(client), ..Default::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut service = TokenServiceClient::connect(serving.issuer.clone()).await.unwrap();
        let issued = service.issue_token(request).await.map_err(|status| status.code())?;
        Ok(issued.into_inner().token.unwrap())
    })
}

#[test]
fn a_pod_and_a_workflow_log_in_and_no_secret_exists() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (cluster, github) = (TestIssuer::new(CLUSTER), TestIssuer::new(GITHUB));
    let serving = trusting(home, &cluster, &github);
    let account = ["--identity-issuer", CLUSTER, "--identity-subject", "system:serviceaccount:prod:orders"];
    let made = create(home, "orders", &[&account[..], &["--identity-reuse", "--json"]].concat());
    assert_eq!(made.code, 0, "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert!(made.get("client_secret").is_none(), "{made}");
    assert_eq!(made["credentials"][0]["federated_identity"]["issuer"], CLUSTER);
    let repository = ["--identity-issuer", GITHUB, "--identity-subject-prefix", "repo:acme/orders:"];
    let ids = ["--identity-claim", "/repository_id=11", "--identity-claim", "/repository_owner_id=22"];
    let made = create(home, "ci", &[&repository[..], &ids].concat());
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(
        made.stdout.contains("identity repo:acme/orders:* of") && !made.stdout.contains("Secret"),
        "{}",
        made.stdout
    );

    for client_id in ["orders", ""] {
        let (status, token) = over_http(&serving, client_id, &pod(&cluster).sign());
        assert_eq!((status, &token["scope"]), (200, &json!("inventory.read")));
        assert_eq!(over_grpc(&serving, client_id, &pod(&cluster).sign()).unwrap().scopes, ["inventory.read"]);
    }
    assert_eq!(over_http(&serving, "ci", &workflow(&github, "1").sign()).0, 200);
    assert!(over_grpc(&serving, "ci", &workflow(&github, "2").sign()).is_ok());
    let misses = [
        ("orders", pod(&cluster).claim("sub", "system:serviceaccount:dev:orders")),
        ("orders", pod(&cluster).claim("aud", "https://kubernetes.default.svc")),
        ("orders", pod(&TestIssuer::new(CLUSTER))),
        ("ci", pod(&cluster)),
        ("ci", workflow(&github, "1")),
        ("ci", workflow(&github, "3").claim("repository_id", "12")),
        ("ci", workflow(&github, "4").claim("event_name", "pull_request_target")),
    ];
    for (number, (client_id, token)) in misses.into_iter().enumerate() {
        let (status, answer) = over_http(&serving, client_id, &token.sign());
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{number}");
        assert_eq!(over_grpc(&serving, client_id, &token.sign()), Err(tonic::Code::Unauthenticated), "{number}");
    }
}

/// The example of a declared identity in the documentation.
fn documented_identity() -> &'static str {
    let page = include_str!("../../../docs/operations/no-secret.md");
    let from = page.find("[[client.identity]]").unwrap();
    page[from..].split("```").next().unwrap()
}

#[test]
fn the_documented_identity_is_applied_from_a_file_and_logs_in() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (cluster, github) = (TestIssuer::new(CLUSTER), TestIssuer::new(GITHUB));
    let serving = trusting(home, &cluster, &github);
    let grant = "m2m.admin.v1=clients.read,clients.write";
    let secret = create_offline(home, "root", grant);
    let admin = |arguments: &[&str]| -> Ran {
        let mut command = program(home);
        command.env("TOKEN_ADMIN_CLIENT_ID", "root").env("TOKEN_ADMIN_CLIENT_SECRET", &secret);
        command.args(arguments).args(["--issuer", &serving.issuer]).output().unwrap().into()
    };
    let client = "[[client]]\nid = \"ci\"\n[[client.grant]]\naudience = \"inventory\"\nscopes = [\"inventory.read\"]";
    let pod = format!(
        "[[client.identity]]\nid = \"pod\"\nissuer = \"{CLUSTER}\"\nsubject = \"system:serviceaccount:prod:orders\""
    );
    let declare = |identity: &str| fs::write(home.join("clients.toml"), format!("{client}\n{identity}\n")).unwrap();
    // The server checks the rule, and not the command.
    declare(&pod);
    let refused = admin(&["client", "apply", "--file", "clients.toml"]);
    assert!(refused.code == 2 && refused.stderr.contains("the kubelet hands out one token"), "{}", refused.stderr);

    declare(&format!("{}\n{pod}\nreuse = true", documented_identity()));
    let planned = admin(&["client", "plan", "--file", "clients.toml"]);
    assert!(planned.stdout.contains("+ ci  identity, identity\n"), "{}", planned.stdout);
    let applied = admin(&["client", "apply", "--file", "clients.toml"]);
    assert_eq!((applied.code, applied.stdout.as_str()), (0, "+ ci  identity, identity\n"), "{}", applied.stderr);
    let of_the_page = |id: &str| {
        workflow(&github, id)
            .claim("repository_id", "1234")
            .claim("repository_owner_id", "567")
            .claim("event_name", "push")
    };
    assert_eq!(over_http(&serving, "ci", &of_the_page("1").sign()).0, 200);
    assert!(over_grpc(&serving, "ci", &of_the_page("2").sign()).is_ok());
    assert_eq!(over_http(&serving, "ci", &self::pod(&cluster).sign()).0, 200);
    let misses =
        [of_the_page("3").claim("repository_owner_id", "568"), of_the_page("4").claim("event_name", "schedule")];
    for (number, token) in misses.into_iter().enumerate() {
        assert_eq!(over_http(&serving, "ci", &token.sign()).0, 401, "{number}");
    }
}

#[test]
fn an_identity_that_is_unsafe_or_unknown_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let _serving = trusting(home, &TestIssuer::new(CLUSTER), &TestIssuer::new(GITHUB));
    let with_slash = format!("{CLUSTER}/");
    for (issuer, subject, expected) in [
        (with_slash.as_str(), "system:serviceaccount:prod:orders", "is not exactly the issuer of a [[trusted_issuer]]"),
        (CLUSTER, "system:serviceaccount:prod:default", "every pod of its namespace"),
        (GITHUB, "repo:acme/orders:ref:refs/heads/main", "/repository_id is required"),
    ] {
        let refused =
            create(home, "a", &["--identity-issuer", issuer, "--identity-subject", subject, "--identity-reuse"]);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    assert_eq!(create(home, "a", &["--identity-issuer", CLUSTER]).code, 2);
}
