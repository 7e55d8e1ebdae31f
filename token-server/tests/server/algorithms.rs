//! Each algorithm by configuration alone. A token is issued and its key published. A verifier that knows only
//! the issuer verifies both.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret as _;
use token_interceptor::{
    danger::AllowPlaintext,
    error::VerifyError,
    http_client::HttpClient,
    json,
    signature::Algorithm,
    token::{UnverifiedToken, VerifiedToken},
    verify::{IssuerChannel, TrustedIssuer, Verifier},
};
use token_issuer::key::ImportedKey;

use crate::harness::{channel, development, issue};

const RSA: &[u8] = include_bytes!("../../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem");
/// Algorithm, its key type in a JWK (RFC 7517 section 4.1), and true if the key must be imported.
const TABLE: [(Algorithm, &str, bool); 5] = [
    (Algorithm::Es256, "EC", false),
    (Algorithm::Es384, "EC", false),
    (Algorithm::EdDsa, "OKP", false),
    (Algorithm::Rs256, "RSA", true),
    (Algorithm::Ps256, "RSA", true),
];

async fn verified(trusted: TrustedIssuer, token: &str) -> Result<VerifiedToken, VerifyError> {
    let verifier = Verifier::builder().issuer(trusted).build().unwrap();
    verifier.verify_with_fetch(UnverifiedToken::new(token), "inventory", verifier.now()).await
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_verified_by_discovery_and_by_list_keys() {
    assert!(Algorithm::ISSUED.iter().all(|algorithm| TABLE.iter().any(|(listed, ..)| listed == algorithm)));
    for (algorithm, key_type, imported) in TABLE {
        let (_folder, dev) = development(|config| {
            config.keys.algorithms = vec![algorithm];
            config.keys.import = Vec::from_iter(imported.then(|| ImportedKey::from_pem(algorithm, RSA).unwrap()));
        })
        .await;
        let token = issue(&dev, &dev.example.id, dev.example.secret.expose_secret()).await.unwrap();
        let header = json::object(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
        assert_eq!(header["alg"], algorithm.name());

        let issuer = dev.server.issuer().as_str();
        let http = HttpClient::builder().extra_roots_pem(fs::read_to_string(&dev.ca_file).unwrap()).build().unwrap();
        let jwks = http.get(&format!("{issuer}/jwks.json").parse().unwrap()).await.unwrap();
        let jwks = json::object(&jwks.body).unwrap();
        let key = &jwks["keys"].as_array().unwrap()[0];
        assert_eq!((&key["kid"], &key["alg"]), (&header["kid"], &header["alg"]));
        assert_eq!(key["kty"], key_type, "{algorithm}");

        let discovered = TrustedIssuer::discover(issuer).unwrap().http_client(http);
        let asked =
            TrustedIssuer::grpc(issuer, IssuerChannel::of_channel(channel(&dev).await, AllowPlaintext)).unwrap();
        for trusted in [discovered, asked] {
            let token_of_example = verified(trusted.clone(), &token).await.unwrap();
            assert_eq!(token_of_example.client_id(), dev.example.id, "{algorithm}");
            let others = Algorithm::ISSUED.into_iter().filter(|other| *other != algorithm).collect::<Vec<_>>();
            assert!(verified(trusted.algorithms(&others), &token).await.is_err(), "{algorithm} was not allowed");
        }
    }
}
