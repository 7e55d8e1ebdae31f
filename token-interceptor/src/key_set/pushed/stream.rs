//! One trust stream: its messages, added up to a state.

use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};

use token_proto::token::v1::{
    self, GetIssuerRequest, KeyState, WatchTrustRequest, WatchTrustResponse, revocation::Target,
    trust_service_client::TrustServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tracing::Instrument as _;

use super::{SILENCE_MAX, Shared};
use crate::{
    http_client,
    revocation::{Revoked, TargetHash, numeric_date_after},
    trace_context,
};

/// Longest wait for the stream to begin.
const CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// The largest message. The issuer sends parts of some 32 KiB.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The state that the messages add up to, without revocations.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The version of the last complete step. Empty before the first.
    version: String,
    /// JWKs by `kid`.
    keys: BTreeMap<String, String>,
    /// True if the unfinished step replaces or changes keys.
    keys_changed: bool,
}

/// The reason that a stream ended, for the log.
pub(super) type Lost = Cow<'static, str>;

impl Shared {
    /// Follows a stream until it is lost. Returns the cause.
    pub(super) async fn follow_once(&self, state: &mut State) -> Lost {
        let issuer = &*self.held.issuer;
        let span = tracing::info_span!(parent: None, "fetch keys", otel.kind = "client", issuer);
        let mut stream = match self.begin(&state.version).instrument(span).await {
            Ok(stream) => stream,
            Err(lost) => return lost,
        };
        loop {
            match timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(message))) => {
                    if let Err(lost) = self.apply(state, message) {
                        return lost;
                    }
                }
                Ok(Ok(None)) => return "the issuer closed it".into(),
                Ok(Err(status)) => return broken(&status),
                Err(_) => return "it fell silent".into(),
            }
        }
    }

    async fn begin(&self, since_version: &str) -> Result<Streaming<WatchTrustResponse>, Lost> {
        let client = TrustServiceClient::new(self.push.channel.clone());
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let described = timeout(CONNECT_MAX, client.get_issuer(trace_context::request(GetIssuerRequest {}))).await;
        let described = match described {
            Ok(Ok(described)) => described.into_inner().issuer,
            Ok(Err(status)) if http_client::is_of_unknown_ca(&status) => return Err(http_client::OVER_GRPC.into()),
            Ok(Err(status)) => return Err(refused("the issuer does not answer", &status)),
            Err(_) => return Err("the issuer does not answer in time".into()),
        };
        if described.is_none_or(|described| *described.issuer != *self.held.issuer) {
            return Err("the TrustService is another issuer's".into());
        }
        let request = trace_context::request(WatchTrustRequest { since_version: since_version.to_owned() });
        match timeout(CONNECT_MAX, client.watch_trust(request)).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(status)) => Err(refused("the issuer does not push", &status)),
            Err(_) => Err("the issuer does not push in time".into()),
        }
    }

    /// Applies one message. The state counts as current once the last part of a step has arrived.
    fn apply(&self, state: &mut State, message: WatchTrustResponse) -> Result<(), Lost> {
        // Revocations first: a key in the same message must not admit a token that the message revokes.
        for revocation in &message.revocations {
            self.revocations.add(revoked(revocation).ok_or("it pushes revocations of a kind that is unknown here")?);
        }
        if message.snapshot {
            state.keys.clear();
        }
        state.keys_changed |= message.snapshot || !message.keys.is_empty() || !message.removed_key_ids.is_empty();
        for key in message.keys {
            if key.state() == KeyState::Distrusted {
                state.keys.remove(&key.key_id);
            } else {
                let v1::Key { key_id, jwk, .. } = key;
                state.keys.insert(key_id, jwk);
            }
        }
        for key_id in &message.removed_key_ids {
            state.keys.remove(key_id);
        }
        // The first state is used only once it is complete, because some revocations may still be missing.
        // After that, a distrusted key is removed at once.
        if state.keys_changed && (!message.more_follows || !state.version.is_empty()) {
            self.hold(&state.keys);
            state.keys_changed = false;
        }
        if !message.more_follows {
            state.version = message.version;
            self.heard(message.server_time.and_then(|time| SystemTime::try_from(time).ok()));
        }
        Ok(())
    }
}

/// `None` for one of a kind that this version does not know.
fn revoked(revocation: &v1::Revocation) -> Option<Revoked> {
    let time = |time: Option<prost_types::Timestamp>| SystemTime::try_from(time?).ok().map(numeric_date_after);
    // Without an expiry time the entry is kept for ever. This rejects too much, but never too little.
    let forget = time(revocation.forget_time).unwrap_or(u64::MAX);
    let (hash, issued_before) = match revocation.target.as_ref()? {
        Target::TokenHash(hash) => (hash, Revoked::ALWAYS),
        Target::ClientHash(hash) => (hash, time(revocation.issued_before_time).unwrap_or(Revoked::ALWAYS)),
    };
    Some(Revoked { target: TargetHash::from_bytes(hash)?, issued_before, forget })
}

/// The cause of a refusal, by its code: what the other side says is not repeated.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other code is shown as it is")]
fn refused(what: &'static str, status: &Status) -> Lost {
    let cause = match status.code() {
        Code::ResourceExhausted => "it has too many streams or requests of this peer",
        Code::Unauthenticated | Code::PermissionDenied => "it demands a client certificate",
        Code::Unimplemented => "it is no server of this project, or one of another version",
        code => return format!("{what}: {code}").into(),
    };
    format!("{what}: {cause}").into()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other code is shown as it is")]
fn broken(status: &Status) -> Lost {
    match status.code() {
        // By tonic, for a message that is longer than is read.
        Code::OutOfRange => format!("a message has more than {MESSAGE_BYTES_MAX} bytes").into(),
        code => format!("it broke off: {code}").into(),
    }
}
