//! The keys of a token server over gRPC: `m2m.token.v1.TrustService`.

use std::sync::Arc;

use async_trait::async_trait;
use token_proto::token::v1::{GetIssuerRequest, KeyState, ListKeysRequest, trust_service_client::TrustServiceClient};
use tonic::transport::Channel;

use super::{FetchError, FetchKeys, usable};
use crate::{http_client, key_set::KeySet, trace_context};

/// The largest answer, in bytes: as over HTTP.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The issuer's own `TrustService`.
#[derive(Debug)]
pub(crate) struct FromTrustService {
    pub(crate) issuer: Arc<str>,
    pub(crate) channel: Channel,
}

#[async_trait]
impl FetchKeys for FromTrustService {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut client = TrustServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let failed = |status: tonic::Status| match http_client::is_of_unknown_ca(&status) {
            true => FetchError::GrpcUntrusted,
            false => FetchError::Grpc(status.code()),
        };
        let described =
            client.get_issuer(trace_context::request(GetIssuerRequest {})).await.map_err(failed)?.into_inner();
        if described.issuer.is_none_or(|described| *described.issuer != *self.issuer) {
            return Err(FetchError::OtherIssuer { what: "the TrustService" });
        }
        let keys =
            client.list_keys(trace_context::request(ListKeysRequest {})).await.map_err(failed)?.into_inner().keys;
        let trusted = keys.iter().filter(|key| key.state() != KeyState::Distrusted);
        usable(KeySet::from_jwks_one_by_one(trusted.map(|key| &*key.jwk)))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tonic::{
        service::Routes,
        transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig, server::TcpIncoming},
    };

    use super::*;

    fn self_signed() -> (String, Identity) {
        let key = KeyPair::generate().unwrap();
        let pem = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        (pem.clone(), Identity::from_pem(pem, key.serialize_pem()))
    }

    #[tokio::test]
    async fn a_ca_that_is_not_trusted_is_told_from_a_service_that_does_not_answer() {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let place = format!("https://localhost:{}", incoming.local_addr().unwrap().port());
        let (trusted, identity) = self_signed();
        let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        tokio::spawn(server.add_routes(Routes::default()).serve_with_incoming(incoming));
        let fetched = async |roots: String| {
            let roots = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
            let endpoint = Endpoint::from_shared(place.clone()).unwrap().tls_config(roots).unwrap();
            let fetch = FromTrustService { issuer: "a".into(), channel: endpoint.connect_lazy() };
            crate::error_chain::of(&fetch.fetch().await.unwrap_err())
        };
        let told = fetched(self_signed().0).await;
        assert!(told.contains("ClientTlsConfig::ca_certificate") && told.contains("SSL_CERT_FILE"), "{told}");
        let told = fetched(trusted).await;
        assert!(told.contains("not implemented"), "{told}");
    }
}
