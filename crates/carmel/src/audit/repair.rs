//! `carmel audit --repair`: mends what can be derived again. It puts work back
//! where the shop's own workers find it and gives back holds that are past
//! their time; it books no money, and no stock without saying whose.

use kernel::{Error, EventId, Result};

use super::{
    events::{Suspect, Wrong},
    pictures::Pictures,
};
use crate::shop::Shop;

/// Mends what there is to be mended; each thing a sentence.
pub async fn repair(shop: &Shop, events: &[Suspect]) -> Result<Vec<String>> {
    let mut mended = Vec::new();
    for (service, db) in &shop.databases {
        let put_back: Result<Vec<String>> = db::write!(db, async |tx| {
            let jobs = jobs::audit::free(tx).await?;
            Ok([jobs, bus::audit::hurry(tx).await?].concat())
        });
        mended.extend(put_back?.into_iter().map(|sentence| format!("{service}: {sentence}")));
    }
    mended.extend(orders(shop).await?);
    mended.extend(holds(shop).await?);
    let mails = notifications::send_left_over(&shop.database("notifications")).await?;
    mended.extend(mails.into_iter().map(|sentence| format!("notifications: {sentence}")));
    for event in events.iter().filter(|event| matches!(event.wrong, Wrong::Unheard(_))) {
        mended.extend(send_again(shop, event).await?);
    }
    Ok(mended)
}

/// Orders that stand still get their job back.
async fn orders(shop: &Shop) -> Result<Vec<String>> {
    let forgotten = orders::forgotten(&mut Pictures::take(shop).await?.orders).await?;
    shop.orders().sweep().await?;
    Ok(forgotten
        .into_iter()
        .map(|order| format!("orders: {order} stood still and has a job again"))
        .collect())
}

/// Holds past their time are given back, as the sweep would.
async fn holds(shop: &Shop) -> Result<Vec<String>> {
    let mut mended = Vec::new();
    loop {
        let overdue = inventory::overdue(&mut Pictures::take(shop).await?.inventory).await?;
        if overdue.is_empty() {
            return Ok(mended);
        }
        shop.inventory().give_back_expired().await?;
        mended.extend(
            overdue
                .into_iter()
                .map(|order| format!("inventory: the hold of {order} was past its time and is given back")),
        );
    }
}

async fn send_again(shop: &Shop, suspect: &Suspect) -> Result<Option<String>> {
    let db = shop.database(suspect.source);
    let id: [EventId; 1] = [suspect.event];
    let again: Result<u64, Error> = db::write!(db, async |tx| { bus::audit::send_again(tx, &id).await });
    let Suspect { event, source, consumer, .. } = suspect;
    Ok((again? == 1).then(|| format!("{source}: {event} is sent again, for {consumer}")))
}
