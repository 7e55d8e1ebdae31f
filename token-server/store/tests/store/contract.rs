//! The contract of every store, one claim per function. `contract!` generates a test of each for one store.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use token_interceptor::signature::Algorithm;
use token_issuer::{
    client::{
        Audience, AuthenticationMethod, Client, ClientId, Credential, CredentialKind, FederatedIdentity, Grant,
        GrantType, Registration, RegistrationDetails, Scope, SecretHash, SubjectMatch,
        secret::{ClientSecret, Pepper, Peppers},
    },
    key_material::KeyMaterial,
    store::{
        AdminRecord, AdminRecordFilter, ChangeKind, CredentialUse, KeyTable, Revocation, RevocationTarget, SealedKey,
        Store, StoreError, StoredKey,
    },
};

/// Runs the whole contract against a store, which `$open` creates for each claim. `$open` also returns a
/// guard that lives as long as the test. It returns `None` if the store is not available.
macro_rules! contract {
    ($open:path) => {
        $crate::contract::contract!($open;
            a_client_reads_back_as_it_was_written,
            an_unknown_client_is_absent,
            a_lookup_finds_what_is_there,
            clients_are_read_by_their_ids,
            a_client_is_found_by_its_federated_identity,
            a_federated_identity_goes_with_its_credential_and_client,
            a_client_id_is_taken_once,
            an_update_needs_the_current_revision,
            of_concurrent_updates_one_succeeds,
            a_removed_client_is_gone,
            an_id_whose_removal_is_on_record_stays_taken,
            a_revocation_is_part_of_the_change_on_record,
            so_many_clients_register_with_one_token,
            removal_can_insist_on_a_revision,
            a_revision_never_comes_back,
            clients_are_listed_in_the_order_of_their_ids,
            use_of_a_credential_is_no_change,
            the_latest_use_counts,
            use_of_an_unknown_credential_is_ignored,
            uses_go_with_their_credential,
            keys_read_back_as_they_were_written,
            of_concurrent_rotations_one_succeeds,
            a_failed_change_leaves_no_trace,
            a_revocation_reads_back_until_it_is_forgotten,
            a_repeated_revocation_keeps_the_later_times,
            the_longest_lifetime_counts_until_its_tokens_have_expired,
            an_assertion_is_used_once_also_by_many_at_once,
            a_used_assertion_is_forgotten_when_it_has_expired,
            every_change_is_in_the_log_in_order,
            the_log_can_be_read_in_steps,
            each_change_has_a_mark_of_its_own,
            purging_the_log_keeps_the_last_change,
            a_change_wakes_who_waits,
            an_audit_record_comes_with_its_change,
            audit_records_are_read_newest_first_in_pages,
            audit_records_are_filtered,
            a_closed_store_is_unavailable,
        );
    };
    ($open:path; $($claim:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                let Some((store, _kept)) = $open().await else { return };
                $crate::contract::$claim(store).await;
            }
        )*
    };
}
pub(crate) use contract;

type Shared = Arc<dyn Store>;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn id(text: &str) -> ClientId {
    ClientId::try_from(text).unwrap()
}

fn bare(text: &str) -> Client {
    Client::new(id(text), at(0))
}

fn credential(name: &str) -> Credential {
    let peppers = Peppers::new(Pepper::new(&KeyMaterial::from_bytes([7; 32])), vec![]);
    Credential {
        id: name.to_owned(),
        kind: CredentialKind::Secret(peppers.hash(&ClientSecret::generate().unwrap())),
        create_time: at(0),
        expire_time: Some(at(60)),
        last_used_time: None,
    }
}

