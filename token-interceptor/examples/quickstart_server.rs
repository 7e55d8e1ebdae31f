//! The README's server, complete: `cargo run -p token-interceptor --example quickstart_server`.

#[path = "quickstart/pb.rs"]
mod pb;

// README: server_use
use token_interceptor::{
    caller::Caller,
    layer::AuthorizationLayer,
    policy::Policy,
    verify::{TrustedIssuer, Verifier},
};
use tonic::{Request, Response, Status, transport::Server};

use pb::inventory_service_server::{InventoryService, InventoryServiceServer, SERVICE_NAME};
// README: end

struct Inventory;

#[tonic::async_trait]
impl InventoryService for Inventory {
    // README: handler
    async fn get_item(&self, request: Request<pb::GetItemRequest>) -> Result<Response<pb::GetItemResponse>, Status> {
        let asked_by = Caller::of(&request)?.client_id().to_owned();
        let item = pb::Item { sku: request.into_inner().sku, name: "spanner".into(), in_stock: 3 };
        Ok(Response::new(pb::GetItemResponse { item: Some(item), asked_by }))
    }
    // README: end

    type ListItemsStream = tokio_stream::Empty<Result<pb::ListItemsResponse, Status>>;

    async fn list_items(&self, _: Request<pb::ListItemsRequest>) -> Result<Response<Self::ListItemsStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn delete_item(&self, _: Request<pb::DeleteItemRequest>) -> Result<Response<pb::DeleteItemResponse>, Status> {
        Ok(Response::new(pb::DeleteItemResponse {}))
    }

    async fn get_opening_hours(
        &self,
        _: Request<pb::GetOpeningHoursRequest>,
    ) -> Result<Response<pb::GetOpeningHoursResponse>, Status> {
        Ok(Response::new(pb::GetOpeningHoursResponse { hours: "nine to five".into() }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // README: server
    // The issuer pushes its keys and revocations, over the gRPC of the same port.
    let issuer = TrustedIssuer::watch("https://localhost:8443", "https://localhost:8443")?;
    let verifier = Verifier::builder().issuer(issuer).build()?;
    // A method without a policy, or a policy without a method, is an error at start-up.
    let policy = Policy::new(pb::POLICY)?.serves(pb::DESCRIPTOR_SET, &[SERVICE_NAME])?;
    Server::builder()
        .layer(AuthorizationLayer::new(verifier, policy))
        .add_service(InventoryServiceServer::new(Inventory))
        .serve("127.0.0.1:50051".parse()?)
        .await?;
    // README: end
    Ok(())
}
