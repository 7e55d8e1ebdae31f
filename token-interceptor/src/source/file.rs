//! A file that another program renews: a Kubernetes projected token, a file of `token-server agent`. It
//! follows gRFC A97, JwtTokenFileCallCredentials.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::io::AsyncReadExt as _;

use super::{AccessToken, IssuedToken, IssuerRefusal, SourceError, TokenRequest, TokenSource};
use crate::{
    clock::{Clock, SystemClock},
    json,
};

/// The time before `exp` at which the token counts as expired: for clock skew and the callee's own time.
const EARLY: Duration = Duration::from_secs(30);
/// The time before that at which the file is read again.
const REREAD: Duration = Duration::from_secs(60);
/// The remaining lifetime below which a token counts as expired. Reading it again and again would gain
/// nothing.
const REST_MIN: Duration = Duration::from_secs(2);
/// The largest file, in bytes: no token is longer.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A source that reads tokens from a file, for any requested audience and scopes. The program that writes the
/// file has to choose them.
///
/// The file is read at first use, again one minute before its token ends (30 s before `exp`), and again when
/// a callee refuses the token. The token is not verified: the callee does that.
pub struct TokenFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl TokenFile {
    /// Reads from `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), clock: SystemClock::shared() }
    }

    /// Replaces the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

#[async_trait::async_trait]
impl TokenSource for TokenFile {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        request.own()?;
        let text = read(&self.path).await.map_err(SourceError::unavailable)?;
        token(text.trim(), self.clock.now())
    }
}

async fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(FILE_BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

/// Text that is no token reads UNAUTHENTICATED. An expired token reads UNAVAILABLE, as it may be renewed
/// soon.
fn token(text: &str, now: SystemTime) -> Result<IssuedToken, SourceError> {
    let unusable = |why: &'static str| SourceError::refused(IssuerRefusal::Token, why);
    let token = AccessToken::new(text).map_err(|_| unusable("the token file holds no token"))?;
    let expires_at = expiry(text).ok_or_else(|| unusable("the token in the file is not a JWT with an exp"))?;
    let rest = expires_at.duration_since(now).ok().and_then(|rest| rest.checked_sub(EARLY));
    let rest = rest.filter(|rest| *rest >= REST_MIN);
    let expires_in = rest.ok_or_else(|| SourceError::unavailable("the token in the file has expired"))?;
    let refresh_after = expires_in.checked_sub(REREAD);
    Ok(IssuedToken { refresh_after, ..IssuedToken::new(token, expires_in) })
}

/// `exp`, unverified (RFC 7519 section 4.1.4).
fn expiry(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let claims = json::object(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let exp = claims.get("exp")?;
    let seconds = exp.as_u64().map_or_else(|| exp.as_f64().filter(|exp| *exp >= 0.0), |exp| Some(exp as f64))?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn ends_30_s_before_exp_and_is_read_again_a_minute_before_that() {
        let issued = token(&jwt(r#"{"exp":3600}"#), NOW).unwrap();
        assert_eq!(issued.expires_in, Duration::from_secs(3570));
        assert_eq!(issued.refresh_after, Some(Duration::from_secs(3510)));
    }

    #[test]
    fn a_token_in_its_last_minute_is_used_and_read_again_before_it_ends() {
        let issued = token(&jwt(r#"{"exp":80}"#), NOW).unwrap();
        assert_eq!((issued.expires_in, issued.refresh_after), (Duration::from_secs(50), None));
    }

    #[test]
    fn an_expired_token_is_one_that_its_keeper_has_yet_to_renew() {
        for exp in [0, 29, 31] {
            assert!(token(&jwt(&format!(r#"{{"exp":{exp}}}"#)), NOW).unwrap_err().is_transient(), "{exp}");
        }
    }

    #[test]
    fn what_is_no_jwt_with_an_exp_reads_unauthenticated() {
        for text in ["", "abc", "a.b", "a.b.c", "a.b.c.d", &jwt("{}"), &jwt(r#"{"exp":"soon"}"#), &jwt(r#"{"exp":-1}"#)]
        {
            assert_eq!(token(text, NOW).unwrap_err().refusal(), Some(IssuerRefusal::Token), "{text}");
        }
    }

    #[tokio::test]
    async fn reads_the_file_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::new(&path);
        let request = TokenRequest::without_audience();
        assert!(file.fetch(&request).await.unwrap_err().is_transient(), "not there yet");
        for exp in [4_000_000_000_u64, 4_000_000_001] {
            let jwt = jwt(&format!(r#"{{"exp":{exp}}}"#));
            tokio::fs::write(&path, format!("{jwt}\n")).await.unwrap();
            assert_eq!(file.fetch(&request).await.unwrap().token.expose(), jwt);
        }
    }
}
