//! `client new-key` and `client add-key`: keys for `private_key_jwt` (RFC 7523), in the usual file formats.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde_json::Value;
use token_interceptor::{
    json,
    signature::{Algorithm, SigningKey, VerifyingKey, has_private_member, thumbprint},
};
use token_proto::admin::v1::{self as proto, AddCredentialRequest, Credential};
use token_store::private_file;
use zeroize::Zeroizing;

use super::{scopes_of, show, spki, with_scopes};
use crate::command::{
    connection::Admin,
    failure::Failure,
    output::{Output, note},
};

/// The most keys of one client in one file. A larger set most likely belongs to something else.
const KEYS_MAX: usize = 16;

#[derive(Debug, Args)]
pub(super) struct NewKey {
    /// The file for the private key, in PEM (PKCS#8). It must not exist; only its owner may read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The algorithm: ES256, ES384 or EdDSA.
    #[arg(long, value_name = "NAME", default_value = "ES256")]
    algorithm: String,
}

#[derive(Debug, Args)]
pub(super) struct AddKey {
    /// The client.
    id: String,
    /// The public key: a file with a JWK, a JWK Set, or PEM (a public key or a certificate).
    #[arg(long, alias = "jwk", value_name = "FILE")]
    key: PathBuf,
    /// The algorithm, if the file does not name it. An RSA key needs it: RS256 or PS256.
    #[arg(long, value_name = "NAME")]
    alg: Option<String>,
}

/// The public key of a new client.
#[derive(Debug, Args)]
#[command(next_help_heading = "Public key, in place of a secret")]
pub(super) struct FirstKey {
    /// The public key: a file with a JWK, a JWK Set of one key, or PEM (a public key or a certificate).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The algorithm, if the file does not name it. An RSA key needs it: RS256 or PS256.
    #[arg(long, value_name = "NAME", requires = "key")]
    alg: Option<String>,
}

impl FirstKey {
    /// Returns the credential, if the flag is given.
    pub(super) fn credential(&self) -> Result<Option<Credential>, Failure> {
        let Some(file) = &self.key else { return Ok(None) };
        let [jwk] = <[String; 1]>::try_from(public_keys(file, self.alg.as_deref())?).map_err(|jwks| {
            Failure::usage(format!("{} holds {} keys, and a client is created with one", file.display(), jwks.len()))
                .next("create it with one, and register the others: client add-key")
        })?;
        Ok(Some(credential(jwk)))
    }
}

impl NewKey {
    /// Writes a new private key and prints its public JWK.
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let algorithm = algorithm("--algorithm", &self.algorithm)?;
        let cannot = |error| Failure::failed("no key can be generated", error);
        let der = SigningKey::generate_pkcs8(algorithm).map_err(|error| {
            Failure::usage(format!("keys for --algorithm {algorithm} cannot be generated here")).because(error).next(
                "ES256, ES384, EdDSA; for RSA: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out KEY",
            )
        })?;
        let jwk = SigningKey::from_der(algorithm, &der).map_err(cannot)?.public_jwk().to_json();
        let file = self.out.display();
        private_file::write_new(&self.out, pem(&der).as_bytes()).map_err(|error| {
            Failure::usage(format!("cannot write {file}")).because(error).next("a file that exists is not replaced")
        })?;
        note(format_args!(
            "{file} holds the private key: --client-key-file. The public key follows, for `client add-key --key`."
        ));
        Ok(output.line(jwk)?)
    }
}

impl AddKey {
    /// Returns the public keys of the file as JWKs.
    pub(super) fn jwks(&self) -> Result<Vec<String>, Failure> {
        public_keys(&self.key, self.alg.as_deref())
    }

    /// Registers each key.
    pub(super) async fn run(
        self,
        jwks: Vec<String>,
        admin: &Admin,
        json: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let scopes = scopes_of(admin, &self.id).await;
        for jwk in jwks {
            let credential = Some(credential(jwk));
            let request = AddCredentialRequest { client_id: self.id.clone(), credential, overlap: None };
            let answer = admin.clients().add_credential(with_scopes(request, scopes.clone())).await?.into_inner();
            show::added(&self.id, &answer.credential.unwrap_or_default(), "", json, output)?;
        }
        Ok(())
    }
}

fn credential(jwk: String) -> Credential {
    let kind = Some(proto::credential::Kind::PublicKey(proto::PublicKey { jwk }));
    Credential { kind, ..Default::default() }
}

/// Returns the public keys of the file as JWKs.
fn public_keys(file: &Path, alg: Option<&str>) -> Result<Vec<String>, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read {}", file.display())).because(error))?;
    let algorithm = alg.map(|name| algorithm("--alg", name)).transpose()?;
    read(&bytes, algorithm)
        .map_err(|NoKey { what, next }| Failure::usage(format!("{}: {what}", file.display())).next(next))
}

