//! Limits on concurrent trust streams, of one peer and in all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use token_issuer::origin::Peer;

/// The counts of streams. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    all_max: usize,
    peer_max: usize,
    open: Mutex<Open>,
}

/// A peer without a stream has no entry.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    peers: HashMap<Peer, usize>,
}

/// The permit of one stream, released on drop.
#[derive(Debug)]
pub(super) struct Slot {
    counts: Arc<Counts>,
    peer: Peer,
}

impl Slots {
    /// Creates the counts. A `peer_max` of 0 means no limit.
    pub(super) fn new(all_max: usize, peer_max: usize) -> Self {
        let peer_max = if peer_max == 0 { usize::MAX } else { peer_max };
        Self(Arc::new(Counts { all_max, peer_max, open: Mutex::default() }))
    }

    /// Returns a permit for one more stream; `None` if there are too many.
    pub(super) fn take(&self, peer: Peer) -> Option<Slot> {
        let peer = peer.network();
        let mut open = self.0.open();
        let of_peer = open.peers.get(&peer).copied().unwrap_or_default();
        if open.all >= self.0.all_max || of_peer >= self.0.peer_max {
            return None;
        }
        open.all += 1;
        open.peers.insert(peer, of_peer + 1);
        Some(Slot { counts: Arc::clone(&self.0), peer })
    }
}

impl Counts {
    /// A panic leaves no count half changed.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.counts.open();
        open.all = open.all.saturating_sub(1);
        if let Some(count) = open.peers.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn streams_of_a_peer_and_in_all_are_bounded() {
        let slots = Slots::new(3, 2);
        let (one, _two) = (slots.take(peer(1)).unwrap(), slots.take(peer(1)).unwrap());
        assert!(slots.take(peer(1)).is_none());
        let _three = slots.take(peer(2)).unwrap();
        assert!(slots.take(peer(3)).is_none());
        drop(one);
        assert!(slots.take(peer(3)).is_some());
        assert!(slots.take(peer(1)).is_some());
        assert_eq!(slots.0.open().peers.len(), 2);
    }
}
