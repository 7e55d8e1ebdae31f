//! `token-server import`: the clients of Keycloak, Hydra and Auth0, with their old secrets.
//!
//! `tests/data/import/keycloak-realm.json` is the export of a real Keycloak (`just keycloak-export`).

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use token_proto::token::v1::{
    ClientAuthentication, IssueTokenRequest, client_authentication::Credential,
    token_service_client::TokenServiceClient,
};

use crate::{
    harness::{Ran, create_offline, program, request_token, run},
    serve::{Serving, config},
};

const KEYCLOAK: &str = include_str!("../data/import/keycloak-realm.json");
const HYDRA: &str = include_str!("../data/import/hydra-clients.json");
const AUTH0: &str = include_str!("../data/import/auth0-clients.json");
const AUTH0_GRANTS: &str = include_str!("../data/import/auth0-grants.json");
const ORDERS: &str = "orders-secret-of-the-acme-realm";
const GATEWAY: &str = "gateway-secret-of-the-acme-realm";

/// A folder with the inputs.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let inputs =
        [("realm.json", KEYCLOAK), ("hydra.json", HYDRA), ("auth0.json", AUTH0), ("grants.json", AUTH0_GRANTS)];
    for (name, text) in inputs {
        fs::write(home.path().join(name), text).unwrap();
    }
    home
}