fn full(text: &str) -> Client {
    let scopes: BTreeSet<_> = ["read", "write"].map(|scope| Scope::try_from(scope).unwrap()).into();
    let mut client = bare(text);
    client.display_name = "Orders ✓".to_owned();
    client.grants = vec![Grant {
        audience: Audience::try_from("inventory").unwrap(),
        default_scopes: [Scope::try_from("read").unwrap()].into(),
        scopes,
    }];
    client.credentials = vec![credential("a"), credential("b")];
    client.token_lifetime = Some(Duration::from_secs(90));
    client.claims = [("tenant".to_owned(), "blue".to_owned())].into();
    client.redirect_uris = vec!["https://orders.example/done".to_owned()];
    client.disabled = true;
    client.grant_types = GrantType::ALL.into();
    client.jwks_uri = Some("https://orders.example/jwks.json".to_owned());
    client.may_impersonate = true;
    client.accept_token_endpoint_audience = true;
    client.subject_audiences = [Audience::try_from("inventory").unwrap()].into();
    client.registration = Some(Registration {
        token: SecretHash::Argon2id { phc: "$argon2id$".to_owned() },
        details: RegistrationDetails {
            registered_with: "ci".to_owned(),
            authentication_method: AuthenticationMethod::PrivateKeyJwt,
            client_uri: None,
            software_id: Some("orders".to_owned()),
            software_version: Some("1.2".to_owned()),
        },
        token_expire_time: Some(at(1_000_000)),
        set_by_operator: ["grants".to_owned()].into(),
    });
    client.labels = [("team".to_owned(), "warehouse".to_owned())].into();
    client
}

fn record(action: &str) -> AdminRecord {
    AdminRecord {
        time: at(1),
        actor: "admin".to_owned(),
        action: action.to_owned(),
        resource: "orders".to_owned(),
        request_id: Some("r-1".to_owned()),
        detail: "display_name".to_owned(),
        subject: None,
        act: None,
        revokes: None,
    }
}

fn key(name: &str) -> StoredKey {
    StoredKey {
        key_id: name.to_owned(),
        algorithm: Algorithm::EdDsa,
        create_time: at(0),
        sign_after: at(10),
        distrust_time: None,
        imported: false,
        sealed: SealedKey { sealing_key_id: "s".to_owned(), bytes: vec![0, 1, 255] },
    }
}

fn token(name: &str, forget: u64) -> Revocation {
    Revocation {
        target: RevocationTarget::TokenId(name.to_owned()),
        revoked_before: at(5),
        forget_time: at(forget),
        issued_to: None,
    }
}

async fn kinds(store: &Shared) -> Vec<ChangeKind> {
    store.changes_from(0, 100).await.unwrap().changes.into_iter().filter_map(|change| change.kind).collect()
}

pub(crate) async fn a_client_reads_back_as_it_was_written(store: Shared) {
    let created = store.create_client(&full("orders"), None).await.unwrap();
    assert!(created.revision > 0);
    assert_eq!(store.client(&id("orders")).await.unwrap(), Some(created.clone()));
    assert_eq!(Client { revision: 0, ..created }, full_as(&full("orders"), &store).await);
}

/// Copies the stored credentials into `client`, because each call of `full` generates new secrets.
async fn full_as(client: &Client, store: &Shared) -> Client {
    let stored = store.client(&client.id).await.unwrap().unwrap();
    Client { credentials: stored.credentials, ..client.clone() }
}

pub(crate) async fn an_unknown_client_is_absent(store: Shared) {
    assert_eq!(store.client(&id("absent")).await.unwrap(), None);
}

pub(crate) async fn a_lookup_finds_what_is_there(store: Shared) {
    let created = store.create_client(&full("orders"), None).await.unwrap();
    store.credentials_used(&[used("orders", "b", 60)]).await.unwrap();
    let found = store.lookup(&id("orders")).await.unwrap().unwrap();
    assert_eq!(Client { credentials: Vec::new(), ..found.clone() }, Client { credentials: Vec::new(), ..created });
    assert_eq!(found.credentials.len(), 2);
    assert_eq!(store.lookup(&id("absent")).await.unwrap(), None);
}

/// A client with one federated identity for each subject.
fn federated(text: &str, subjects: &[SubjectMatch]) -> Client {
    let credential = |(number, subject): (usize, &SubjectMatch)| Credential {
        id: number.to_string(),
        kind: CredentialKind::FederatedIdentity(FederatedIdentity {
            issuer: "https://a.example".to_owned(),
            subject: subject.clone(),
            claims: [("/repository_id".to_owned(), ["1".to_owned(), "2".to_owned()].into())].into(),
            max_age: Some(Duration::from_secs(600)),
            reuse: true,
        }),
        ..credential("x")
    };
    Client { credentials: subjects.iter().enumerate().map(credential).collect(), ..bare(text) }
}

/// The credentials of a client with this exact subject.
pub(crate) fn identities(subject: &str) -> Vec<Credential> {
    federated("x", &[exactly(subject)]).credentials
}

fn exactly(subject: &str) -> SubjectMatch {
    SubjectMatch::Exactly(subject.to_owned())
}

