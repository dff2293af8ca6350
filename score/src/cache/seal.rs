//! What makes a payload an entry of the shared store: two magic bytes, a version byte and a tag.
//!
//! Without a secret the tag is a checksum that covers the key, so that an entry which was cut, changed, copied under
//! another key or written by another program is never taken for a result. Who knows the rules can write a valid one,
//! so with a secret the tag is a keyed MAC, which only those who know the secret can make.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, Bytes};
use constant_time_eq::constant_time_eq_16;
use twox_hash::XxHash3_128;

use super::key::UnitKey;
use super::namespace::Namespace;

const MAGIC: [u8; 2] = *b"SM";
/// The version of an entry with a checksum; 1 was one whose checksum took ten times as long.
const CHECKED: u8 = 3;
/// The version of an entry with a MAC.
const SIGNED: u8 = 2;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + TAG_BYTES;
/// What the key of all MACs is derived for; BLAKE3 wants a text that no other use has.
const CONTEXT: &str = "score 2026-11 MAC of entries in the shared store";
/// As many as 16 random bytes have in hexadecimal.
const MIN_SECRET: usize = 32;
/// How a reference to Azure Key Vault begins that the platform could not resolve: the app then sees the reference itself.
const UNRESOLVED: &str = "@Microsoft.KeyVault(";

/// The secret that signs the entries of the shared store. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct EntrySecret(Box<str>);

/// Text that cannot be an [`EntrySecret`]. It does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntrySecretError {
    /// It could be guessed.
    #[error("at least {MIN_SECRET} characters; make them by `openssl rand -hex 32`")]
    TooShort,
    /// Azure could not replace a reference by the secret.
    #[error(
        "the secret itself; Azure could not resolve the reference to Key Vault, so give the app access to it"
    )]
    Unresolved,
}

impl FromStr for EntrySecret {
    type Err = EntrySecretError;

    fn from_str(text: &str) -> Result<Self, EntrySecretError> {
        if text.starts_with(UNRESOLVED) {
            return Err(EntrySecretError::Unresolved);
        }
        match text.chars().count() < MIN_SECRET {
            true => Err(EntrySecretError::TooShort),
            false => Ok(Self(text.into())),
        }
    }
}

impl fmt::Debug for EntrySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntrySecret")
    }
}

/// How the entries of one cache are sealed.
pub(crate) enum Seal {
    /// By a checksum, which detects accidents only.
    Checksum,
    /// By a MAC with this key.
    Mac([u8; blake3::KEY_LEN]),
}

impl Seal {
    /// The namespace is a part of what the MAC covers, as the rest of the key in the store is.
    pub(crate) fn new(secret: Option<&EntrySecret>, namespace: &Namespace) -> Self {
        let Some(EntrySecret(secret)) = secret else {
            return Self::Checksum;
        };
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        // The namespace has no NUL, so no other pair gives the same bytes.
        for part in [secret.as_bytes(), b"\0", namespace.to_string().as_bytes()] {
            hasher.update(part);
        }
        Self::Mac(*hasher.finalize().as_bytes())
    }

    /// The payload as it is written to the store under `key`.
    pub(crate) fn close(&self, key: &UnitKey, payload: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
        out.put_slice(&MAGIC);
        out.put_u8(self.version());
        out.put_slice(&self.tag(key, payload));
        out.put_slice(payload);
        Bytes::from(out)
    }

    /// The payload of a value found in the store under `key`, if it was sealed in this way and is undamaged: a slice of the
    /// value, which may itself be one of a larger network buffer.
    pub(crate) fn open(&self, key: &UnitKey, value: &Bytes) -> Option<Bytes> {
        let (tag, payload) = self.parts(value)?;
        // Who writes to the store could otherwise find out a MAC byte by byte, from the times of look-ups.
        let valid = constant_time_eq_16(tag, &self.tag(key, payload));
        valid.then(|| value.slice_ref(payload))
    }

