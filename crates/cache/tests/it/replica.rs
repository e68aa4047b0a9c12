//! What a replica says is not remembered.

use std::time::Duration;

use cache::Remembered;
use db::{Caller, Db, Migration, Options, Target, query};
use kernel::{Result, World};
use testkit::postgres::Server;

use crate::world::{KEEP, until};

const TABLES: &[Migration] =
    &[Migration { name: "names", sql: "CREATE TABLE names (id BIGINT PRIMARY KEY, name TEXT NOT NULL);" }];

async fn save(db: &Db, name: &str) {
    let saved: Result<u64> = db::write!(db, async |tx| {
        let put = "INSERT INTO names (id, name) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET name = $1";
        query(put).bind(name).execute(tx).await
    });
    saved.unwrap();
}

/// Reads for a page that may be a moment old: a replica may answer.
async fn near(db: Db) -> Result<Option<String>> {
    let row: Result<Option<(String,)>> = db::read_near!(db, async |tx| {
        query("SELECT name FROM names WHERE id = 1").fetch_optional(tx).await
    });
    Ok(row?.map(|(name,)| name))
}

/// The replica has stopped following, and may be behind for longer than this
/// story takes. Somebody asks who has changed nothing himself.
#[tokio::test]
async fn nothing_is_remembered_from_a_replica() {
    let primary = Server::own(&["fsync=off"]);
    let replica = primary.replica(&["fsync=off"]);
    let options =
        Options { replicas: vec![replica.url()], lag: Duration::from_secs(300), ..Options::default() };
    let target = Target::Postgres { url: primary.url(), schema: "shop".into(), connections: 4 };
    let world = World::real();
    let db = Db::open_with(&target, &options, &world).await.unwrap();
    db.migrate(TABLES).await.unwrap();
    let stranger = Caller::new(None);
    save(&db, "old").await;
    replica.stand_still(&primary);
    save(&db, "new").await;
    until("the replica answers him", async || {
        stranger.serve(near(db.clone())).await.unwrap().as_deref() == Some("old")
    })
    .await;
    let rows = db.clone();
    let names: Remembered<u32, String> = Remembered::new(&world, 10, KEEP, move |_| near(rows.clone()));

    assert_eq!(stranger.serve(names.get(&1)).await.unwrap().as_deref(), Some("new"));
}
