//! Access tokens.

use std::sync::{Arc, LazyLock};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use futures::executor::block_on;
use http::HeaderValue;
use kernel::World;
use serde_json::Value;
use web::auth::{Keys, Verifier};

/// What the key is called.
const KID: &str = "the-key";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));

/// The input is a header `Authorization`; or, if it begins with a brace, the
/// two parts of a token, a line each, which is then signed with the key of the
/// shop. A token is taken if it was signed by the shop and says what one must
/// say, and only then; whatever is refused is refused as that.
pub fn token(input: &[u8]) {
    if !input.starts_with(b"{") {
        let Ok(header) = HeaderValue::from_bytes(input) else { return };
        // Whoever has no key signs nothing; the stored inputs have nothing that was signed.
        assert!(!is_taken(&header), "forged: {header:?}");
        return;
    }
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let [header, claims] = [(); 2].map(|()| parts.next().unwrap_or_default());
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = KEY.sign(signed.as_bytes()).to_bytes();
    let signed = HeaderValue::try_from(format!("Bearer {signed}.{}", encoded(&signature))).unwrap();

    let (said_of_it, said): (Value, Value) = (json(header), json(claims));
    let may_be = said_of_it["alg"] == "EdDSA"
        && said_of_it["kid"] == KID
        && said["iss"] == "carmel"
        && said["sub"].as_str().is_some_and(|id| id.starts_with("usr_") && id.len() == 36)
        && said["sid"].is_string()
        && ["customer", "staff", "admin"].contains(&said["role"].as_str().unwrap_or_default())
        && said["exp"].as_i64().is_some_and(|at| at > World::real().now().micros() / 1_000_000);
    assert!(!is_taken(&signed) || may_be, "taken: {said_of_it} {said}");
}

fn is_taken(header: &HeaderValue) -> bool {
    // A new one each time: nothing is remembered from one input to the next.
    let verifier = Verifier::new(World::real(), Arc::new(TheKey));
    match block_on(verifier.caller(Some(header))) {
        Ok(caller) => caller.is_some(),
        Err(refused) => {
            assert_eq!(refused.error().code, "invalid_token", "{:?}", refused.error());
            false
        }
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}

struct TheKey;

#[rpc::async_trait]
impl Keys for TheKey {
    async fn key(&self, kid: &str) -> kernel::Result<Option<Vec<u8>>> {
        Ok((kid == KID).then(|| KEY.verifying_key().to_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise it would prove nothing that no input is taken.
    #[test]
    fn what_the_shop_signs_is_taken() {
        let claims = format!(
            r#"{{"sub":"usr_{0}","role":"customer","sid":"ses_{0}","iat":0,"exp":9999999999,"iss":"carmel"}}"#,
            "0".repeat(32)
        );
        let signed =
            format!("{}.{}", encoded(br#"{"alg":"EdDSA","kid":"the-key"}"#), encoded(claims.as_bytes()));
        let signature = encoded(&KEY.sign(signed.as_bytes()).to_bytes());

        assert!(is_taken(&HeaderValue::try_from(format!("Bearer {signed}.{signature}")).unwrap()));
        assert!(!is_taken(&HeaderValue::try_from(format!("Bearer {signed}.{signature}AA")).unwrap()));
    }
}
