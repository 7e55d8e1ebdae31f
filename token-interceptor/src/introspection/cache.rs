//! Cached answers, by the hash of the token.
//!
//! Inactive tokens have a table of their own, so that invented tokens evict no active one.

use std::{
    hash::{Hash, Hasher},
    time::{Duration, SystemTime},
};

use quick_cache::{Weighter, sync::Cache};
use ring::digest::{self, SHA256_OUTPUT_LEN};
use serde_json::{Map, Value};

use super::Answer;

/// The overhead of an entry: the cache's slot, the hash and two allocations.
const ENTRY_BYTES: u64 = 256;
/// The bytes of a member beside its own text: at most a third of a map's node.
const MEMBER_BYTES: usize = 256;

/// The SHA-256 hash of a token, so that no token is held as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenHash([u8; SHA256_OUTPUT_LEN]);

/// An answer, and the time from which it is asked for again.
#[derive(Clone, Debug)]
struct Entry {
    answer: Answer,
    since: SystemTime,
    until: SystemTime,
    bytes: u64,
}

/// The cached answers.
#[derive(Debug)]
pub(super) struct Answers {
    active: Cache<TokenHash, Entry, Weight>,
    inactive: Cache<TokenHash, Entry, Weight>,
    /// The least weight of an active answer, which bounds their number.
    weight_min: u64,
}

#[derive(Clone, Debug)]
struct Weight;

impl Answers {
    /// `entries_max` bounds each of the two tables, `bytes_max` both together.
    pub(super) fn new(entries_max: usize, bytes_max: u64) -> Self {
        let inactive_max = (entries_max as u64).saturating_mul(ENTRY_BYTES).min(bytes_max / 4);
        let active_max = bytes_max - inactive_max;
        Self {
            weight_min: active_max / (entries_max as u64).max(1),
            active: Cache::with_weighter(entries_max, active_max, Weight),
            inactive: Cache::with_weighter(entries_max, inactive_max, Weight),
        }
    }

    /// Returns the answer about a token, unless it is too old. After the clock was set back, it is.
    pub(super) fn get(&self, hash: &TokenHash, now: SystemTime) -> Option<Answer> {
        let entry = self.active.get(hash).or_else(|| self.inactive.get(hash))?;
        (entry.since <= now && now < entry.until).then_some(entry.answer)
    }

    /// Remembers an answer, for `keep` at the most.
    pub(super) fn put(&self, hash: TokenHash, answer: Answer, now: SystemTime, keep: Duration) {
        let until = answer.until(now, keep);
        let bytes = match &answer {
            Answer::Active(members) => {
                let bytes = ENTRY_BYTES + u64::try_from(bytes_of(members)).unwrap_or(u64::MAX / 2);
                bytes.max(self.weight_min)
            }
            Answer::Inactive => ENTRY_BYTES,
        };
        let (table, other) = match &answer {
            Answer::Active(_) => (&self.active, &self.inactive),
            Answer::Inactive => (&self.inactive, &self.active),
        };
        other.remove(&hash);
        table.insert(hash, Entry { answer, since: now, until, bytes });
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> (u64, u64) {
        (self.active.weight(), self.inactive.weight())
    }
}

/// Returns the memory of the members, in bytes. The recursion is bounded by the depth of strict JSON.
fn bytes_of(members: &Map<String, Value>) -> usize {
    members.iter().map(|(name, value)| MEMBER_BYTES + name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(|item| 2 * size_of::<Value>() + value_bytes(item)).sum::<usize>() + 16,
        Value::Object(members) => MEMBER_BYTES + bytes_of(members),
    }
}

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default())
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Weighter<TokenHash, Entry> for Weight {
    fn weight(&self, _: &TokenHash, entry: &Entry) -> u64 {
        entry.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn active(text: &str) -> Answer {
        let mut members = Map::new();
        members.insert("sub".to_owned(), text.into());
        Answer::Active(Arc::new(members))
    }

    #[test]
    fn answers_stay_in_bounds_and_invented_tokens_evict_none() {
        const BYTES_MAX: u64 = 64 * 1024;
        let answers = Answers::new(100, BYTES_MAX);
        let kept = TokenHash::of("kept");
        answers.put(kept, active("kept"), at(1000), KEEP);
        for flood in [1_000, 100_000] {
            for n in 0..flood {
                answers.put(TokenHash::of(&format!("made-up-{n}")), Answer::Inactive, at(1000), KEEP);
            }
            let (_, inactive) = answers.weights();
            assert!(inactive <= BYTES_MAX / 4, "{inactive}");
            assert!(answers.get(&kept, at(1001)).is_some());
        }
        for n in 0..1_000 {
            answers.put(TokenHash::of(&format!("valid-{n}")), active(&"x".repeat(1000)), at(1000), KEEP);
        }
        let (active, inactive) = answers.weights();
        assert!(active > 0 && active + inactive <= BYTES_MAX, "{active} {inactive}");
        assert!(answers.active.len() <= 100);
    }

    #[test]
    fn an_answer_counts_from_its_start_to_its_end() {
        let answers = Answers::new(100, 64 * 1024);
        let hash = TokenHash::of("t");
        answers.put(hash, active("a"), at(1000), KEEP);
        for (seconds, counts) in [(999, false), (1000, true), (1059, true), (1060, false)] {
            assert_eq!(answers.get(&hash, at(seconds)).is_some(), counts, "{seconds}");
        }
        answers.put(hash, Answer::Inactive, at(1010), KEEP);
        assert!(matches!(answers.get(&hash, at(1011)), Some(Answer::Inactive)));
    }
}