fn prefix(subject: &str) -> SubjectMatch {
    SubjectMatch::Prefix(subject.to_owned())
}

async fn found(store: &Shared, issuer: &str, subject: &str, limit: u32) -> Vec<String> {
    let found = store.federated_clients(issuer, subject, limit).await.unwrap();
    found.iter().map(ToString::to_string).collect()
}

pub(crate) async fn a_client_is_found_by_its_federated_identity(store: Shared) {
    let one = federated("one", &[exactly("ns:a"), exactly("ns:b"), prefix("ns:"), prefix("other/")]);
    let one = store.create_client(&one, None).await.unwrap();
    assert_eq!(store.client(&one.id).await.unwrap().unwrap(), one);
    store.create_client(&federated("two", &[exactly("ns:a")]), None).await.unwrap();
    store.create_client(&federated("three", &[prefix("ns:a:")]), None).await.unwrap();
    // A subject that looks like the key of a rule.
    store.create_client(&federated("four", &[exactly("^ns:")]), None).await.unwrap();
    for (subject, expected) in [
        ("ns:a", vec!["one", "two"]),
        ("ns:b", vec!["one"]),
        ("ns:a:x", vec!["one", "three"]),
        ("other/x/y", vec!["one"]),
        ("^ns:", vec!["four"]),
        ("ns", vec![]),
        ("NS:a", vec![]),
        ("%", vec![]),
        ("ns:a%", vec!["one"]),
        ("", vec![]),
    ] {
        assert_eq!(found(&store, "https://a.example", subject, 9).await, expected, "{subject}");
    }
    assert_eq!(found(&store, "https://a.example", "ns:a", 1).await, ["one"]);
    for issuer in ["https://a.example/", "https://A.example", "https://b.example", ""] {
        assert!(found(&store, issuer, "ns:a", 9).await.is_empty(), "{issuer}");
    }
}

pub(crate) async fn a_federated_identity_goes_with_its_credential_and_client(store: Shared) {
    let issuer = "https://a.example";
    let client = store.create_client(&federated("one", &[exactly("a"), exactly("b")]), None).await.unwrap();
    let changed = Client { revision: client.revision, ..federated("one", &[exactly("b"), exactly("c")]) };
    let changed = store.update_client(&changed, None).await.unwrap();
    for (subject, there) in [("a", false), ("b", true), ("c", true)] {
        assert_eq!(found(&store, issuer, subject, 9).await.len(), usize::from(there), "{subject}");
    }
    // A change that fails changes nothing.
    store.update_client(&Client { revision: client.revision, ..bare("one") }, None).await.unwrap_err();
    assert_eq!(found(&store, issuer, "b", 9).await, ["one"]);
    let disabled = store.update_client(&Client { disabled: true, ..changed.clone() }, None).await.unwrap();
    assert!(found(&store, issuer, "b", 9).await.is_empty());
    let changed = store.update_client(&Client { disabled: false, ..disabled }, None).await.unwrap();
    assert_eq!(found(&store, issuer, "b", 9).await, ["one"]);
    store.delete_client(&changed.id, None, None).await.unwrap();
    assert!(found(&store, issuer, "b", 9).await.is_empty());
}

