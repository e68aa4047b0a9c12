//! Cursors of lists.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use web::Cursor;

/// A text is a cursor as it was given out, to the letter, or refused; and so
/// are any bytes behind the sum that they must have.
pub fn cursor(input: &[u8]) {
    // FNV-1a, as `web` computes it.
    let sum =
        input.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let summed = BASE64_URL_SAFE_NO_PAD.encode([&sum.to_be_bytes(), input].concat());
    for text in [summed, String::from_utf8_lossy(input).into_owned()] {
        let read: Result<Cursor, _> = serde_json::from_value(text.clone().into());
        if let Ok(cursor) = read {
            assert_eq!(cursor.to_string(), text);
            assert_eq!(Cursor::of(cursor.keys()), cursor);
        }
    }
}
