//! The revocations in the order in which they became known, so that a follower remembers only its position.
//!
//! Every operation costs the same for any length of the list, except the removal of expired entries. The
//! digest depends on the content alone. Two processes that know the same revocations have the same digest.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::SystemTime,
};

use ring::digest;
use token_interceptor::{
    clock::numeric_date,
    revocation::{Revoked, TargetHash},
};

use crate::client::ClientId;

/// Entries in one chunk, which is removed once all of them have expired.
const CHUNK: u64 = 1024;
/// Entries that expire in the same ten minutes leave the digest together. All processes do so at the same
/// time, to the accuracy of their clocks.
const EXPIRY_SECONDS: u64 = 600;

/// A position in the list, valid for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// A part of the list.
#[derive(Debug)]
pub struct Part {
    /// The revocations.
    pub entries: Vec<Revoked>,
    /// The position at which the next part begins.
    pub next: Position,
    /// True for the last part.
    pub is_last: bool,
    /// The digest of the whole list.
    pub digest: u128,
}

#[derive(Debug, Default)]
pub(super) struct List {
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk.
    first: u64,
    end: Position,
    /// Sums of the entries' hashes, by the time in which the entries expire.
    sums: BTreeMap<u64, u128>,
    /// The number of single revoked tokens of each client, by the time at which the entries expire.
    tokens: HashMap<ClientId, BTreeMap<u64, usize>>,
}

/// Entries with their positions in the chunk. Expired entries are removed.
#[derive(Debug, Default)]
struct Chunk(Vec<(u16, Revoked)>);

impl List {
    /// The end of the list.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// Adds a new entry.
    pub(super) fn add(&mut self, revoked: Revoked, issued_to: Option<&ClientId>) {
        if let Some(client) = issued_to {
            *self.tokens.entry(client.clone()).or_default().entry(expiry(&revoked)).or_default() += 1;
        }
        self.append(revoked);
    }

    /// Adds `after`, which supersedes `before`. `before` stays in the list until it expires.
    pub(super) fn extend(&mut self, before: &Revoked, after: Revoked) {
        if let Some(sum) = self.sums.get_mut(&expiry(before)) {
            *sum = sum.wrapping_sub(hash(before));
        }
        self.append(after);
    }

    fn append(&mut self, revoked: Revoked) {
        let sum = self.sums.entry(expiry(&revoked)).or_default();
        *sum = sum.wrapping_add(hash(&revoked));
        let place = self.end.0 % CHUNK;
        if place == 0 {
            self.chunks.push_back(Chunk::default());
        }
        if let (Some(chunk), Ok(place)) = (self.chunks.back_mut(), u16::try_from(place)) {
            chunk.0.push((place, revoked));
        }
        self.end.0 += 1;
    }

    /// Returns at most `entries_max` entries from `position` on.
    pub(super) fn read(&self, position: Position, entries_max: usize, now: SystemTime) -> Part {
        let mut part = Part { entries: Vec::new(), next: position, is_last: true, digest: self.digest(now) };
        let number = (position.0 / CHUNK).max(self.first);
        let skipped = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        for (number, chunk) in (number..).zip(self.chunks.iter().skip(skipped)) {
            let begin = chunk.0.partition_point(|(place, _)| number * CHUNK + u64::from(*place) < part.next.0);
            for (place, revoked) in chunk.0.iter().skip(begin) {
                if part.entries.len() == entries_max {
                    part.is_last = false;
                    return part;
                }
                part.entries.push(*revoked);
                part.next = Position(number * CHUNK + u64::from(*place) + 1);
            }
        }
        part.next = self.end;
        part
    }

    /// Returns a number that is equal for lists with the same revocations. Addition makes it independent of
    /// their order. A client whose own tokens' hashes add up to zero hides only the revocation of those
    /// tokens.
    pub(super) fn digest(&self, now: SystemTime) -> u128 {
        self.sums.range(alive(now)..).fold(0, |total, (_, sum)| total.wrapping_add(*sum))
    }

    /// Returns the targets of entries before `end` that `stored` lacks, or has to a lesser extent. Entries
    /// that expire before `time` are left out.
    pub(super) fn missing_from(
        &self,
        stored: &HashMap<TargetHash, Revoked>,
        end: Position,
        time: u64,
    ) -> HashSet<TargetHash> {
        let covers = |revoked: &Revoked| {
            stored
                .get(&revoked.target)
                .is_some_and(|stored| stored.issued_before >= revoked.issued_before && stored.forget >= revoked.forget)
        };
        let chunks = (self.first..).zip(&self.chunks);
        let entries = chunks.flat_map(|(number, chunk)| {
            chunk.0.iter().map(move |(place, revoked)| (number * CHUNK + u64::from(*place), revoked))
        });
        let known = entries.take_while(|(place, _)| *place < end.0).map(|(_, revoked)| revoked);
        known.filter(|revoked| revoked.forget > time && !covers(revoked)).map(|revoked| revoked.target).collect()
    }

    /// Returns the number of unexpired single tokens of the client that are revoked.
    pub(super) fn tokens_of(&self, client: &ClientId, now: SystemTime) -> usize {
        self.tokens.get(client).map_or(0, |counts| counts.range(alive(now)..).map(|(_, count)| count).sum())
    }

    /// All tokens of the client are revoked, so those that were revoked one by one no longer count.
    pub(super) fn reset_tokens_of(&mut self, client: &ClientId) {
        self.tokens.remove(client);
    }

