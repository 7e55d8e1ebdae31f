//! The cache of tokens on disk between two calls of the program. Only the user can read it.

use std::{
    env, fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use token_interceptor::clock::numeric_date;
use token_store::private_file;

/// A token and its times.
#[derive(Clone)]
pub(super) struct CachedToken {
    pub(super) value: String,
    pub(super) expires_at: SystemTime,
    pub(super) refresh_at: SystemTime,
}

impl std::fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// The content of a file. Times are NumericDate.
#[derive(Serialize, Deserialize)]
struct Entry {
    access_token: String,
    expires_at: u64,
    refresh_at: u64,
    /// The issuer and the client, to find their tokens when they are revoked.
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    client_id: String,
}

/// One token's file in the cache.
#[derive(Debug)]
pub(super) struct Cache {
    file: PathBuf,
}

/// Removes this user's cached tokens of an issuer: those of one client, or all.
///
/// Called for an operator who has just revoked them. A file that cannot be removed stays; the server rejects
/// its token in any case.
pub(in crate::command) fn forget(issuer: &str, client_id: Option<&str>) {
    let Some(entries) = folder().and_then(|folder| fs::read_dir(folder).ok()) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let entry = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Entry>(&text).ok());
        if entry.is_some_and(|entry| entry.issuer == issuer && client_id.is_none_or(|id| id == entry.client_id)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The folder of the cache. `None` for a user without one.
fn folder() -> Option<PathBuf> {
    // XDG Base Directory Specification: relative paths must be ignored.
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
    let base = base.or_else(|| Some(absolute(PathBuf::from(env::var_os("HOME")?))?.join(".cache")))?;
    Some(base.join("token-server"))
}

impl Cache {
    /// The file of the token with this key. `None` for a user without a cache folder.
    pub(super) fn of_user(key: [u8; 32]) -> Option<Self> {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { file: folder()?.join(name) })
    }

    /// Reads the token, if the file is readable.
    pub(super) fn read(&self) -> Option<CachedToken> {
        let entry: Entry = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        let time = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Some(CachedToken {
            value: entry.access_token,
            expires_at: time(entry.expires_at)?,
            refresh_at: time(entry.refresh_at)?,
        })
    }

    /// Writes the token of this client of this issuer.
    pub(super) fn write(&self, token: &CachedToken, issuer: &str, client_id: &str) -> io::Result<()> {
        let entry = Entry {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            access_token: token.value.clone(),
            expires_at: numeric_date(token.expires_at),
            refresh_at: numeric_date(token.refresh_at),
        };
        if let Some(folder) = self.file.parent() {
            private_file::make_directory(folder)?;
        }
        private_file::write(&self.file, &serde_json::to_vec(&entry)?)
    }
}

/// A digest of several parts. The boundaries between the parts are unambiguous.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}
