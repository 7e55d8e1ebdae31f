//! Reads of clients that are not cached. Their number is limited, in total and for each peer.
//!
//! An unauthenticated peer chooses the client ID of a lookup. The limits keep one peer's made-up IDs from
//! delaying the lookups of others. A peer over its limit waits for its own lookups only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{origin::Peer, store::StoreError};

/// Lookups in flight over all peers.
const IN_FLIGHT_MAX: usize = 32;
/// Lookups in flight of one peer: at least four peers are needed to occupy all of them.
const IN_FLIGHT_PER_PEER_MAX: usize = 8;
/// The longest time that a lookup is queued: more than 1,000 lookups take in a database that answers in 10
/// ms.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(2);

type Shares = Arc<Mutex<HashMap<Peer, Arc<Semaphore>>>>;

/// The lookups in flight.
pub(super) struct Lookups {
    all: Arc<Semaphore>,
    /// Peers that have lookups in flight or queued.
    shares: Shares,
}

/// The permit to read the store.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _share: Option<Share>,
}

/// One user of a peer's share.
struct Share {
    shares: Shares,
    peer: Peer,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), shares: Arc::default() }
    }

    /// Waits for a permit. Without a peer, only the total limit applies.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] when no permit is free in time.
    pub(super) async fn turn(&self, peer: Option<Peer>) -> Result<Turn, StoreError> {
        let turn = async {
            let share = match peer {
                Some(peer) => Some(self.share(peer.network()).permitted().await?),
                None => None,
            };
            let all = Arc::clone(&self.all).acquire_owned().await.map_err(|_| StoreError::Busy)?;
            Ok(Turn { _all: all, _share: share })
        };
        timeout(QUEUE_TIME_MAX, turn).await.unwrap_or(Err(StoreError::Busy))
    }

    fn share(&self, peer: Peer) -> Share {
        let semaphore = Arc::clone(
            lock(&self.shares).entry(peer).or_insert_with(|| Arc::new(Semaphore::new(IN_FLIGHT_PER_PEER_MAX))),
        );
        Share { shares: Arc::clone(&self.shares), peer, semaphore, permit: None }
    }

    /// The number of peers with lookups in flight or queued.
    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        lock(&self.shares).len()
    }
}

impl Share {
    async fn permitted(mut self) -> Result<Self, StoreError> {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.map_err(|_| StoreError::Busy)?;
        self.permit = Some(permit);
        Ok(self)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = lock(&self.shares);
        self.permit = None;
        // Two references, the table's and this one: the peer has no other lookup.
        if Arc::strong_count(&self.semaphore) <= 2 {
            shares.remove(&self.peer);
        }
    }
}

fn lock(shares: &Shares) -> MutexGuard<'_, HashMap<Peer, Arc<Semaphore>>> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::from(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_beyond_its_share_waits_and_others_do_not() {
        let lookups = Arc::new(Lookups::new());
        let mut turns = Vec::new();
        for _ in 0..IN_FLIGHT_PER_PEER_MAX {
            turns.push(lookups.turn(Some(peer(1))).await.unwrap());
        }
        let queued = tokio::spawn({
            let lookups = Arc::clone(&lookups);
            async move { lookups.turn(Some(peer(1))).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(lookups.turn(Some(peer(2))).await.is_ok());
        assert!(lookups.turn(None).await.is_ok());
        assert!(!queued.is_finished());
        turns.pop();
        queued.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_gets_no_turn_finds_the_store_busy() {
        let lookups = Lookups::new();
        let mut turns = Vec::new();
        for n in 0..IN_FLIGHT_MAX {
            turns.push(lookups.turn(Some(peer(u8::try_from(n).unwrap()))).await.unwrap());
        }
        assert!(matches!(lookups.turn(Some(peer(200))).await, Err(StoreError::Busy)));
        assert!(matches!(lookups.turn(None).await, Err(StoreError::Busy)));
    }

    #[tokio::test(start_paused = true)]
    async fn peers_without_lookups_are_not_remembered() {
        let lookups = Lookups::new();
        let mut turns = Vec::new();
        for _ in 0..3 {
            for n in 0..10 {
                turns.push(lookups.turn(Some(peer(n))).await.unwrap());
            }
        }
        assert_eq!(lookups.peers(), 10);
        for _ in 0..2 {
            // Dropped while they wait for a permit.
            let full = (3..IN_FLIGHT_PER_PEER_MAX).map(|_| lookups.turn(Some(peer(0))));
            let _full = futures_util::future::join_all(full).await;
            assert!(timeout(Duration::from_millis(1), lookups.turn(Some(peer(0)))).await.is_err());
        }
        turns.clear();
        assert_eq!(lookups.peers(), 0);
    }
}
