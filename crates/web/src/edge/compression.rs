//! Smaller answers.

use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, Predicate, SizeAbove},
    },
};

/// Compresses answers of a kilobyte and more with gzip, br or zstd, whichever
/// the caller likes best; never images or event streams.
pub fn compression() -> Compression {
    // The quick end of each: an answer is compressed once and read once.
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(DefaultPredicate::new().and(SizeAbove::new(1024)))
}

/// See [`compression`].
pub type Compression = CompressionLayer<tower_http::compression::predicate::And<DefaultPredicate, SizeAbove>>;
