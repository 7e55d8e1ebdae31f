//! A gallery of forged tokens: every known way to fool a verifier, each with the expected verdict. RFC 8725;
//! RFC 9068 section 4.
//!
//! [`gallery`] generates them for a test's own issuer. `testdata/forgeries.json` holds them as one data file,
//! for verifiers in any language. `cargo run --example forgeries` writes that file again.

mod assertion;
mod claims;
mod headers;
mod shapes;
mod signatures;

use serde::Serialize;
use serde_json::{Value, json};
use token_proto::token::v1::ErrorReason;

pub use assertion::assert_refuses_all_forgeries;

use super::{TestIssuer, TokenBuilder};

/// 2100-01-01T00:00:00Z, so that the clock matters only for forgeries about time.
pub(super) const FAR: u64 = 4_102_444_800;

/// A token that a verifier must reject.
#[derive(Clone, Debug, Serialize)]
pub struct Forgery {
    /// The name. It is stable, so that a verifier's exceptions can refer to it.
    pub name: &'static str,
    /// The reason to reject it, or a verifier that it fooled.
    pub why: &'static str,
    /// The token itself.
    pub token: String,
    /// The reason that this crate's verifier gives. Other verifiers may give another.
    pub reason: &'static str,
}

/// Valid and forged tokens of one issuer, with the key set to verify them.
#[derive(Clone, Debug, Serialize)]
pub struct Gallery {
    /// The issuer that a verifier has to trust, byte for byte.
    pub issuer: String,
    /// The audience that the verifier accepts.
    pub audience: String,
    /// The issuer's JWK Set. Some of its keys must not be used.
    pub jwks: Value,
    /// Tokens that a verifier must accept: one that rejects everything proves nothing.
    pub good: Vec<Good>,
    /// Tokens that a verifier must reject.
    pub forgeries: Vec<Forgery>,
}

/// A token that a verifier must accept.
#[derive(Clone, Debug, Serialize)]
pub struct Good {
    /// The name.
    pub name: &'static str,
    /// The token itself.
    pub token: String,
}

/// The keys and claims that the forgers work with.
struct Workshop<'a> {
    issuer: &'a TestIssuer,
    audience: &'a str,
    /// The forger's own key.
    stranger: TestIssuer,
    /// In the issuer's key set with `use: enc`: not for signatures.
    encryption: TestIssuer,
    forgeries: Vec<Forgery>,
}

/// A symmetric key in the issuer's key set, where none belongs.
const SHARED_SECRET: &[u8; 32] = b"not a secret: it is public text.";

/// Returns everything that a verifier of `issuer` has to reject, for `audience`.
#[must_use]
pub fn gallery(issuer: &TestIssuer, audience: &str) -> Gallery {
    let workshop = |issuer| Workshop {
        issuer,
        audience,
        stranger: TestIssuer::new(issuer.issuer()),
        encryption: TestIssuer::new(issuer.issuer()),
        forgeries: Vec::new(),
    };
    let mut workshop = workshop(issuer);
    signatures::forge(&mut workshop);
    headers::forge(&mut workshop);
    claims::forge(&mut workshop);
    shapes::forge(&mut workshop);
    Gallery {
        issuer: issuer.issuer().to_owned(),
        audience: audience.to_owned(),
        jwks: workshop.jwks(),
        good: workshop.good(),
        forgeries: workshop.forgeries,
    }
}

impl Workshop<'_> {
    /// Returns a valid token, to be spoilt.
    fn token(&self) -> TokenBuilder {
        self.issuer.token().audience(self.audience).claim("exp", FAR)
    }

    fn add(&mut self, name: &'static str, why: &'static str, token: String) {
        self.add_as(ErrorReason::TokenInvalid, name, why, token);
    }

    fn add_as(&mut self, reason: ErrorReason, name: &'static str, why: &'static str, token: String) {
        self.forgeries.push(Forgery { name, why, token, reason: reason.as_reason() });
    }

    fn good(&self) -> Vec<Good> {
        let good = |name, token: TokenBuilder| Good { name, token: token.sign() };
        vec![
            good("plain", self.token()),
            good("with_scope", self.token().scope("a.read b")),
            good("one_of_several_audiences", self.token().claim("aud", json!(["elsewhere", self.audience]))),
            good("type_in_capitals", self.token().header("typ", "AT+JWT")),
            good("type_with_prefix", self.token().header("typ", "application/at+jwt")),
            good("claims_without_a_meaning", self.token().claim("tenant", json!({ "id": [1, null, "x"] }))),
        ]
    }

    fn jwks(&self) -> Value {
        let jwk = |issuer: &TestIssuer| -> Value {
            serde_json::from_str(&issuer.key().public_jwk().to_json()).unwrap_or_default()
        };
        let mut encryption = jwk(&self.encryption);
        if let Some(members) = encryption.as_object_mut() {
            members.insert("use".to_owned(), json!("enc"));
            members.remove("alg");
        }
        let shared = json!({ "kty": "oct", "kid": "shared", "alg": "HS256", "k": encode(SHARED_SECRET) });
        json!({ "keys": [jwk(self.issuer), encryption, shared, { "kty": "unheard-of", "kid": "x" }] })
    }
}

fn encode(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
}
