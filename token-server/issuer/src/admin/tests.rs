use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use token_interceptor::{
    clock::Clock,
    signature::{Algorithm, SigningKey},
};

use super::*;
use crate::{
    client::{
        Client, ClientId, Credential, CredentialKind, SecretHash,
        secret::{Pepper, Peppers},
    },
    client_registry::ClientRegistry,
    key::{KeyRotation, KeySettings, KeyState, Schedule, SealingKeys},
    key_material::KeyMaterial,
    revocation::RevocationRegistry,
    store::{AdminRecord, AdminRecordFilter, ClientStore, KeyStore, RevocationTarget, Store},
    test_util::MemoryStore,
};

#[derive(Debug)]
struct TestClock(Mutex<SystemTime>);

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

struct Setting {
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
    registry: ClientRegistry,
    peppers: Peppers,
    admin: ClientAdmin,
    operator: Operator,
}

impl Setting {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let clock = Arc::new(TestClock(Mutex::new(at(0))));
        let registry = ClientRegistry::new(Arc::clone(&store) as Arc<dyn ClientStore>);
        let peppers = Peppers::new(Pepper::new(&KeyMaterial::from_bytes([1; 32])), vec![]).importing(true);
        let admin = ClientAdmin::new(
            Arc::clone(&store) as Arc<dyn ClientStore>,
            registry.clone(),
            peppers.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            AdminRules::new(Duration::from_secs(3600)),
        );
        let operator = Operator::caller("admin", ["clients.write"], "r-1");
        Self { store, clock, registry, peppers, admin, operator }
    }

    async fn create(&self, draft: &ClientDraft) -> Result<CreatedClient, AdminError> {
        self.admin.create(&self.operator, draft, &NewCredential::SECRET, false).await
    }

    async fn orders(&self) -> CreatedClient {
        self.create(&orders()).await.unwrap()
    }

    async fn update(&self, draft: ClientDraft, fields: &[ClientField], etag: &str) -> Result<Client, AdminError> {
        let update = ClientUpdate { draft, fields: fields.to_vec(), etag: etag.to_owned(), ..ClientUpdate::default() };
        self.admin.update(&self.operator, &update).await
    }

    async fn matches(&self, secret: &str, client: &Client) -> Option<String> {
        let matched = self.peppers.find_match(secret, &client.credentials, self.clock.now()).await;
        matched.map(|credential| credential.id.clone())
    }

    async fn last_record(&self) -> AdminRecord {
        self.store.admin_records(&AdminRecordFilter::default(), None, 1).await.unwrap().remove(0).1
    }
}

fn orders() -> ClientDraft {
    let grant = GrantDraft {
        audience: "inventory".to_owned(),
        scopes: vec!["inventory.read".to_owned()],
        default_scopes: vec!["inventory.read".to_owned()],
    };
    ClientDraft { client_id: "orders".to_owned(), grants: vec![grant], ..ClientDraft::default() }
}

fn may_ask_admin_api_for(scope: &str) -> ClientDraft {
    let grant =
        GrantDraft { audience: ADMIN_AUDIENCE.to_owned(), scopes: vec![scope.to_owned()], default_scopes: vec![] };
    ClientDraft { client_id: "deputy".to_owned(), grants: vec![grant], ..ClientDraft::default() }
}

fn fields(error: AdminError) -> Vec<String> {
    let AdminError::Invalid(violations) = error else { panic!("{error:?}") };
    violations.into_iter().map(|broken| broken.field).collect()
}

const SECRET: NewCredential = NewCredential { kind: NewCredentialKind::Secret, expire_time: None };

#[tokio::test]
async fn creating_answers_with_a_secret_that_the_store_does_not_have() {
    let setting = Setting::new().await;
    let created = setting.orders().await;
    let secret = created.secret.unwrap();
    let stored = setting.admin.get("orders").await.unwrap();
    assert_eq!(stored, created.client);
    assert_eq!(setting.matches(secret.expose(), &stored).await.as_deref(), Some(&*stored.credentials[0].id));
    assert!(!serde_json::to_string(&stored).unwrap().contains(secret.expose()));
    let record = setting.last_record().await;
    assert_eq!(
        (record.actor.as_str(), record.action.as_str(), record.resource.as_str()),
        ("admin", "CreateClient", "orders")
    );
    assert_eq!(record.request_id.as_deref(), Some("r-1"));
}

