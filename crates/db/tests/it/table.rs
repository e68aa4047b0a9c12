//! Tables that are carried elsewhere by whoever knows none of them.

use std::time::Duration;

use db::{
    Db, Target, query,
    table::{self, Kind, Table},
};
use kernel::{Result, Value, World};

use crate::kit::{postgres, sqlite};

async fn tables(db: &Db) -> Vec<Table> {
    let found: Result<_> = db::read!(db, async |tx| { table::tables(tx).await });
    found.unwrap()
}

async fn page(db: &Db, table: &Table, after: Option<&table::Values>) -> Vec<table::Values> {
    let found: Result<_> = db::read!(db, async |tx| { table.page(tx, after, 2).await });
    found.unwrap()
}

#[tokio::test]
async fn what_is_in_a_file_is_the_same_on_postgres() {
    let (from, to) = (sqlite().await, postgres().await);
    let odd = "tab\t line\n return\r back\\slash \\N ü 😀 '\"";
    let id = World::real().uuid_v7();
    let put: Result<()> = db::write!(from.db, async |tx| {
        for n in 1..=3 {
            query("INSERT INTO things (id, n, name, ok, raw, tag) VALUES ($1, $1, $2, $3, $4, $5)")
                .bind(n)
                .bind(Some(odd).filter(|_| n > 1))
                .bind(n == 2)
                .bind(&[0_u8, 9, 92, 255][..])
                .bind(Some(id).filter(|_| n < 3))
                .execute(tx)
                .await?;
        }
        Ok(())
    });
    put.unwrap();
    let there = tables(&to.db).await.remove(0);

    // The first page, and what is behind its last row: the last one there is.
    let mut after = None;
    for _ in 0..2 {
        let rows = page(&from.db, &there, after.as_ref()).await;
        let put: Result<()> = db::write!(to.db, async |tx| { there.append(tx, &rows).await });
        put.unwrap();
        let last: Result<_> = db::read!(to.db, async |tx| { there.last(tx).await });
        after = last.unwrap();
        assert_eq!(after.as_ref(), rows.last());
    }

    assert_eq!(page(&from.db, &there, after.as_ref()).await, [] as [Vec<Value>; 0]);
    for after in [None, Some(page(&to.db, &there, None).await.remove(1))] {
        let (own, other) =
            (page(&from.db, &there, after.as_ref()).await, page(&to.db, &there, after.as_ref()).await);
        assert_eq!(own, other);
        assert!(!own.is_empty());
    }
    let row = page(&to.db, &there, None).await.remove(1);
    assert_eq!((&row[2], &row[3], &row[5]), (&Value::Text(odd.into()), &Value::Bool(true), &Value::Uuid(id)));
}

#[tokio::test]
async fn the_catalogue_of_each_engine_tells_the_tables() {
    let names = |table: &Table| -> Vec<String> { table.columns.iter().map(|c| c.name.clone()).collect() };
    let kinds = |table: &Table| -> Vec<Kind> { table.columns.iter().map(|c| c.kind).collect() };

    let (here, there) = (tables(&sqlite().await.db).await, tables(&postgres().await.db).await);

    assert_eq!((here.len(), there.len()), (1, 1), "but for the migrations");
    assert_eq!(names(&here[0]), ["id", "n", "name", "ok", "raw", "tag"]);
    assert_eq!(names(&here[0]), names(&there[0]));
    assert_eq!((&here[0].key, &there[0].key), (&vec![0], &vec![0]));
    assert_eq!(kinds(&there[0]), [Kind::Int, Kind::Int, Kind::Text, Kind::Bool, Kind::Bytes, Kind::Uuid]);
}

#[tokio::test]
async fn a_file_that_one_has_alone_is_opened_by_nobody_else() {
    let shared = sqlite().await;
    let world = World::real();
    let code = |opened: Result<Db>| opened.err().map(|error| error.code.to_string()).unwrap_or_default();

    assert_eq!(code(Db::open_alone(&shared.target, &world).await), "database_in_use");
    shared.again().await.close().await;
    shared.db.close().await;
    let alone = Db::open_alone(&shared.target, &world).await.unwrap();
    assert_eq!(code(Db::open(&shared.target, &world).await), "database_in_use");
    assert_eq!(code(Db::open_alone(&shared.target, &world).await), "database_in_use");
    alone.close().await;
    assert_eq!(code(Db::open(&shared.target, &world).await), "");
}

/// An audit asks it of a shop that may be starting.
#[tokio::test(flavor = "multi_thread")]
async fn who_opens_a_file_waits_for_one_who_only_looks() {
    let shared = sqlite().await;
    shared.db.close().await;
    let Target::Sqlite { path } = shared.target.clone() else { unreachable!("it is a file") };
    let looking = db::keep_closed(&path).unwrap(); // which is how it is looked
    let looks = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(looking);
    });

    Db::open(&shared.target, &World::real()).await.unwrap().close().await;

    looks.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_whether_a_file_is_open_is_in_nobodys_way() {
    let shared = sqlite().await;
    shared.db.close().await;
    let Target::Sqlite { path } = shared.target.clone() else { unreachable!("it is a file") };
    assert!(!db::is_open(&path).unwrap());
    let asking = tokio::task::spawn_blocking(move || {
        let until = std::time::Instant::now() + Duration::from_secs(1);
        let mut seen = 0;
        while std::time::Instant::now() < until {
            seen += usize::from(db::is_open(&path).unwrap());
        }
        seen
    });

    for _ in 0..100 {
        Db::open(&shared.target, &World::real()).await.unwrap().close().await;
    }

    assert!(asking.await.unwrap() > 0, "it was seen to be open");
}
