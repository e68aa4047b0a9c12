//! A database for one story, on either engine.

use std::{path::PathBuf, sync::Arc};

use db::{Db, Engine, Migration, Target};
use kernel::World;

use crate::{postgres, server};

/// Fresh databases for one story: a SQLite folder, or schemas of the shared
/// PostgreSQL that bear the story's name. Gone when dropped.
pub struct TestDb {
    engine: Engine,
    folder: tempfile::TempDir,
    server: Option<Arc<postgres::Server>>,
    name: String,
}

impl TestDb {
    /// Fresh ones on this engine.
    pub fn new(engine: Engine) -> TestDb {
        TestDb {
            engine,
            folder: server::folder("story"),
            server: (engine == Engine::Postgres).then(postgres::Server::shared),
            name: postgres::fresh_name(),
        }
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// A folder of the story's own, for whatever else it needs.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Where the tables of a service are. Asked twice, it is the same place.
    pub fn target(&self, service: &str) -> Target {
        match &self.server {
            None => Target::Sqlite { path: self.folder.path().join(format!("{service}.db")) },
            Some(server) => Target::Postgres {
                url: server.url(),
                schema: format!("{}_{service}", self.name),
                connections: 4,
            },
        }
    }

    /// Opens the tables of a service, up to date, in the real world.
    pub async fn open(&self, service: &str, migrations: &[Migration]) -> Db {
        self.open_in(&World::real(), service, migrations).await
    }

    /// The same in another world: a moved clock, say.
    pub async fn open_in(&self, world: &World, service: &str, migrations: &[Migration]) -> Db {
        let db = Db::open(&self.target(service), world).await.unwrap();
        db.migrate(migrations).await.unwrap();
        db
    }

    /// An empty database of its own for a whole shop (`DATABASE_URL`), or
    /// nothing on SQLite.
    pub fn url(&self) -> Option<String> {
        self.server.as_ref().map(|server| server.database())
    }
}
