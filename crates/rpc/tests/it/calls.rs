//! What holds wherever the service runs.

use kernel::{Kind, OrderId, World};

use crate::shelf::{Take, Wooden, each_way};

#[tokio::test]
async fn the_answer_is_the_same_here_and_elsewhere() {
    let service = Wooden::new();
    let order = OrderId::new(&World::real());
    let take = |quantity| Take { order, sku: "mug".parse().unwrap(), quantity };

    for (way, shelf) in each_way(&service).await {
        let taken = shelf.take(take(3)).await.unwrap();
        assert_eq!((taken.order, taken.left[&"mug".parse().unwrap()]), (order, 7), "{way}");
        shelf.put_back(order).await.unwrap();
        assert_eq!(*service.taken.lock().unwrap(), 0, "{way}");
    }
}

#[tokio::test]
async fn the_error_is_the_same_here_and_elsewhere() {
    let service = Wooden::new();
    let kinds = [
        Kind::Invalid,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::Conflict,
        Kind::Stale,
        Kind::Mismatch,
        Kind::TooMany,
        Kind::TimedOut,
        Kind::Unavailable,
        Kind::Internal,
    ];

    for (way, shelf) in each_way(&service).await {
        for kind in kinds {
            let error = shelf.fail(kind).await.unwrap_err();
            assert_eq!((error.kind, &*error.code), (kind, "as_asked"), "{way}");
            assert_eq!(error.message, format!("{kind:?} was asked for"), "{way}");
            assert_eq!((error.fields.len(), &*error.fields[0].pointer), (1, "/lines/0"), "{way}");
        }
        let take = Take { order: OrderId::new(&World::real()), sku: "mug".parse().unwrap(), quantity: 11 };
        let error = shelf.take(take).await.unwrap_err();
        assert_eq!(
            (error.kind, &*error.code, &*error.message),
            (Kind::Conflict, "out_of_stock", "mug is out of stock"),
            "{way}"
        );
    }
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let service = Wooden::new();

    for (way, shelf) in each_way(&service).await {
        let calls = (0..64).map(|millis| shelf.wait(millis % 8 + 1));
        let answers = futures::future::join_all(calls).await;
        let expected: Vec<_> = (0..64).map(|millis| Ok(Some(millis % 8 + 1))).collect();
        assert_eq!(answers, expected, "{way}");
    }
}