pub(crate) async fn clients_are_read_by_their_ids(store: Shared) {
    for name in ["a", "b", r#"odd " ' \\ name"#] {
        store.create_client(&bare(name), None).await.unwrap();
    }
    let read = async |names: &[&str]| -> BTreeSet<String> {
        let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
        store.clients_by_id(&ids).await.unwrap().into_iter().map(|client| client.id.into()).collect()
    };
    assert_eq!(
        read(&["a", "absent", r#"odd " ' \\ name"#]).await,
        ["a", r#"odd " ' \\ name"#].map(str::to_owned).into()
    );
    assert!(read(&[]).await.is_empty());
}

pub(crate) async fn a_client_id_is_taken_once(store: Shared) {
    let first = store.create_client(&full("orders"), None).await.unwrap();
    let error = store.create_client(&bare("orders"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists), "{error:?}");
    assert_eq!(store.client(&id("orders")).await.unwrap(), Some(first));
}

pub(crate) async fn an_update_needs_the_current_revision(store: Shared) {
    let created = store.create_client(&full("orders"), None).await.unwrap();
    let changed = Client { disabled: false, ..created.clone() };
    let updated = store.update_client(&changed, None).await.unwrap();
    assert_ne!(updated.revision, created.revision);
    assert_eq!(store.client(&id("orders")).await.unwrap(), Some(updated.clone()));
    let error = store.update_client(&changed, None).await.unwrap_err();
    assert!(matches!(error, StoreError::RevisionMismatch), "{error:?}");
    let error = store.update_client(&bare("absent"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound), "{error:?}");
}

pub(crate) async fn of_concurrent_updates_one_succeeds(store: Shared) {
    let created = store.create_client(&bare("orders"), None).await.unwrap();
    let update = |name: &str| {
        let (store, changed) = (Arc::clone(&store), Client { display_name: name.to_owned(), ..created.clone() });
        tokio::spawn(async move { store.update_client(&changed, None).await.is_ok() })
    };
    let tasks: Vec<_> = (0..8).map(|n| update(&n.to_string())).collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += u32::from(task.await.unwrap());
    }
    assert_eq!(succeeded, 1);
}

pub(crate) async fn a_removed_client_is_gone(store: Shared) {
    store.create_client(&full("orders"), None).await.unwrap();
    store.delete_client(&id("orders"), None, None).await.unwrap();
    assert_eq!(store.client(&id("orders")).await.unwrap(), None);
    let error = store.delete_client(&id("orders"), None, None).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound), "{error:?}");
}

pub(crate) async fn an_id_whose_removal_is_on_record_stays_taken(store: Shared) {
    store.expect_free(&id("orders")).await.unwrap();
    store.create_client(&bare("orders"), Some(&record("CreateClient"))).await.unwrap();
    assert!(matches!(store.expect_free(&id("orders")).await, Err(StoreError::AlreadyExists)));
    store.delete_client(&id("orders"), None, Some(&record("DeleteClient"))).await.unwrap();
    let error = store.create_client(&bare("orders"), Some(&record("CreateClient"))).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists), "{error:?}");
    assert!(matches!(store.expect_free(&id("orders")).await, Err(StoreError::AlreadyExists)));
}

pub(crate) async fn a_revocation_is_part_of_the_change_on_record(store: Shared) {
    let client = store.create_client(&bare("orders"), None).await.unwrap();
    let target = RevocationTarget::Client(id("orders"));
    let revocation = Revocation { target: target.clone(), ..token("", 10) };
    let revoking = |action| AdminRecord { revokes: Some(revocation.clone()), ..record(action) };
    let stale = Client { revision: client.revision + 1, ..client.clone() };
    store.update_client(&stale, Some(&revoking("UpdateClient"))).await.unwrap_err();
    assert_eq!(store.revocation(&target).await.unwrap(), None, "nothing without the change");
    store.update_client(&client, Some(&revoking("UpdateClient"))).await.unwrap();
    assert_eq!(store.revocation(&target).await.unwrap(), Some(revocation.clone()));
    assert!(kinds(&store).await.contains(&ChangeKind::Revocation(target)));
    store.delete_client(&id("orders"), None, Some(&revoking("DeleteClient"))).await.unwrap();
}

pub(crate) async fn so_many_clients_register_with_one_token(store: Shared) {
    let record = record("RegisterClient");
    let client = |name: &str, with: &str| {
        let mut client = full(name);
        client.registration.as_mut().unwrap().details.registered_with = with.to_owned();
        client
    };
    for name in ["a", "b"] {
        assert!(store.register_client(&client(name, "ci"), 2, &record).await.unwrap().is_some());
    }
    assert!(store.register_client(&client("c", "ci"), 2, &record).await.unwrap().is_none());
    assert!(store.client(&id("c")).await.unwrap().is_none());
    assert!(store.register_client(&client("d", "other"), 2, &record).await.unwrap().is_some());
    store.delete_client(&id("a"), None, None).await.unwrap();
    assert!(store.register_client(&client("c", "ci"), 2, &record).await.unwrap().is_some());
}

pub(crate) async fn removal_can_insist_on_a_revision(store: Shared) {
    let created = store.create_client(&full("orders"), None).await.unwrap();
    let error = store.delete_client(&id("orders"), Some(created.revision + 1), None).await.unwrap_err();
    assert!(matches!(error, StoreError::RevisionMismatch), "{error:?}");
    store.delete_client(&id("orders"), Some(created.revision), None).await.unwrap();
}