    /// Removes expired entries.
    pub(super) fn purge(&mut self, now: SystemTime) {
        let second = numeric_date(now);
        for chunk in &mut self.chunks {
            chunk.purge(second);
        }
        // The last chunk may still grow.
        while self.chunks.len() > 1 && self.chunks.front().is_some_and(|chunk| chunk.0.is_empty()) {
            self.chunks.pop_front();
            self.first += 1;
        }
        self.sums = self.sums.split_off(&alive(now));
        self.tokens.retain(|_, counts| {
            *counts = counts.split_off(&alive(now));
            !counts.is_empty()
        });
    }

    /// The number of entries that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.0.len()).sum()
    }
}

impl Chunk {
    fn purge(&mut self, now: u64) {
        let before = self.0.len();
        self.0.retain(|(_, revoked)| revoked.forget > now);
        if self.0.len() < before {
            self.0.shrink_to_fit();
        }
    }
}

/// The digest of a list with these entries.
pub(super) fn digest<'a>(entries: impl IntoIterator<Item = &'a Revoked>, now: SystemTime) -> u128 {
    let live = entries.into_iter().filter(|revoked| expiry(revoked) >= alive(now));
    live.fold(0, |total, revoked| total.wrapping_add(hash(revoked)))
}

/// The ten minutes in which the entry expires.
fn expiry(revoked: &Revoked) -> u64 {
    revoked.forget / EXPIRY_SECONDS
}

/// The first expiry that still counts at `now`.
fn alive(now: SystemTime) -> u64 {
    numeric_date(now) / EXPIRY_SECONDS + 1
}

fn hash(revoked: &Revoked) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(revoked.target.as_bytes());
    context.update(&revoked.issued_before.to_be_bytes());
    context.update(&revoked.forget.to_be_bytes());
    context.finish().as_ref().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn token(number: u64, forget: u64) -> Revoked {
        Revoked::token(&format!("jti-{number}"), at(forget))
    }

    fn list(entries: impl IntoIterator<Item = Revoked>) -> List {
        let mut list = List::default();
        entries.into_iter().for_each(|revoked| list.add(revoked, None));
        list
    }

    /// The whole list, read in parts of `size`.
    fn parts(list: &List, mut position: Position, size: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        loop {
            let part = list.read(position, size, at(0));
            sizes.push(part.entries.len());
            position = part.next;
            if part.is_last {
                return sizes;
            }
        }
    }

    #[test]
    fn list_is_read_whole_in_parts_of_a_bounded_size() {
        for (entries, size) in [(0, 10), (1, 10), (10, 10), (11, 10), (5000, 256)] {
            let list = list((0..entries).map(|number| token(number, 5000)));
            let sizes = parts(&list, Position::default(), size);
            assert_eq!(sizes.iter().sum::<usize>() as u64, entries);
            assert!(sizes.iter().all(|part| *part <= size), "{sizes:?}");
        }
    }

    #[test]
    fn reader_at_the_end_is_given_what_came_since() {
        let mut list = list((0..3000).map(|number| token(number, 5000)));
        let end = list.end();
        assert!(list.read(end, 10, at(0)).entries.is_empty());
        list.add(token(3000, 5000), None);
        assert_eq!(list.read(end, 10, at(0)).entries, [token(3000, 5000)]);
    }

    #[test]
    fn purge_leaves_places_as_they_are() {
        let mut list = list((0..5000).map(|number| token(number, if number % 3 == 0 { 10_000 } else { 700 })));
        let middle = list.read(Position::default(), 2500, at(0)).next;
        list.purge(at(700));
        assert_eq!(list.len(), 1667);
        let rest = list.read(middle, 10_000, at(700));
        assert_eq!(rest.entries.len(), (2500..5000).filter(|number| number % 3 == 0).count());
        assert_eq!(rest.next, list.end());
        list.purge(at(10_000));
        assert_eq!((list.len(), list.chunks.len()), (0, 1));
        list.add(token(9999, 20_000), None);
        assert_eq!(list.read(middle, 10, at(10_000)).entries, [token(9999, 20_000)]);
    }

    #[test]
    fn digest_follows_from_the_content_alone() {
        let (one, other) = (token(1, 5000), token(2, 5000));
        let both = list([one, other]);
        assert_eq!(both.digest(at(0)), list([other, one]).digest(at(0)));
        assert_ne!(both.digest(at(0)), list([one]).digest(at(0)));
        // Extended here, and read in its final form there.
        let longer = token(1, 9000);
        let mut extended = list([one, other]);
        extended.extend(&one, longer);
        assert_eq!(extended.digest(at(0)), list([other, longer]).digest(at(0)));
    }

    #[test]
    fn digest_forgets_what_has_expired_before_and_after_a_purge() {
        let mut both = list([token(1, 700), token(2, 5000)]);
        let one = list([token(2, 5000)]);
        assert_ne!(both.digest(at(500)), one.digest(at(500)));
        assert_eq!(both.digest(at(1200)), one.digest(at(1200)));
        both.purge(at(1200));
        assert_eq!(both.digest(at(1200)), one.digest(at(1200)));
    }

    #[test]
    fn tokens_of_a_client_count_until_they_expire() {
        let (orders, billing) = (ClientId::try_from("orders").unwrap(), ClientId::try_from("billing").unwrap());
        let mut list = List::default();
        list.add(token(1, 700), Some(&orders));
        list.add(token(2, 5000), Some(&orders));
        list.add(token(3, 5000), Some(&billing));
        assert_eq!((list.tokens_of(&orders, at(0)), list.tokens_of(&billing, at(0))), (2, 1));
        assert_eq!(list.tokens_of(&orders, at(1200)), 1);
        list.purge(at(1200));
        assert_eq!(list.tokens_of(&orders, at(1200)), 1);
        list.reset_tokens_of(&orders);
        assert_eq!(list.tokens_of(&orders, at(1200)), 0);
    }
}
