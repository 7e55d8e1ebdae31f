//! What `client create` and `client update` set.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use clap::Args;
use token_interceptor::clock::{Clock as _, SystemClock};
use token_proto::admin::v1::{Client, Grant};

use crate::command::failure::Failure;

/// Settings of a client; what is not given stays as it is.
#[derive(Debug, Args)]
#[command(next_help_heading = "What the client is and may do")]
pub(super) struct Changes {
    /// A name for people.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it may ask for at one resource server; repeat it for more. Replaces all grants.
    #[arg(long = "grant", value_name = "AUDIENCE=SCOPE,SCOPE")]
    grants: Vec<String>,
    /// Granted at an audience when a request names no scope. Without it: all of the grant.
    #[arg(long = "default-scopes", value_name = "AUDIENCE=SCOPE,SCOPE")]
    default_scopes: Vec<String>,
    /// The lifetime of its tokens, such as 5m; never beyond the issuer's maximum.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    token_lifetime: Option<Duration>,
    /// A claim added to each of its tokens; repeat it for more. Replaces all claims.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// A redirect URI that a token request may carry; repeat it for more. Replaces all of them.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// A grant that it may use, by its OAuth name; repeat it for more. Without any: client_credentials alone.
    #[arg(long = "grant-type", value_name = "NAME")]
    grant_types: Vec<String>,
    /// Where its public keys for private_key_jwt are fetched from.
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Whether its exchanged tokens may stand for the subject alone.
    #[arg(long, value_name = "true|false")]
    may_impersonate: Option<bool>,
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
        changed("labels", !self.labels.is_empty());
        client.display_name = self.name.unwrap_or_default();
        client.grants = grants(&self.grants, &self.default_scopes)?;
        client.token_lifetime = self.token_lifetime.map(duration).transpose()?;
        client.claims = pairs("--claim", &self.claims)?;
        client.redirect_uris = self.redirect_uris;
        client.grant_types = self.grant_types;
        client.jwks_uri = self.jwks_uri.unwrap_or_default();
        client.may_impersonate = self.may_impersonate.unwrap_or_default();
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
    // An audience may have "=" in it, a list of scopes that is given on a command line hardly does.
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
