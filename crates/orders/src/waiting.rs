//! Who waits in this process for an order to be settled. Being woken is a hint
//! to look again, never a proof: another process may have settled the order,
//! so whoever waits looks again now and then anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts::orders::OrderState;
use kernel::OrderId;
use tokio::sync::Notify;

use crate::model::is_settled;

/// The orders that somebody here waits for. Cheap to clone.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<Room>>);

/// Where they wait.
#[derive(Default)]
struct Room {
    seats: HashMap<OrderId, Seat>,
    /// Nobody is to wait any more.
    closed: bool,
}

/// What those who wait for one order share.
struct Seat {
    bell: Arc<Notify>,
    taken_by: usize,
}

impl Waiting {
    /// Waits for this order from now on, until dropped.
    pub fn for_order(&self, id: OrderId) -> Waiter {
        let mut room = self.room();
        let seat = room.seats.entry(id).or_insert_with(|| Seat { bell: Arc::default(), taken_by: 0 });
        seat.taken_by += 1;
        Waiter { waiting: self.clone(), id, bell: seat.bell.clone() }
    }

    /// An order has come to stand there: wakes whoever waits for it, if that is
    /// what he waits for.
    pub fn wake(&self, id: OrderId, state: OrderState) {
        if let Some(seat) = self.room().seats.get(&id).filter(|_| is_settled(state)) {
            seat.bell.notify_waiters();
        }
    }

    /// Wakes everybody, for good.
    pub fn drain(&self) {
        let mut room = self.room();
        room.closed = true;
        room.seats.values().for_each(|seat| seat.bell.notify_waiters());
    }

    /// Whether nobody is to wait any more.
    pub fn is_drained(&self) -> bool {
        self.room().closed
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits.
pub struct Waiter {
    waiting: Waiting,
    id: OrderId,
    /// Rung when the order is settled, or nobody is to wait any more.
    pub bell: Arc<Notify>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut room = self.waiting.room();
        if let Some(seat) = room.seats.get_mut(&self.id) {
            seat.taken_by -= 1;
            if seat.taken_by == 0 {
                room.seats.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use kernel::World;

    #[tokio::test]
    async fn whoever_waits_is_woken_and_leaves_nothing_behind() {
        let (waiting, id) = (Waiting::default(), OrderId::new(&World::real()));
        let (one, other) = (waiting.for_order(id), waiting.for_order(id));
        let (woken_one, woken_other) = (one.bell.notified(), other.bell.notified());

        waiting.wake(id, OrderState::Confirmed);

        woken_one.await;
        woken_other.await;
        drop(one);
        assert_eq!(waiting.room().seats.len(), 1);
        drop(other);
        assert!(waiting.room().seats.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_sleeps_until_the_order_is_settled() {
        let world = World::real();
        let (waiting, id) = (Waiting::default(), OrderId::new(&world));
        let waiter = waiting.for_order(id);
        for state in OrderState::ALL {
            let woken = waiter.bell.notified();

            waiting.wake(id, *state);

            let woken = world.timeout(Duration::ZERO, woken).await.is_some();
            assert_eq!(woken, is_settled(*state), "{state}");
        }
    }
}