pub(crate) async fn a_revision_never_comes_back(store: Shared) {
    let first = store.create_client(&bare("orders"), None).await.unwrap();
    store.delete_client(&id("orders"), None, None).await.unwrap();
    let second = store.create_client(&bare("orders"), None).await.unwrap();
    assert_ne!(first.revision, second.revision);
}

pub(crate) async fn clients_are_listed_in_the_order_of_their_ids(store: Shared) {
    // The order is by bytes, not by a language's collation.
    for name in ["b", "a", "B", "a-1", "a 1", "a1"] {
        store.create_client(&bare(name), None).await.unwrap();
    }
    let names = async |after: Option<&str>, limit| -> Vec<String> {
        let clients = store.clients(after.map(id).as_ref(), limit).await.unwrap();
        clients.into_iter().map(|client| client.id.into()).collect()
    };
    assert_eq!(names(None, 100).await, ["B", "a", "a 1", "a-1", "a1", "b"]);
    assert_eq!(names(Some("a"), 2).await, ["a 1", "a-1"]);
    assert_eq!(names(Some("a-0"), 1).await, ["a-1"]);
    assert!(names(Some("b"), 100).await.is_empty());
}

pub(crate) async fn use_of_a_credential_is_no_change(store: Shared) {
    let created = store.create_client(&full("orders"), None).await.unwrap();
    let before = store.last_change().await.unwrap();
    store.credentials_used(&[used("orders", "b", 60)]).await.unwrap();
    assert_eq!(store.last_change().await.unwrap(), before);
    let read = store.client(&id("orders")).await.unwrap().unwrap();
    assert_eq!(read.revision, created.revision);
    assert_eq!(last_used(&read), [None, Some(at(60))]);
    assert_eq!(last_used(&store.clients(None, 10).await.unwrap()[0]), [None, Some(at(60))]);
}

fn used(client: &str, credential: &str, time: u64) -> CredentialUse {
    CredentialUse { client_id: id(client), credential_id: credential.to_owned(), time: at(time) }
}

fn last_used(client: &Client) -> Vec<Option<SystemTime>> {
    client.credentials.iter().map(|credential| credential.last_used_time).collect()
}

pub(crate) async fn the_latest_use_counts(store: Shared) {
    store.create_client(&full("orders"), None).await.unwrap();
    store.credentials_used(&[used("orders", "a", 120), used("orders", "a", 60)]).await.unwrap();
    assert_eq!(last_used(&store.client(&id("orders")).await.unwrap().unwrap()), [Some(at(120)), None]);
}

pub(crate) async fn use_of_an_unknown_credential_is_ignored(store: Shared) {
    store.create_client(&full("orders"), None).await.unwrap();
    store.credentials_used(&[used("absent", "a", 60), used("orders", "z", 60), used("orders", "a", 60)]).await.unwrap();
    assert_eq!(last_used(&store.client(&id("orders")).await.unwrap().unwrap()), [Some(at(60)), None]);
}

pub(crate) async fn uses_go_with_their_credential(store: Shared) {
    let created = store.create_client(&full("orders"), None).await.unwrap();
    store.credentials_used(&[used("orders", "a", 60), used("orders", "b", 60)]).await.unwrap();
    let without = Client { credentials: created.credentials[1..].to_vec(), ..created.clone() };
    let updated = store.update_client(&without, None).await.unwrap();
    store.update_client(&Client { credentials: created.credentials, ..updated }, None).await.unwrap();
    assert_eq!(last_used(&store.client(&id("orders")).await.unwrap().unwrap()), [None, Some(at(60))]);
    store.delete_client(&id("orders"), None, None).await.unwrap();
    store.create_client(&full("orders"), None).await.unwrap();
    assert_eq!(last_used(&store.client(&id("orders")).await.unwrap().unwrap()), [None, None]);
}

pub(crate) async fn keys_read_back_as_they_were_written(store: Shared) {
    assert_eq!(store.keys().await.unwrap(), KeyTable::default());
    let keys = vec![
        key("a"),
        StoredKey { distrust_time: Some(at(3)), algorithm: Algorithm::Ps256, imported: true, ..key("b") },
    ];
    let version = store.replace_keys(&KeyTable { version: 0, keys: keys.clone() }, None).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), KeyTable { version, keys: keys.clone() });
    let fewer = KeyTable { version, keys: keys[1..].to_vec() };
    let version = store.replace_keys(&fewer, None).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), KeyTable { version, ..fewer });
}

