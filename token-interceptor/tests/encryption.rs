//! Nested tokens, RFC 7516: only their audience decrypts them. For each check there is a token that fails
//! only that one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::convert::Infallible;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use token_interceptor::{
    caller::Caller,
    danger::UncheckedPolicy,
    encryption::{DecryptionKey, EncryptionKey},
    layer::AuthorizationLayer,
    policy::Policy,
    signature::{Algorithm, SigningKey},
    test_util::TestIssuer,
    token::UnverifiedToken,
    verify::{Verifier, VerifierBuilder},
};
use tonic::body::Body;
use tower::{ServiceBuilder, ServiceExt as _};

const ISSUER: &str = "https://issuer.example";

/// A key of an audience. PKCS#8 is the same for agreement and for signatures.
fn key() -> DecryptionKey {
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(&*der);
    DecryptionKey::from_pem(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n").as_bytes())
        .unwrap()
}

struct World {
    issuer: TestIssuer,
    key: DecryptionKey,
    verifier: Verifier,
}

fn world() -> World {
    world_with(|builder| builder)
}

fn world_with(change: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> World {
    let (issuer, key) = (TestIssuer::new(ISSUER), key());
    let builder = Verifier::builder().issuer(issuer.trusted()).clock(issuer.clock()).decryption_key(key.clone());
    let verifier = change(builder).build().unwrap();
    World { issuer, key, verifier }
}

impl World {
    fn token(&self) -> String {
        self.key.public().encrypt(&self.issuer.token().sign()).unwrap()
    }

    /// Returns the label and the text for the log.
    fn refused(&self, token: &str) -> (&'static str, String) {
        let error = self.verifier.verify(UnverifiedToken::new(token), "inventory", self.verifier.now()).unwrap_err();
        (error.label(), error.to_string())
    }

    /// Returns a valid token with another header.
    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let token = self.token();
        let (header, rest) = token.split_once('.').unwrap();
        let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        change(&mut header);
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    fn with_part(&self, index: usize, change: impl FnOnce(&str) -> String) -> String {
        let token = self.token();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[index] = change(&parts[index]);
        parts.join(".")
    }
}

fn flipped(part: &str) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
    bytes[0] ^= 1;
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn opens_a_token_that_was_encrypted_to_its_key() {
    let world = world();
    let verified = world.verifier.verify(UnverifiedToken::new(&world.token()), "inventory", world.verifier.now());
    assert_eq!(verified.unwrap().client_id(), "orders");
    assert_ne!(world.token(), world.token());
}

#[test]
fn header_is_that_of_rfc_7519_section_5_2_and_nothing_of_the_claims_is_readable() {
    let world = world();
    let token = world.token();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    let known = json!({"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT", "kid": world.key.key_id()});
    for (name, value) in known.as_object().unwrap() {
        assert_eq!(&header[name], value);
    }
    assert_eq!(header.as_object().unwrap().len(), 5, "and epk");
    assert_eq!(token.split('.').nth(1).unwrap(), "");
}

#[test]
fn rejects_a_changed_tag_nonce_or_text() {
    let world = world();
    for part in [2, 3, 4] {
        let (label, text) = world.refused(&world.with_part(part, flipped));
        assert_eq!(label, "decryption");
        assert!(text.contains("or modified"), "{text}");
    }
}

#[test]
fn rejects_a_changed_header_that_would_be_good_otherwise() {
    let world = world();
    let (label, text) = world.refused(&world.with_header(|header| header["cty"] = json!("at+jwt")));
    assert_eq!(label, "decryption");
    assert!(text.contains("or modified"), "{text}");
}

#[test]
fn rejects_a_tag_or_nonce_of_another_length() {
    let world = world();
    for part in [2, 4] {
        let short = |part: &str| URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(part).unwrap()[1..]);
        assert_eq!(world.refused(&world.with_part(part, short)).0, "malformed");
    }
}

#[test]
fn rejects_an_encrypted_key_beside_direct_agreement() {
    let world = world();
    assert_eq!(world.refused(&world.with_part(1, |_| "AAAA".to_owned())).0, "malformed");
}

#[test]
fn rejects_another_key_id_and_none() {
    let world = world();
    let (label, text) = world.refused(&world.with_header(|header| header["kid"] = json!("x")));
    assert_eq!((label, text.contains("another key")), ("decryption", true));
    let none = world.with_header(|header| drop(header.as_object_mut().unwrap().remove("kid")));
    assert_eq!(world.refused(&none).0, "decryption");
    let foreign = key().public().encrypt(&world.issuer.token().sign()).unwrap();
    assert_eq!(world.refused(&foreign).0, "decryption");
}

#[test]
fn rejects_compression_and_extensions_and_foreign_keys() {
    let world = world();
    for name in ["zip", "crit", "b64", "jwk", "jku", "x5c", "x5u"] {
        let (label, text) = world.refused(&world.with_header(|header| header[name] = json!("DEF")));
        assert_eq!(label, "header");
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn rejects_every_other_way_to_encrypt() {
    let world = world();
    for alg in ["RSA1_5", "RSA-OAEP", "dir", "A256KW", "ECDH-ES+A256KW", "PBES2-HS256+A128KW", "ecdh-es", ""] {
        assert_eq!(world.refused(&world.with_header(|header| header["alg"] = json!(alg))).0, "algorithm", "{alg}");
    }
    for enc in ["A128GCM", "A256CBC-HS512", "a256gcm", ""] {
        assert_eq!(world.refused(&world.with_header(|header| header["enc"] = json!(enc))).0, "algorithm", "{enc}");
    }
}

#[test]
fn rejects_another_content_type() {
    let world = world();
    for cty in [json!("text"), json!(""), json!(1), Value::Null] {
        let (label, text) = world.refused(&world.with_header(|header| header["cty"] = cty));
        assert_eq!((label, text.contains("cty")), ("decryption", true), "{text}");
    }
}

#[test]
fn rejects_a_point_that_is_not_on_the_curve() {
    let world = world();
    let text = |bytes: [u8; 32]| json!(URL_SAFE_NO_PAD.encode(bytes));
    for (x, y) in [(text([1; 32]), text([1; 32])), (text([0; 32]), text([0; 32])), (text([0xff; 32]), text([1; 32]))] {
        let token = world.with_header(|header| {
            header["epk"]["x"] = x;
            header["epk"]["y"] = y;
        });
        let (label, text) = world.refused(&token);
        assert_eq!((label, text.contains("not a point on the curve")), ("decryption", true), "{text}");
    }
    for (name, value) in [("crv", json!("P-384")), ("kty", json!("OKP")), ("x", json!("AA")), ("y", json!(1))] {
        assert_eq!(world.refused(&world.with_header(|header| header["epk"][name] = value)).0, "decryption");
    }
    assert_eq!(world.refused(&world.with_header(|header| header["epk"] = json!("x"))).0, "malformed");
}

#[test]
fn rejects_a_token_that_is_encrypted_twice() {
    let world = world();
    let twice = world.key.public().encrypt(&world.token()).unwrap();
    assert_eq!(world.refused(&twice).0, "malformed");
}

#[test]
fn rejects_an_encrypted_token_over_the_size_limit_before_opening_it() {
    let token = world().token();
    let small = world_with(|builder| builder.token_bytes_max(token.len() - 1));
    assert_eq!(small.refused(&small.token()).0, "too_large");
}

#[test]
fn what_is_inside_is_verified_like_every_other_token() {
    let world = world();
    let encrypt = |token: String| world.key.public().encrypt(&token).unwrap();
    let other = TestIssuer::new(ISSUER);
    assert_eq!(world.refused(&encrypt(other.token().sign())).0, "key_unknown");
    assert_eq!(world.refused(&encrypt(world.issuer.token().audience("x").sign())).0, "audience");
    assert_eq!(world.refused(&encrypt("no token".to_owned())).0, "malformed");
}

#[test]
fn a_readable_token_is_refused_only_where_encryption_is_demanded() {
    let world = world();
    let token = world.issuer.token().sign();
    assert!(world.verifier.verify(UnverifiedToken::new(&token), "inventory", world.verifier.now()).is_ok());
    let strict = world_with(VerifierBuilder::require_encryption);
    assert_eq!(strict.refused(&strict.issuer.token().sign()).0, "not_encrypted");
    let good = strict.token();
    assert!(strict.verifier.verify(UnverifiedToken::new(&good), "inventory", strict.verifier.now()).is_ok());
}

#[test]
fn a_verifier_without_a_key_opens_nothing() {
    let issuer = TestIssuer::new(ISSUER);
    let token = key().public().encrypt(&issuer.token().sign()).unwrap();
    let verifier = issuer.verifier();
    let error = verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).unwrap_err();
    assert_eq!(error.label(), "decryption");
}

#[test]
fn a_verifier_that_could_open_nothing_or_not_know_with_which_key_is_not_built() {
    let (issuer, key) = (TestIssuer::new(ISSUER), key());
    let builder = || Verifier::builder().issuer(issuer.trusted());
    assert!(builder().require_encryption().build().is_err());
    assert!(builder().decryption_key(key.clone()).decryption_key(key).build().is_err());
}

#[test]
fn keys_are_read_from_jwk_and_pem_and_their_halves_belong_together() {
    let private = json!({
        "kty": "EC", "crv": "P-256", "use": "enc", "alg": "ECDH-ES", "kid": "k1",
        "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ", "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
        "d": "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    });
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut jwk = private.clone();
        change(&mut jwk);
        DecryptionKey::from_jwk(&jwk.to_string())
    };
    let key = changed(&|_| ()).unwrap();
    assert_eq!((key.key_id(), key.public().key_id()), ("k1", "k1"));
    let public = EncryptionKey::from_jwk(&key.public().to_jwk()).unwrap();
    assert_eq!(public.to_jwk(), key.public().to_jwk());
    assert!(EncryptionKey::from_jwk(&private.to_string()).is_err(), "a private key is not to be given away");
    assert!(changed(&|jwk| jwk["d"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE")).is_err());
    assert!(changed(&|jwk| jwk["use"] = json!("sig")).is_err());
    assert!(changed(&|jwk| jwk["alg"] = json!("ECDH-ES+A256KW")).is_err());
    assert!(changed(&|jwk| jwk["crv"] = json!("P-384")).is_err());
    assert!(changed(&|jwk| jwk["kid"] = json!("")).is_err());
    let thumbprint = changed(&|jwk| drop(jwk.as_object_mut().unwrap().remove("kid"))).unwrap();
    assert_eq!(thumbprint.key_id().len(), 43);
    assert!(EncryptionKey::from_pem(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_err());
}

#[test]
fn debug_of_a_decryption_key_is_censored() {
    let key = key();
    assert_eq!(format!("{key:?}"), format!("DecryptionKey {{ key_id: {:?}, .. }}", key.key_id()));
}

#[tokio::test]
async fn the_server_layer_opens_a_token_and_hands_the_signed_one_on_for_exchange() {
    let (issuer, key) = (TestIssuer::new(ISSUER), key());
    let signed = issuer.token().audience("m2m.admin.v1").scope("clients.read").sign();
    let builder = Verifier::builder().issuer(issuer.trusted()).clock(issuer.clock());
    let verifier = builder.decryption_key(key.clone()).require_encryption().build().unwrap();
    let layer = AuthorizationLayer::new(verifier, Policy::new(token_proto::POLICY).unwrap().unchecked(UncheckedPolicy));
    let expected = signed.clone();
    let service = ServiceBuilder::new().layer(layer).service_fn(move |request: http::Request<Body>| {
        let caller = request.extensions().get::<Caller>().unwrap();
        assert_eq!(caller.bearer().unwrap().expose(), expected);
        std::future::ready(Ok::<_, Infallible>(http::Response::new(Body::empty())))
    });
    let call = |token: &str| {
        let request = http::Request::post("/m2m.admin.v1.ClientService/GetClient");
        request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
    };
    let encrypted = key.public().encrypt(&signed).unwrap();
    // The second time, the cache answers.
    for _ in 0..2 {
        let answer = service.clone().oneshot(call(&encrypted)).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(service.oneshot(call(&signed)).await.unwrap().status(), 401);
}