/// Returns the public keys of a JWK, a JWK Set or PEM as JWKs that name their algorithm.
///
/// # Errors
///
/// A phrase that names the problem.
pub(in crate::command) fn public_jwks(bytes: &[u8], algorithm: Option<&str>) -> Result<Vec<String>, String> {
    let known = algorithm.map(|name| Algorithm::from_name(name).ok_or_else(|| format!("it is for {name}")));
    read(bytes, known.transpose()?).map_err(|no_key| no_key.what)
}

/// The reason why a file holds no usable public key.
#[derive(Debug)]
struct NoKey {
    what: String,
    next: &'static str,
}

const FORMS: &str = "--key takes a file with a JWK, a JWK Set, or a public key in PEM: openssl pkey -in KEY -pubout";

fn no_key(what: impl Into<String>) -> NoKey {
    NoKey { what: what.into(), next: FORMS }
}

fn private_key(next: &'static str) -> NoKey {
    NoKey { what: "this is a private key, which stays with the client".to_owned(), next }
}

fn algorithm(flag: &str, name: &str) -> Result<Algorithm, Failure> {
    Algorithm::from_name(name).ok_or_else(|| {
        Failure::usage(format!("{flag} {name} is not an algorithm"))
            .next("ES256, ES384, ES512, EdDSA, RS256, RS384, RS512, PS256, PS384 or PS512")
    })
}

/// Reads the public keys in `bytes` as JWKs that name their algorithm.
fn read(bytes: &[u8], algorithm: Option<Algorithm>) -> Result<Vec<String>, NoKey> {
    if bytes.trim_ascii().starts_with(b"{") {
        let document = json::object(bytes).map_err(|error| no_key(format!("it is not a JSON object: {error}")))?;
        let keys = match document.get("keys") {
            Some(Value::Array(keys)) => keys.clone(),
            Some(_) => return Err(no_key("its \"keys\" are not a list")),
            None => vec![Value::Object(document)],
        };
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(no_key(format!("it holds {} keys: 1 to {KEYS_MAX} are allowed", keys.len())));
        }
        return keys.into_iter().map(|key| from_jwk(key, algorithm)).collect();
    }
    let jwk =
        spki::jwk(&public_key(bytes)?).ok_or_else(|| no_key("its key is not P-256, P-384, P-521, Ed25519 or RSA"))?;
    Ok(vec![from_jwk(Value::Object(jwk), algorithm)?])
}

/// Checks a JWK and adds missing members: `alg`, and the thumbprint as `kid`.
fn from_jwk(jwk: Value, algorithm: Option<Algorithm>) -> Result<String, NoKey> {
    let Value::Object(mut jwk) = jwk else { return Err(no_key("a member of its \"keys\" is not an object")) };
    if has_private_member(&jwk) {
        return Err(private_key("register its public half: the JWK without d, p, q, dp, dq, qi, oth and k"));
    }
    let is_rsa = jwk.get("kty").is_some_and(|kty| kty == "RSA");
    match (jwk.get("alg"), algorithm) {
        (None, None) if is_rsa => {
            return Err(NoKey {
                what: "an RSA key does not name its signature algorithm".to_owned(),
                next: "--alg RS256 or --alg PS256: the one that the client's library signs with",
            });
        }
        (Some(alg), Some(algorithm)) if alg != algorithm.name() => {
            return Err(no_key(format!("the key is for {alg}, and --alg says {algorithm}")));
        }
        (_, Some(algorithm)) => drop(jwk.insert("alg".to_owned(), algorithm.name().into())),
        (Some(_) | None, None) => {}
    }
    let key = VerifyingKey::from_jwk(&jwk).map_err(|error| no_key(error.to_string()))?;
    jwk.insert("alg".to_owned(), key.algorithm().name().into());
    if key.key_id().is_none()
        && let Some(key_id) = thumbprint(&jwk)
    {
        jwk.insert("kid".to_owned(), key_id.into());
    }
    Ok(Value::Object(jwk).to_string())
}

/// Returns the SubjectPublicKeyInfo of a public key or a certificate in PEM.
fn public_key(pem: &[u8]) -> Result<Vec<u8>, NoKey> {
    if pem.windows(11).any(|window| window == b"PRIVATE KEY") {
        return Err(private_key("register its public half: openssl pkey -in KEY -pubout -out PUBLIC"));
    }
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        return Ok(key.as_ref().to_vec());
    }
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| no_key("it holds no key"))?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&certificate).map_err(|_| no_key("its certificate is malformed"))?;
    Ok(certificate.public_key().raw.to_vec())
}