fn imported(home: &Path, arguments: &[&str]) -> Ran {
    let ran = run(home, &[&["import"], arguments, &["--out", "clients.toml"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

/// The report as JSON, and the file.
fn report(home: &Path, arguments: &[&str]) -> (Value, String) {
    let ran = imported(home, &[arguments, &["--json"]].concat());
    (serde_json::from_str(&ran.stdout).unwrap(), fs::read_to_string(home.join("clients.toml")).unwrap())
}

/// The reason with which the report leaves an item of a subject out.
fn reason<'a>(report: &'a Value, subject: &str, item: &str) -> &'a str {
    let left = report["not_carried_over"].as_object().unwrap();
    let mut reasons = left.iter().filter(|(_, subjects)| {
        subjects[subject].as_array().is_some_and(|items| items.iter().any(|each| each == item))
    });
    reasons.next().unwrap_or_else(|| panic!("{subject}: {item} is not in {left:#?}")).0
}

fn grants(report: &Value, client: &str) -> String {
    let carried = report["carried_over"].as_array().unwrap();
    let found = carried.iter().find(|each| each["client_id"] == client);
    let found = found.unwrap_or_else(|| panic!("{client} is not in {carried:?}"));
    format!("{} | {}", found["credentials"].as_str().unwrap(), found["grants"].as_str().unwrap())
}

/// Every secret of the inputs. None may be in an output.
fn secrets() -> Vec<String> {
    let mut secrets = Vec::new();
    let realm: Value = serde_json::from_str(KEYCLOAK).unwrap();
    let (hydra, auth0): (Value, Value) = (serde_json::from_str(HYDRA).unwrap(), serde_json::from_str(AUTH0).unwrap());
    for (clients, name) in
        [(&realm["clients"], "secret"), (&hydra, "client_secret"), (&auth0["clients"], "client_secret")]
    {
        secrets.extend(clients.as_array().unwrap().iter().filter_map(|each| each[name].as_str().map(str::to_owned)));
    }
    assert!(secrets.len() > 5, "{secrets:?}");
    secrets
}

#[test]
fn a_real_keycloak_export_becomes_clients_and_a_report() {
    let home = home();
    let (report, file) = report(home.path(), &["keycloak", "realm.json"]);
    assert_eq!(grants(&report, "orders"), "imported secret | inventory: inventory.read inventory.write");
    assert_eq!(
        grants(&report, "billing"),
        "imported secret | https://ledger.acme.example: ledger.append; inventory: stock.admin stock.read stock.write"
    );
    assert_eq!(grants(&report, "reporter"), "key | inventory: inventory.read");
    assert_eq!(grants(&report, "courier"), "jwks_uri | inventory: inventory.read");
    assert_eq!(grants(&report, "gateway"), "imported secret | inventory: inventory.read");
    assert_eq!(grants(&report, "robot"), "imported secret | ");
    assert_eq!(report["carried_over"].as_array().unwrap().len(), 6);
    for (subject, item, expected) in [
        ("shop", "the client", "It is public"),
        ("back-office", "the client", "no service account"),
        ("inventory", "the client", "only receives tokens"),
        ("https://payroll.acme.example", "the client", "OpenID Connect"),
        ("account-console", "the client", "Keycloak's own client"),
        ("gateway", "redirectUris", "sign-in of people"),
        ("billing", "role employee of the realm", "has no audience"),
        ("orders", "role default-roles-acme of the realm", "Keycloak's own"),
        ("reporter", "secret", "authenticates with a key"),
        ("realm acme", "people: 1", "People"),
        ("realm acme", "accessTokenLifespan", "Nothing else of the realm"),
    ] {
        let reason = reason(&report, subject, item);
        assert!(reason.contains(expected), "{subject} {item}: {reason}");
    }
    for expected in
        ["token_lifetime = \"10m\"", "team = \"shop\"", "imported-from = \"keycloak/acme\"", "disabled = true"]
    {
        assert!(file.contains(expected), "{expected}: {file}");
    }
    // Every other member of a client is either carried over or in the report.
    let unknown = report["not_carried_over"]["The import knows no equivalent. Check if the client needs it."].clone();
    assert_eq!(unknown, Value::Null, "name the reasons of these members");
}

/// The report and the clients of the Keycloak realm with a change.
fn changed_realm(change: impl FnOnce(&mut Value)) -> (Value, BTreeMap<String, toml::Table>) {
    let home = home();
    let mut realm: Value = serde_json::from_str(KEYCLOAK).unwrap();
    change(&mut realm);
    fs::write(home.path().join("realm.json"), realm.to_string()).unwrap();
    let (report, file) = report(home.path(), &["keycloak", "realm.json"]);
    (report, declared(&file))
}

/// The clients of a file, by their IDs.
fn declared(file: &str) -> BTreeMap<String, toml::Table> {
    let file: toml::Table = file.parse().unwrap();
    let clients = file["client"].as_array().unwrap().iter().map(|client| client.as_table().unwrap().clone());
    clients.map(|client| (client["id"].as_str().unwrap().to_owned(), client)).collect()
}

/// The member of a list whose `name` is `value`.
fn member<'a>(list: &'a mut Value, name: &str, value: &str) -> &'a mut Value {
    list.as_array_mut().unwrap().iter_mut().find(|each| each[name] == value).unwrap()
}

#[test]
fn an_imported_secret_expires_when_it_did_before() {
    const IN_2100: &str = "4102444800";
    const IN_2020: &str = "1577836800";
    let expiries = [("orders", IN_2100), ("gateway", IN_2020), ("billing", "soon"), ("robot", "0")];
    let (from_keycloak, clients) = changed_realm(|realm| {
        for (id, expiry) in expiries {
            member(&mut realm["clients"], "clientId", id)["attributes"]["client.secret.expiration.time"] =
                expiry.into();
        }
    });
    let expires = |client: &toml::Table| client["secret"][0].get("expires").cloned();
    assert_eq!(expires(&clients["orders"]).unwrap().as_str(), Some("2100-01-01T00:00:00Z"));
    assert_eq!(expires(&clients["robot"]), None);
    for (id, expected) in [("gateway", "has expired"), ("billing", "not a time")] {
        assert!(!clients[id].contains_key("secret"), "{id}");
        assert!(reason(&from_keycloak, id, "the secret").contains(expected), "{from_keycloak}");
    }

    for (expiry, expected) in [(IN_2100, ""), (IN_2020, "has expired"), ("-1", "not a time")] {
        let home = home();
        let mut hydra: Value = serde_json::from_str(HYDRA).unwrap();
        let writer = member(&mut hydra, "client_id", "ledger-writer");
        writer["client_secret_expires_at"] = expiry.parse::<i64>().unwrap().into();
        fs::write(home.path().join("hydra.json"), hydra.to_string()).unwrap();
        let (from_hydra, file) = report(home.path(), &["hydra", "hydra.json"]);
        let writer = &declared(&file)["ledger-writer"];
        if expected.is_empty() {
            assert_eq!(expires(writer).unwrap().as_str(), Some("2100-01-01T00:00:00Z"));
        } else {
            assert!(!writer.contains_key("secret"), "{expiry}");
            assert!(reason(&from_hydra, "ledger-writer", "the secret").contains(expected), "{from_hydra}");
        }
    }
}