pub(crate) async fn of_concurrent_rotations_one_succeeds(store: Shared) {
    let rotate = |name: String| {
        let store = Arc::clone(&store);
        tokio::spawn(
            async move { store.replace_keys(&KeyTable { version: 0, keys: vec![key(&name)] }, None).await.is_ok() },
        )
    };
    let tasks: Vec<_> = (0..8).map(|n| rotate(n.to_string())).collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += u32::from(task.await.unwrap());
    }
    assert_eq!(succeeded, 1);
    assert_eq!(store.keys().await.unwrap().keys.len(), 1);
}

pub(crate) async fn a_failed_change_leaves_no_trace(store: Shared) {
    store.create_client(&bare("orders"), None).await.unwrap();
    let before = store.last_change().await.unwrap();
    assert!(store.create_client(&bare("orders"), Some(&record("CreateClient"))).await.is_err());
    assert!(store.update_client(&bare("orders"), Some(&record("UpdateClient"))).await.is_err());
    let stale = KeyTable { version: 99, keys: vec![key("a")] };
    assert!(store.replace_keys(&stale, Some(&record("RotateSigningKey"))).await.is_err());
    assert_eq!(store.last_change().await.unwrap(), before);
    assert!(store.admin_records(&AdminRecordFilter::default(), None, 10).await.unwrap().is_empty());
    assert!(store.keys().await.unwrap().keys.is_empty());
}

pub(crate) async fn a_revocation_reads_back_until_it_is_forgotten(store: Shared) {
    let client = Revocation { target: RevocationTarget::Client(id("orders")), ..token("", 20) };
    let owned = Revocation { issued_to: Some(id("orders")), ..token("owned", 10) };
    store.revoke(&owned, None).await.unwrap();
    assert_eq!(store.revocation(&owned.target).await.unwrap(), Some(owned));
    assert_eq!(store.purge_revocations(at(10)).await.unwrap(), 1);
    store.revoke(&token("jti", 10), None).await.unwrap();
    store.revoke(&client, None).await.unwrap();
    assert_eq!(store.revocations(at(9)).await.unwrap(), [client.clone(), token("jti", 10)]);
    assert_eq!(store.revocations(at(10)).await.unwrap(), std::slice::from_ref(&client));
    let target = RevocationTarget::TokenId("jti".to_owned());
    assert_eq!(store.revocation(&target).await.unwrap(), Some(token("jti", 10)));
    assert_eq!(store.purge_revocations(at(10)).await.unwrap(), 1);
    assert_eq!(store.revocation(&target).await.unwrap(), None);
    assert_eq!(store.revocations(at(0)).await.unwrap(), [client]);
}

pub(crate) async fn the_longest_lifetime_counts_until_its_tokens_have_expired(store: Shared) {
    let lifetime = |seconds| Duration::from_secs(seconds);
    let margin = token_issuer::store::LIFETIME_MARGIN.as_secs();
    assert_eq!(store.longest_lifetime(lifetime(100), at(10)).await.unwrap(), lifetime(100));
    assert_eq!(store.longest_lifetime(lifetime(5), at(20)).await.unwrap(), lifetime(100), "lowered");
    assert_eq!(store.longest_lifetime(lifetime(100), at(5)).await.unwrap(), lifetime(100), "a clock that is behind");
    assert_eq!(store.longest_lifetime(lifetime(5), at(109 + margin)).await.unwrap(), lifetime(100));
    assert_eq!(store.longest_lifetime(lifetime(5), at(110 + margin)).await.unwrap(), lifetime(5));
}

pub(crate) async fn an_assertion_is_used_once_also_by_many_at_once(store: Shared) {
    let before = store.last_change().await.unwrap();
    let uses = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.use_assertion(&[1; 32], at(10)).await.unwrap() })
    });
    let mut first = 0;
    for used in uses.collect::<Vec<_>>() {
        first += usize::from(used.await.unwrap());
    }
    assert_eq!(first, 1);
    assert!(store.use_assertion(&[2; 32], at(10)).await.unwrap(), "another one");
    assert_eq!(store.last_change().await.unwrap(), before, "it is no change");
}