/// Encodes a private key in PEM. RFC 7468 section 10.
fn pem(der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    const RSA: &str = include_str!("../../../../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem");

    fn jwk(algorithm: Algorithm) -> String {
        let der = SigningKey::generate_pkcs8(algorithm).unwrap();
        SigningKey::from_der(algorithm, &der).unwrap().public_jwk().to_json()
    }

    fn rsa_jwk() -> Map<String, Value> {
        let der = rustls_pki_types::PrivateKeyDer::from_pem_slice(RSA.as_bytes()).unwrap();
        let key = SigningKey::from_der(Algorithm::Rs256, der.secret_der()).unwrap();
        let mut jwk = json::object(key.public_jwk().to_json().as_bytes()).unwrap();
        jwk.remove("alg");
        jwk
    }

    #[test]
    fn a_jwk_and_a_set_of_them_are_read() {
        let (one, two) = (jwk(Algorithm::Es256), jwk(Algorithm::EdDsa));
        assert_eq!(read(one.as_bytes(), None).unwrap().len(), 1);
        let set = format!("{{\"keys\":[{one},{two}]}}");
        assert_eq!(read(set.as_bytes(), None).unwrap().len(), 2);
        for bad in ["{}", r#"{"keys":[]}"#, r#"{"keys":3}"#, r#"{"keys":[3]}"#, "[]", "", "nothing"] {
            assert!(read(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_rsa_key_without_an_algorithm_is_refused() {
        let rsa = Value::Object(rsa_jwk()).to_string();
        assert!(read(rsa.as_bytes(), None).unwrap_err().next.contains("--alg PS256"));
        for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
            let read = read(rsa.as_bytes(), Some(algorithm)).unwrap();
            assert!(read[0].contains(&format!("\"alg\":\"{algorithm}\"")), "{read:?}");
        }
        assert!(read(rsa.as_bytes(), Some(Algorithm::Es256)).is_err());
        assert!(read(jwk(Algorithm::Es256).as_bytes(), Some(Algorithm::Rs256)).is_err());
    }

    #[test]
    fn pem_of_each_kind_of_key_reads_as_its_jwk() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let der = SigningKey::generate_pkcs8(algorithm).unwrap();
            let expected = SigningKey::from_der(algorithm, &der).unwrap().public_jwk();
            let pair = rcgen::KeyPair::try_from(&der[..]).unwrap();
            let certificate = rcgen::CertificateParams::new(["a".to_owned()]).unwrap().self_signed(&pair).unwrap();
            for text in [pair.public_key_pem(), certificate.pem()] {
                let read = read(text.as_bytes(), None).unwrap();
                let read = json::object(read[0].as_bytes()).unwrap();
                assert_eq!(read["kid"], expected.key_id(), "{algorithm}");
                assert_eq!(read["alg"], algorithm.name());
            }
            assert!(read(pem(&der).as_bytes(), None).unwrap_err().what.contains("private key"));
        }
    }

    /// The key of RFC 7520 section 3.1, as OpenSSL writes it.
    #[test]
    fn pem_of_a_key_on_p521_reads_as_its_jwk() {
        const PEM: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAcpkss6wI7PPlxj3t7A1RqMH3nvL4
L5Tzxze/XeeYZnHqxiX+gle70DlGRMqqOq+PJ6RYX7vK0PJFdiAIXlyPQq0B3KaU
e86IvFeQSFrJdCc0K8NfiH2G1loIk3fiR+YLqlXk6FAeKtpXJKxR1pCQCAM+vBCs
mZudf1zCUZ8/4eodlHU=
-----END PUBLIC KEY-----
";
        for algorithm in [None, Some(Algorithm::Es512)] {
            let jwk = json::object(read(PEM.as_bytes(), algorithm).unwrap()[0].as_bytes()).unwrap();
            assert_eq!((jwk["crv"].as_str(), jwk["alg"].as_str()), (Some("P-521"), Some("ES512")));
            let x = "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt";
            let y = "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1";
            assert_eq!((jwk["x"].as_str(), jwk["y"].as_str()), (Some(x), Some(y)));
            assert_eq!(jwk.get("kid").and_then(Value::as_str), thumbprint(&jwk).as_deref());
        }
        assert!(read(PEM.as_bytes(), Some(Algorithm::Es256)).is_err());
    }

    #[test]
    fn a_private_jwk_is_refused() {
        let private = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA"}"#;
        assert!(read(private.as_bytes(), None).is_err());
        // Said before anything else that is wrong with it, and of any key in a set.
        let mut rsa = rsa_jwk();
        rsa.insert("d".to_owned(), "AA".into());
        let set = format!("{{\"keys\":[{},{private}]}}", jwk(Algorithm::Es256));
        for text in [private.to_owned(), set, Value::Object(rsa).to_string()] {
            let refused = read(text.as_bytes(), None).unwrap_err();
            assert!(refused.what.contains("private key") && refused.next.contains("public half"), "{}", refused.what);
        }
    }
}
