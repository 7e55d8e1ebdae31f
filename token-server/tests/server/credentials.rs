//! The life of a credential: its last use is recorded, and its expiry is enforced.

use std::{path::Path, sync::Arc, time::Duration};

use secrecy::ExposeSecret as _;
use token_interceptor::{clock::Clock as _, test_util::FakeClock};
use token_proto::admin::v1::{self as admin, client_service_client::ClientServiceClient};
use token_server::development::{Development, RunningDevelopment};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{as_admin, channel, issue};

async fn start(folder: &Path, clock: &Arc<FakeClock>) -> RunningDevelopment {
    Development::open(folder, 0).unwrap().start_at(clock.clone()).await.unwrap()
}

async fn credentials(dev: &RunningDevelopment) -> Vec<admin::Credential> {
    let request = as_admin(dev, admin::GetClientRequest { client_id: dev.example.id.clone() }).await;
    let answer = ClientServiceClient::new(channel(dev).await).get_client(request).await.unwrap();
    answer.into_inner().client.unwrap().credentials
}

#[tokio::test]
async fn last_use_is_written_down_when_the_server_stops() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(FakeClock::default()));
    let dev = start(folder.path(), &clock).await;
    assert_eq!(credentials(&dev).await[0].last_used_time, None);
    clock.advance(Duration::from_secs(90));
    issue(&dev, &dev.example.id, dev.example.secret.expose_secret()).await.unwrap();
    dev.server.shutdown().await;

    let dev = start(folder.path(), &clock).await;
    let used = credentials(&dev).await[0].last_used_time.expect("the use is on record");
    // The time is recorded to the minute: 90 seconds after the start of one.
    let minute = clock.now() - Duration::from_secs(30);
    assert_eq!(used, minute.into());
}

#[tokio::test]
async fn a_refused_secret_leaves_no_trace_of_use() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(FakeClock::default()));
    let dev = start(folder.path(), &clock).await;
    issue(&dev, &dev.example.id, "wrong").await.unwrap_err();
    dev.server.shutdown().await;
    let dev = start(folder.path(), &clock).await;
    assert_eq!(credentials(&dev).await[0].last_used_time, None);
}

#[tokio::test]
async fn a_secret_is_refused_from_its_expiry_on() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(FakeClock::default()));
    let dev = start(folder.path(), &clock).await;
    let expire_time = clock.now() + Duration::from_secs(60);
    let request = admin::AddCredentialRequest {
        client_id: dev.example.id.clone(),
        credential: Some(admin::Credential { expire_time: Some(expire_time.into()), ..Default::default() }),
        overlap: None,
    };
    let request = as_admin(&dev, request).await;
    let added = ClientServiceClient::new(channel(&dev).await).add_credential(request).await.unwrap().into_inner();
    assert_eq!(added.credential.unwrap().expire_time, Some(expire_time.into()));

    clock.advance(Duration::from_secs(59));
    issue(&dev, &dev.example.id, &added.client_secret).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let refused = issue(&dev, &dev.example.id, &added.client_secret).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "CLIENT_AUTHENTICATION_FAILED");
    // The secret that does not expire stays valid.
    issue(&dev, &dev.example.id, dev.example.secret.expose_secret()).await.unwrap();
}
