//! Signing keys change while tokens are in use.

use token_proto::{
    admin::v1::{
        DistrustSigningKeyRequest, ListSigningKeysRequest, RotateSigningKeyRequest,
        key_service_client::KeyServiceClient,
    },
    token::v1::KeyState,
};

use crate::harness::{Issuer, json};

async fn published(issuer: &Issuer) -> Vec<String> {
    let url = format!("{}/jwks.json", issuer.url()).parse().unwrap();
    let keys = json(&issuer.http().get(&url).await.unwrap());
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs() {
    let issuer = Issuer::start().await;
    let mut keys = KeyServiceClient::new(issuer.tokens(issuer.admin()).connect_lazy(&issuer.endpoint()).unwrap());
    let before = published(&issuer).await;
    assert_eq!(before.len(), 1);
    let next = keys.rotate_signing_key(RotateSigningKeyRequest::default()).await.unwrap().into_inner().key.unwrap();
    assert_eq!(next.state(), KeyState::Pending);
    let after = published(&issuer).await;
    assert!(after.contains(&next.key_id) && after.contains(&before[0]), "{after:?}");
    issuer.stop().await;
}

#[tokio::test]
async fn a_distrusted_key_takes_its_tokens_with_it() {
    let issuer = Issuer::start().await;
    let token = issuer.token_of(issuer.admin(), "m2m.admin.v1").await;
    let compromised = published(&issuer).await.remove(0);
    let list_with_old_token = async || {
        let mut request = tonic::Request::new(ListSigningKeysRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        KeyServiceClient::new(issuer.channel()).list_signing_keys(request).await
    };
    list_with_old_token().await.expect("good until now");

    let mut keys = KeyServiceClient::new(issuer.tokens(issuer.admin()).connect_lazy(&issuer.endpoint()).unwrap());
    keys.distrust_signing_key(DistrustSigningKeyRequest { key_id: compromised.clone() }).await.unwrap();
    assert!(!published(&issuer).await.contains(&compromised));
    let refused = list_with_old_token().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    // The layer renews its token by itself and continues.
    keys.list_signing_keys(ListSigningKeysRequest {}).await.expect("a token signed by another key");
    issuer.stop().await;
}
