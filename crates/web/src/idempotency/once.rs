//! The macro around a transaction that must have one effect.

use super::{Answer, IdempotencyKey};

/// Changes something once per key: like `db::write!`, but of several calls
/// with one key only the first has an effect and all get its answer, as
/// [`Answer`]. Without a key it is a plain transaction.
///
/// ```text
/// let answer = web::once!(self.db, &key, async |tx| {
///     store::insert(tx, &order).await?;
///     Ok(order.clone())
/// })?;
/// answer.reply(StatusCode::CREATED)
/// ```
///
/// The same key with another body is refused (`idempotency_key_reused`, 422).
/// A call that fails leaves no trace, so that its key can be used again.
#[macro_export]
macro_rules! once {
    ($db:expr, $key:expr, async |$tx:ident| $body:block) => {{
        let key = $crate::idempotency::key_of(&$key);
        $crate::db::write!($db, async |$tx| {
            match $crate::idempotency::claim($tx, key).await? {
                ::std::option::Option::Some(before) => ::std::result::Result::Ok(before),
                ::std::option::Option::None => {
                    let outcome = {
                        let $tx = &mut *$tx;
                        async { $body }.await
                    };
                    match outcome {
                        ::std::result::Result::Ok(value) => {
                            $crate::idempotency::answer($tx, key, &value).await?;
                            ::std::result::Result::Ok($crate::idempotency::first(value))
                        }
                        ::std::result::Result::Err(error) => ::std::result::Result::Err(error),
                    }
                }
            }
        })
    }};
}

#[doc(hidden)]
pub fn first<T>(value: T) -> Answer<T> {
    Answer::first(value)
}

/// The key in whatever form a caller has it.
#[doc(hidden)]
pub fn key_of<K: AsKey>(key: &K) -> Option<&IdempotencyKey> {
    key.as_key()
}

#[doc(hidden)]
pub trait AsKey {
    fn as_key(&self) -> Option<&IdempotencyKey>;
}

impl AsKey for IdempotencyKey {
    fn as_key(&self) -> Option<&IdempotencyKey> {
        Some(self)
    }
}

impl<K: AsKey> AsKey for Option<K> {
    fn as_key(&self) -> Option<&IdempotencyKey> {
        self.as_ref().and_then(AsKey::as_key)
    }
}

impl<K: AsKey> AsKey for &K {
    fn as_key(&self) -> Option<&IdempotencyKey> {
        (**self).as_key()
    }
}

impl AsKey for super::MaybeIdempotencyKey {
    fn as_key(&self) -> Option<&IdempotencyKey> {
        self.0.as_ref()
    }
}
