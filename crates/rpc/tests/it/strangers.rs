//! Who may call.

use kernel::Kind;
use rpc::{Options, ServiceToken};

use crate::shelf::{Shelf, Wooden, at, serve, shelf_routes};

const OLD: &str = "the-old-secret-of-the-shelf";
const NEW: &str = "the-new-secret-of-the-shelf";

fn bearing(token: Option<ServiceToken>) -> Options {
    Options { token, ..Options::default() }
}

fn token(sent: &str, accepted_too: Option<&str>) -> ServiceToken {
    ServiceToken::new(sent, accepted_too).unwrap()
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let service = Wooden::new();
    let address = [serve(rpc::guard(shelf_routes(service.clone()), &token(OLD, None))).await];

    for stranger in [None, Some(token(NEW, None)), Some(token(&OLD[..20], None))] {
        let error = at(&address, bearing(stranger)).paint(()).await.unwrap_err();
        assert_eq!((error.kind, &*error.code), (Kind::Unavailable, "service_unreachable"));
    }

    assert_eq!(at(&address, bearing(Some(token(OLD, None)))).paint(()).await.unwrap(), 1);
}

#[tokio::test]
async fn the_refusal_is_one_like_any_other_call_gets() {
    let address = serve(rpc::guard(shelf_routes(Wooden::new()), &token(OLD, None))).await;

    let (status, body) = crate::faults::raw(&address, "wait", "1", "1000").await;

    assert_eq!(status, 400);
    assert!(body.contains("\"unauthenticated\"") && body.contains("\"service_token_refused\""), "{body}");
}

#[tokio::test]
async fn the_token_is_changed_while_everything_runs() {
    let steps = [
        (token(OLD, None), token(OLD, Some(NEW))),
        (token(OLD, Some(NEW)), token(NEW, Some(OLD))),
        (token(NEW, Some(OLD)), token(NEW, None)),
    ];
    for (before, after) in steps {
        for (asks, answers) in [(&before, &after), (&after, &before)] {
            let address = [serve(rpc::guard(shelf_routes(Wooden::new()), answers)).await];
            at(&address, bearing(Some(asks.clone()))).left(()).await.unwrap();
        }
    }
}

#[test]
fn the_token_is_never_shown_and_never_short() {
    let shown = format!("{:?}", bearing(Some(token(OLD, Some(NEW)))));
    assert!(!shown.contains("secret"), "{shown}");

    for bad in ["", "short", "a secret with spaces", "ein-geheimnis-für-alle"] {
        let error = ServiceToken::new(bad, None).unwrap_err();
        assert_eq!(&*error.code, "bad_service_token");
        assert!(bad.is_empty() || !error.message.contains(bad));
    }
}