    /// Tag and payload of a value that has a header of this kind.
    fn parts<'v>(&self, value: &'v [u8]) -> Option<(&'v [u8; TAG_BYTES], &'v [u8])> {
        let (magic, rest) = value.split_first_chunk::<{ MAGIC.len() }>()?;
        let (version, rest) = rest.split_first()?;
        (*magic == MAGIC && *version == self.version()).then_some(())?;
        rest.split_first_chunk()
    }

    fn version(&self) -> u8 {
        match self {
            Self::Checksum => CHECKED,
            Self::Mac(_) => SIGNED,
        }
    }

    fn tag(&self, key: &UnitKey, payload: &[u8]) -> [u8; TAG_BYTES] {
        match self {
            Self::Checksum => checksum(key.unit(), payload),
            // The key comes last: behind it, the chunks of a long payload could not be digested side by side.
            Self::Mac(mac_key) => {
                let mut hasher = blake3::Hasher::new_keyed(mac_key);
                let digest = hasher.update(payload).update(&key.bytes()).finalize();
                let mut tag = [0; TAG_BYTES];
                tag.copy_from_slice(&digest.as_bytes()[..TAG_BYTES]);
                tag
            }
        }
    }
}

/// XXH3 of the payload in its canonical form, with the first bytes of the unit's digest as seed.
fn checksum(unit: &[u8; 32], payload: &[u8]) -> [u8; TAG_BYTES] {
    let mut seed = [0; size_of::<u64>()];
    seed.copy_from_slice(&unit[..size_of::<u64>()]);
    XxHash3_128::oneshot_with_seed(u64::from_le_bytes(seed), payload).to_be_bytes()
}

/// How many bytes of a sealed value are payload.
pub(super) fn payload_bytes(value: &Bytes) -> usize {
    value.len().saturating_sub(HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{KeyMaker, ModelDigest};
    use crate::tensor::{Tensor, TensorData};

    const PAYLOAD: &[u8] = b"any bytes";

    fn of_model(model: &[u8], value: f32) -> UnitKey {
        let inputs = [Tensor::new(vec![1, 1], TensorData::Float32(vec![value])).unwrap()];
        let model = ModelDigest::new(&blake3::hash(model), "1");
        KeyMaker::for_rows(model, &inputs).rows(&inputs, 1)[0]
    }

    fn key(value: f32) -> UnitKey {
        of_model(b"m", value)
    }

    fn signed(secret: &str, namespace: &str) -> Seal {
        let secret = secret.repeat(MIN_SECRET).parse().unwrap();
        Seal::new(Some(&secret), &namespace.parse().unwrap())
    }

    fn seals() -> [Seal; 2] {
        [Seal::Checksum, signed("s", "score")]
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        for seal in seals() {
            let sealed = seal.close(&key(1.0), PAYLOAD);
            assert_eq!(seal.open(&key(1.0), &sealed).unwrap(), PAYLOAD);
            for length in 0..sealed.len() {
                assert!(seal.open(&key(1.0), &sealed.slice(..length)).is_none());
            }
            for position in 0..sealed.len() {
                let mut bytes = sealed.to_vec();
                bytes[position] ^= 0x40;
                assert!(seal.open(&key(1.0), &Bytes::from(bytes)).is_none());
            }
        }
    }

    #[test]
    fn an_entry_copied_under_another_key_is_refused() {
        for seal in seals() {
            let sealed = seal.close(&key(1.0), PAYLOAD);
            for other in [key(2.0), of_model(b"n", 1.0)] {
                assert!(seal.open(&other, &sealed).is_none());
            }
        }
    }

    #[test]
    fn with_a_secret_only_its_own_entries_are_taken() {
        let (key, seal) = (key(1.0), signed("s", "score"));
        for other in [Seal::Checksum, signed("t", "score"), signed("s", "other")] {
            assert!(seal.open(&key, &other.close(&key, PAYLOAD)).is_none());
            assert!(other.open(&key, &seal.close(&key, PAYLOAD)).is_none());
        }
        // A valid checksum under the version of a MAC.
        let mut forged = Seal::Checksum.close(&key, PAYLOAD).to_vec();
        forged[MAGIC.len()] = SIGNED;
        assert!(seal.open(&key, &Bytes::from(forged)).is_none());
        assert!(
            signed("s", "score")
                .open(&key, &seal.close(&key, PAYLOAD))
                .is_some()
        );
    }

    #[test]
    fn secrets_that_are_none_are_refused_and_none_is_shown() {
        let too_short = "x".repeat(MIN_SECRET - 1);
        for (text, expected) in [
            ("", EntrySecretError::TooShort),
            (&*too_short, EntrySecretError::TooShort),
            (
                "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)",
                EntrySecretError::Unresolved,
            ),
        ] {
            assert_eq!(text.parse::<EntrySecret>(), Err(expected));
        }
        let secret: EntrySecret = "hunter2!".repeat(4).parse().unwrap();
        assert_eq!(format!("{secret:?}"), "EntrySecret");
    }
}