#[test]
fn a_claim_of_an_optional_scope_is_not_in_every_token() {
    let (report, clients) = changed_realm(|realm| {
        for (scope, claim) in [("inventory.read", "region"), ("inventory.write", "tier")] {
            let mapper = json!({
                "name": claim,
                "protocol": "openid-connect",
                "protocolMapper": "oidc-hardcoded-claim-mapper",
                "config": {"access.token.claim": "true", "claim.name": claim, "claim.value": "gold"}
            });
            let scope = member(&mut realm["clientScopes"], "name", scope);
            scope["protocolMappers"].as_array_mut().unwrap().push(mapper);
        }
    });
    let claims = clients["orders"]["claims"].as_table().unwrap();
    assert_eq!(claims.keys().collect::<Vec<_>>(), ["region", "team"], "inventory.write is optional");
    let left = reason(&report, "orders", "client scope inventory.write: claim tier");
    assert!(left.contains("optional"), "{left}");
}

#[test]
fn a_disabled_service_account_disables_its_client() {
    let (report, clients) = changed_realm(|realm| {
        member(&mut realm["users"], "username", "service-account-orders")["enabled"] = false.into();
    });
    let disabled: Vec<_> = clients.values().filter(|client| client.contains_key("disabled")).collect();
    assert_eq!(disabled, [&clients["orders"], &clients["robot"]]);
    assert!(report["steps"].to_string().contains("orders: it is disabled, as its service account"), "{report}");
}

#[test]
fn hydras_clients_become_clients_and_a_report() {
    let home = home();
    let (report, _) = report(home.path(), &["hydra", "hydra.json", "--audience", "parcels"]);
    let orders = "5f1c6e0e-0a52-4be3-9f39-2d6a6c1f7a10";
    assert_eq!(grants(&report, orders), " | inventory: inventory.read inventory.write");
    assert_eq!(
        grants(&report, "ledger-writer"),
        "imported secret | https://ledger.acme.example: ledger.append; inventory: ledger.append"
    );
    assert_eq!(grants(&report, "courier"), "key | parcels: parcels.read");
    assert_eq!(grants(&report, "old-job"), " | jobs: jobs.run");
    for (subject, item, expected) in [
        (orders, "client_secret", "does not return secrets"),
        (orders, "metadata", "Labels"),
        (orders, "owner", "Labels"),
        (orders, "registration_access_token", "registers here anew"),
        (orders, "scope offline_access", "people"),
        ("ledger-writer", "grant type authorization_code", "people"),
        ("ledger-writer", "redirect_uris", "people"),
        ("courier", "jwks_uri", "an https URL"),
        ("shop", "the client", "client_credentials"),
        ("old-job", "token_endpoint_auth_method tls_client_auth", "authenticates this way"),
        ("old-job", "colour", "knows no equivalent"),
    ] {
        let reason = reason(&report, subject, item);
        assert!(reason.contains(expected), "{subject} {item}: {reason}");
    }
    let steps = report["steps"].to_string();
    assert!(steps.contains("its tokens live 2h") && steps.contains("accept_imported = true"), "{steps}");
}

