//! What a broker brings.

use std::{cell::OnceCell, time::Duration};

use bus::Envelope;

use crate::shop::Open;

/// The input is an event as it travels. Whatever it says, each consumer takes
/// it or says why not, and what follows from it harms nobody.
pub fn event(input: &[u8]) {
    thread_local!(static SHOP: OnceCell<Open> = const { OnceCell::new() });
    let Ok(event) = serde_json::from_slice::<Envelope>(input) else { return };
    let again = serde_json::to_vec(&event).unwrap();
    assert_eq!(serde_json::from_slice::<Envelope>(&again).unwrap(), event);
    SHOP.with(|shop| {
        let shop = shop.get_or_init(Open::new);
        shop.hear(&event);
        shop.work(Duration::from_secs(2));
    });
}
