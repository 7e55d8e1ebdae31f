//! The inventory service: handlers that know their caller, and a server that enforces the policy in its
//! `.proto`.

use std::sync::Mutex;

use token_interceptor::{
    caller::Caller,
    layer::AuthorizationLayer,
    policy::Policy,
    verify::{TrustedIssuer, Verifier},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use pb::inventory_service_server::{InventoryService, InventoryServiceServer, SERVICE_NAME};

/// The code that the build script generated from `examples/proto/inventory.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated code")]
pub mod pb {
    tonic::include_proto!("inventory.v1");
    /// The policy of each method.
    pub static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::include_policy!();
    /// The descriptors of the contract, to check the policy against.
    pub const DESCRIPTOR_SET: &[u8] = token_proto::include_descriptor_set!();
}

/// Serves the inventory until it is dropped, to callers with tokens of this issuer. With an identity it
/// serves over TLS.
///
/// An issuer of this project pushes its keys and revocations: [`TrustedIssuer::watch`]. Other issuers are
/// found by their metadata, and a token of theirs is accepted until it expires: [`TrustedIssuer::discover`].
///
/// # Errors
///
/// Returns an error if the policy does not fit the service, or the server fails.
pub async fn serve(listener: TcpListener, issuer: TrustedIssuer, identity: Option<Identity>) -> anyhow::Result<()> {
    let verifier = Verifier::builder().issuer(issuer).build()?;
    // A method without a policy, or a policy without a method, is an error at start-up.
    let policy = Policy::new(pb::POLICY)?.serves(pb::DESCRIPTOR_SET, &[SERVICE_NAME])?;
    let mut server = Server::builder();
    if let Some(identity) = identity {
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    server
        .layer(AuthorizationLayer::new(verifier, policy))
        .add_service(InventoryServiceServer::new(Inventory::default()))
        // Otherwise an answer waits up to 40 ms for the acknowledgement of its head.
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

/// The items in stock.
struct Inventory(Mutex<Vec<pb::Item>>);

impl Default for Inventory {
    fn default() -> Self {
        let item = |sku: &str, name: &str, in_stock| pb::Item { sku: sku.into(), name: name.into(), in_stock };
        Self(Mutex::new(vec![
            item("sp-1", "left-handed spanner", 3),
            item("st-2", "striped paint, 5 l", 12),
            item("el-3", "elbow grease, tin", 40),
        ]))
    }
}

impl Inventory {
    fn items(&self) -> Vec<pb::Item> {
        self.0.lock().map(|items| items.clone()).unwrap_or_default()
    }
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    type ListItemsStream = ReceiverStream<Result<pb::ListItemsResponse, Status>>;

    async fn get_item(&self, request: Request<pb::GetItemRequest>) -> Result<Response<pb::GetItemResponse>, Status> {
        // The layer has verified the token and checked the scope. A handler only reads the caller.
        let asked_by = Caller::of(&request)?.client_id().to_owned();
        let sku = request.into_inner().sku;
        let item = self.items().into_iter().find(|item| item.sku == sku);
        let item = item.ok_or_else(|| Status::not_found("no such item"))?;
        Ok(Response::new(pb::GetItemResponse { item: Some(item), asked_by }))
    }

    async fn list_items(&self, _: Request<pb::ListItemsRequest>) -> Result<Response<Self::ListItemsStream>, Status> {
        let (sender, answers) = tokio::sync::mpsc::channel(4);
        let items = self.items();
        tokio::spawn(async move {
            for item in items {
                if sender.send(Ok(pb::ListItemsResponse { item: Some(item) })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn delete_item(
        &self,
        request: Request<pb::DeleteItemRequest>,
    ) -> Result<Response<pb::DeleteItemResponse>, Status> {
        let sku = request.into_inner().sku;
        if let Ok(mut items) = self.0.lock() {
            items.retain(|item| item.sku != sku);
        }
        Ok(Response::new(pb::DeleteItemResponse {}))
    }

    async fn get_opening_hours(
        &self,
        _: Request<pb::GetOpeningHoursRequest>,
    ) -> Result<Response<pb::GetOpeningHoursResponse>, Status> {
        Ok(Response::new(pb::GetOpeningHoursResponse { hours: "nine to five".into() }))
    }
}