pub(crate) async fn a_used_assertion_is_forgotten_when_it_has_expired(store: Shared) {
    assert!(store.use_assertion(&[1; 32], at(10)).await.unwrap());
    assert!(store.use_assertion(&[2; 32], at(20)).await.unwrap());
    assert_eq!(store.purge_assertions(at(10)).await.unwrap(), 1);
    assert!(store.use_assertion(&[1; 32], at(30)).await.unwrap());
    assert!(!store.use_assertion(&[2; 32], at(30)).await.unwrap());
}

pub(crate) async fn a_repeated_revocation_keeps_the_later_times(store: Shared) {
    for revocation in [token("jti", 10), token("jti", 30), token("jti", 20)] {
        store.revoke(&revocation, None).await.unwrap();
    }
    assert_eq!(store.revocations(at(0)).await.unwrap(), [token("jti", 30)]);
}

pub(crate) async fn every_change_is_in_the_log_in_order(store: Shared) {
    assert_eq!(store.last_change().await.unwrap(), 0);
    let client = store.create_client(&bare("orders"), None).await.unwrap();
    store.update_client(&client, None).await.unwrap();
    store.replace_keys(&KeyTable { version: 0, keys: vec![key("a")] }, None).await.unwrap();
    store.revoke(&token("jti", 10), None).await.unwrap();
    store.delete_client(&id("orders"), None, None).await.unwrap();
    let orders = || ChangeKind::Client(id("orders"));
    let revocation = ChangeKind::Revocation(RevocationTarget::TokenId("jti".to_owned()));
    let expected = [orders(), orders(), ChangeKind::Keys, revocation, orders()];
    assert_eq!(kinds(&store).await, expected);
    let changes = store.changes_from(0, 100).await.unwrap().changes;
    assert!(changes.is_sorted_by_key(|change| change.sequence));
    assert_eq!(changes.last().map(|change| change.sequence), Some(store.last_change().await.unwrap()));
}

pub(crate) async fn the_log_can_be_read_in_steps(store: Shared) {
    for name in ["a", "b", "c"] {
        store.create_client(&bare(name), None).await.unwrap();
    }
    let first = store.changes_from(0, 2).await.unwrap();
    assert_eq!(first.changes.len(), 2);
    let Some(last) = first.changes.last() else { panic!("two changes") };
    let rest = store.changes_from(last.sequence, 2).await.unwrap();
    assert_eq!(rest.epoch, first.epoch);
    assert_eq!(rest.changes.first(), Some(last), "the same row, read again");
    assert_eq!(rest.changes[1].kind, Some(ChangeKind::Client(id("c"))));
    let beyond = store.changes_from(rest.changes[1].sequence + 1, 2).await.unwrap();
    assert_eq!((beyond.epoch, beyond.changes), (first.epoch, vec![]));
}

/// Followers compare marks, because sequence numbers are reused after a failover or a restore.
pub(crate) async fn each_change_has_a_mark_of_its_own(store: Shared) {
    for n in 0..20 {
        store.create_client(&bare(&n.to_string()), None).await.unwrap();
    }
    let page = store.changes_from(0, 100).await.unwrap();
    assert!(!page.epoch.is_empty());
    let marks: BTreeSet<_> = page.changes.iter().map(|change| change.mark.as_str()).collect();
    assert_eq!(marks.len(), 20);
    assert!(!marks.contains(""));
}

pub(crate) async fn purging_the_log_keeps_the_last_change(store: Shared) {
    for name in ["a", "b", "c"] {
        store.create_client(&bare(name), None).await.unwrap();
    }
    let last = store.last_change().await.unwrap();
    assert_eq!(store.purge_changes(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(store.purge_changes(Duration::ZERO).await.unwrap(), 2);
    assert_eq!(store.last_change().await.unwrap(), last);
    assert_eq!(kinds(&store).await, [ChangeKind::Client(id("c"))]);
}

pub(crate) async fn a_change_wakes_who_waits(store: Shared) {
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.changed().await }
    });
    store.create_client(&bare("orders"), None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("woken").unwrap();
}

