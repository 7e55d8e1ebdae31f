//! Tests that a change at one replica takes effect at all replicas within a second.

use token_proto::admin::v1 as admin;
use tonic::Code;

use crate::cluster::{Cluster, within_a_second};

#[tokio::test]
async fn replicas_that_start_at_once_have_the_same_keys() {
    let Some(cluster) = Cluster::start().await else { return };
    let keys = cluster.replicas[0].key_ids().await.unwrap();
    assert_eq!(keys.len(), 1);
    for replica in &cluster.replicas {
        assert_eq!(replica.key_ids().await.unwrap(), keys);
    }
}

#[tokio::test]
async fn a_key_rotated_at_one_is_published_by_all_and_once() {
    let Some(cluster) = Cluster::start().await else { return };
    for replica in &cluster.replicas {
        let mut keys = replica.keys(&cluster.root).await.unwrap();
        keys.rotate_signing_key(admin::RotateSigningKeyRequest::default()).await.unwrap();
    }
    for replica in &cluster.replicas {
        within_a_second("the next key", async || replica.key_ids().await.unwrap().len() == 2).await;
    }
    let expected = cluster.replicas[0].key_ids().await.unwrap();
    for replica in &cluster.replicas {
        assert_eq!(replica.key_ids().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_client_created_and_disabled_at_one_is_so_at_all() {
    let Some(cluster) = Cluster::start().await else { return };
    let orders = cluster.create(0, "orders").await.unwrap();
    for replica in &cluster.replicas {
        within_a_second("created", async || replica.token(&orders).await.is_ok()).await;
    }
    let mut clients = cluster.replicas[1].clients(&cluster.root).await.unwrap();
    let client = admin::Client { client_id: "orders".to_owned(), disabled: true, ..admin::Client::default() };
    let request = admin::UpdateClientRequest { client: Some(client), ..admin::UpdateClientRequest::default() };
    clients.update_client(request).await.unwrap();
    for replica in &cluster.replicas {
        let refused = async || replica.token(&orders).await.is_err_and(|status| status.code() == Code::Unauthenticated);
        within_a_second("disabled", refused).await;
    }
}

#[tokio::test]
async fn a_secret_removed_at_one_is_refused_by_all() {
    let Some(cluster) = Cluster::start().await else { return };
    let orders = cluster.create(0, "orders").await.unwrap();
    for replica in &cluster.replicas {
        within_a_second("created", async || replica.token(&orders).await.is_ok()).await;
    }
    let mut clients = cluster.replicas[2].clients(&cluster.root).await.unwrap();
    let read = clients.get_client(admin::GetClientRequest { client_id: "orders".to_owned() }).await.unwrap();
    let credential_id = read.into_inner().client.unwrap().credentials[0].credential_id.clone();
    let request =
        admin::RemoveCredentialRequest { client_id: "orders".to_owned(), credential_id, revoke_tokens: false };
    clients.remove_credential(request).await.unwrap();
    for replica in &cluster.replicas {
        within_a_second("removed", async || replica.token(&orders).await.is_err()).await;
    }
}

#[tokio::test]
async fn a_token_from_one_is_introspected_and_revoked_at_another() {
    let Some(cluster) = Cluster::start().await else { return };
    let orders = cluster.create(0, "orders").await.unwrap();
    let [one, other, third] = &cluster.replicas;
    let token = one.token(&orders).await.unwrap();
    within_a_second("known", async || other.is_active(&orders, &token).await.unwrap_or(false)).await;
    other.revoke(&orders, &token).await.unwrap();
    assert!(!other.is_active(&orders, &token).await.unwrap(), "at once where it was revoked");
    for replica in [one, third] {
        within_a_second("revoked", async || !replica.is_active(&orders, &token).await.unwrap_or(true)).await;
    }
}
