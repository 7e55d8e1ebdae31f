//! Every kind of token that is minted, decoded by `jsonwebtoken` with the published key set: a reader that
//! shares no code with this project's verifier.

use std::collections::BTreeMap;

use jsonwebtoken::{
    DecodingKey, DecodingKeyKind, TokenData, Validation,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    decode, decode_header,
    jwk::JwkSet,
    signature::{Error, Verifier},
};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use token_interceptor::signature::{Algorithm, SigningKey};
use token_issuer::{client::Audience, identity_provider::IdentityProviders};

use crate::{
    exchange::{self, ID_TOKEN, over_grpc},
    federation::{self, Provider},
    support::{
        ISSUER, World,
        calls::{grpc, message_of_orders},
        world_of,
    },
};

const RSA: &[u8] = include_bytes!("../../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem");

/// `jsonwebtoken`'s cryptography: ring, called on the key's bytes.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| panic!("this test signs nothing"),
    verifier_factory: |algorithm, key| Ok(Box::new(Ring(*algorithm, key.clone()))),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Ring(jsonwebtoken::Algorithm, DecodingKey);

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), Error> {
        use jsonwebtoken::Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
        let of_point = |algorithm: &'static dyn signature::VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, self.1.try_get_as_bytes().unwrap()).verify(message, signed)
        };
        let of_number = |parameters| match self.1.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signed)
            }
            other => panic!("no RSA key: {other:?}"),
        };
        let verified = match self.0 {
            ES256 => of_point(&signature::ECDSA_P256_SHA256_FIXED),
            ES384 => of_point(&signature::ECDSA_P384_SHA384_FIXED),
            EdDSA => of_point(&signature::ED25519),
            RS256 => of_number(&signature::RSA_PKCS1_2048_8192_SHA256),
            PS256 => of_number(&signature::RSA_PSS_2048_8192_SHA256),
            other => panic!("a token is signed with {other:?}"),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.0
    }
}

fn key(algorithm: Algorithm) -> SigningKey {
    if SigningKey::generates(algorithm) {
        return SigningKey::from_der(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap();
    }
    SigningKey::from_der(algorithm, PrivateKeyDer::from_pem_slice(RSA).unwrap().secret_der()).unwrap()
}

/// An issuer that signs tokens for `inventory` with `algorithm`, and trusts `provider`.
async fn issuer(algorithm: Algorithm, provider: &Provider) -> World {
    let federation = IdentityProviders::new(vec![provider.trusted("corporate:{sub}")]).unwrap();
    let others = if algorithm == Algorithm::Es256 { vec![] } else { vec![key(algorithm)] };
    world_of(others, |settings| {
        settings.federation = federation;
        settings.terms.algorithm_by_audience = [(Audience::try_from("inventory").unwrap(), algorithm)].into();
    })
    .await
}

fn decoded(world: &World, token: &str, algorithm: Algorithm) -> jsonwebtoken::errors::Result<TokenData<Value>> {
    let published: JwkSet = serde_json::from_slice(&world.issuer.keys().published().jwks_json).unwrap();
    let key_id = decode_header(token)?.kid.unwrap();
    let mut validation = Validation::new(algorithm.try_into().unwrap());
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&["inventory"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The test's clock stands in the past.
    validation.validate_exp = false;
    decode(token, &DecodingKey::from_jwk(published.find(&key_id).unwrap())?, &validation)
}

#[tokio::test]
async fn jsonwebtoken_decodes_every_token_of_every_algorithm() {
    let _ = RING.install_default();
    let provider = Provider::start().await;
    for algorithm in Algorithm::ISSUED {
        let world = issuer(algorithm, &provider).await;
        let own = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap().into_inner().token.unwrap().value;
        let exchanged = exchange::request(&world, "exchanger", &own);
        let exchanged = over_grpc(&world, exchanged).await.unwrap().value;
        let of_user = federation::request(&world, "exchanger", &provider.token().sign(), ID_TOKEN);
        let of_user = over_grpc(&world, of_user).await.unwrap().value;
        let subjects = BTreeMap::from([("orders", &own), ("corporate:alice", &of_user)]);
        for (subject, token) in subjects.into_iter().chain([("orders", &exchanged)]) {
            let data =
                decoded(&world, token, algorithm).unwrap_or_else(|error| panic!("{algorithm} {subject}: {error}"));
            assert_eq!(data.header.typ.as_deref(), Some("at+jwt"), "{algorithm}");
            assert_eq!(data.claims["sub"], subject, "{algorithm}");
            // A changed signature fails, so the check above looked at it.
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let other = if signature.starts_with('A') { "B" } else { "A" };
            let forged = format!("{signed}.{other}{}", signature.get(1..).unwrap());
            assert!(decoded(&world, &forged, algorithm).is_err(), "{algorithm} {subject}");
        }
    }
}
