//! Waiting until the log has reached a place.

use std::sync::atomic::{Ordering, fence};

use tokio::sync::watch;

use crate::vocabulary::Position;

use super::Bus;

/// Wakes those who wait for the log to move. It says only that it has: how far is for the store to say.
#[derive(Debug, Clone)]
pub(super) struct Moves(watch::Sender<()>);

impl Moves {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// For the listener of commits, once the store's last position has been set: costs next to nothing while nobody
    /// waits.
    ///
    /// No wake-up is lost: here the position is written and then the number of those who wait is read, over there one
    /// is counted and then the position is read. The fences order each pair, so that one of the two sees the other.
    pub(super) fn moved(&self) {
        fence(Ordering::SeqCst);
        if self.0.receiver_count() > 0 {
            self.0.send_replace(());
        }
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        let receiver = self.0.subscribe();
        fence(Ordering::SeqCst);
        receiver
    }
}

impl Bus {
    /// Waits until an event after a position is readable; false when the bus is closing instead.
    pub async fn moved(&self, after: Position) -> bool {
        let mut moves = self.moves.subscribe();
        let mut closed = self.closed.subscribe();
        loop {
            if self.is_closing() {
                return false;
            }
            if self.store.last_position() > after {
                return true;
            }
            // What moved since the look above is noticed: the receiver counts from when it subscribed.
            tokio::select! {
                moved = moves.changed() => {
                    if moved.is_err() {
                        return false;
                    }
                }
                _ = closed.wait_for(|closed| *closed) => return false,
            }
        }
    }

    /// Waits until the event at a position is readable; false when the bus is closing instead. Position 0, before all
    /// events, is always reached.
    pub async fn reached(&self, position: Position) -> bool {
        match position.0.checked_sub(1) {
            Some(before) => self.moved(Position(before)).await,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests;
