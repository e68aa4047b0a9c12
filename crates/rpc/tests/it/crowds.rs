//! More calls than a service can take.

use std::time::Duration;

use kernel::{Kind, OrderId, World};
use rpc::Options;

use crate::{
    servers::{silent, until},
    shelf::{Shelf, at},
};

#[tokio::test]
async fn a_slow_service_cannot_fill_its_callers() {
    let options = Options { at_once: 2, limit: Duration::from_secs(3600), ..Options::default() };
    let shelf = at(&[silent().await], options);
    let order = OrderId::new(&World::real());
    let under_way = || shelf.0.pool().states()[0].outstanding;

    let two = async { tokio::join!(shelf.put_back(order), shelf.put_back(order)) };
    let third = async {
        until(|| under_way() == 2).await;
        shelf.put_back(order).await.unwrap_err()
    };
    let error = tokio::select! { _ = two => panic!("nobody answers them"), error = third => error };

    assert_eq!((error.kind, &*error.code), (Kind::Unavailable, "too_many_calls"));
    assert_eq!(under_way(), 0, "who goes away makes room");
}
