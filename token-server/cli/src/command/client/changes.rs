//! The settings of `client create` and `client update`.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use clap::Args;
use token_interceptor::clock::{Clock as _, SystemClock};
use token_proto::admin::v1::{Client, Grant};

use crate::command::failure::Failure;

/// Settings of a client. `update` leaves a setting as it is where its flag is absent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings of the client")]
pub(super) struct Changes {
    /// A name for people.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The scopes that it may ask for at one resource server; repeat it for more. Replaces all grants.
    ///
    /// A resource server may introspect the tokens of its own audience if its client ID is that audience.
    /// With the grant m2m.token.v1=tokens.introspect a client may introspect every token.
    #[arg(long = "grant", value_name = "AUDIENCE=SCOPE,SCOPE")]
    grants: Vec<String>,
    /// The scopes of a request that names none. Default: every scope of the grant.
    #[arg(long = "default-scopes", value_name = "AUDIENCE=SCOPE,SCOPE")]
    default_scopes: Vec<String>,
    /// The lifetime of its tokens, such as 5m, at most [tokens] maximum_lifetime.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    token_lifetime: Option<Duration>,
    /// A claim added to each of its tokens; repeat it for more. Replaces all claims.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// A redirect URI that a token request may carry; repeat it for more. Replaces all of them.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// An OAuth grant type that it may use; repeat it for more. Default: client_credentials.
    #[arg(long = "grant-type", value_name = "NAME")]
    grant_types: Vec<String>,
    /// The URL of its public keys for private_key_jwt.
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Allow exchanges that give it tokens which do not name it as the actor.
    #[arg(long, value_name = "true|false")]
    may_impersonate: Option<bool>,
    /// Accept client assertions whose audience is the token endpoint, for libraries that cannot set the
    /// issuer. Each use is logged.
    #[arg(long, value_name = "true|false")]
    accept_token_endpoint_audience: Option<bool>,
    /// An audience whose tokens it may exchange, beside its own ID; repeat it for more. Replaces all of them.
    #[arg(long = "subject-audience", value_name = "AUDIENCE")]
    subject_audiences: Vec<String>,
    /// A note for operators; repeat it for more. Replaces all labels.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

impl Changes {
    /// Sets what was given, and names the fields.
    pub(super) fn apply(self, client: &mut Client) -> Result<Vec<String>, Failure> {
        let mut paths = Vec::new();
        let mut changed = |path: &str, given: bool| {
            if given {
                paths.push(path.to_owned());
            }
        };
        changed("display_name", self.name.is_some());
        changed("grants", !self.grants.is_empty());
        changed("token_lifetime", self.token_lifetime.is_some());
        changed("claims", !self.claims.is_empty());
        changed("redirect_uris", !self.redirect_uris.is_empty());
        changed("grant_types", !self.grant_types.is_empty());
        changed("jwks_uri", self.jwks_uri.is_some());
        changed("may_impersonate", self.may_impersonate.is_some());
        changed("accept_token_endpoint_audience", self.accept_token_endpoint_audience.is_some());
        changed("subject_audiences", !self.subject_audiences.is_empty());
        changed("labels", !self.labels.is_empty());
        client.display_name = self.name.unwrap_or_default();
        client.grants = grants(&self.grants, &self.default_scopes)?;
        client.token_lifetime = self.token_lifetime.map(duration).transpose()?;
        client.claims = pairs("--claim", &self.claims)?;
        client.redirect_uris = self.redirect_uris;
        client.grant_types = self.grant_types;
        client.jwks_uri = self.jwks_uri.unwrap_or_default();
        client.may_impersonate = self.may_impersonate.unwrap_or_default();
        client.accept_token_endpoint_audience = self.accept_token_endpoint_audience.unwrap_or_default();
        client.subject_audiences = self.subject_audiences;
        client.labels = pairs("--label", &self.labels)?;
        Ok(paths)
    }
}

fn grants(granted: &[String], default: &[String]) -> Result<Vec<Grant>, Failure> {
    let mut grants: Vec<Grant> = Vec::new();
    for text in granted {
        let (audience, scopes) = scopes("--grant", text)?;
        if grants.iter().any(|grant| grant.audience == audience) {
            return Err(Failure::usage(format!("--grant names the audience {audience:?} twice")));
        }
        grants.push(Grant { audience, default_scopes: scopes.clone(), scopes });
    }
    for text in default {
        let (audience, scopes) = scopes("--default-scopes", text)?;
        let grant = grants.iter_mut().find(|grant| grant.audience == audience).ok_or_else(|| {
            Failure::usage(format!("--default-scopes names the audience {audience:?}, which no --grant does"))
        })?;
        grant.default_scopes = scopes;
    }
    Ok(grants)
}

fn scopes(flag: &str, text: &str) -> Result<(String, Vec<String>), Failure> {
    // An audience may contain "="; a list of scopes rarely does.
    let (audience, scopes) = text.rsplit_once('=').unwrap_or((text, ""));
    let scopes: Vec<_> = scopes.split(',').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    if audience.is_empty() || scopes.is_empty() {
        let wrong = Failure::usage(format!("{flag} {text:?} is not an audience and its scopes"));
        return Err(wrong.next(format!("{flag} inventory=inventory.read,inventory.write")));
    }
    Ok((audience.to_owned(), scopes))
}

fn pairs(flag: &str, texts: &[String]) -> Result<HashMap<String, String>, Failure> {
    let pair =
        |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Failure::usage(format!("{flag} {text:?} is not a name and a value"))
                .next(format!("{flag} team=payments"))),
        };
    texts.iter().map(pair).collect()
}

pub(super) fn duration(duration: Duration) -> Result<prost_types::Duration, Failure> {
    duration.try_into().map_err(|error| Failure::usage("the duration is too long").because(error))
}

pub(super) fn now() -> SystemTime {
    SystemClock.now()
}
