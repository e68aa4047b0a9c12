//! Who waits in this process for an order to be settled. Being woken is a hint
//! to look again, never a proof: another process may have settled the order,
//! so whoever waits looks again now and then anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::OrderId;
use tokio::sync::Notify;

/// The orders that somebody here waits for. Cheap to clone.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<HashMap<OrderId, Seat>>>);

/// What those who wait for one order share.
struct Seat {
    bell: Arc<Notify>,
    taken_by: usize,
}

impl Waiting {
    /// Waits for this order from now on, until dropped.
    pub fn for_order(&self, id: OrderId) -> Waiter {
        let mut seats = self.seats();
        let seat = seats.entry(id).or_insert_with(|| Seat { bell: Arc::default(), taken_by: 0 });
        seat.taken_by += 1;
        Waiter { waiting: self.clone(), id, bell: seat.bell.clone() }
    }

    /// Wakes whoever waits for this order.
    pub fn wake(&self, id: OrderId) {
        if let Some(seat) = self.seats().get(&id) {
            seat.bell.notify_waiters();
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<OrderId, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits.
pub struct Waiter {
    waiting: Waiting,
    id: OrderId,
    /// Rung when the order moved.
    pub bell: Arc<Notify>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut seats = self.waiting.seats();
        if let Some(seat) = seats.get_mut(&self.id) {
            seat.taken_by -= 1;
            if seat.taken_by == 0 {
                seats.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::World;

    #[tokio::test]
    async fn whoever_waits_is_woken_and_leaves_nothing_behind() {
        let (waiting, id) = (Waiting::default(), OrderId::new(&World::real()));
        let (one, other) = (waiting.for_order(id), waiting.for_order(id));
        let (woken_one, woken_other) = (one.bell.notified(), other.bell.notified());

        waiting.wake(id);

        woken_one.await;
        woken_other.await;
        drop(one);
        assert_eq!(waiting.seats().len(), 1);
        drop(other);
        assert!(waiting.seats().is_empty());
    }
}
