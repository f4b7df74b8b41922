//! The token that opens the API.

use std::fmt;
use std::str::FromStr;

use quark_core::{Error, ErrorKind, Secret};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every token starts with, so that scanners of leaked secrets know it.
const PREFIX: &str = "quark_";

/// A token with 256 random bits. It is shown once and kept nowhere; what is
/// kept is its [`TokenHash`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken(Secret);

impl ApiToken {
    /// A token that nobody can guess.
    #[must_use]
    pub fn generate() -> Self {
        let bits: [u8; 32] = rand::random();
        Self(Secret::new(format!("{PREFIX}{}", hex::encode(bits))))
    }

    /// The token, for the one person who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What may be kept of it. The token is random, so a plain hash is enough:
    /// there is nothing to guess that a slow hash would protect.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose())
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether this is the hash of `token`; takes the same time whatever differs.
    #[must_use]
    pub fn matches(&self, token: &str) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

impl FromStr for TokenHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text.trim(), &mut hash).map_err(|_| {
            Error::new(ErrorKind::InvalidConfig, "this is not the hash of a token")
                .with_hint("delete the token file to have a new token made")
        })?;
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches() {
        let token = ApiToken::generate();
        let hash: TokenHash = token.hash().to_string().parse().unwrap();
        assert!(hash.matches(token.expose()));
        for other in ["", "quark_", &token.expose()[..20], ApiToken::generate().expose()] {
            assert!(!hash.matches(other));
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let token = ApiToken::generate();
        assert!(!format!("{token:?}{:?}", token.hash()).contains(&token.expose()[6..]));
    }
}
