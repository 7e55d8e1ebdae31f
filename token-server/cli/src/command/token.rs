//! `token-server token`: one token, for a header.

mod cache;
mod subject;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde_json::json;
use token_interceptor::{
    clock::{Clock as _, SystemClock},
    source::{
        ClientCredentials, IssuerBuilder, IssuerRefusal, SourceConfigError, SourceError, SubjectToken, TokenExchange,
        TokenRequest, TokenSource,
    },
};

use super::{
    connection::{Connection, Role, Target, client_certificate::ClientCertificate, named, reach},
    explain,
    failure::{Failure, Kind},
    output::{Output, note},
    runtime::runtime,
};
pub(super) use cache::forget;
use cache::{Cache, CachedToken};

/// The remaining lifetime below which a cached token is not used.
const LEAST_LEFT: Duration = Duration::from_secs(5);
/// The year 9999: the expiry of a token whose lifetime overflows a time.
const FAR_FUTURE: Duration = Duration::from_secs(253_402_300_799);

/// Prints an access token and nothing else, for use in a header.
///
/// The token is cached in the user's cache folder, readable by the user alone, and used again until it is
/// time to renew it. The command does not notice that a cached token was revoked; --refresh replaces it. The
/// command works with any OAuth 2.0 server, by its issuer URL or by --token-endpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  curl -H \"authorization: Bearer $(token-server token --audience api)\" https://api.example/items
  grpcurl -H \"authorization: Bearer $(token-server token --audience api)\" api.example:443 list
  token-server token --audience inventory --scope inventory.read --explain
  TOKEN_CLIENT_ID=ci TOKEN_CLIENT_SECRET=... \\
      token-server token --issuer https://login.example.com --audience api
  token-server token --issuer https://login.example.com --audience api \\
      --client-id ci --client-key-file ci.pem                # no secret: a key signs

Without flags and variables it is the example client of `token-server dev` in this directory.")]
pub(super) struct Token {
    /// The resource server that the token is for (RFC 8707). Default: the client's only audience.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// A scope to ask for; repeat it for more. Default: the client's default scopes.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Exchange the token in this file for one that acts for its subject (RFC 8693).
    #[arg(long, value_name = "FILE")]
    subject_token_file: Option<PathBuf>,
    /// The token endpoint of a server that has no metadata.
    #[arg(long, value_name = "URL")]
    token_endpoint: Option<String>,
    /// Print the content of the token instead of the token.
    #[arg(long)]
    explain: bool,
    /// Print the token and its lifetime as JSON; with --explain, its content as JSON.
    #[arg(long)]
    json: bool,
    /// Get a new token, and replace the cached one.
    #[arg(long, conflicts_with = "no_cache")]
    refresh: bool,
    /// Get a new token, and leave the cache as it is: neither read nor written.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Token {
    pub(super) fn run(mut self, output: &mut Output) -> Result<(), Failure> {
        if let Some(endpoint) = &self.token_endpoint {
            // A name for the server in the cache. Nothing is sent to it.
            self.connection.issuer.get_or_insert(endpoint.clone());
        }
        let target = self.connection.resolve(Role::Application)?;
        let token = runtime()?.block_on(self.obtain(&target))?;
        if self.explain {
            return if self.json { show_json(&token, output) } else { show(&token, output) };
        }
        if self.json {
            let left = token.expires_at.duration_since(SystemClock.now()).unwrap_or_default();
            let value = json!({"access_token": token.value, "token_type": "Bearer", "expires_in": left.as_secs()});
            return Ok(output.json(&value)?);
        }
        Ok(output.line(&token.value)?)
    }

    /// Takes the token from the cache, or else from the server.
    async fn obtain(&self, target: &Target) -> Result<CachedToken, Failure> {
        let now = SystemClock.now();
        let subject = self.subject_token_file.as_deref().map(subject::read).transpose()?;
        let cache = if self.no_cache { None } else { Cache::of_user(self.cache_key(target, subject.as_ref())) };
        let cached = cache.as_ref().and_then(Cache::read);
        if let Some(cached) = cached.as_ref().filter(|token| !self.refresh && now < token.refresh_at) {
            return Ok(cached.clone());
        }
        let endpoint = self.token_endpoint.as_deref();
        let source = source(target, endpoint, self.subject_token_file.as_deref())?;
        let error = match self.fetch(&*source, now).await {
            Ok(token) => {
                let written = cache.map(|cache| cache.write(&token, &target.issuer, &target.identity.client_id));
                if let Some(Err(error)) = written {
                    note(format_args!("note: the token cannot be cached: {error}"));
                }
                return Ok(token);
            }
            Err(error) => error,
        };
        // A cached token is used until it expires, so an outage of the issuer does not stop the clients. With
        // --refresh the cached token is not wanted.
        let cached = cached.filter(|token| !self.refresh && now + LEAST_LEFT < token.expires_at);
        match cached.filter(|_| error.is_transient()) {
            Some(cached) => {
                note("note: the issuer cannot be reached; this is the last token that it issued");
                Ok(cached)
            }
            None => Err(refused(error, target, endpoint).await),
        }
    }

    async fn fetch(&self, source: &dyn TokenSource, now: SystemTime) -> Result<CachedToken, Arc<SourceError>> {
        let request = match &self.audience {
            Some(audience) => TokenRequest::for_audience(audience.as_str()),
            None => TokenRequest::without_audience(),
        };
        let request = request.with_scopes(self.scopes.iter().map(String::as_str));
        let issued = source.fetch(&request).await.map_err(Arc::new)?;
        let refresh_after = issued.refresh_after.unwrap_or(issued.expires_in.mul_f64(0.75));
        let expires_at = now.checked_add(issued.expires_in);
        let expires_at = expires_at.unwrap_or(SystemTime::UNIX_EPOCH + FAR_FUTURE);
        let refresh_at = now.checked_add(refresh_after).map_or(expires_at, |refresh_at| refresh_at.min(expires_at));
        Ok(CachedToken { value: issued.token.expose().to_owned(), expires_at, refresh_at })
    }