#[tokio::test]
async fn an_empty_id_asks_for_a_generated_one() {
    let setting = Setting::new().await;
    let draft = ClientDraft { client_id: String::new(), ..orders() };
    let (one, other) = (setting.create(&draft).await.unwrap(), setting.create(&draft).await.unwrap());
    assert_ne!(one.client.id, other.client.id);
}

#[tokio::test]
async fn every_broken_rule_is_named_at_once_and_nothing_is_stored() {
    let setting = Setting::new().await;
    let mut draft = orders();
    draft.grants[0].audience.clear();
    draft.claims.insert("sub".to_owned(), "root".to_owned());
    draft.token_lifetime = Some(Duration::from_secs(7200));
    let expected = ["client.grants[0].audience", "client.token_lifetime", "client.claims[\"sub\"]"];
    assert_eq!(fields(setting.create(&draft).await.unwrap_err()), expected);
    let draft = ClientDraft { client_id: "or\nders".to_owned(), ..orders() };
    assert_eq!(fields(setting.create(&draft).await.unwrap_err()), ["client.client_id"]);
    assert_eq!(setting.store.last_change().await.unwrap(), 0);
}

#[tokio::test]
async fn a_taken_id_is_told_also_when_only_checked() {
    let setting = Setting::new().await;
    setting.orders().await;
    assert!(matches!(setting.create(&orders()).await.unwrap_err(), AdminError::AlreadyExists));
    let checked = setting.admin.create(&setting.operator, &orders(), &NewCredential::SECRET, true).await;
    assert!(matches!(checked.unwrap_err(), AdminError::AlreadyExists));
}

#[tokio::test]
async fn checking_changes_nothing() {
    let setting = Setting::new().await;
    let checked = setting.admin.create(&setting.operator, &orders(), &NewCredential::SECRET, true).await.unwrap();
    assert!(checked.secret.is_none());
    assert!(matches!(setting.admin.get("orders").await.unwrap_err(), AdminError::NotFound("client")));
    let created = setting.orders().await.client;
    let draft = ClientDraft { disabled: true, ..orders() };
    let update =
        ClientUpdate { draft, fields: vec![ClientField::Disabled], validate_only: true, ..ClientUpdate::default() };
    assert!(setting.admin.update(&setting.operator, &update).await.unwrap().disabled);
    assert_eq!(setting.admin.get("orders").await.unwrap(), created);
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let setting = Setting::new().await;
    let created = setting.orders().await.client;
    *setting.clock.0.lock().unwrap() = at(60);
    let draft = ClientDraft { display_name: "Orders".to_owned(), disabled: true, ..orders() };
    let updated =
        setting.update(ClientDraft { grants: vec![], ..draft }, &[ClientField::DisplayName], "").await.unwrap();
    let expected =
        Client { display_name: "Orders".to_owned(), update_time: at(60), revision: updated.revision, ..created };
    assert_eq!(updated, expected);
    assert_eq!(setting.last_record().await.detail, "display_name");
    let cleared = setting.update(ClientDraft { grants: vec![], ..orders() }, &[ClientField::Grants], "").await.unwrap();
    assert!(cleared.grants.is_empty(), "named, so cleared");
}

#[tokio::test]
async fn a_stale_etag_changes_nothing() {
    let setting = Setting::new().await;
    let created = setting.orders().await.client;
    let draft = || ClientDraft { disabled: true, ..orders() };
    let updated = setting.update(draft(), &[ClientField::Disabled], &created.etag()).await.unwrap();
    for etag in [created.etag(), "made up".to_owned()] {
        let error = setting.update(draft(), &[ClientField::Labels], &etag).await.unwrap_err();
        assert!(matches!(error, AdminError::EtagMismatch), "{error:?}");
        let error = setting.admin.delete(&setting.operator, "orders", &etag, false).await.unwrap_err();
        assert!(matches!(error, AdminError::EtagMismatch), "{error:?}");
    }
    setting.admin.delete(&setting.operator, "orders", &updated.etag(), false).await.unwrap();
    assert!(matches!(setting.admin.get("orders").await.unwrap_err(), AdminError::NotFound("client")));
}

