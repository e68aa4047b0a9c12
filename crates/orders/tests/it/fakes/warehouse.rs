//! A warehouse: stock, holds that expire, sales, and the marks of what was
//! undone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contracts::inventory::{Commit, Held, Hold, Inventory, Level, Levels, Line, Release, Restock};
use kernel::{Error, OrderId, Result, Sku, Time, World};

use super::Wire;

/// How long stock is held.
pub const HELD_FOR: Duration = Duration::from_secs(15 * 60);

#[derive(Default)]
pub struct Shelves {
    pub on_hand: HashMap<Sku, i64>,
    pub holds: HashMap<OrderId, HeldLines>,
    pub sold: HashMap<OrderId, Vec<Line>>,
    pub undone: HashSet<OrderId>,
}

pub struct HeldLines {
    lines: Vec<Line>,
    expires_at: Time,
}

impl Shelves {
    fn expire(&mut self, now: Time) {
        self.holds.retain(|_, held| held.expires_at > now);
    }

    pub fn held(&self, sku: &Sku) -> i64 {
        let lines = self.holds.values().flat_map(|held| &held.lines);
        lines.filter(|line| line.sku == *sku).map(|line| i64::from(line.quantity)).sum()
    }

    fn all_there(&self, lines: &[Line]) -> Result<()> {
        let short = |line: &&Line| {
            self.on_hand.get(&line.sku).copied().unwrap_or_default() - self.held(&line.sku)
                < i64::from(line.quantity)
        };
        match lines.iter().find(short) {
            Some(line) => Err(Error::conflict("out_of_stock", format!("{} is out of stock", line.sku))),
            None => Ok(()),
        }
    }

    fn take(&mut self, lines: &[Line], sign: i64) {
        for line in lines {
            *self.on_hand.entry(line.sku.clone()).or_default() += sign * i64::from(line.quantity);
        }
    }

    fn meets_mark(&self, order: OrderId) -> Result<()> {
        if self.undone.contains(&order) {
            return Err(Error::conflict("order_undone", format!("{order} was undone")));
        }
        Ok(())
    }
}

pub struct Warehouse {
    pub wire: Wire<Shelves>,
    world: World,
    /// What was held last, to be taken anew when it expired.
    wanted: std::sync::Arc<std::sync::Mutex<HashMap<OrderId, Vec<Line>>>>,
}

impl Warehouse {
    pub fn new(world: &World) -> Warehouse {
        Warehouse { wire: Wire::new(Shelves::default()), world: world.clone(), wanted: Default::default() }
    }
}

#[rpc::async_trait]
impl Inventory for Warehouse {
    async fn hold(&self, Hold { order, lines }: Hold) -> Result<Held> {
        let world = self.world.clone();
        let wanted = self.wanted.clone();
        self.wire
            .call("hold", move |shelves| {
                let now = world.now();
                shelves.meets_mark(order)?;
                shelves.expire(now);
                if let Some(held) = shelves.holds.get(&order) {
                    return Ok(Held { expires_at: held.expires_at });
                }
                shelves.all_there(&lines)?;
                let expires_at = now + HELD_FOR;
                wanted.lock().unwrap().insert(order, lines.clone());
                shelves.holds.insert(order, HeldLines { lines, expires_at });
                Ok(Held { expires_at })
            })
            .await
    }

    async fn release(&self, Release { order }: Release) -> Result<()> {
        let release = move |shelves: &mut Shelves| {
            shelves.undone.insert(order);
            shelves.holds.remove(&order);
            Ok(())
        };
        self.wire.call("release", release).await
    }

    async fn commit(&self, Commit { order }: Commit) -> Result<()> {
        let world = self.world.clone();
        let wanted = self.wanted.clone();
        self.wire
            .call("commit", move |shelves| {
                shelves.meets_mark(order)?;
                shelves.expire(world.now());
                if shelves.sold.contains_key(&order) {
                    return Ok(());
                }
                let lines = match shelves.holds.remove(&order) {
                    Some(held) => held.lines,
                    None => {
                        let lines = wanted.lock().unwrap().get(&order).cloned();
                        let nothing = || Error::not_found("nothing_held", "nothing is held");
                        let lines = lines.ok_or_else(nothing)?;
                        shelves.all_there(&lines)?;
                        lines
                    }
                };
                shelves.take(&lines, -1);
                shelves.sold.insert(order, lines);
                Ok(())
            })
            .await
    }

    async fn restock(&self, Restock { order }: Restock) -> Result<()> {
        let restock = move |shelves: &mut Shelves| {
            shelves.undone.insert(order);
            shelves.holds.remove(&order);
            if let Some(lines) = shelves.sold.remove(&order) {
                shelves.take(&lines, 1);
            }
            Ok(())
        };
        self.wire.call("restock", restock).await
    }

    async fn levels(&self, ask: Levels) -> Result<Vec<Level>> {
        let level = |shelves: &Shelves, sku: Sku| {
            let (on_hand, held) = (*shelves.on_hand.get(&sku)?, shelves.held(&sku));
            Some(Level { sku, on_hand, held, available: on_hand - held })
        };
        self.wire
            .call("levels", move |shelves| {
                Ok(ask.skus.into_iter().filter_map(|sku| level(shelves, sku)).collect())
            })
            .await
    }
}
