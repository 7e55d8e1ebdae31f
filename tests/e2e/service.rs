//! An application's own service behind the server layer. Its issuer pushes keys and revocations.

use token_interceptor::{
    attach::{Attach, CarryCallerLayer},
    caller::Caller,
    layer::AuthorizationLayer,
    policy::Policy,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::{
    FILE_DESCRIPTOR_SET, POLICY,
    admin::v1::{
        DistrustSigningKeyRequest, DistrustSigningKeyResponse, ListSigningKeysRequest, ListSigningKeysResponse,
        RotateSigningKeyRequest, RotateSigningKeyResponse,
        key_service_client::KeyServiceClient,
        key_service_server::{KeyService, KeyServiceServer, SERVICE_NAME},
    },
    token::v1::Key,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

use crate::harness::Issuer;

/// Returns the caller in place of a key ID. If there is a service behind it, adds that service's callers.
#[derive(Default)]
pub(crate) struct WhoCalled {
    pub(crate) behind: Option<KeyServiceClient<Attach<Channel>>>,
}

#[tonic::async_trait]
impl KeyService for WhoCalled {
    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let caller = Caller::of(&request)?;
        let by = caller.actors().iter().map(|actor| actor.subject()).collect::<Vec<_>>().join(" < ");
        let key_id = match by.as_str() {
            "" => caller.subject().to_owned(),
            by => format!("{} by {by}", caller.subject()),
        };
        let mut keys = vec![Key { key_id, ..Default::default() }];
        if let Some(mut behind) = self.behind.clone() {
            keys.extend(behind.list_signing_keys(request.into_inner()).await?.into_inner().keys);
        }
        Ok(Response::new(ListSigningKeysResponse { keys }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        match self.behind.clone() {
            Some(mut behind) => behind.rotate_signing_key(request.into_inner()).await,
            None => Ok(Response::new(Default::default())),
        }
    }

    async fn distrust_signing_key(
        &self,
        _request: Request<DistrustSigningKeyRequest>,
    ) -> Result<Response<DistrustSigningKeyResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

/// Serves on a loopback port, until the test's runtime ends.
pub(crate) async fn serve(issuer: &Issuer, service: WhoCalled) -> Endpoint {
    let trusted = TrustedIssuer::watch(issuer.url(), issuer.endpoint()).unwrap();
    let verifier = Verifier::builder().issuer(trusted).build().unwrap();
    let policy = Policy::new(POLICY).unwrap().serves(FILE_DESCRIPTOR_SET, &[SERVICE_NAME]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(AuthorizationLayer::new(verifier, policy))
        .layer(CarryCallerLayer)
        .add_service(KeyServiceServer::new(service))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::spawn(server);
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}