#[tokio::test]
async fn a_change_is_in_effect_when_the_operator_hears_of_it() {
    let setting = Setting::new().await;
    let id = ClientId::try_from("orders").unwrap();
    let find = async || setting.registry.find(&id).await.unwrap();
    assert!(find().await.is_none(), "and remembered as unknown");
    setting.orders().await;
    assert!(!find().await.unwrap().disabled);
    setting.update(ClientDraft { disabled: true, ..orders() }, &[ClientField::Disabled], "").await.unwrap();
    assert!(find().await.unwrap().disabled);
    setting.admin.delete(&setting.operator, "orders", "", false).await.unwrap();
    assert!(find().await.is_none());
}

#[tokio::test]
async fn pages_lead_through_all_clients_once() {
    let setting = Setting::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        setting.create(&ClientDraft { client_id: name.to_owned(), ..ClientDraft::default() }).await.unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = setting.admin.list(2, &token).await.unwrap();
        assert!(page.clients.len() <= 2);
        seen.extend(page.clients.into_iter().map(|client| String::from(client.id)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert!(setting.admin.list(5, "").await.unwrap().next_page_token.is_empty(), "a full last page is the last");
    assert_eq!(fields(setting.admin.list(-1, "").await.unwrap_err()), ["page_size"]);
    assert_eq!(fields(setting.admin.list(1, "made up").await.unwrap_err()), ["page_token"]);
}

#[tokio::test]
async fn a_second_secret_works_beside_the_first_until_the_overlap_ends() {
    let setting = Setting::new().await;
    let first = setting.orders().await.secret.unwrap();
    let overlap = Some(Duration::from_secs(60));
    let added = setting.admin.add_credential(&setting.operator, "orders", &SECRET, overlap).await.unwrap();
    let second = added.secret.unwrap();
    let client = setting.admin.get("orders").await.unwrap();
    assert_eq!(client.credentials[1], added.credential);
    assert!(setting.matches(first.expose(), &client).await.is_some());
    assert!(setting.matches(second.expose(), &client).await.is_some());
    *setting.clock.0.lock().unwrap() = at(60);
    assert!(setting.matches(first.expose(), &client).await.is_none());
    assert!(setting.matches(second.expose(), &client).await.is_some());
}

#[tokio::test]
async fn an_overlap_never_lengthens_a_life() {
    let setting = Setting::new().await;
    setting.orders().await;
    let short = NewCredential { expire_time: Some(at(10)), ..SECRET };
    setting.admin.add_credential(&setting.operator, "orders", &short, None).await.unwrap();
    let overlap = Some(Duration::from_secs(60));
    setting.admin.add_credential(&setting.operator, "orders", &SECRET, overlap).await.unwrap();
    let client = setting.admin.get("orders").await.unwrap();
    let expiries: Vec<_> = client.credentials.iter().map(|credential| credential.expire_time).collect();
    assert_eq!(expiries, [Some(at(60)), Some(at(10)), None]);
}

#[tokio::test]
async fn a_public_key_is_checked_and_leaves_secrets_alone() {
    let setting = Setting::new().await;
    setting.orders().await;
    let der = SigningKey::generate_pkcs8(Algorithm::EdDsa).unwrap();
    let jwk = SigningKey::from_der(Algorithm::EdDsa, &der).unwrap().public_jwk();
    let key = |jwk: String| NewCredential { kind: NewCredentialKind::PublicKey(jwk), expire_time: None };
    let added = setting.admin.add_credential(&setting.operator, "orders", &key(jwk.to_json()), None).await.unwrap();
    assert!(added.secret.is_none());
    let Credential { kind: CredentialKind::PublicKey(stored), .. } = added.credential else { panic!("a key") };
    assert_eq!(stored.key().key_id(), Some(jwk.key_id()));
    let error =
        setting.admin.add_credential(&setting.operator, "orders", &key("{}".to_owned()), None).await.unwrap_err();
    assert_eq!(fields(error), ["credential.public_key.jwk"]);
}

#[tokio::test]
async fn credentials_are_bounded_and_not_born_expired() {
    let setting = Setting::new().await;
    setting.orders().await;
    let past = NewCredential { expire_time: Some(at(0)), ..SECRET };
    let error = setting.admin.add_credential(&setting.operator, "orders", &past, None).await.unwrap_err();
    assert_eq!(fields(error), ["credential.expire_time"]);
    for _ in 1..20 {
        setting.admin.add_credential(&setting.operator, "orders", &SECRET, None).await.unwrap();
    }
    let error = setting.admin.add_credential(&setting.operator, "orders", &SECRET, None).await.unwrap_err();
    assert_eq!(fields(error), ["credential"]);
}

#[tokio::test]
async fn a_removed_credential_is_refused_at_once() {
    let setting = Setting::new().await;
    let created = setting.orders().await;
    let credential_id = &created.client.credentials[0].id;
    setting.admin.remove_credential(&setting.operator, "orders", credential_id, false).await.unwrap();
    let client = setting.registry.find(&created.client.id).await.unwrap().unwrap();
    assert_eq!(setting.matches(created.secret.unwrap().expose(), &client).await, None);
    assert_eq!(setting.last_record().await.detail, *credential_id);
    let error = setting.admin.remove_credential(&setting.operator, "orders", credential_id, false).await.unwrap_err();
    assert!(matches!(error, AdminError::NotFound("credential")), "{error:?}");
}

/// `clients.write` alone must not lead to `keys.write`.
#[tokio::test]
async fn operators_grant_only_admin_scopes_that_they_hold() {
    let setting = Setting::new().await;
    let beyond = |error: AdminError| {
        let AdminError::BeyondOwnScopes { missing } = error else { panic!("{error:?}") };
        assert_eq!(missing, ["keys.write"]);
    };
    setting.create(&may_ask_admin_api_for("clients.write")).await.unwrap();
    let more = may_ask_admin_api_for("keys.write");
    beyond(setting.create(&ClientDraft { client_id: "other".to_owned(), ..more.clone() }).await.unwrap_err());
    beyond(setting.update(more, &[ClientField::Grants], "").await.unwrap_err());

    let root = Operator::local("root");
    let chief = ClientDraft { client_id: "chief".to_owned(), ..may_ask_admin_api_for("keys.write") };
    setting.admin.create(&root, &chief, &NewCredential::SECRET, false).await.unwrap();
    beyond(setting.admin.add_credential(&setting.operator, "chief", &SECRET, None).await.unwrap_err());
    let named = ClientDraft { display_name: "Chief".to_owned(), ..chief };
    setting.update(named, &[ClientField::DisplayName], "").await.unwrap();
    let lesser = ClientDraft { client_id: "chief".to_owned(), ..orders() };
    beyond(setting.update(lesser, &[ClientField::Grants], "").await.unwrap_err());
}

/// The operator with the fewest scopes must not remove the one with the most.
#[tokio::test]
async fn removing_a_client_takes_its_admin_scopes() {
    let setting = Setting::new().await;
    let chief = ClientDraft { client_id: "chief".to_owned(), ..may_ask_admin_api_for("keys.write") };
    setting.admin.create(&Operator::local("root"), &chief, &NewCredential::SECRET, false).await.unwrap();
    let beyond = |error: AdminError| assert!(matches!(error, AdminError::BeyondOwnScopes { .. }), "{error:?}");
    beyond(setting.admin.delete(&setting.operator, "chief", "", false).await.unwrap_err());
    beyond(setting.admin.check_may_revoke(&setting.operator, "chief").await.unwrap_err());
    assert!(setting.admin.get("chief").await.is_ok());
    setting.admin.check_may_revoke(&setting.operator, "stranger").await.unwrap();
}

#[tokio::test]
async fn a_deleted_id_stays_taken() {
    let setting = Setting::new().await;
    setting.orders().await;
    setting.admin.delete(&setting.operator, "orders", "", false).await.unwrap();
    assert!(matches!(setting.create(&orders()).await.unwrap_err(), AdminError::AlreadyExists));
    let checked = setting.admin.create(&setting.operator, &orders(), &NewCredential::SECRET, true).await;
    assert!(matches!(checked.unwrap_err(), AdminError::AlreadyExists), "validate_only tells the same");
}

#[tokio::test]
async fn disabling_and_deleting_revoke_the_tokens_unless_told_otherwise() {
    let setting = Setting::new().await;
    let clock = Arc::clone(&setting.clock) as Arc<dyn Clock>;
    let registry = RevocationRegistry::start(Arc::clone(&setting.store) as _, Arc::clone(&clock)).await.unwrap();
    let revoking = RevocationAdmin::new(registry, clock, AdminRules::new(Duration::from_secs(3600)));
    let setting = Setting { admin: setting.admin.clone().revoking(revoking), ..setting };
    let revoked = async |id: &str| {
        let target = RevocationTarget::Client(ClientId::try_from(id).unwrap());
        setting.store.revocation(&target).await.unwrap().is_some()
    };
    for (id, keep_tokens) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        let draft = ClientDraft { client_id: id.to_owned(), disabled: true, ..ClientDraft::default() };
        setting.create(&ClientDraft { disabled: false, ..draft.clone() }).await.unwrap();
        if id < "c" {
            let fields = vec![ClientField::Disabled];
            let update = ClientUpdate { draft, fields, keep_tokens, ..ClientUpdate::default() };
            setting.admin.update(&setting.operator, &update).await.unwrap();
        } else {
            setting.admin.delete(&setting.operator, id, "", keep_tokens).await.unwrap();
        }
        assert_eq!(revoked(id).await, !keep_tokens, "{id}");
        assert_eq!(setting.last_record().await.detail.contains("tokens revoked"), !keep_tokens, "{id}");
    }
    let updated = setting.create(&orders()).await.unwrap().client;
    setting.admin.remove_credential(&setting.operator, "orders", &updated.credentials[0].id, true).await.unwrap();
    assert!(revoked("orders").await, "a credential that has leaked");
}

#[tokio::test]
async fn a_record_names_the_person_behind_the_caller() {
    let setting = Setting::new().await;
    let act = r#"{"sub":"console"}"#.to_owned();
    let by = Operator::caller("console", ["clients.write"], "r-2").on_behalf_of("corporate:alice", Some(act.clone()));
    setting.admin.create(&by, &orders(), &NewCredential::SECRET, false).await.unwrap();
    let record = setting.last_record().await;
    assert_eq!((record.actor.as_str(), record.subject.as_deref()), ("console", Some("corporate:alice")));
    assert_eq!(record.act, Some(act));
}

#[tokio::test]
async fn concurrent_changes_without_an_etag_all_take_effect() {
    let setting = Setting::new().await;
    setting.orders().await;
    let add = || {
        let (admin, operator) = (setting.admin.clone(), setting.operator.clone());
        tokio::spawn(async move { admin.add_credential(&operator, "orders", &SECRET, None).await.map(drop) })
    };
    for task in [add(), add(), add()] {
        task.await.unwrap().unwrap();
    }
    assert_eq!(setting.admin.get("orders").await.unwrap().credentials.len(), 4);
}

#[tokio::test]
async fn a_store_out_of_reach_is_unavailable() {
    let setting = Setting::new().await;
    setting.store.close().await;
    assert!(matches!(setting.create(&orders()).await.unwrap_err(), AdminError::Unavailable(_)));
    assert!(matches!(setting.admin.list(0, "").await.unwrap_err(), AdminError::Unavailable(_)));
}

#[tokio::test]
async fn keys_are_listed_rotated_and_distrusted_on_record() {
    let setting = Setting::new().await;
    let schedule = Schedule {
        algorithms: vec![Algorithm::Es256],
        period: Duration::from_secs(1000),
        visibility: Duration::from_secs(100),
        retention: Duration::from_secs(50),
    };
    let rotation = KeyRotation::start(
        Arc::clone(&setting.store) as Arc<dyn KeyStore>,
        SealingKeys::new(KeyMaterial::from_bytes([2; 32]), vec![]),
        KeySettings { schedule, imported: vec![], lifetimes: None },
        Arc::clone(&setting.clock) as Arc<dyn Clock>,
    );
    let keys = KeyAdmin::new(rotation.await.unwrap());
    let next = keys.rotate(&setting.operator, "").await.unwrap();
    assert_eq!((next.state, next.sign_after), (KeyState::Pending, at(100)));
    assert_eq!(setting.last_record().await.actor, "admin");
    assert_eq!(keys.list().len(), 2);
    assert_eq!(fields(keys.rotate(&setting.operator, "HS256").await.unwrap_err()), ["algorithm"]);
    let error = keys.rotate(&setting.operator, "RS256").await.unwrap_err();
    assert!(matches!(error, AdminError::Precondition(_)), "{error:?}");
    let first = keys.list()[0].jwk.key_id().to_owned();
    keys.distrust(&setting.operator, &first).await.unwrap();
    let record = setting.last_record().await;
    assert_eq!((record.action.as_str(), record.resource), ("DistrustSigningKey", first));
    let error = keys.distrust(&setting.operator, "unknown").await.unwrap_err();
    assert!(matches!(error, AdminError::NotFound("key")), "{error:?}");
}

#[tokio::test]
async fn revoking_a_clients_tokens_counts_to_the_end_of_the_second() {
    let setting = Setting::new().await;
    *setting.clock.0.lock().unwrap() = at(5) + Duration::from_millis(1);
    let clock = Arc::clone(&setting.clock) as Arc<dyn Clock>;
    let registry = RevocationRegistry::start(Arc::clone(&setting.store) as _, Arc::clone(&clock)).await.unwrap();
    let rules = AdminRules::new(Duration::from_secs(3600));
    let admin = RevocationAdmin::new(registry.clone(), clock, rules);
    let before = admin.revoke_client_tokens(&setting.operator, "removed", None).await.unwrap();
    assert_eq!(before, at(6));
    let target = RevocationTarget::Client(ClientId::try_from("removed").unwrap());
    let revoked = async || setting.store.revocation(&target).await.unwrap().unwrap();
    assert_eq!((revoked().await.revoked_before, revoked().await.forget_time), (at(6), at(6 + 3600 + 600)));
    assert_eq!(setting.last_record().await.action, "RevokeClientTokens");
    assert_eq!(admin.revoke_client_tokens(&setting.operator, "removed", Some(at(2))).await.unwrap(), at(2));
    assert_eq!(revoked().await.revoked_before, at(6), "never taken back");
    let error = admin.revoke_client_tokens(&setting.operator, "removed", Some(at(60))).await.unwrap_err();
    assert_eq!(fields(error), ["issued_before_time"]);
}

#[tokio::test]
async fn records_are_read_in_pages_for_one_filter() {
    let setting = Setting::new().await;
    for name in ["a", "b", "c"] {
        setting.create(&ClientDraft { client_id: name.to_owned(), ..ClientDraft::default() }).await.unwrap();
    }
    let audit = AuditAdmin::new(Arc::clone(&setting.store) as _);
    let filter = AdminRecordFilter { actor: Some("admin".to_owned()), ..AdminRecordFilter::default() };
    let resources = |page: AuditPage| page.records.into_iter().map(|(_, record)| record.resource).collect::<Vec<_>>();
    let first = audit.list(&filter, 2, "").await.unwrap();
    let token = first.next_page_token.clone();
    assert_eq!(resources(first), ["c", "b"]);
    let last = audit.list(&filter, 2, &token).await.unwrap();
    assert!(last.next_page_token.is_empty());
    assert_eq!(resources(last), ["a"]);
    let other = AdminRecordFilter::default();
    assert_eq!(fields(audit.list(&other, 2, &token).await.unwrap_err()), ["page_token"]);
}

/// A wrong secret costs one slow hash, so a second imported secret would never be compared.
#[tokio::test]
async fn a_client_has_one_live_imported_secret() {
    let setting = Setting::new().await;
    setting.orders().await;
    let SecretHash::Argon2id { phc } = Peppers::hash_imported("changeit").unwrap() else { unreachable!("a slow hash") };
    let imported = NewCredential { kind: NewCredentialKind::ImportedSecret(phc), expire_time: None };
    let add = |new: NewCredential, overlap: Option<Duration>| {
        let (admin, operator) = (setting.admin.clone(), setting.operator.clone());
        async move { admin.add_credential(&operator, "orders", &new, overlap).await }
    };
    let first = add(imported.clone(), None).await.unwrap().credential;
    for overlap in [None, Some(Duration::from_secs(60))] {
        let refused = add(imported.clone(), overlap).await.unwrap_err();
        assert_eq!(fields(refused), ["credential.secret.imported_hash"]);
    }
    let kept = setting.admin.get("orders").await.unwrap().credentials;
    assert!(kept.contains(&first) && kept.len() == 2, "a refused one changes nothing: {kept:?}");
    add(NewCredential::SECRET, None).await.unwrap();
    add(imported.clone(), Some(Duration::ZERO)).await.expect("the first one has expired at once");
    let credentials = setting.admin.get("orders").await.unwrap().credentials;
    let replaced = credentials.iter().find(|credential| credential.id == first.id).unwrap();
    assert!(!replaced.is_live(at(0)), "{replaced:?}");
}
