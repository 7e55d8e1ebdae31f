//! A client's credential: a secret, or a private key that signs assertions (`private_key_jwt`, RFC 7523).

use std::{env, path::Path, sync::Arc};

use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::{
    signature::{Algorithm, SigningKey},
    source::{ClientCredential, PrivateKeyJwt},
};
use token_issuer::key::ImportedKey;
use zeroize::Zeroizing;

use super::{Connection, Role, state::State};
use crate::command::failure::Failure;

/// The client that the command authenticates as, and its credential.
#[derive(Clone, Debug)]
pub(in crate::command) struct Identity {
    pub(in crate::command) client_id: String,
    pub(in crate::command) credential: ClientCredential,
    /// A digest for the cache, different for each credential.
    pub(in crate::command) digest: [u8; 32],
}

/// Returns the flag or variable that names a client or a part of one.
pub(super) fn named_by(connection: &Connection, role: Role) -> Option<&'static str> {
    let flags = [
        ("--client-id", connection.client_id.is_some()),
        ("--client-secret-file", connection.client_secret_file.is_some()),
        ("--client-key-file", connection.client_key_file.is_some()),
    ];
    let variables = [role.id_variable(), role.secret_variable(), role.key_variable()];
    let flag = flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag);
    flag.or_else(|| variables.into_iter().find(|name| variable(name).is_some()))
}

/// Returns the value of an environment variable. An empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Returns the identity from flags, then variables, then the state folder.
pub(super) fn identity(
    connection: &Connection,
    role: Role,
    issuer: &str,
    state: Option<&State>,
) -> Result<Identity, Failure> {
    let setting = |name: &str| variable(name).or_else(|| state?.get(name));
    let client_id = connection.client_id.clone().or_else(|| setting(role.id_variable()));
    let client_id = client_id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| missing("the client ID", "--client-id ID", role.id_variable()))?;
    // A flag takes precedence over a variable, for every kind of credential.
    let secret_variable = || variable(role.secret_variable());
    let key_file = match (&connection.client_secret_file, &connection.client_key_file) {
        (Some(_), _) => None,
        (None, Some(file)) => Some(file.clone()),
        (None, None) if secret_variable().is_some() => None,
        (None, None) => variable(role.key_variable()).map(Into::into),
    };
    if let Some(file) = key_file {
        return by_key(client_id, &file, connection, issuer);
    }
    let secret = match &connection.client_secret_file {
        Some(file) => Some(read(file, "the secret")?.trim().to_owned()),
        None => secret_variable().or_else(|| state?.get(role.secret_variable())),
    };
    let secret = secret.ok_or_else(|| {
        missing("the client's secret", "--client-secret-file FILE (or --client-key-file FILE)", role.secret_variable())
    })?;
    let secret = SecretString::from(secret.trim().to_owned());
    Ok(Identity { client_id, digest: sha256(secret.expose_secret().as_bytes()), credential: secret.into() })
}

fn by_key(client_id: String, file: &Path, connection: &Connection, issuer: &str) -> Result<Identity, Failure> {
    let pem = Zeroizing::new(read(file, "the private key")?);
    let key = private_key(&pem, connection.client_key_algorithm.as_deref())
        .map_err(|NoKey(what, next)| Failure::usage(format!("{} {what}", file.display())).next(next))?;
    let mut assertions = PrivateKeyJwt::new(key, issuer);
    if let Some(key_id) = &connection.client_key_id {
        assertions = assertions.key_id(key_id);
    }
    let credential = ClientCredential::PrivateKey(Arc::new(assertions));
    Ok(Identity { client_id, digest: sha256(pem.as_bytes()), credential })
}

/// The reason why a PEM text is not a usable private key, and the next step.
#[derive(Debug)]
struct NoKey(&'static str, &'static str);

/// Reads the private key in `pem`. The algorithm follows from the key, except for RSA.
fn private_key(pem: &str, algorithm: Option<&str>) -> Result<SigningKey, NoKey> {
    const ALGORITHMS: &str = "the algorithms are ES256, ES384, EdDSA, and RS or PS with 256, 384 or 512";
    let read = |algorithm| ImportedKey::from_pem(algorithm, pem.as_bytes()).ok()?.signing_key().ok();
    if let Some(name) = algorithm {
        // ES512 is verified and not made.
        let named = Algorithm::from_name(name).filter(|named| *named != Algorithm::Es512);
        let algorithm = named.ok_or(NoKey("cannot sign by --client-key-algorithm", ALGORITHMS))?;
        return read(algorithm).ok_or(NoKey("holds no private key for --client-key-algorithm", ALGORITHMS));
    }
    if let Some(key) = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa].into_iter().find_map(read) {
        return Ok(key);
    }
    Err(match read(Algorithm::Rs256) {
        Some(_) => NoKey(
            "holds an RSA key, which can sign in two ways",
            "name the one that is registered: --client-key-algorithm RS256, or PS256",
        ),
        None => NoKey(
            "holds no private key in PEM (PKCS#8, not encrypted)",
            "create one: token-server client new-key; or convert: openssl pkcs8 -topk8 -nocrypt -in KEY",
        ),
    })
}

fn read(file: &Path, what: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {what} from {}", file.display())).because(error))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("{} is empty: it should hold {what}", file.display())));
    }
    Ok(text)
}

fn missing(what: &str, flag: &str, name: &str) -> Failure {
    let names: Vec<String> = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let mut next = format!("give it as {flag}, or as the variable {name}");
    if let Some(near) = similar(name, &names) {
        next = format!("{next}\n{near} is set: did you mean {name}?");
    }
    Failure::usage(format!("{what} is missing")).next(next)
}

/// Returns the name of which `wanted` is most likely a misspelling.
fn similar<'n>(wanted: &str, names: &'n [String]) -> Option<&'n str> {
    const KNOWN: [&str; 6] = [
        "TOKEN_CLIENT_ID",
        "TOKEN_CLIENT_SECRET",
        "TOKEN_CLIENT_KEY_FILE",
        "TOKEN_ADMIN_CLIENT_ID",
        "TOKEN_ADMIN_CLIENT_SECRET",
        "TOKEN_ADMIN_CLIENT_KEY_FILE",
    ];
    let near = |name: &&str| !KNOWN.contains(name) && strsim::damerau_levenshtein(wanted, name) <= 2;
    names.iter().map(String::as_str).find(near)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_found_and_a_known_one_is_not() {
        let names = ["PATH", "TOKEN_CLIENT_ID", "TOKEN_CLIENT_SECRT"].map(str::to_owned);
        assert_eq!(similar("TOKEN_CLIENT_SECRET", &names), Some("TOKEN_CLIENT_SECRT"));
        assert_eq!(similar("TOKEN_ADMIN_CLIENT_ID", &names), None);
    }

    #[test]
    fn an_rsa_key_needs_an_algorithm_and_others_have_theirs() {
        let rsa = include_str!("../../../../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem");
        assert!(private_key(rsa, None).unwrap_err().1.contains("--client-key-algorithm"));
        for algorithm in ["RS256", "PS256"] {
            assert_eq!(private_key(rsa, Some(algorithm)).unwrap().algorithm().name(), algorithm);
        }
        assert!(private_key(rsa, Some("ES256")).is_err());
        for verified_at_most in ["HS256", "ES512"] {
            assert!(private_key(rsa, Some(verified_at_most)).unwrap_err().0.starts_with("cannot sign"));
        }
        assert!(private_key("no key", None).is_err());
    }
}