#[test]
fn auth0s_clients_and_grants_become_clients_and_a_report() {
    let home = home();
    let arguments = ["auth0", "auth0.json", "--client-grants", "grants.json"];
    let (report, file) = report(home.path(), &arguments);
    let (orders, courier) = ("0rDeRsInventedInventedInvented01", "c0uRiErInventedInventedInvented2");
    assert_eq!(grants(&report, orders), "imported secret | https://inventory.acme.example: read:stock write:stock");
    assert_eq!(grants(&report, courier), " | ");
    assert!(file.contains("team = \"shop\"") && file.contains("app-type = \"non_interactive\""), "{file}");
    for (subject, item, expected) in [
        ("XgLoBaLinventedinventedinvented0", "the client", "own client of the tenant"),
        (orders, "client_metadata.cost center", "a label's name"),
        (orders, "client grant for https://acme-invented.eu.auth0.com/api/v2/", "Auth0's own API"),
        (orders, "jwt_configuration", "ID tokens"),
        (courier, "client_authentication_methods.private_key_jwt", "only by ID"),
        (courier, "client_secret", "another method"),
        (courier, "audience https://parcels.acme.example", "--scope"),
        (courier, "require_proof_of_possession", "knows no equivalent"),
        ("g0NeInventedInventedInvented0004", "its client grants", "does not have the client"),
    ] {
        let reason = reason(&report, subject, item);
        assert!(reason.contains(expected), "{subject} {item}: {reason}");
    }
}

#[test]
fn a_method_of_another_type_is_no_absent_method() {
    let [mut realm, mut hydra, mut auth0] =
        [KEYCLOAK, HYDRA, AUTH0].map(|text| serde_json::from_str::<Value>(text).unwrap());
    member(&mut realm["clients"], "clientId", "orders")["clientAuthenticatorType"] = json!(["client-jwt"]);
    member(&mut hydra, "client_id", "ledger-writer")["token_endpoint_auth_method"] = json!({ "method": "none" });
    let orders = "0rDeRsInventedInventedInvented01";
    let mut listed = auth0.clone();
    member(&mut auth0["clients"], "client_id", orders)["token_endpoint_auth_method"] = json!(7);
    member(&mut listed["clients"], "client_id", orders)["client_authentication_methods"] = json!(["private_key_jwt"]);
    for (arguments, input, client) in [
        (&["keycloak"][..], realm, "orders"),
        (&["hydra"], hydra, "ledger-writer"),
        (&["auth0", "--client-grants", "grants.json"], auth0, orders),
        (&["auth0", "--client-grants", "grants.json"], listed, orders),
    ] {
        let home = home();
        fs::write(home.path().join("changed.json"), input.to_string()).unwrap();
        let (report, _) = report(home.path(), &[arguments, &["changed.json"]].concat());
        let granted = grants(&report, client);
        assert!(!granted.contains("secret"), "{arguments:?}: {granted}");
        let item = if arguments[0] == "keycloak" { "secret" } else { "client_secret" };
        assert!(reason(&report, client, item).contains("another method"), "{arguments:?}");
    }
}

#[test]
fn a_client_of_auth0_without_secret_and_method_is_reported() {
    let mut auth0: Value = serde_json::from_str(AUTH0).unwrap();
    let orders = "0rDeRsInventedInventedInvented01";
    let client = member(&mut auth0["clients"], "client_id", orders).as_object_mut().unwrap();
    client.retain(|name, _| !["client_secret", "token_endpoint_auth_method"].contains(&name.as_str()));
    let home = home();
    fs::write(home.path().join("changed.json"), auth0.to_string()).unwrap();
    let (report, _) = report(home.path(), &["auth0", "--client-grants", "grants.json", "changed.json"]);
    assert!(reason(&report, orders, "client_secret").contains("has no secret"), "{report}");
}

