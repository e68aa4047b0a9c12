//! The question that a container asks of itself.

use testkit::process::Carmel;

const PROGRAM: &str = env!("CARGO_BIN_EXE_carmel");

#[tokio::test]
async fn the_healthcheck_says_whether_the_shop_answers() {
    let mut shop = Carmel::start(PROGRAM, &[]).await;

    let (open, said) = shop.run(&["healthcheck"]).await;
    shop.kill();
    let (closed, why) = shop.run(&["healthcheck"]).await;

    assert!(open.success(), "{said}");
    assert_eq!(closed.code(), Some(1), "{why}");
    assert!(why.contains("not ready: "), "{why}");
}
