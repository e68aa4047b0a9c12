//! The deeds through `db`.

use std::{collections::HashMap, path::Path, sync::Arc};

use db::{Db, Gather, Migration, Target, query, query_for};
use futures::FutureExt;
use kernel::{Error, Result, Value, World};

use crate::{Deed, Does, INSERT, Keys, READ, ROWS, TABLE, UPDATE};

#[derive(Clone)]
pub struct Ours {
    db: Db,
    keys: Arc<Keys>,
    reads: Gather<i64, (i64, i64, String)>,
}

impl Ours {
    pub async fn sqlite(path: &Path) -> Ours {
        Ours::open(Target::Sqlite { path: path.to_owned() }).await
    }

    pub async fn postgres(server: &str) -> Ours {
        let url = format!("{server}/postgres");
        Ours::open(Target::Postgres { url, schema: "ours".into(), connections: 20 }).await
    }

    async fn open(target: Target) -> Ours {
        let world = World::real();
        let db = Db::open(&target, &world).await.unwrap();
        db.migrate(&[Migration { name: "measure_1", sql: TABLE }]).await.unwrap();
        let filled: Result<()> = db::write!(db, async |tx| {
            for id in 0..ROWS {
                query(INSERT).bind(id).bind(id).bind("a name").execute(tx).await?;
            }
            Ok(())
        });
        filled.unwrap();
        let asked = db.clone();
        let reads = Gather::new(&world, 64, move |keys: Vec<i64>| {
            let db = asked.clone();
            async move { many(&db, keys).await }.boxed()
        });
        Ours { db, keys: Keys::new(ROWS), reads }
    }
}

impl Does for Ours {
    async fn call(&self, deed: Deed) {
        let done: Result<()> = match deed {
            Deed::Gathered => self.reads.call(self.keys.known()).await.map(drop),
            Deed::Read => {
                let id = self.keys.known();
                db::read!(self.db, async |tx| {
                    query(READ).bind(id).fetch_one::<(i64, i64, String)>(tx).await.map(drop)
                })
            }
            Deed::Insert => {
                let id = self.keys.fresh();
                db::write!(self.db, async |tx| {
                    query(INSERT).bind(id).bind(id).bind("a name").execute(tx).await.map(drop)
                })
            }
            Deed::Ten => {
                let first = self.keys.ten();
                db::write!(self.db, async |tx| {
                    for id in first..first + 10 {
                        query(UPDATE).bind(id).execute(tx).await?;
                    }
                    Ok(())
                })
            }
        };
        done.unwrap();
    }
}

/// Many at once. One text: `= ANY` on PostgreSQL, `json_each` on SQLite.
async fn many(db: &Db, keys: Vec<i64>) -> Result<Vec<Result<(i64, i64, String)>>> {
    let rows: Result<Vec<(i64, i64, String)>> = db::read!(db, async |tx| {
        query_for(
            "SELECT id, n, name FROM rows WHERE id IN (SELECT value FROM json_each($1))",
            "SELECT id, n, name FROM rows WHERE id = ANY($1)",
        )
        .bind(Value::Ints(keys.clone()))
        .fetch_all(tx)
        .await
    });
    let found: HashMap<i64, (i64, i64, String)> = rows?.into_iter().map(|row| (row.0, row)).collect();
    let answer = |key| found.get(&key).cloned().ok_or_else(|| Error::not_found("none", "no such row"));
    Ok(keys.into_iter().map(answer).collect())
}
