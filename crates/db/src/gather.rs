//! Gathering: concurrent calls of one kind become one statement.

use std::marker::PhantomData;

use kernel::{BoxFuture, Result, World};

/// Gathers concurrent calls into batches. With nobody else waiting a call goes
/// alone at once; what comes while a batch is under way makes up the next one.
/// Cheap to clone.
#[derive(Clone)]
pub struct Gather<K, V>(PhantomData<(K, V)>);

impl<K: Clone + Send + 'static, V: Send + 'static> Gather<K, V> {
    /// `batch` takes at most `most` calls in the order of their arrival and
    /// gives each its answer, in that order. A batch that fails as a whole is
    /// split until the one at fault is alone.
    pub fn new<F>(world: &World, most: usize, batch: F) -> Self
    where
        F: Fn(Vec<K>) -> BoxFuture<'static, Result<Vec<Result<V>>>> + Send + Sync + 'static,
    {
        let _ = (world, most, batch);
        Gather(PhantomData)
    }

    /// Asks for one.
    pub async fn call(&self, key: K) -> Result<V> {
        let _ = key;
        todo!()
    }
}
