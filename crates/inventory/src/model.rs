//! The rules of stock; no database, no clock.

use contracts::inventory::{Level, Line};
use kernel::{Error, Sku, Time, words};
use serde::{Deserialize, Serialize};

/// The only place where there is stock until there are several.
pub const MAIN: &str = "main";
/// The most lines that one order may hold.
pub const MOST_LINES: usize = 100;
/// The most of one SKU that one line may hold.
pub const MOST_PER_LINE: u32 = 10_000;
/// The most that one movement may add or take.
pub const MOST_MOVED: i64 = 1_000_000_000;

words! {
    /// What became of the stock that an order asked for.
    pub enum HoldState {
        /// Nothing was ever held: there is only the mark of an undo.
        Nothing = "nothing",
        /// Held.
        Open = "open",
        /// Held for too long, and given back.
        Expired = "expired",
        /// Sold.
        Sold = "sold",
        /// Given back before it was sold.
        Released = "released",
        /// Put back after it was sold.
        Restocked = "restocked",
    }
}

words! {
    /// Why the stock changed.
    pub enum Reason {
        /// Delivered by a supplier.
        Received = "received",
        /// Counted, and there was more or less than thought.
        Counted = "counted",
        /// Broken or spoilt.
        Damaged = "damaged",
        /// Gone, nobody knows where.
        Lost = "lost",
        /// Sent back by a customer.
        Returned = "returned",
        /// Bought by an order.
        Sold = "sold",
        /// Put back when an order was undone.
        Restocked = "restocked",
    }
}

impl Reason {
    /// Whether a person may give it; the others follow from orders alone.
    pub fn is_by_hand(self) -> bool {
        !matches!(self, Reason::Sold | Reason::Restocked)
    }
}

/// What an order wants held: each SKU once, in the order of the SKUs, so that
/// no two transactions ever wait for each other's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Checks and sorts them.
    pub fn new(mut lines: Vec<Line>) -> Result<Lines, Error> {
        if lines.is_empty() || lines.len() > MOST_LINES {
            let message = format!("an order holds 1 to {MOST_LINES} lines, not {}", lines.len());
            return Err(Error::invalid_field("/lines", message));
        }
        for (at, line) in lines.iter().enumerate() {
            if !(1..=MOST_PER_LINE).contains(&line.quantity) {
                let message = format!("a quantity is 1 to {MOST_PER_LINE}, not {}", line.quantity);
                return Err(Error::invalid_field(format!("/lines/{at}/quantity"), message));
            }
        }
        lines.sort_by(|a, b| a.sku.cmp(&b.sku));
        if let Some(twice) = lines.windows(2).find(|pair| pair[0].sku == pair[1].sku) {
            let message = format!("{} stands on two lines", twice[0].sku);
            return Err(Error::invalid_field("/lines", message));
        }
        Ok(Lines(lines))
    }

    /// In the order of their SKUs.
    pub fn iter(&self) -> std::slice::Iter<'_, Line> {
        self.0.iter()
    }
}

/// What the row of an order says about its stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What became of the stock.
    pub state: HoldState,
    /// Whether it was undone: then nothing is held or sold for it any more.
    pub undone: bool,
    /// When an open hold gives itself back.
    pub expires_at: Time,
    /// How often it was looked at since it was made.
    pub turns: i64,
}

db::from_row!(Reservation { state, undone, expires_at, turns });

/// What a `hold` has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Take the stock and write the lines.
    Take,
    /// Take the stock of the lines that are there.
    TakeAgain,
    /// It is still held, only too old: give it more time.
    Renew,
    /// Answer as the first time.
    Answer,
    /// Refuse.
    Refuse,
}

impl Reservation {
    /// What a `hold` finds at this moment.
    pub fn holding(&self, now: Time) -> Holding {
        match self.state {
            _ if self.undone => Holding::Refuse,
            HoldState::Open if self.turns == 0 => Holding::Take,
            HoldState::Open if self.expires_at <= now => Holding::Renew,
            HoldState::Open | HoldState::Sold => Holding::Answer,
            HoldState::Expired => Holding::TakeAgain,
            HoldState::Nothing | HoldState::Released | HoldState::Restocked => Holding::Refuse,
        }
    }
}

/// How much there is of a SKU, after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// What.
    pub sku: Sku,
    /// In the shop's hands.
    pub on_hand: i64,
    /// Of these, held for orders.
    pub held: i64,
    /// Counts the changes.
    pub version: i64,
}

db::from_row!(Stock { sku, on_hand, held, version });

impl Stock {
    /// How many are for sale.
    pub fn available(&self) -> i64 {
        self.on_hand - self.held
    }

    /// The same as others see it.
    pub fn level(&self) -> Level {
        let Stock { sku, on_hand, held, .. } = self.clone();
        Level { sku, on_hand, held, available: self.available() }
    }
}

/// One change of what is in the shop's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// Of what.
    pub sku: Sku,
    /// The stock's version after it.
    pub version: i64,
    /// So many more, or fewer.
    pub quantity: i64,
    /// Why.
    pub reason: Reason,
    /// What somebody wanted to say about it.
    pub note: String,
    /// When.
    pub moved_at: Time,
}

