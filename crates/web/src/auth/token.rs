//! What a token says and how it is signed: JWT (RFC 7519) with EdDSA
//! (RFC 8037).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kernel::{Error, Result, SessionId, UserId};
use serde::{Deserialize, Serialize};

use super::Role;

/// Who issues the tokens, when nothing else is said.
pub const ISSUER: &str = "carmel";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub sub: UserId,
    /// What he may do.
    pub role: Role,
    /// The session it belongs to.
    pub sid: SessionId,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// From when on it is void, in seconds since 1970.
    pub exp: i64,
    /// Who issued it.
    pub iss: String,
}

/// Signs a token. `private_key` is an Ed25519 key in PKCS #8 (DER), `kid` the
/// name under which its public half can be found.
pub fn sign(claims: &Claims, kid: &str, private_key: &[u8]) -> Result<String> {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(private_key)).map_err(Error::internal)
}

/// The 32 bytes of a public key from the `x` of its JWK (RFC 8037), for [`super::Keys`].
pub fn key_bytes(x: &str) -> Result<Vec<u8>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(x).map_err(Error::internal)?;
    if bytes.len() == 32 {
        Ok(bytes)
    } else {
        Err(Error::internal(format!("an Ed25519 key has 32 bytes, not {}", bytes.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_its_jwk() {
        // RFC 8037, appendix A.2.
        let bytes = key_bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();

        assert_eq!((bytes.len(), bytes[..2].to_vec()), (32, vec![0xd7, 0x5a]));
        for wrong in ["", "11qY", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"] {
            assert!(key_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
