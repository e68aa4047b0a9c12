//! The shop that is asked: the whole program in this thread, behind its edge,
//! on a clock that jumps, with people in it and something on the shelf.

use std::{sync::LazyLock, time::Duration};

use axum::{Router, body::Body};
use bus::Envelope;
use bytes::Bytes;
use carmel::{audit, shop::Shop};
use http::{Request, Response};
use http_body_util::BodyExt;
use kernel::Result;
use payments::webhook::Secret;
use serde_json::Value;
use sim::{Machine, Template};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use web::edge::Peer;

use crate::{asked::Known, errors};

static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::new);

/// A shop that is open.
pub struct Open {
    runtime: Runtime,
    shop: Shop,
    router: Router,
    /// What the provider signs with.
    secret: Secret,
    /// What services show one another.
    service: String,
    _files: TempDir,
}

impl Open {
    /// One that nobody has asked anything.
    pub fn new() -> Open {
        errors::listen();
        drop(errors::heard());
        let files = TEMPLATE.copy();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap();
        let config = sim::settings(files.path(), 0);
        let (shop, router) = runtime.block_on(async {
            let machine = Machine::new(Instant::now(), 1, None);
            let shop = Shop::open(&config, &machine.world()).await.unwrap();
            drop(shop.start(&CancellationToken::new()).unwrap());
            let router = shop.router().unwrap();
            (shop, router)
        });
        let secret = Secret::parse(config.payments.webhook_secret.expose()).unwrap();
        let service = config.services.token.expose().to_owned();
        Open { runtime, shop, router, secret, service, _files: files }
    }

    /// The tokens of those who are there, and what is on the shelf.
    pub fn known(&self) -> Known {
        let Template { staff, buyers, variants, .. } = &*TEMPLATE;
        let there = [
            ("staff", &staff[0]),
            ("customer", &buyers[0]),
            ("other", &buyers[1]),
            ("variant", &variants[0]),
            ("service", &self.service),
        ];
        there.map(|(name, value)| (name.to_owned(), value.clone())).into()
    }

    /// The description of its API.
    pub fn api(&self) -> Value {
        serde_json::to_value(self.shop.api().unwrap()).unwrap()
    }

    /// What it answers.
    pub fn ask(&self, request: Request<Vec<u8>>) -> Response<Bytes> {
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(Peer([127, 0, 0, 1].into()));
        self.runtime.block_on(async {
            let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            Response::from_parts(head, body.collect().await.unwrap().to_bytes())
        })
    }

    /// Signs a body as the payment provider does.
    pub fn sign(&self, request: &mut Request<Vec<u8>>) {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let signed = self.secret.sign("msg_1", self.shop.world().now(), &body).unwrap();
        *request.body_mut() = body.into_bytes();
        request.headers_mut().extend(signed);
    }

    /// Lets all who listen to others hear this; an error is one of theirs.
    pub fn hear(&self, event: &Envelope) {
        self.runtime.block_on(async {
            for consumer in self.shop.consumers() {
                let heard: Result<()> =
                    db::write!(consumer.db(), async |tx| { consumer.hear(tx, event).await });
                drop(heard);
            }
        });
    }

    /// Lets its workers do what there is to do in that time.
    pub fn work(&self, span: Duration) {
        self.runtime.block_on(async { sleep(span).await });
    }

    /// What is wrong in it.
    pub fn breaches(&self) -> Vec<String> {
        self.runtime.block_on(audit::audit(&self.shop)).unwrap().breaches
    }
}