db::from_row!(Movement { sku, version, quantity, reason, note, moved_at });

impl Movement {
    /// The movement that led to this stock, without a note.
    pub fn to(stock: &Stock, quantity: i64, reason: Reason, moved_at: Time) -> Movement {
        Movement {
            sku: stock.sku.clone(),
            version: stock.version,
            quantity,
            reason,
            note: String::new(),
            moved_at,
        }
    }
}

/// Deals out what is free, in the order of arrival: each order gets all of its
/// lines, or is told which SKU there is too little of. `free` is what is left
/// of each SKU, and afterwards what is left then.
pub fn deal<'a>(
    free: &mut std::collections::BTreeMap<Sku, i64>,
    orders: impl IntoIterator<Item = &'a Lines>,
) -> Vec<Result<(), Sku>> {
    let deal_one = |lines: &Lines| {
        let short =
            lines.iter().find(|line| free.get(&line.sku).copied().unwrap_or(0) < line.quantity.into());
        if let Some(line) = short {
            return Err(line.sku.clone());
        }
        for line in lines.iter() {
            if let Some(left) = free.get_mut(&line.sku) {
                *left -= i64::from(line.quantity);
            }
        }
        Ok(())
    };
    orders.into_iter().map(deal_one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::collections::BTreeMap;

    fn lines(wanted: &[(&str, u32)]) -> Lines {
        let line = |&(sku, quantity): &(&str, u32)| Line { sku: sku.parse().unwrap(), quantity };
        Lines::new(wanted.iter().map(line).collect()).unwrap()
    }

    #[test]
    fn lines_are_sorted_and_each_sku_stands_once() {
        assert_eq!(lines(&[("b", 1), ("a", 2)]), lines(&[("a", 2), ("b", 1)]));
        let line = |sku: &str, quantity| Line { sku: sku.parse().unwrap(), quantity };
        for wrong in [
            vec![],
            vec![line("a", 0)],
            vec![line("a", 10_001)],
            vec![line("a", 1), line("b", 1), line("a", 1)],
            (0..101).map(|n| line(&format!("sku-{n}"), 1)).collect(),
        ] {
            assert_eq!(Lines::new(wrong).unwrap_err().code, "invalid_request");
        }
    }

    #[test]
    fn what_a_hold_does_follows_from_what_it_finds() {
        let now = Time::from_micros(100);
        for (state, undone, expires, turns, then) in [
            (HoldState::Open, false, 200, 0, Holding::Take),
            (HoldState::Open, false, 200, 1, Holding::Answer),
            (HoldState::Open, false, 100, 1, Holding::Renew),
            (HoldState::Sold, false, 50, 3, Holding::Answer),
            (HoldState::Expired, false, 50, 3, Holding::TakeAgain),
            (HoldState::Released, true, 50, 3, Holding::Refuse),
            (HoldState::Sold, true, 50, 3, Holding::Refuse),
            (HoldState::Nothing, true, 0, 1, Holding::Refuse),
        ] {
            let found = Reservation { state, undone, expires_at: Time::from_micros(expires), turns };
            assert_eq!(found.holding(now), then, "{found:?}");
        }
    }

    #[test]
    fn scarce_stock_is_dealt_out_in_order_of_arrival_whole_orders_at_a_time() {
        let sku = |text: &str| text.parse::<Sku>().unwrap();
        let mut free = BTreeMap::from([(sku("cup"), 3), (sku("mug"), 2)]);

        let orders = [
            lines(&[("mug", 1), ("cup", 2)]),
            lines(&[("mug", 2)]),
            lines(&[("mug", 1)]),
            lines(&[("hat", 1)]),
        ];
        let dealt = deal(&mut free, &orders);

        assert_eq!(dealt, [Ok(()), Err(sku("mug")), Ok(()), Err(sku("hat"))]);
        assert_eq!(free, BTreeMap::from([(sku("cup"), 1), (sku("mug"), 0)]));
    }

    proptest! {
        /// Stock is taken only where none is held or sold, and nothing is promised that is not.
        #[test]
        fn a_hold_takes_only_what_is_not_taken(
            state in prop::sample::select(HoldState::ALL),
            undone: bool,
            turns in 0..3i64,
            left in -2..3i64,
        ) {
            let now = Time::default();
            let found = Reservation { state, undone, turns, expires_at: now + std::time::Duration::from_secs(60) };
            let late = now + std::time::Duration::from_secs((60 - left) as u64);
            let has_stock = state == HoldState::Sold || state == HoldState::Open && turns > 0;
            match found.holding(late) {
                Holding::Take | Holding::TakeAgain => prop_assert!(!has_stock && !undone),
                Holding::Renew => prop_assert!(has_stock && !undone && left <= 0),
                Holding::Answer => prop_assert!(has_stock && !undone && (left > 0 || state == HoldState::Sold)),
                Holding::Refuse => prop_assert!(undone || !has_stock),
            }
        }
    }
}
