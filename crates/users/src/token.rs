//! Signing keys and refresh tokens: what they are made of.

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use kernel::{Error, Result, Time, World};
use sha2::{Digest, Sha256};

/// A key that access tokens are signed with.
///
/// For now its private half stands in the table as it is, so whoever reads the
/// users database or a copy of it can sign in as anybody: that database is to
/// be kept like a password.
#[derive(Clone)]
pub struct Key {
    /// What a token names it by.
    pub kid: String,
    /// The 32 bytes of RFC 8032, in base64.
    pub private_key: String,
    /// Its public half, in base64url without padding.
    pub public_key: String,
    /// When it was made.
    pub created_at: Time,
}

db::from_row!(Key { kid, private_key, public_key, created_at });

impl Key {
    /// A new one.
    pub fn new(world: &World) -> Key {
        let secret: [u8; 32] = world.random();
        let key = SigningKey::from_bytes(&secret);
        Key {
            kid: BASE64_URL_SAFE_NO_PAD.encode(world.random::<12>()),
            private_key: BASE64_STANDARD.encode(secret),
            public_key: BASE64_URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
            created_at: world.now(),
        }
    }

    /// The private half as `web::auth::sign` takes it.
    pub fn pkcs8(&self) -> Result<Vec<u8>> {
        let bytes = BASE64_STANDARD.decode(&self.private_key).map_err(Error::internal)?;
        let secret: [u8; 32] = bytes
            .try_into()
            .map_err(|_| Error::internal(format!("the key {} has not 32 bytes", self.kid)))?;
        let der = SigningKey::from_bytes(&secret)
            .to_pkcs8_der()
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok(der.as_bytes().to_vec())
    }
}

/// A refresh token: 256 bits of chance. The client has it, we its hash: with
/// that much chance a plain hash is enough.
pub struct RefreshToken(String);

impl RefreshToken {
    /// A new one.
    pub fn new(world: &World) -> RefreshToken {
        RefreshToken(BASE64_URL_SAFE_NO_PAD.encode(world.random::<32>()))
    }

    /// What the client gets.
    pub fn reveal(self) -> String {
        self.0
    }

    /// What we keep.
    pub fn hash(&self) -> Vec<u8> {
        hash(&self.0)
    }
}

/// What we keep of a refresh token.
pub fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}
