//! Unique ids without a source of randomness of their own.

use std::hash::{BuildHasher, Hasher, RandomState};

/// 64 bits that differ from call to call and from process to process.
pub fn bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A version 4 GUID in lower case.
pub fn guid() -> String {
    let (high, low) = (bits(), bits());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

/// A new W3C `traceparent` that is not sampled.
pub fn traceparent() -> String {
    format!("00-{:016x}{:016x}-{:016x}-00", bits(), bits(), bits() | 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn guids_have_their_form_and_differ() {
        let form = regex::Regex::new(
            "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        )
        .unwrap();
        let (first, second) = (super::guid(), super::guid());
        assert!(form.is_match(&first), "{first}");
        assert_ne!(first, second);
        assert_eq!(super::traceparent().len(), 55);
    }
}
