//! `client add-identity`, and the identity of `client create`: a workload's identity at another issuer.

use std::{collections::HashMap, time::Duration};

use clap::Args;
use token_proto::admin::v1::{
    AddCredentialRequest, ClaimValues, Credential, FederatedIdentity, credential::Kind, federated_identity::Accepts,
};

use super::{changes, scopes_of, show, with_scopes};
use crate::command::{connection::Admin, failure::Failure, output::Output};

/// The identity of a workload at a trusted issuer, in place of a secret.
#[derive(Debug, Args)]
#[command(next_help_heading = "Identity of a workload, in place of a secret")]
pub(super) struct Identity {
    /// The issuer of the workload's token, exactly as in its `iss`. The server must trust it.
    #[arg(long, value_name = "URL")]
    identity_issuer: Option<String>,
    /// The exact `sub` of the token, such as system:serviceaccount:prod:orders.
    #[arg(long, value_name = "SUB", conflicts_with = "identity_subject_prefix")]
    identity_subject: Option<String>,
    /// A prefix of `sub` that ends with ":" or "/", in place of the exact one.
    #[arg(long, value_name = "PREFIX")]
    identity_subject_prefix: Option<String>,
    /// A further claim by JSON pointer, such as /repository_id=1234; repeat it for more. A pointer that is
    /// repeated has several allowed values.
    #[arg(long = "identity-claim", value_name = "POINTER=VALUE")]
    identity_claims: Vec<String>,
    /// The longest time since the token was issued. Default: that of the issuer.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    identity_max_age: Option<Duration>,
    /// Accept a token again until it expires, for platforms that hand out one token several times, as
    /// Kubernetes does.
    #[arg(long)]
    identity_reuse: bool,
}

#[derive(Debug, Args)]
pub(super) struct AddIdentity {
    /// The client.
    id: String,
    #[command(flatten)]
    identity: Identity,
    /// The client can no longer use the identity after this time. Default: never.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
}

const EXAMPLE: &str = "--identity-issuer https://kubernetes.default.svc.cluster.local --identity-subject \
                       system:serviceaccount:prod:orders --identity-reuse";

impl Identity {
    /// Returns the credential, if a flag names one.
    pub(super) fn credential(self) -> Result<Option<Credential>, Failure> {
        let Self {
            identity_issuer,
            identity_subject,
            identity_subject_prefix,
            identity_claims,
            identity_max_age,
            identity_reuse,
        } = self;
        let accepts = match (identity_subject, identity_subject_prefix) {
            (Some(subject), _) => Some(Accepts::Subject(subject)),
            (None, Some(prefix)) => Some(Accepts::SubjectPrefix(prefix)),
            (None, None) => None,
        };
        let further = !identity_claims.is_empty() || identity_max_age.is_some() || identity_reuse;
        let (issuer, accepts) = match (identity_issuer, accepts) {
            (Some(issuer), Some(accepts)) => (issuer, accepts),
            (None, None) if !further => return Ok(None),
            (Some(_) | None, Some(_) | None) => {
                let missing = "--identity-issuer belongs together with --identity-subject or --identity-subject-prefix";
                return Err(Failure::usage(missing).next(EXAMPLE));
            }
        };
        let identity = FederatedIdentity {
            issuer,
            accepts: Some(accepts),
            claims: claims(&identity_claims)?,
            max_age: identity_max_age.map(changes::duration).transpose()?,
            reuse: identity_reuse,
        };
        Ok(Some(Credential { kind: Some(Kind::FederatedIdentity(identity)), ..Default::default() }))
    }
}

fn claims(texts: &[String]) -> Result<HashMap<String, ClaimValues>, Failure> {
    let mut claims: HashMap<String, ClaimValues> = HashMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((pointer, value)) if pointer.starts_with('/') && !value.is_empty() => {
                claims.entry(pointer.to_owned()).or_default().values.push(value.to_owned());
            }
            _ => {
                let wrong = Failure::usage(format!("--identity-claim {text:?} is not a JSON pointer and a value"));
                return Err(wrong.next("--identity-claim /repository_id=1234"));
            }
        }
    }
    Ok(claims)
}

impl AddIdentity {
    /// Returns the request, before the server is called.
    pub(super) fn request(self) -> Result<AddCredentialRequest, Failure> {
        let Some(mut credential) = self.identity.credential()? else {
            return Err(Failure::usage("the identity is missing").next(EXAMPLE));
        };
        credential.expire_time = self.expires_in.map(|lifetime| (changes::now() + lifetime).into());
        Ok(AddCredentialRequest { client_id: self.id, credential: Some(credential), overlap: None })
    }
}

/// Adds the identity to a client.
pub(super) async fn add(
    request: AddCredentialRequest,
    admin: &Admin,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let (id, scopes) = (request.client_id.clone(), scopes_of(admin, &request.client_id).await);
    let answer = admin.clients().add_credential(with_scopes(request, scopes)).await?.into_inner();
    show::added(&id, &answer.credential.unwrap_or_default(), "", json, output)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        identity: Identity,
    }

    fn read(arguments: &[&str]) -> Result<Option<FederatedIdentity>, Failure> {
        let line = Line::try_parse_from([&["x"], arguments].concat()).unwrap();
        let kind = line.identity.credential()?.and_then(|credential| credential.kind);
        Ok(kind.map(|kind| match kind {
            Kind::FederatedIdentity(identity) => identity,
            Kind::Secret(_) | Kind::PublicKey(_) => panic!("{kind:?}"),
        }))
    }

    #[test]
    fn an_identity_needs_an_issuer_and_a_subject() {
        assert!(read(&[]).unwrap().is_none());
        let (issuer, subject) = (["--identity-issuer", "https://i.example"], ["--identity-subject", "a"]);
        for half in [&issuer[..], &subject, &["--identity-reuse"], &["--identity-claim", "/a=b"]] {
            assert!(read(half).is_err(), "{half:?}");
        }
        let identity = read(&[issuer, subject].concat()).unwrap().unwrap();
        assert_eq!((identity.issuer.as_str(), identity.reuse), ("https://i.example", false));
        assert_eq!(identity.accepts, Some(Accepts::Subject("a".to_owned())));
    }

    #[test]
    fn a_repeated_claim_has_several_values() {
        let rule = ["--identity-issuer", "https://i.example", "--identity-subject-prefix", "repo:acme/"];
        let with = |claims: &[&str]| {
            let flags: Vec<_> = claims.iter().flat_map(|claim| ["--identity-claim", claim]).collect();
            read(&[&rule[..], &flags].concat())
        };
        let identity = with(&["/a=1", "/a=2", "/b/c=x=y"]).unwrap().unwrap();
        assert_eq!(
            (&identity.claims["/a"].values[..], &identity.claims["/b/c"].values[..]),
            (&["1".to_owned(), "2".to_owned()][..], &["x=y".to_owned()][..])
        );
        for bad in ["a=1", "/a", "/a=", ""] {
            assert!(with(&[bad]).is_err(), "{bad}");
        }
    }
}
