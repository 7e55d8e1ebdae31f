//! `m2m.admin.v1.AuditService`: decodes, calls [`token_issuer::admin`], encodes.

use std::time::SystemTime;

use prost_types::Timestamp;
use token_issuer::{
    admin::{AdminError, AuditAdmin},
    store::{AdminRecord, AdminRecordFilter},
};
use token_proto::admin::v1::{self, audit_service_server};
use tonic::{Request, Response, Status};

use super::{MESSAGE_BYTES_MAX, operator, status, token::echo};

/// Returns the service, ready for a router behind this project's own layer.
#[must_use]
pub fn server(admin: AuditAdmin) -> audit_service_server::AuditServiceServer<AuditService> {
    audit_service_server::AuditServiceServer::new(AuditService { admin }).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// The service.
#[derive(Debug)]
pub struct AuditService {
    admin: AuditAdmin,
}

#[tonic::async_trait]
impl audit_service_server::AuditService for AuditService {
    async fn list_admin_records(
        &self,
        request: Request<v1::ListAdminRecordsRequest>,
    ) -> Result<Response<v1::ListAdminRecordsResponse>, Status> {
        let (origin, _, _) = operator::of(&request)?;
        let v1::ListAdminRecordsRequest { page_size, page_token, actor, action, resource, start_time, end_time } =
            request.into_inner();
        let given = |text: String| (!text.is_empty()).then_some(text);
        let answer = async {
            let filter = AdminRecordFilter {
                actor: given(actor),
                action: given(action),
                resource: given(resource),
                from: time(start_time, "start_time")?,
                until: time(end_time, "end_time")?,
            };
            self.admin.list(&filter, page_size, &page_token).await
        };
        let page = answer.await.map_err(|error| status::of_admin_error(&error, &origin))?;
        let records = page.records.into_iter().map(|(number, record)| encode(number, record)).collect();
        Ok(echo(v1::ListAdminRecordsResponse { records, next_page_token: page.next_page_token }, &origin))
    }
}

fn time(time: Option<Timestamp>, field: &str) -> Result<Option<SystemTime>, AdminError> {
    let time = time.map(SystemTime::try_from).transpose();
    time.map_err(|_| AdminError::invalid(field, "it is out of range"))
}

fn encode(number: u64, record: AdminRecord) -> v1::AdminRecord {
    let AdminRecord { time, actor, action, resource, request_id, detail, subject, act, revokes: _ } = record;
    v1::AdminRecord {
        number: i64::try_from(number).unwrap_or(i64::MAX),
        time: Some(time.into()),
        actor,
        action,
        resource,
        request_id: request_id.unwrap_or_default(),
        detail,
        subject: subject.unwrap_or_default(),
        act: act.unwrap_or_default(),
    }
}
