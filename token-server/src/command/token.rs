//! `token-server token`: one token, for a header.

mod cache;

use std::time::{Duration, SystemTime};

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;
use token_interceptor::{
    clock::{Clock as _, SystemClock},
    http_client::HttpClient,
    source::{ClientCredentials, IssuerBuilder, Refusal, SourceError, TokenRequest, TokenSource as _},
};

use super::{
    connection::{
        Connection, Role, Target,
        client_certificate::{ClientCertificate, HINT},
        named,
    },
    explain,
    failure::{Failure, Kind},
    output::{Output, note},
    runtime,
};
use cache::{Cache, CachedToken};

/// A token with less left than this is not worth a request.
const LEAST_LEFT: Duration = Duration::from_secs(5);

/// Prints an access token and nothing else, for use in a header.
///
/// The token is kept in the user's cache directory, readable by the user alone, and used again until it is
/// time to renew it. Works against any OAuth 2.0 server: by its issuer URL, or by --token-endpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  curl -H \"authorization: Bearer $(token-server token --audience api)\" https://api.example/items
  grpcurl -H \"authorization: Bearer $(token-server token --audience api)\" api.example:443 list
  token-server token --audience inventory --scope inventory.read --explain
  TOKEN_CLIENT_ID=ci TOKEN_CLIENT_SECRET=... \\
      token-server token --issuer https://login.example.com --audience api

Without flags and variables it is the example client of `token-server dev` in this directory.")]
pub(super) struct Token {
    /// The resource server that the token is for (RFC 8707). Default: the client's only one.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// A scope to ask for; repeat it for more. Default: the client's default scopes.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The token endpoint, for servers that cannot be discovered.
    #[arg(long, value_name = "URL")]
    token_endpoint: Option<String>,
    /// Shows what is in the token instead of the token.
    #[arg(long)]
    explain: bool,
    /// Token and lifetime as JSON.
    #[arg(long, conflicts_with = "explain")]
    json: bool,
    /// Gets a new token, and keeps it nowhere.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Token {
    pub(super) fn run(mut self, output: &mut Output) -> Result<(), Failure> {
        if let Some(endpoint) = &self.token_endpoint {
            // Names the server in the cache; it is never sent to.
            self.connection.issuer.get_or_insert(endpoint.clone());
        }
        let target = self.connection.resolve(Role::Application)?;
        let token = runtime()?.block_on(self.obtain(&target))?;
        if self.explain {
            return show(&token, output);
        }
        if self.json {
            let left = token.expires_at.duration_since(SystemClock.now()).unwrap_or_default();
            let value = json!({"access_token": token.value, "token_type": "Bearer", "expires_in": left.as_secs()});
            return Ok(output.json(&value)?);
        }
        Ok(output.line(&token.value)?)
    }

    /// From the cache, or else from the server.
    async fn obtain(&self, target: &Target) -> Result<CachedToken, Failure> {
        let now = SystemClock.now();
        let cache = if self.no_cache { None } else { Cache::of_user(self.cache_key(target)) };
        let cached = cache.as_ref().and_then(Cache::read);
        if let Some(cached) = cached.as_ref().filter(|token| now < token.refresh_at) {
            return Ok(cached.clone());
        }
        let source = source(target, self.token_endpoint.as_deref())?;
        match self.fetch(&source, now).await {
            Ok(token) => {
                if let Some(Err(error)) = cache.map(|cache| cache.write(&token)) {
                    note(format_args!("note: the token is not kept for the next time: {error}"));
                }
                Ok(token)
            }
            // Used until it expires: an outage of the issuer is not one of its clients.
            Err(error) if error.is_transient() => match cached.filter(|token| now + LEAST_LEFT < token.expires_at) {
                Some(cached) => {
                    note("note: the issuer cannot be reached; the token is the last one that it gave");
                    Ok(cached)
                }
                None => Err(refused(error, target)),
            },
            Err(error) => Err(refused(error, target)),
        }
    }

    async fn fetch(&self, source: &ClientCredentials, now: SystemTime) -> Result<CachedToken, SourceError> {
        let request = match &self.audience {
            Some(audience) => TokenRequest::for_audience(audience.as_str()),
            None => TokenRequest::without_audience(),
        };
        let issued = source.fetch(&request.with_scopes(self.scopes.iter().map(String::as_str))).await?;
        let refresh_after = issued.refresh_after.unwrap_or(issued.expires_in.mul_f64(0.75));
        Ok(CachedToken {
            value: issued.token.expose().to_owned(),
            expires_at: now + issued.expires_in,
            refresh_at: now + refresh_after,
        })
    }

    /// Everything that makes one token different from another. The secret is part of it, so that a token got
    /// with a wrong or former secret is not taken for one of this.
    fn cache_key(&self, target: &Target) -> [u8; 32] {
        let mut scopes = self.scopes.clone();
        scopes.sort();
        cache::digest(&[
            target.issuer.as_bytes(),
            self.token_endpoint.as_deref().unwrap_or_default().as_bytes(),
            target.ca_pem.as_deref().unwrap_or_default(),
            target.client_certificate.as_ref().map(ClientCertificate::chain_pem).unwrap_or_default(),
            target.client_id.as_bytes(),
            target.client_secret.expose_secret().as_bytes(),
            self.audience.as_deref().unwrap_or_default().as_bytes(),
            scopes.join(" ").as_bytes(),
        ])
    }
}

/// Where the target's tokens come from.
pub(super) fn source(target: &Target, token_endpoint: Option<&str>) -> Result<ClientCredentials, Failure> {
    match token_endpoint {
        Some(endpoint) => named::url("--token-endpoint", endpoint)?,
        None => named::url(named::ISSUER, &target.issuer)?,
    };
    let client = HttpClient::builder();
    let client = match &target.ca_pem {
        Some(pem) => client.extra_roots_pem(pem.clone()),
        None => client,
    };
    let client = match &target.client_certificate {
        Some(shown) => shown.show_by_http(client),
        None => client,
    };
    let issuer = match token_endpoint {
        Some(endpoint) => IssuerBuilder::token_endpoint(endpoint),
        None => IssuerBuilder::discover(&target.issuer),
    };
    let unusable = || Failure::usage("the issuer cannot be used");
    let issuer = issuer.http_client(client.build().map_err(|error| unusable().because(error))?);
    ClientCredentials::new(target.client_id.as_str(), target.client_secret.clone(), issuer)
        .map_err(|error| unusable().because(error))
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
            output.line(format_args!("The token cannot be looked into: {error}."))?;
            output.pairs(&[("Expires", explain::in_words(token.expires_at, now))])?;
        }
    }
    Ok(())
}

fn refused(error: SourceError, target: &Target) -> Failure {
    let (kind, next) = match error.refusal() {
        None => (
            Kind::Unavailable,
            format!("is it running, and trusted? --issuer, --ca-file; the issuer is {}\n{HINT}", target.issuer),
        ),
        Some(Refusal::ClientAuthentication) => (
            Kind::Denied,
            format!("check ID and secret of the client {:?}, and that it is not disabled", target.client_id),
        ),
        Some(Refusal::ClientNotAuthorized | Refusal::Grant | Refusal::Token) => {
            (Kind::Denied, "the client is not registered for it".to_owned())
        }
        Some(Refusal::Scope | Refusal::Target) => {
            (Kind::Denied, format!("`token-server client show {}` tells what it may ask for", target.client_id))
        }
        Some(Refusal::Request) => {
            (Kind::Usage, "name an --audience, and a --scope where there are no default ones".to_owned())
        }
    };
    Failure::new(kind, "there is no token").because(error).next(next)
}
