//! `[trust]`: streams of keys and revocations to verifiers.

use super::reader::Section;

use token_issuer::issuer::TrustStreams;

/// Reads `[trust]`. `has_client_ca`: client certificates can be verified.
pub(super) fn read(mut section: Section<'_>, has_client_ca: bool) -> TrustStreams {
    let default = TrustStreams::default();
    let trust = TrustStreams {
        streams: section.within("streams", default.streams, 1..=1_000_000),
        streams_per_peer: section.or("streams_per_peer", default.streams_per_peer),
        client_certificate_required: section.or("client_certificate_required", default.client_certificate_required),
    };
    if trust.client_certificate_required && !has_client_ca {
        let problem = "it needs [tls] client_ca to verify client certificates".to_owned();
        section.reject("client_certificate_required", problem, "false, or a [tls] client_ca");
    }
    section.finish();
    trust
}
