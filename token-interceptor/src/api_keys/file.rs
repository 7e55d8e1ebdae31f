//! The file of the keys, which is read again while the server runs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use ring::digest;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{ApiKey, ApiKeyError, KeyHash, table::Table};
use crate::{clock::numeric_date, json};

/// The interval after which the file is read again.
const READ_EVERY: Duration = Duration::from_secs(5);
/// The largest file, in bytes: 10,000 keys fit.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file that may change.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    /// The time of the last read, in seconds since 1970; 0 before the first call.
    read_at: AtomicU64,
    /// Locked while the file is read.
    last: Mutex<Last>,
}

/// The result of the last read.
#[derive(Debug)]
struct Last {
    content: Vec<u8>,
    fault: Option<ApiKeyError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    deprecated: String,
    keys: Vec<Registration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    sha256: String,
    client_id: String,
    audiences: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    sunset: String,
}

impl Watched {
    pub(super) fn open(path: PathBuf) -> Result<(Table, Self), ApiKeyError> {
        let text = read(&path)?;
        let table = parse(&text).map_err(|error| at(&path, &error.to_string()))?;
        let last = Last { content: digest_of(&text), fault: None };
        Ok((table, Self { path, read_at: AtomicU64::new(0), last: Mutex::new(last) }))
    }

    /// Returns true if the file has not been read for five seconds. The clock may have been set back.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        let since = numeric_date(now).checked_sub(self.read_at.load(Ordering::Acquire));
        since.is_none_or(|since| since >= READ_EVERY.as_secs())
    }

    /// Reads the file again if that is due. Returns the keys if they have changed. All callers wait for one
    /// read.
    pub(super) async fn read_again(&self, now: SystemTime) -> Option<Table> {
        if !self.is_due(now) {
            return None;
        }
        let mut last = self.last.lock().await;
        if !self.is_due(now) {
            return None;
        }
        let path = self.path.clone();
        let text = tokio::task::spawn_blocking(move || read(&path)).await;
        // After the read, as a caller that goes away stops waiting for it.
        self.read_at.store(numeric_date(now), Ordering::Release);
        let text = text.unwrap_or_else(|_| Err(at(&self.path, "the read was interrupted")));
        let content = text.as_deref().map(digest_of).unwrap_or_default();
        if text.is_ok() && content == last.content {
            last.fault = None;
            return None;
        }
        let parsed = text.and_then(|text| parse(&text).map_err(|error| at(&self.path, &error.to_string())));
        match parsed {
            Ok(table) => {
                *last = Last { content, fault: None };
                tracing::info!(path = %self.path.display(), "the API keys were read again");
                Some(table)
            }
            Err(fault) => {
                if last.fault.as_ref() != Some(&fault) {
                    tracing::error!(%fault, "cannot read the API keys; the last ones stay");
                }
                last.fault = Some(fault);
                None
            }
        }
    }
}

fn at(path: &Path, fault: &str) -> ApiKeyError {
    ApiKeyError::new(format!("{}: {fault}", path.display()))
}

fn digest_of(text: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, text).as_ref().to_vec()
}

fn read(path: &Path) -> Result<Vec<u8>, ApiKeyError> {
    let content = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = content().map_err(|error| at(path, &error.to_string()))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(at(path, &format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(content)
}

fn parse(text: &[u8]) -> Result<Table, ApiKeyError> {
    // Without the text of the error, which may quote what stands there in place of a hash.
    let fault = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        ApiKeyError::new(format!("line {line}, column {column}: the JSON has not the form of ApiKeys::from_file"))
    };
    let content: Content = json::from_object(text).map_err(fault)?;
    let deprecated = time("deprecated", &content.deprecated)?;
    let keys = content.keys.into_iter().map(|key| {
        let hash = KeyHash::from_hex(&key.sha256)?;
        let sunset = time("sunset", &key.sunset)?;
        Ok(ApiKey::new(hash, key.client_id, sunset).audiences(key.audiences).scopes(key.scopes))
    });
    Table::new(deprecated, keys.collect::<Result<_, ApiKeyError>>()?)
}

/// RFC 3339, or a date alone.
fn time(name: &str, text: &str) -> Result<SystemTime, ApiKeyError> {
    let time = text.parse::<Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok());
    time.ok_or_else(|| ApiKeyError::new(format!("{name} is neither a date nor a time of RFC 3339")))
}
