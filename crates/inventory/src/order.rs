//! The steps of one order inside a transaction: hold, release, sell, put
//! back. Each locks the order's row first; what it then reads of the order
//! stays true until the transaction ends.

use contracts::inventory::StockChanged;
use db::Tx;
use kernel::{OrderId, Result, Time};

use crate::{
    CommitError, HoldError,
    model::{HoldState, Holding, Lines, Movement, Reason, Stock},
    store,
};

/// Holds every line until then, or fails; returns when the hold ends.
pub async fn hold(tx: &mut Tx, order: OrderId, lines: &Lines, until: Time) -> Result<Time, HoldError> {
    let now = tx.world().now();
    let found = store::claim(tx, order, until).await?;
    let holding = found.holding(now);
    match holding {
        Holding::Refuse => return Err(HoldError::Undone { order }),
        Holding::Take => {
            for line in lines.iter() {
                store::insert_line(tx, order, line).await?;
            }
        }
        _ if !store::lines(tx, order).await?.iter().eq(lines.iter()) => {
            return Err(HoldError::OtherLines { order });
        }
        _ => {}
    }
    match holding {
        Holding::Answer | Holding::Refuse => return Ok(found.expires_at),
        Holding::Renew => store::reopen(tx, order, until).await?,
        Holding::Take => take(tx, lines).await?,
        Holding::TakeAgain => {
            store::reopen(tx, order, until).await?;
            take(tx, lines).await?;
        }
    }
    Ok(until)
}

async fn take(tx: &mut Tx, lines: &Lines) -> Result<(), HoldError> {
    for line in lines.iter() {
        let Some(stock) = store::take(tx, &line.sku, line.quantity.into()).await? else {
            return Err(HoldError::OutOfStock { sku: line.sku.clone() });
        };
        announce(tx, &stock).await?;
    }
    Ok(())
}

/// Turns what is held into a sale; what expired is taken anew.
pub async fn commit(tx: &mut Tx, order: OrderId) -> Result<(), CommitError> {
    // Nearly every hold is open, and then one statement locks and moves it.
    let from = match store::sell(tx, order).await? {
        true => HoldState::Open,
        false => match sell_closed(tx, order).await? {
            HoldState::Sold => return Ok(()),
            _ if tx.world().planted("expired_hold_is_sold") => HoldState::Open,
            from => from,
        },
    };
    let now = tx.world().now();
    for line in store::lines(tx, order).await? {
        let quantity = i64::from(line.quantity);
        // An open hold that is past its time was not given back yet: it still counts.
        let sold = match from {
            HoldState::Open => Some(store::sell_held(tx, &line.sku, quantity).await?),
            _ => store::withdraw(tx, &line.sku, quantity).await?,
        };
        let Some(stock) = sold else {
            return Err(CommitError::OutOfStock { sku: line.sku });
        };
        store::insert_movement(tx, &Movement::to(&stock, -quantity, Reason::Sold, now), Some(order)).await?;
        announce(tx, &stock).await?;
    }
    Ok(())
}

/// Moves a hold that was just not open to its sale, or says why it cannot be;
/// returns where it stood.
async fn sell_closed(tx: &mut Tx, order: OrderId) -> Result<HoldState, CommitError> {
    let Some(found) = store::lock(tx, order).await? else {
        return Err(CommitError::NothingHeld { order });
    };
    if found.undone {
        return Err(CommitError::Undone { order });
    }
    match found.state {
        HoldState::Sold => {}
        // Somebody may have held it anew between the two statements.
        HoldState::Open | HoldState::Expired => advance(tx, order, found.state, HoldState::Sold).await?,
        HoldState::Nothing | HoldState::Released | HoldState::Restocked => {
            return Err(CommitError::NothingHeld { order });
        }
    }
    Ok(found.state)
}

/// Marks the order as undone, and gives back what it holds or puts back what
/// it bought: whoever undoes it may not know which, when the answer to its
/// sale was lost.
pub async fn undo(tx: &mut Tx, order: OrderId) -> Result<()> {
    let found = store::mark_undone(tx, order).await?;
    match found.state {
        HoldState::Nothing if tx.world().planted("undo_leaves_no_mark") => {
            return store::unclaim(tx, &[order]).await;
        }
        HoldState::Open => return give_back(tx, order, HoldState::Released).await,
        HoldState::Expired => return advance(tx, order, HoldState::Expired, HoldState::Released).await,
        HoldState::Released if tx.world().planted("hold_released_twice") => {
            for line in store::lines(tx, order).await? {
                store::give_back(tx, &line.sku, line.quantity.into()).await?;
            }
            return Ok(());
        }
        HoldState::Nothing | HoldState::Released | HoldState::Restocked => return Ok(()),
        HoldState::Sold => {}
    }
    let now = tx.world().now();
    for line in store::lines(tx, order).await? {
        let quantity = i64::from(line.quantity);
        let stock = store::put(tx, &line.sku, quantity).await?;
        store::insert_movement(tx, &Movement::to(&stock, quantity, Reason::Restocked, now), Some(order))
            .await?;
        announce(tx, &stock).await?;
    }
    advance(tx, order, HoldState::Sold, HoldState::Restocked).await
}

/// Gives back what these orders held: their rows are locked and say expired
/// already. One change per SKU, in the order of the SKUs.
pub async fn give_back_expired(tx: &mut Tx, orders: &[OrderId]) -> Result<()> {
    let mut held = std::collections::BTreeMap::new();
    for order in orders {
        for line in store::lines(tx, *order).await? {
            *held.entry(line.sku).or_insert(0) += i64::from(line.quantity);
        }
    }
    for (sku, quantity) in held {
        let stock = store::give_back(tx, &sku, quantity).await?;
        announce(tx, &stock).await?;
    }
    Ok(())
}

/// Tells the others how much there is now.
pub async fn announce(tx: &mut Tx, stock: &Stock) -> Result<()> {
    announce_all(tx, std::slice::from_ref(stock)).await
}

/// The same of many SKUs.
pub async fn announce_all(tx: &mut Tx, stocks: &[Stock]) -> Result<()> {
    let event = |stock: &Stock| {
        let Stock { sku, on_hand, held, version } = stock.clone();
        StockChanged { sku, on_hand, held, version }
    };
    let events: Vec<StockChanged> = stocks.iter().map(event).collect();
    bus::outbox::add_many(tx, events.iter().map(|event| (event, None))).await?;
    Ok(())
}

async fn give_back(tx: &mut Tx, order: OrderId, to: HoldState) -> Result<()> {
    for line in store::lines(tx, order).await? {
        let stock = store::give_back(tx, &line.sku, line.quantity.into()).await?;
        announce(tx, &stock).await?;
    }
    advance(tx, order, HoldState::Open, to).await
}

/// The row is locked and was just seen in `from`: anything else is a fault of ours.
async fn advance(tx: &mut Tx, order: OrderId, from: HoldState, to: HoldState) -> Result<()> {
    if store::advance(tx, order, from, to).await? {
        return Ok(());
    }
    Err(kernel::Error::internal(format!("the hold of {order} was not {from} although it was locked")))
}
