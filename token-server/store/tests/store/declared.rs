//! Tests the store whose clients a file declares: the contract without writing clients, and its own
//! behaviour.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use token_issuer::{
    client::{Client, ClientId},
    store::{AdminRecordFilter, ChangeKind, ChangeLog as _, ClientStore as _, Revocation, Store, StoreError},
};
use token_store::{DeclaredStore, open_state};

async fn in_file() -> Option<(Arc<dyn Store>, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let state = open_state(Some(&folder.path().join("state.db"))).await.unwrap();
    Some((Arc::new(DeclaredStore::new(state)), folder))
}

async fn in_memory() -> Option<(Arc<dyn Store>, ())> {
    Some((Arc::new(DeclaredStore::new(open_state(None).await.unwrap())), ()))
}

mod file {
    crate::contract::contract!(super::in_file;
        an_unknown_client_is_absent,
        keys_read_back_as_they_were_written,
        of_concurrent_rotations_one_succeeds,
        a_revocation_reads_back_until_it_is_forgotten,
        a_repeated_revocation_keeps_the_later_times,
        the_longest_lifetime_counts_until_its_tokens_have_expired,
        audit_records_are_filtered,
    );
}

mod memory {
    crate::contract::contract!(super::in_memory;
        an_unknown_client_is_absent,
        keys_read_back_as_they_were_written,
        of_concurrent_rotations_one_succeeds,
        a_revocation_reads_back_until_it_is_forgotten,
        a_repeated_revocation_keeps_the_later_times,
        the_longest_lifetime_counts_until_its_tokens_have_expired,
        audit_records_are_filtered,
    );
}

fn client(id: &str, name: &str) -> Client {
    let id = ClientId::try_from(id).unwrap();
    Client { display_name: name.to_owned(), ..Client::new(id, SystemTime::UNIX_EPOCH) }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test]
async fn only_what_differs_changes_and_what_is_not_declared_goes() {
    let store = DeclaredStore::new(open_state(None).await.unwrap());
    assert_eq!(store.declare(&[client("a", ""), client("b", ""), client("c", "")], at(1), None).await.unwrap(), 3);
    let (a, last) = (store.client(&client("a", "").id).await.unwrap().unwrap(), store.last_change().await.unwrap());
    assert_eq!(a.create_time, at(1));
    assert_eq!(store.declare(&[client("a", ""), client("b", ""), client("c", "")], at(2), None).await.unwrap(), 0);
    assert_eq!(store.last_change().await.unwrap(), last, "nothing has changed");

    assert_eq!(store.declare(&[client("a", ""), client("b", "new"), client("d", "")], at(3), None).await.unwrap(), 3);
    let changed: Vec<_> =
        store.changes_from(last + 1, 10).await.unwrap().changes.into_iter().filter_map(|change| change.kind).collect();
    assert_eq!(changed, ["b", "d", "c"].map(|id| ChangeKind::Client(client(id, "").id)));
    assert_eq!(store.client(&a.id).await.unwrap(), Some(a), "its etag too");
    let b = store.client(&client("b", "").id).await.unwrap().unwrap();
    assert_eq!((b.create_time, b.update_time, b.display_name.as_str()), (at(1), at(3), "new"));
    assert_eq!(store.client(&client("c", "").id).await.unwrap(), None);
    let state: &dyn Store = &store;
    let records = state.admin_records(&AdminRecordFilter::default(), None, 3).await.unwrap();
    let actions: Vec<_> = records.iter().rev().map(|(_, record)| record.action.as_str()).collect();
    assert_eq!(actions, ["UpdateClient", "CreateClient", "DeleteClient"]);
}

#[tokio::test]
async fn a_declared_identity_is_found_until_it_is_declared_no_more() {
    let store = DeclaredStore::new(open_state(None).await.unwrap());
    let declared = |subject: &str| Client { credentials: crate::contract::identities(subject), ..client("a", "") };
    for (seconds, subject) in [(1, "ns:one"), (2, "ns:two")] {
        store.declare(&[declared(subject)], at(seconds), None).await.unwrap();
        for known in ["ns:one", "ns:two"] {
            let found = store.federated_clients("https://a.example", known, 9).await.unwrap();
            assert_eq!(found.len(), usize::from(known == subject), "{known}");
        }
    }
    store.declare(&[client("a", "")], at(3), None).await.unwrap();
    assert!(store.federated_clients("https://a.example", "ns:two", 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn clients_of_a_file_cannot_be_changed() {
    let store = DeclaredStore::new(open_state(None).await.unwrap());
    store.declare(&[client("a", "")], at(1), None).await.unwrap();
    let a = store.client(&client("a", "").id).await.unwrap().unwrap();
    assert!(matches!(store.create_client(&client("b", ""), None).await, Err(StoreError::ReadOnly)));
    assert!(matches!(store.update_client(&a, None).await, Err(StoreError::ReadOnly)));
    assert!(matches!(store.delete_client(&a.id, None, None).await, Err(StoreError::ReadOnly)));
    assert_eq!(store.clients(None, 10).await.unwrap(), [a]);
}

#[tokio::test]
async fn a_declaration_that_fails_changes_nothing() {
    let store = DeclaredStore::new(open_state(None).await.unwrap());
    store.declare(&[client("a", "")], at(1), None).await.unwrap();
    store.close().await;
    assert!(store.declare(&[client("b", "")], at(2), None).await.unwrap_err().is_transient());
}

/// As deletion and disabling over the admin API do.
#[tokio::test]
async fn tokens_of_a_removed_or_disabled_client_are_revoked() {
    let disabled = |id: &str| Client { disabled: true, ..client(id, "") };
    let store = DeclaredStore::new(open_state(None).await.unwrap());
    let declare = async |clients: &[Client], seconds| {
        let lifetime_max = Some(Duration::from_secs(1000));
        store.declare(clients, at(seconds), lifetime_max).await.unwrap();
        let state: &dyn Store = &store;
        state.revocations(at(0)).await.unwrap()
    };
    let first = [client("kept", ""), client("removed", ""), client("disabled", ""), disabled("never-enabled")];
    assert_eq!(declare(&first, 1).await, []);
    let second = [client("kept", "renamed"), disabled("disabled"), disabled("never-enabled")];
    let revoked = declare(&second, 2).await;
    let of = |id: &str| Revocation::of_client(&client(id, "").id, at(2), Duration::from_secs(1000));
    assert_eq!(revoked, [of("disabled"), of("removed")]);
    assert_eq!(declare(&second, 3).await, revoked, "once");
    let state: &dyn Store = &store;
    let records = state.admin_records(&AdminRecordFilter::default(), None, 2).await.unwrap();
    assert!(records.iter().any(|(_, record)| record.detail == "declared tokens revoked"), "{records:?}");
}

#[tokio::test]
async fn tokens_of_a_removed_client_are_kept_on_demand() {
    let store = DeclaredStore::new(open_state(None).await.unwrap());
    store.declare(&[client("a", "")], at(1), None).await.unwrap();
    store.declare(&[], at(2), None).await.unwrap();
    let state: &dyn Store = &store;
    assert_eq!(state.revocations(at(0)).await.unwrap(), []);
}
