//! PostgreSQL has no room left, or no memory: what the caller is told, and that
//! nothing is kept. (`sqlite.rs` has the other engine.)

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use db::Options;
use kernel::{Kind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    kit::{add, postgres, postgres_behind, server},
    postgres::aside,
};

/// A trigger that raises this on every change of `things`, at the statement or
/// at the commit.
fn refusing(condition: &str, when: &str) -> String {
    format!(
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{condition}'; \
         END $$; {when} FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
}

const AT_THE_STATEMENT: &str = "CREATE TRIGGER refuse BEFORE INSERT ON things";
const AT_THE_COMMIT: &str =
    "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED";

#[tokio::test]
async fn without_room_or_memory_a_change_is_refused_for_now_and_none_of_it_is_kept() {
    for (condition, code) in [("disk_full", "storage_full"), ("out_of_memory", "database_out_of_memory")] {
        for when in [AT_THE_STATEMENT, AT_THE_COMMIT] {
            let test = postgres().await;
            aside(&test, &refusing(condition, when)).await;

            let runs = AtomicU32::new(0);
            let refused: Result<u64> = db::write!(test.db, async |tx| {
                runs.fetch_add(1, Ordering::SeqCst);
                add(tx, 1, 1).await
            });
            let refused = refused.unwrap_err();
            assert_eq!((refused.kind, &*refused.code), (Kind::Unavailable, code), "{when}");
            assert_eq!(runs.into_inner(), 1, "there is no sense in trying again at once");
            assert_eq!(test.things().await, []);

            aside(&test, "DROP FUNCTION refuse CASCADE").await;
            let outcome: Result<u64> = db::write!(test.db, async |tx| { add(tx, 1, 1).await });
            assert_eq!((outcome.unwrap(), test.things().await), (1, vec![(1, 1)]), "there is room again");
        }
    }
}

/// What PostgreSQL says when there is no room for its log: an `ErrorResponse`
/// of severity PANIC, and then nothing more.
const PANIC: &[u8] = b"SPANIC\0VPANIC\0C53100\0Mcould not write to file: No space left on device\0\0";

/// Carries to the server what is said to it. The first `COMMIT` once it is armed
/// is kept there, and answered with the server's death.
async fn carry(near: TcpListener, far: String, armed: Arc<AtomicBool>) {
    while let Ok((mut near, _)) = near.accept().await {
        let (mut far, armed) = (TcpStream::connect(&far).await.unwrap(), armed.clone());
        tokio::spawn(async move {
            let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
            loop {
                tokio::select! {
                    Ok(count @ 1..) = near.read(&mut asked) => {
                        far.write_all(&asked[..count]).await.unwrap();
                        let commits = asked[..count].windows(7).any(|said| said == b"COMMIT\0");
                        if commits && armed.swap(false, Ordering::SeqCst) {
                            assert_ne!(far.read(&mut answered).await.unwrap(), 0);
                            let length = u32::try_from(PANIC.len() + 4).unwrap().to_be_bytes();
                            return near.write_all(&[b"E", &length[..], PANIC].concat()).await.unwrap();
                        }
                    }
                    Ok(count @ 1..) = far.read(&mut answered) => near.write_all(&answered[..count]).await.unwrap(),
                    else => return,
                }
            }
        });
    }
}

#[tokio::test]
async fn a_commit_at_which_the_server_dies_for_want_of_room_may_have_been_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("postgres://postgres@{}", listener.local_addr().unwrap());
    let far = server().rsplit('@').next().unwrap().to_owned();
    let armed = Arc::<AtomicBool>::default();
    let carrying = tokio::spawn(carry(listener, far, armed.clone()));
    let test = postgres_behind(&address, Options::default()).await;

    armed.store(true, Ordering::SeqCst);
    let outcome: Result<u64> = db::write!(test.db, async |tx| { add(tx, 1, 1).await });

    assert_eq!(outcome.unwrap_err().code, "commit_unknown");
    assert_eq!(test.things().await, [(1, 1)]);
    carrying.abort();
}
