//! Spans → OTLP over gRPC, in batches, in the background.
//!
//! The queue is bounded. If the collector does not keep up, spans are lost, and requests are not slowed down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use token_issuer::trace;
use tokio::runtime::Handle;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::config::Traces;

/// The default name of the process in traces. `OTEL_SERVICE_NAME` overrides it.
const SERVICE_NAME: &str = "token-server";
/// The time after which a batch that the collector has not accepted is lost.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The export of spans to the collector.
#[derive(Debug)]
pub(super) struct Tracing {
    provider: SdkTracerProvider,
    flush_deadline: Duration,
}

impl Tracing {
    /// Starts the export. It connects on the current runtime when there is something to send.
    pub(super) fn start(settings: &Traces) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut endpoint = Endpoint::from_shared(settings.endpoint.to_string())?.connect_timeout(EXPORT_TIMEOUT);
        if settings.endpoint.scheme() == "https" {
            let tls = ClientTlsConfig::new();
            endpoint = endpoint.tls_config(match &settings.certificate_authority {
                Some(roots) => tls.ca_certificate(Certificate::from_pem(roots)),
                None => tls.with_native_roots(),
            })?;
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(endpoint.connect_lazy())
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        // A caller that traces decides about sampling for its own requests, as in W3C Trace Context.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sampling_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(OnRuntime::new(exporter))
            .with_sampler(sampler)
            .with_resource(resource(settings))
            .build();
        Ok(Self { provider, flush_deadline: settings.flush_deadline })
    }

    /// Returns the layer that converts this program's own spans to OpenTelemetry.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE_NAME))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.target() == trace::TARGET))
    }

    /// Sends the remaining spans. Spans that miss the deadline are lost, and the loss is logged.
    pub(super) async fn close(self) {
        let deadline = self.flush_deadline;
        // The shutdown blocks while the runtime sends.
        let closed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(deadline));
        match tokio::time::timeout(deadline, closed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans may be lost"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans may be lost"),
        }
    }
}

fn resource(settings: &Traces) -> Resource {
    let attributes = settings.resource_attributes.iter();
    let attributes = attributes.map(|attribute| KeyValue::new(attribute.key.clone(), attribute.value.clone()));
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let builder = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => builder,
        None => builder.with_service_name(SERVICE_NAME),
    };
    builder.with_attributes(attributes).build()
}

/// An exporter on the runtime, because the thread that batches spans has none. It counts lost spans.
#[derive(Debug)]
struct OnRuntime<E> {
    exporter: Arc<E>,
    runtime: Handle,
    failing: AtomicBool,
}

impl<E> OnRuntime<E> {
    fn new(exporter: E) -> Self {
        Self { exporter: Arc::new(exporter), runtime: Handle::current(), failing: AtomicBool::new(false) }
    }

    /// Logs one line when spans begin to be lost, and one when they no longer are.
    fn report(&self, sent: &OTelSdkResult, spans: usize) {
        match sent {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector accepts spans again");
                }
            }
            Err(error) => {
                metrics::counter!("token_server_spans_lost_total").increment(spans as u64);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the collector does not accept spans; they are lost");
                }
            }
        }
    }
}

impl<E: SpanExporter + 'static> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (exporter, spans) = (Arc::clone(&self.exporter), batch.len());
        let sending = self.runtime.spawn(async move { exporter.export(batch).await });
        let sent = sending.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        self.report(&sent, spans);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called once, before another part has a handle.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}
