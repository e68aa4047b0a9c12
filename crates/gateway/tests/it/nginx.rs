//! A real nginx with the files of `deploy/nginx`, in front of the gateway and
//! in its place. Only addresses are replaced.

use gateway::TABLE;
use testkit::nginx::Server;

use crate::{
    browser::Browser,
    fleet::{self, Serving},
    passing::mirror,
};

const SERVICES: [(&str, u16); 6] = [
    ("users", 3001),
    ("orders", 3002),
    ("catalog", 3003),
    ("inventory", 3004),
    ("payments", 3005),
    ("notifications", 3006),
];

/// One of each service, that answers with what it was asked.
async fn services() -> Vec<(&'static str, u16, Serving)> {
    let mut services = Vec::new();
    for (service, port) in SERVICES {
        services.push((service, port, fleet::bare(mirror(service)).await));
    }
    services
}

fn asking(nginx: &Server) -> Browser {
    Browser { address: nginx.address() }
}

/// What stays inside, and what nobody has.
const INSIDE: [&str; 5] = ["/rpc/orders/order", "/metrics", "/readyz", "/livez", "/metrics/"];

#[tokio::test(flavor = "multi_thread")]
async fn nginx_in_front_passes_on_who_asks() {
    let services = services().await;
    let urls: Vec<_> = services.iter().map(|(name, _, serving)| (*name, [serving.url()])).collect();
    let pools: Vec<_> = urls.iter().map(|(name, url)| (*name, url.as_slice())).collect();
    let gateway = fleet::gateway(&pools).await;
    let nginx = Server::start("nginx.conf", &[(3000, gateway.browser.address)]);
    let front = asking(&nginx);

    let forged = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")];
    let answer = front.send("POST", "/orders?wait=1", &forged, "a basket").await;

    let said = answer.json();
    assert_eq!((answer.status, &said["service"]), (200, &"orders".into()));
    assert_eq!((&said["method"], &said["address"]), (&"POST".into(), &"/orders?wait=1".into()));
    assert_eq!(
        said["headers"]["x-forwarded-for"], "127.0.0.1, 127.0.0.1",
        "nginx and its client; no 6.6.6.6"
    );
    assert_eq!(said["headers"]["x-forwarded-host"], "localhost", "as the client called it");
    for path in INSIDE {
        assert_eq!(front.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_in_its_place_sends_every_path_of_the_table_to_its_service() {
    let services = services().await;
    let addresses: Vec<_> = services.iter().map(|(_, port, it)| (*port, it.browser.address)).collect();
    let nginx = Server::start("services.conf", &addresses);
    let front = asking(&nginx);

    for route in TABLE {
        let below = if route.prefix == "/" { vec![] } else { vec![format!("{}/below?x=1", route.prefix)] };
        for path in [vec![route.prefix.to_owned()], below].concat() {
            let answer = front.get(&path).await;
            let said = answer.json();
            assert_eq!((answer.status, &said["service"]), (200, &route.service.into()), "{path}");
            assert_eq!(said["address"], path);
        }
    }
    for path in INSIDE.into_iter().chain(["/ordersome", "/nowhere"]) {
        let answer = front.get(path).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &"no_such_route".into()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_says_itself_is_a_problem_like_any_other() {
    let gone = fleet::bare(mirror("gateway")).await;
    let nginx = Server::start("nginx.conf", &[(3000, gone.browser.address)]);
    gone.stop.cancel();

    let answer = asking(&nginx).until("/orders", 503).await;

    assert_eq!(answer.json()["code"], "service_unreachable");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("retry-after"), "1");
}
