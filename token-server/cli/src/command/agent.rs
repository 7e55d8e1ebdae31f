//! `token-server agent`: keeps token files fresh, for programs in any language.
//!
//! The file holds the token and nothing else, as in gRFC A97 and Kubernetes' projected tokens. It is replaced
//! in one step, long before its token expires. Readers open it again for each use.

mod probe;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use token_interceptor::{
    clock::{Clock as _, SystemClock},
    refresh::{FreshToken, TokenError},
    source::TokenRequest,
};
use token_store::private_file;

use super::{
    connection::{Connection, Role, Target},
    failure::Failure,
    output::{Output, note},
    runtime::runtime,
    signals::{Asked, Signals},
    token,
};

/// The interval at which the command checks for a renewed token.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps token files fresh, one per audience, until SIGTERM or SIGINT.
///
/// A file holds the token alone. It is replaced in one step, and only its owner may read it (0600). While the
/// issuer is unreachable the last token stays in its file; it is valid until it expires.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server agent --token inventory=/run/tokens/inventory
  token-server agent --token inventory=/run/tokens/inventory --token billing=/run/tokens/billing \\
      --scopes billing=invoices.read --issuer https://tokens.example.com \\
      --client-id orders --client-secret-file /etc/orders/secret
  token-server agent --once --token inventory=/run/tokens/inventory     # for an init container

Readers open the file for each use, or again a minute before the token expires.")]
pub(super) struct Agent {
    /// An audience and the file for its token; repeat it for more.
    #[arg(long = "token", value_name = "AUDIENCE=FILE", required = true)]
    tokens: Vec<String>,
    /// The scopes to ask for at an audience. Default: the client's default scopes.
    #[arg(long = "scopes", value_name = "AUDIENCE=SCOPE,SCOPE")]
    scopes: Vec<String>,
    /// Let the group of the files read them too (0640), for a sidecar that runs as another user.
    #[arg(long)]
    group_readable: bool,
    /// Write each file once and exit. The exit code gives the reason if a token was not issued.
    #[arg(long)]
    once: bool,
    /// Succeed if each file holds a token that has not expired; ask no server and write nothing. For probes.
    #[arg(long, conflicts_with = "once")]
    probe: bool,
    /// Exchange the token in this file for tokens that act for its subject (RFC 8693).
    #[arg(long, value_name = "FILE")]
    subject_token_file: Option<PathBuf>,
    /// The token endpoint of a server that has no metadata.
    #[arg(long, value_name = "URL")]
    token_endpoint: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// A token and its file.
struct Kept {
    audience: String,
    file: PathBuf,
    token: FreshToken,
    /// The token that the file holds.
    written: String,
    /// True if the last attempt failed, so that a failure is reported once.
    failing: bool,
}

impl Agent {
    pub(super) fn run(mut self, _: &mut Output) -> Result<(), Failure> {
        if self.probe {
            let now = SystemClock.now();
            return self.requests()?.iter().try_for_each(|(audience, (file, _))| probe::check(audience, file, now));
        }
        if let Some(endpoint) = &self.token_endpoint {
            self.connection.issuer.get_or_insert(endpoint.clone());
        }
        let target = self.connection.resolve(Role::Application)?;
        let endpoint = self.token_endpoint.as_deref();
        let source = token::source(&target, endpoint, self.subject_token_file.as_deref())?;
        let mode = if self.group_readable { 0o640 } else { 0o600 };
        let once = self.once;
        let requests = self.requests()?;
        runtime()?.block_on(async {
            let keep = |(audience, (file, request))| Kept {
                audience,
                file,
                token: FreshToken::new(Arc::clone(&source), request, SystemClock::shared()),
                written: String::new(),
                failing: false,
            };
            let mut kept: Vec<Kept> = requests.into_iter().map(keep).collect();
            if once { write_once(&mut kept, mode, &target, endpoint).await } else { keep_fresh(&mut kept, mode).await }
        })
    }

    /// For each audience, the file and the token request.
    fn requests(&self) -> Result<BTreeMap<String, (PathBuf, TokenRequest)>, Failure> {
        let mut requests = BTreeMap::new();
        for text in &self.tokens {
            let (audience, file) = pair("--token", text, "inventory=/run/tokens/inventory")?;
            let request = TokenRequest::for_audience(audience);
            if requests.insert(audience.to_owned(), (PathBuf::from(file), request)).is_some() {
                return Err(Failure::usage(format!("--token names the audience {audience:?} twice")));
            }
        }
        for text in &self.scopes {
            let (audience, scopes) = pair("--scopes", text, "inventory=inventory.read")?;
            let (_, request) = requests.get_mut(audience).ok_or_else(|| {
                Failure::usage(format!("--scopes names the audience {audience:?}, which no --token does"))
            })?;
            *request = request.clone().with_scopes(scopes.split(',').filter(|scope| !scope.is_empty()));
        }
        Ok(requests)
    }
}

/// Splits at the last "=": an audience may contain one, files and scopes hardly ever do.
fn pair<'t>(flag: &str, text: &'t str, example: &str) -> Result<(&'t str, &'t str), Failure> {
    let wrong = || Failure::usage(format!("{flag} {text:?} is malformed")).next(format!("{flag} {example}"));
    text.rsplit_once('=').filter(|(audience, value)| !audience.is_empty() && !value.is_empty()).ok_or_else(wrong)
}

async fn write_once(
    kept: &mut [Kept],
    mode: u32,
    target: &Target,
    token_endpoint: Option<&str>,
) -> Result<(), Failure> {
    for each in kept {
        match each.token.get().await {
            Ok(token) => each.write(token.expose(), mode)?,
            Err(TokenError::Source { source, .. }) => {
                note(format_args!("The file for {:?} is not written.", each.audience));
                return Err(token::refused(source, target, token_endpoint).await);
            }
            Err(error) => {
                return Err(Failure::failed(format!("there is no token for {:?}", each.audience), error));
            }
        }
    }
    Ok(())
}

async fn keep_fresh(kept: &mut [Kept], mode: u32) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    // A program that starts after this one finds the files as soon as there are tokens.
    for each in kept.iter_mut() {
        let _ = each.token.get().await;
    }
    loop {
        tokio::select! {
            asked = signals.next() => if asked == Asked::Stop { return Ok(()) },
            _ = looks.tick() => {}
        }
        for each in kept.iter_mut() {
            each.look(mode)?;
        }
    }
}

impl Kept {
    /// Writes the token if it is new.
    fn look(&mut self, mode: u32) -> Result<(), Failure> {
        match self.token.now() {
            Ok(token) if token.expose() != self.written => {
                self.failing = false;
                self.write(token.expose(), mode)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    note(Failure::failed(format!("no token for {:?} at the moment", self.audience), error));
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, token: &str, mode: u32) -> Result<(), Failure> {
        private_file::write_with_mode(&self.file, token.as_bytes(), mode)
            .map_err(|error| Failure::failed(format!("cannot write {}", self.file.display()), error))?;
        token.clone_into(&mut self.written);
        Ok(())
    }
}
