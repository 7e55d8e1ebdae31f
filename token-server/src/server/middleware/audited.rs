//! One audit event for each request to the admin API, with the answer of the guard or a handler. A request
//! whose caller disconnects first is audited too.

use std::{
    borrow::Cow,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use token_interceptor::layer::DeniedCall;
use token_issuer::{
    audit::{Entry, Guarded},
    origin::{Origin, REQUEST_ID},
};
use token_proto::{POLICY, token::v1::ErrorReason};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};

use crate::connection;

/// A layer that audits requests. It goes around the guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditLayer;

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { inner }
    }
}

/// A service whose requests are audited.
#[derive(Clone, Debug)]
pub(crate) struct Audited<S> {
    inner: S,
}

impl<S> Service<Request> for Audited<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let origin = connection::origin(request.headers(), request.extensions());
        let id = origin.request_id().header_value();
        // One ID for each request: in the response, in the change log, and here.
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let open =
            PendingEvent { origin, operation: operation(request.uri().path()), entry: Entry::default(), left: false };
        request.extensions_mut().insert(open.entry.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            open.close(&response);
            response.headers_mut().entry(REQUEST_ID).or_insert(id);
            Ok(response)
        })
    }
}

/// A request whose response is not known yet.
struct PendingEvent {
    origin: Origin,
    operation: Cow<'static, str>,
    entry: Entry,
    left: bool,
}

impl PendingEvent {
    fn close(mut self, response: &Response) {
        self.left = true;
        let known = self.entry.known();
        let (caller, resource) = (known.caller.as_ref(), known.resource.as_deref());
        let guarded = Guarded { origin: &self.origin, operation: &self.operation, resource };
        match (response.extensions().get::<DeniedCall>(), Status::from_header_map(response.headers())) {
            (Some(refusal), _) => guarded.denied(refusal),
            (None, Some(status)) if status.code() != Code::Ok => {
                let ours = matches!(status.code(), Code::Unavailable | Code::Internal | Code::Unknown);
                guarded.refused(if ours { "failed" } else { "refused" }, (&reason(&status), None), caller);
            }
            (None, _) => guarded.granted("done", caller),
        }
    }
}

impl Drop for PendingEvent {
    /// Audits the request as abandoned. The change may still have been made.
    fn drop(&mut self) {
        if !self.left {
            let known = self.entry.known();
            let resource = known.resource.as_deref();
            let guarded = Guarded { origin: &self.origin, operation: &self.operation, resource };
            guarded.granted("abandoned", known.caller.as_ref());
        }
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| ErrorReason::Internal.as_reason().to_owned(), |info| info.reason)
}

/// Returns `create_client` for `/m2m.admin.v1.ClientService/CreateClient`, the form of the other operations.
/// A path that a caller made up is never returned.
fn operation(path: &str) -> Cow<'static, str> {
    let Some((_, method)) = path.rsplit_once('/').filter(|_| POLICY.iter().any(|method| method.path == path)) else {
        return Cow::Borrowed("unknown");
    };
    let mut operation = String::with_capacity(method.len() + 4);
    for letter in method.chars() {
        if letter.is_ascii_uppercase() && !operation.is_empty() {
            operation.push('_');
        }
        operation.push(letter.to_ascii_lowercase());
    }
    Cow::Owned(operation)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::{Dispatch, Event, Subscriber, field::Field, subscriber::NoSubscriber};
    use tracing_subscriber::{Layer as _, layer::Context as LayerContext, layer::SubscriberExt as _};

    use super::*;

    /// A second dispatcher for the life of the program. With only one, the first thread to reach an event
    /// decides for all threads if it is ever recorded. This one accepts no span or event: a test elsewhere
    /// checks which spans have no subscriber.
    static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

    /// The outcomes of the audit events on this thread.
    #[derive(Clone, Default)]
    struct Outcomes(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Outcomes {
        fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
            event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
                if field.name() == "outcome" {
                    self.0.lock().unwrap().push(format!("{value:?}"));
                }
            });
        }
    }

    /// The change may have been made before the caller disconnected.
    #[tokio::test]
    async fn a_request_that_is_given_up_is_on_record_too() {
        LazyLock::force(&SECOND);
        let outcomes = Outcomes::default();
        let audit = outcomes
            .clone()
            .with_filter(tracing_subscriber::filter::filter_fn(|event| event.target() == token_issuer::audit::TARGET));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(audit));
        let never = tower::service_fn(|_: Request| std::future::pending::<Result<Response, Infallible>>());
        let answered = AuditLayer.layer(never).call(Request::default());
        assert!(futures_util::FutureExt::now_or_never(answered).is_none());
        assert_eq!(*outcomes.0.lock().unwrap(), ["\"abandoned\""]);
    }

    #[test]
    fn an_operation_is_a_method_of_the_contract_or_unknown() {
        assert_eq!(operation("/m2m.admin.v1.ClientService/CreateClient"), "create_client");
        assert_eq!(operation("/m2m.admin.v1.AuditService/ListAdminRecords"), "list_admin_records");
        for made_up in ["/m2m.admin.v1.ClientService/createClient", "/x", "", "//CreateClient"] {
            assert_eq!(operation(made_up), "unknown", "{made_up}");
        }
    }
}