    /// A key of everything that distinguishes one token from another. It includes the credential, so that the
    /// token of a wrong or former secret is not used for this one.
    fn cache_key(&self, target: &Target, subject: Option<&SubjectToken>) -> [u8; 32] {
        let mut scopes = self.scopes.clone();
        scopes.sort();
        cache::digest(&[
            target.issuer.as_bytes(),
            self.token_endpoint.as_deref().unwrap_or_default().as_bytes(),
            target.ca_pem.as_deref().unwrap_or_default(),
            target.client_certificate.as_ref().map(ClientCertificate::chain_pem).unwrap_or_default(),
            target.identity.client_id.as_bytes(),
            &target.identity.digest,
            subject.map(SubjectToken::expose).unwrap_or_default().as_bytes(),
            self.audience.as_deref().unwrap_or_default().as_bytes(),
            scopes.join(" ").as_bytes(),
        ])
    }
}

/// Returns the source of the target's tokens. With `subject`, exchanges the token in that file.
pub(super) fn source(
    target: &Target,
    token_endpoint: Option<&str>,
    subject: Option<&Path>,
) -> Result<Arc<dyn TokenSource>, Failure> {
    match token_endpoint {
        Some(endpoint) => named::url("--token-endpoint", endpoint)?,
        None => named::url(named::ISSUER, &target.issuer)?,
    };
    let issuer = match token_endpoint {
        Some(endpoint) => IssuerBuilder::token_endpoint(endpoint),
        None => IssuerBuilder::discover(&target.issuer),
    };
    let issuer = issuer.http_client(target.http_client()?);
    let (client_id, credential) = (target.identity.client_id.as_str(), target.identity.credential.clone());
    let unusable = |error: SourceConfigError| Failure::usage("the issuer cannot be used").because(error);
    Ok(match subject {
        None => Arc::new(ClientCredentials::new(client_id, credential, issuer).map_err(unusable)?),
        Some(file) => {
            let exchange = TokenExchange::new(client_id, credential, issuer).map_err(unusable)?;
            Arc::new(subject::ExchangedFile::new(exchange, file))
        }
    })
}

fn show(token: &CachedToken, output: &mut Output) -> Result<(), Failure> {
    let now = SystemClock.now();
    match explain::decode(&token.value) {
        Ok(decoded) => {
            let mut pairs = decoded.pairs(now);
            pairs.push(("Renewed from".to_owned(), explain::in_words(token.refresh_at, now)));
            output.pairs(&pairs)?;
            for oddity in decoded.oddities(now) {
                output.line(format_args!("Note: {oddity}"))?;
            }
        }
        Err(error) => {
            output.line(format_args!("The token cannot be decoded: {error}."))?;
            output.pairs(&[("Expires", explain::in_words(token.expires_at, now))])?;
        }
    }
    Ok(())
}

fn show_json(token: &CachedToken, output: &mut Output) -> Result<(), Failure> {
    let decoded =
        explain::decode(&token.value).map_err(|error| Failure::failed("the token cannot be decoded", error))?;
    let now = SystemClock.now();
    Ok(output.json(&json!({
        "header": decoded.header,
        "claims": decoded.claims,
        "expires_in": token.expires_at.duration_since(now).unwrap_or_default().as_secs(),
        "oddities": decoded.oddities(now),
    }))?)
}

/// Converts a source's error to a failure. If the issuer was not reached, looks for the cause.
pub(super) async fn refused(error: Arc<SourceError>, target: &Target, token_endpoint: Option<&str>) -> Failure {
    const WHAT: &str = "there is no token";
    let id = &target.identity.client_id;
    let Some(refusal) = error.refusal() else { return unreached(error, target, token_endpoint).await };
    let (kind, next) = match refusal {
        IssuerRefusal::ClientAuthentication => (
            Kind::Denied,
            format!("check the ID and the secret or key of the client {id:?}, and that it is not disabled"),
        ),
        IssuerRefusal::ClientNotAuthorized | IssuerRefusal::Grant | IssuerRefusal::Token => {
            (Kind::Denied, format!("`token-server client show {id}` shows an operator the client's grants"))
        }
        IssuerRefusal::Scope | IssuerRefusal::Target => (
            Kind::Denied,
            format!(
                "`token-server client show {id}` shows an operator the audiences and scopes that the client may ask for"
            ),
        ),
        IssuerRefusal::Request | _ => {
            (Kind::Usage, "name an --audience, and a --scope where there is no default scope".to_owned())
        }
    };
    Failure::new(kind, WHAT).because(error).next(next)
}

async fn unreached(error: Arc<SourceError>, target: &Target, token_endpoint: Option<&str>) -> Failure {
    const WHAT: &str = "there is no token";
    let issuer = token_endpoint.unwrap_or(&target.issuer);
    if token_endpoint.is_none()
        && let Ok(client) = target.http_client()
    {
        match reach::look(&client, issuer).await {
            reach::Look::Failed(error) => return reach::unreachable(WHAT, issuer, error),
            look @ (reach::Look::OtherIssuer(_) | reach::Look::Nothing(..)) => {
                return reach::after_look(Failure::new(Kind::Unavailable, WHAT), issuer, look);
            }
            reach::Look::Found => {
                return Failure::new(Kind::Unavailable, WHAT)
                    .because(error)
                    .next(format!("the issuer {issuer} is reachable, and issues no token right now: try again"));
            }
        }
    }
    reach::unreachable(WHAT, issuer, error)
}
