//! Passwords: Argon2id (RFC 9106), away from the tasks, so many at once.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use kernel::{Error, Kind, Result, World};
use tokio::sync::Semaphore;

/// What hashing one password costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// How often that memory is gone over.
    pub iterations: u32,
}

impl Default for Cost {
    /// What OWASP advises for Argon2id.
    fn default() -> Cost {
        Cost { memory_kib: 19 * 1024, iterations: 2 }
    }
}

/// Hashes and checks passwords. Each takes some 20 ms of a core and 19 MiB, so
/// only so many run at once and only so many wait: who comes then is told to
/// come later, which is better than a queue that outlives its callers.
#[derive(Clone)]
pub struct Hasher {
    world: World,
    cost: Cost,
    /// The hash of nothing anybody knows, at the same cost as every other one:
    /// checked against when there is no account or no password, so that the
    /// answer takes as long.
    nobodys: Arc<str>,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Hasher {
    /// At most `running` at once, at most `waiting` behind them.
    pub fn new(world: &World, cost: Cost, running: usize, waiting: usize) -> Hasher {
        let Cost { memory_kib, iterations } = cost;
        let nobodys = format!(
            "$argon2id$v=19$m={memory_kib},t={iterations},p=1$bm8gb25lIGhhcyB0aGlz$1Y4GkVVjSYNPMRGW0c6JzR0Qw0mJ8lF0sDb0cF5yq9c"
        );
        Hasher {
            world: world.clone(),
            cost,
            nobodys: nobodys.into(),
            running: Arc::new(Semaphore::new(running.max(1))),
            admitted: Arc::new(Semaphore::new(running.max(1) + waiting)),
        }
    }

    /// The hash to store, in the PHC string format.
    pub async fn hash(&self, password: &[u8]) -> Result<String> {
        let password = password.to_vec();
        let salt: [u8; 16] = self.world.random();
        let Cost { memory_kib, iterations } = self.cost;
        self.run(move || {
            let cost = Params::new(memory_kib, iterations, 1, None)
                .map_err(|error| Error::internal(error.to_string()))?;
            let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
                .hash_password_with_salt(&password, &salt)
                .map_err(|error| Error::internal(error.to_string()))?;
            Ok(hash.to_string())
        })
        .await?
    }

    /// Whether the password is the one of this hash. With no hash it is not,
    /// and takes as long to say.
    pub async fn verify(&self, password: &[u8], hash: Option<&str>) -> Result<bool> {
        let password = password.to_vec();
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.nobodys).to_owned();
        self.run(move || {
            let hash = PasswordHash::new(&hash).map_err(|error| Error::internal(error.to_string()))?;
            let fits = Argon2::default().verify_password(&password, &hash).is_ok();
            Ok(fits && known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let busy = |_| {
            Error::new(Kind::TooMany, "too_many_sign_ins", "too many passwords are being checked just now")
        };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(Error::internal)?;
        // The permits go along: the work goes on when the caller is gone.
        self.world
            .blocking(move || {
                let outcome = work();
                drop((running, admitted));
                outcome
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use argon2::Params;

    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let hasher = Hasher::new(&World::real(), Cost::default(), 1, 10);

        let hash = hasher.hash(b"correct horse").await.unwrap();

        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(b"correct horse", Some(&hash)).await.unwrap());
        assert!(!hasher.verify(b"battery staple", Some(&hash)).await.unwrap());
        assert!(!hasher.verify(b"correct horse", None).await.unwrap());
    }

    #[test]
    fn nobodys_hash_costs_as_much_as_every_other() {
        let hasher = Hasher::new(&World::real(), Cost { memory_kib: 2048, iterations: 3 }, 1, 10);
        let hash = PasswordHash::new(&hasher.nobodys).unwrap();

        let params = Params::try_from(&hash).unwrap();

        assert_eq!((params.m_cost(), params.t_cost()), (2048, 3));
        assert_eq!(hash.hash.unwrap().len(), 32);
    }

    #[tokio::test]
    async fn who_comes_when_the_queue_is_full_is_told_so() {
        let hasher = Hasher::new(&World::real(), Cost::default(), 1, 0);

        let (first, second) = tokio::join!(hasher.hash(b"one"), hasher.hash(b"two"));

        assert!(first.is_ok());
        assert_eq!(second.unwrap_err().code, "too_many_sign_ins");
    }
}