pub(crate) async fn an_audit_record_comes_with_its_change(store: Shared) {
    let client = store.create_client(&bare("orders"), Some(&record("CreateClient"))).await.unwrap();
    store.update_client(&client, Some(&record("UpdateClient"))).await.unwrap();
    store.delete_client(&id("orders"), None, Some(&record("DeleteClient"))).await.unwrap();
    store.revoke(&token("jti", 10), Some(&record("RevokeToken"))).await.unwrap();
    store.replace_keys(&KeyTable::default(), Some(&record("RotateSigningKey"))).await.unwrap();
    let records: Vec<_> = store
        .admin_records(&AdminRecordFilter::default(), None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    let expected = ["RotateSigningKey", "RevokeToken", "DeleteClient", "UpdateClient", "CreateClient"].map(record);
    assert_eq!(records, expected);
}

/// Checks that a change fails if its audit record does. `without_record` makes further insertions of records
/// fail.
pub(crate) async fn no_change_without_its_record(store: Shared, without_record: impl AsyncFnOnce()) {
    let client = store.create_client(&bare("orders"), Some(&record("CreateClient"))).await.unwrap();
    let before = store.last_change().await.unwrap();
    without_record().await;
    let changed = Client { display_name: "Changed".to_owned(), ..client.clone() };
    let keys = KeyTable { keys: vec![key("a")], ..KeyTable::default() };
    assert!(store.create_client(&bare("more"), Some(&record("CreateClient"))).await.is_err());
    assert!(store.update_client(&changed, Some(&record("UpdateClient"))).await.is_err());
    assert!(store.delete_client(&client.id, None, Some(&record("DeleteClient"))).await.is_err());
    assert!(store.revoke(&token("jti", 10), Some(&record("RevokeToken"))).await.is_err());
    assert!(store.replace_keys(&keys, Some(&record("RotateSigningKey"))).await.is_err());
    assert_eq!(store.last_change().await.unwrap(), before);
    assert_eq!(store.client(&client.id).await.unwrap(), Some(client));
    assert_eq!(store.client(&id("more")).await.unwrap(), None);
    assert!(store.revocations(at(0)).await.unwrap().is_empty());
    assert!(store.keys().await.unwrap().keys.is_empty());
    // Without a record, the change succeeds: only the record had failed.
    store.revoke(&token("jti", 10), None).await.unwrap();
    store.replace_keys(&keys, None).await.unwrap();
}

pub(crate) async fn audit_records_are_read_newest_first_in_pages(store: Shared) {
    for name in ["a", "b", "c"] {
        store
            .create_client(&bare(name), Some(&AdminRecord { resource: name.to_owned(), ..record("CreateClient") }))
            .await
            .unwrap();
    }
    let first = store.admin_records(&AdminRecordFilter::default(), None, 2).await.unwrap();
    assert_eq!(first.iter().map(|(_, record)| record.resource.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    let rest = store.admin_records(&AdminRecordFilter::default(), Some(first[1].0), 2).await.unwrap();
    assert_eq!(rest.iter().map(|(_, record)| record.resource.as_str()).collect::<Vec<_>>(), ["a"]);
}

pub(crate) async fn audit_records_are_filtered(store: Shared) {
    let records = [
        AdminRecord { time: at(1), ..record("CreateClient") },
        AdminRecord { time: at(2), actor: "other".to_owned(), ..record("UpdateClient") },
        AdminRecord { time: at(3), resource: "billing".to_owned(), ..record("CreateClient") },
    ];
    for record in &records {
        store.revoke(&token("jti", 10), Some(record)).await.unwrap();
    }
    let times = async |filter: AdminRecordFilter| -> Vec<SystemTime> {
        let found = store.admin_records(&filter, None, 10).await.unwrap();
        found.into_iter().map(|(_, record)| record.time).collect()
    };
    let all = AdminRecordFilter::default;
    assert_eq!(times(all()).await, [at(3), at(2), at(1)]);
    assert_eq!(times(AdminRecordFilter { actor: Some("other".to_owned()), ..all() }).await, [at(2)]);
    assert_eq!(times(AdminRecordFilter { action: Some("CreateClient".to_owned()), ..all() }).await, [at(3), at(1)]);
    assert_eq!(times(AdminRecordFilter { resource: Some("billing".to_owned()), ..all() }).await, [at(3)]);
    assert_eq!(times(AdminRecordFilter { from: Some(at(2)), until: Some(at(3)), ..all() }).await, [at(2)]);
}

pub(crate) async fn a_closed_store_is_unavailable(store: Shared) {
    store.close().await;
    let error = store.client(&id("orders")).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(store.create_client(&bare("orders"), None).await.unwrap_err().is_transient());
}