#[test]
fn no_secret_is_printed_or_written_and_the_file_is_private() {
    let home = home();
    for arguments in [
        &["keycloak", "realm.json"][..],
        &["hydra", "hydra.json"],
        &["auth0", "auth0.json", "--client-grants", "grants.json"],
    ] {
        for format in [&[][..], &["--json"]] {
            let ran = imported(home.path(), &[arguments, format].concat());
            let path = home.path().join("clients.toml");
            let shown = format!("{}{}{}", ran.stdout, ran.stderr, fs::read_to_string(&path).unwrap());
            for secret in secrets() {
                assert!(!shown.contains(&secret), "{arguments:?}");
            }
            assert!(!ran.stdout.contains("$argon2id"), "{}", ran.stdout);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_second_import_writes_the_same_file() {
    let home = home();
    let path = home.path().join("clients.toml");
    imported(home.path(), &["keycloak", "realm.json"]);
    let first = fs::read_to_string(&path).unwrap();
    let refused = run(home.path(), &["import", "keycloak", "realm.json", "--out", "clients.toml"]);
    assert_eq!(refused.code, 2, "a file is not replaced without --force");
    imported(home.path(), &["keycloak", "realm.json", "--force"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    fs::write(home.path().join("realm.json"), KEYCLOAK.replace(ORDERS, "another secret")).unwrap();
    imported(home.path(), &["keycloak", "realm.json", "--force"]);
    let changed = fs::read_to_string(&path).unwrap();
    let differing: Vec<_> = changed.lines().zip(first.lines()).filter(|(now, before)| now != before).collect();
    assert_eq!(differing.len(), 1, "only the hash of the new secret");
}

#[test]
fn a_file_of_another_form_is_refused_without_its_content() {
    let home = home();
    for (arguments, text) in [
        (&["keycloak", "a.json"][..], "[{\"secret\": \"hunter2\"}]"),
        (&["keycloak", "a.json"], "{\"secret\": \"hunter2\""),
        (&["hydra", "a.json"], "{\"client_secret\": \"hunter2\"}"),
        (&["hydra", "a.json"], "[\"hunter2\"]"),
        (&["auth0", "a.json", "--client-grants", "grants.json"], "{\"clients\": \"hunter2\"}"),
    ] {
        fs::write(home.path().join("a.json"), text).unwrap();
        let ran = run(home.path(), &[&["import"], arguments, &["--out", "x.toml"]].concat());
        assert_eq!(ran.code, 2, "{text}");
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        assert!(!home.path().join("x.toml").exists());
    }
}

/// A server on a database, and its administrator's secret.
fn serving(home: &Path, accept_imported: bool) -> (Serving, String) {
    let more = format!("[secrets]\naccept_imported = {accept_imported}");
    fs::write(home.join("a.toml"), config(home).replace("[secrets]", &more)).unwrap();
    let secret = create_offline(home, "token-admin", "m2m.admin.v1=clients.read,clients.write");
    (Serving::start(home), secret)
}

fn admin(home: &Path, (serving, secret): &(Serving, String), arguments: &[&str]) -> Ran {
    let mut command = program(home);
    command.env("TOKEN_ADMIN_CLIENT_ID", "token-admin").env("TOKEN_ADMIN_CLIENT_SECRET", secret);
    command.args(arguments).args(["--issuer", &serving.issuer]).output().unwrap().into()
}

/// The status of a token request over HTTP.
fn over_http(issuer: &str, id: &str, secret: &str, audience: &str) -> u16 {
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&audience={audience}");
    request_token(issuer, &form).0
}

/// The scopes of a token over gRPC.
fn over_grpc(issuer: &str, id: &str, secret: &str, audience: &str) -> Result<Vec<String>, tonic::Code> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut service = TokenServiceClient::connect(issuer.to_owned()).await.unwrap();
        let client = ClientAuthentication {
            client_id: id.to_owned(),
            credential: Some(Credential::ClientSecret(secret.to_owned())),
        };
        let audiences = vec![audience.to_owned()];
        let request = IssueTokenRequest { client: Some(client), audiences, ..Default::default() };
        let answer = service.issue_token(request).await.map_err(|status| status.code())?;
        Ok(answer.into_inner().token.unwrap().scopes)
    })
}

#[test]
fn imported_clients_get_tokens_with_their_old_secrets() {
    let home = home();
    let home = home.path();
    imported(home, &["keycloak", "realm.json"]);
    let server = serving(home, true);
    let issuer = server.0.issuer.clone();
    let planned = admin(home, &server, &["client", "plan", "--file", "clients.toml"]);
    for new in ["+ orders  imported secret\n", "\n+ reporter  key\n"] {
        assert!(planned.stdout.contains(new), "{}", planned.stdout);
    }
    let applied = admin(home, &server, &["client", "apply", "--file", "clients.toml"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stdout.contains("+ orders  imported secret\n"), "{}", applied.stdout);

    for (id, secret) in [("orders", ORDERS), ("gateway", GATEWAY)] {
        assert_eq!(over_http(&issuer, id, secret, "inventory"), 200, "{id}");
        assert_eq!(over_grpc(&issuer, id, secret, "inventory").unwrap(), ["inventory.read"], "{id}");
        assert_eq!(over_http(&issuer, id, "wrong", "inventory"), 401, "{id}");
        assert_eq!(over_grpc(&issuer, id, "wrong", "inventory"), Err(tonic::Code::Unauthenticated), "{id}");
    }
    assert_eq!(over_http(&issuer, "robot", "robot-secret-of-the-acme-realm", "inventory"), 401, "disabled");

    // Shown as imported, and rolled.
    let shown = admin(home, &server, &["client", "show", "orders"]);
    assert!(shown.stdout.contains("imported secret"), "{}", shown.stdout);
    let rolled = admin(home, &server, &["client", "add-secret", "orders", "--overlap", "0s", "--json"]);
    assert_eq!(rolled.code, 0, "{}", rolled.stderr);
    let rolled: Value = serde_json::from_str(&rolled.stdout).unwrap();
    assert_eq!(over_http(&issuer, "orders", rolled["client_secret"].as_str().unwrap(), "inventory"), 200);
    assert_eq!(over_http(&issuer, "orders", ORDERS, "inventory"), 401);
    // The file does not bring the replaced secret back.
    let again = admin(home, &server, &["client", "apply", "--file", "clients.toml"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""), "{}", again.stderr);
    assert_eq!(over_http(&issuer, "orders", ORDERS, "inventory"), 401);
}

#[test]
fn a_server_that_accepts_no_imported_secret_says_so() {
    let home = home();
    let home = home.path();
    imported(home, &["keycloak", "realm.json"]);
    let server = serving(home, false);
    let applied = admin(home, &server, &["client", "apply", "--file", "clients.toml"]);
    assert_eq!(applied.code, 2, "{}", applied.stdout);
    assert!(applied.stderr.contains("accept_imported"), "{}", applied.stderr);
}

#[test]
fn an_imported_file_serves_as_the_store() {
    let home = home();
    let home = home.path();
    imported(home, &["hydra", "hydra.json", "--audience", "parcels"]);
    let sqlite = format!("url = \"sqlite://{}/token-server.db\"", home.display());
    let store = format!("url = \"file://{}/clients.toml\"\ndanger_state_in_memory = true", home.display());
    let text = config(home).replace(&sqlite, &store);
    fs::write(home.join("a.toml"), &text).unwrap();
    let refused = run(home, &["serve", "--config", "a.toml", "--check"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("accept_imported"), "{}", refused.stderr);
    fs::write(home.join("a.toml"), text.replace("[secrets]", "[secrets]\naccept_imported = true")).unwrap();
    // The file allows longer lifetimes than the default maximum.
    let maximum = [("TOKEN_SERVER__TOKENS__MAXIMUM_LIFETIME", "2h")];
    let serving = Serving::start_with(home, &maximum);
    let (id, secret) = ("ledger-writer", "kept-by-the-ledger-team");
    assert_eq!(over_http(&serving.issuer, id, secret, "inventory"), 200);
    assert_eq!(over_grpc(&serving.issuer, id, secret, "inventory").unwrap(), ["ledger.append"]);
}
