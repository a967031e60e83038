//! Whose updates are taken: Ed25519 (RFC 8032) over a fixed prefix and the manifest, by one of the keys
//! in the image.
use ed25519_dalek::{Signature, VerifyingKey};

/// Signed before the manifest, so that a signature of ours for anything else is none for an update.
const PREFIX: &[u8] = b"tidegate update 1\n";
/// The signature as text: 128 hexadecimal digits and a line feed.
pub(crate) const SIGNATURE_BYTES: u64 = 129;
/// Keys that are of use: the one that signs, and its successor.
const KEYS_MAX: usize = 4;

/// Public keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Vec<VerifyingKey>);

impl Keys {
    /// Reads the image's file of keys: one a line in hexadecimal digits, `#` before what is for people.
    ///
    /// # Errors
    /// Words: a line is no key, or there are too many.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let mut keys = Vec::new();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let key = unhex(line).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
            // A weak key has signatures for everything.
            let key = key.filter(|key| !key.is_weak());
            keys.push(key.ok_or("this version's keys for updates are damaged")?);
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("this version has {} keys for updates", keys.len()));
        }
        Ok(Self(keys))
    }

    /// Whether one of the keys has signed the manifest.
    ///
    /// # Errors
    /// Words: none has.
    pub(crate) fn check(&self, manifest: &[u8], signature: &[u8]) -> Result<(), String> {
        if self.0.is_empty() {
            return Err(
                "This version was built without keys for updates, and takes none.".to_owned()
            );
        }
        let text = str::from_utf8(signature).unwrap_or_default();
        let Some(bytes) = text.strip_suffix('\n').and_then(unhex) else {
            return Err("The update's signature is damaged.".to_owned());
        };
        if bytes == [0; 64] {
            return Err("The update is not signed.".to_owned());
        }
        let message = [PREFIX, manifest].concat();
        let signature = Signature::from_bytes(&bytes);
        let ours = self.0.iter().any(|key| key.verify_strict(&message, &signature).is_ok());
        if ours {
            Ok(())
        } else {
            Err("The update is not signed by a key that this version knows.".to_owned())
        }
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn signed(key: &SigningKey, message: &[u8]) -> String {
        hex(&key.sign(message).to_bytes()) + "\n"
    }

    #[test]
    fn only_these_keys_and_only_this_message() {
        let [ours, next, other] = [1, 2, 3].map(|byte| SigningKey::from_bytes(&[byte; 32]));
        let lines = [&ours, &next].map(|key| hex(key.verifying_key().as_bytes()));
        let keys = Keys::parse(&format!("# a\n{}\n\n {} \n", lines[0], lines[1])).unwrap();
        let message = b"tidegate update 1\n{}";
        for key in [&ours, &next] {
            assert_eq!(keys.check(b"{}", signed(key, message).as_bytes()), Ok(()));
        }
        let right = signed(&ours, message);
        let longer = format!("{right}\n");
        let not_canonical = {
            // The same number modulo the group's order, which a lax reader would take.
            let mut bytes: [u8; 64] = unhex(right.trim()).unwrap();
            bytes[63] |= 0x10;
            hex(&bytes) + "\n"
        };
        for (manifest, signature, says) in [
            (&b"{}"[..], signed(&other, message), "key that this version knows"),
            (b"{}", signed(&ours, b"{}"), "key that this version knows"),
            (b"{ }", right.clone(), "key that this version knows"),
            (b"{}", not_canonical, "key that this version knows"),
            (b"{}", format!("{}\n", "0".repeat(128)), "not signed."),
            (b"{}", right.trim().to_owned(), "damaged"),
            (b"{}", longer, "damaged"),
            (b"{}", right.replacen(&right[..2], "+1", 1), "damaged"),
            (b"{}", String::new(), "damaged"),
        ] {
            let error = keys.check(manifest, signature.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{signature}: {error}");
        }
        assert!(keys.check(b"{}", &[0xff; 129]).unwrap_err().contains("damaged"));
    }

    #[test]
    fn without_keys_nothing_is_taken_and_bad_keys_are_said() {
        let none = Keys::parse("# none yet\n").unwrap();
        assert!(none.check(b"{}", b"").unwrap_err().contains("built without keys"));
        let weak = format!("01{}", "00".repeat(31));
        let many = "ab\n".repeat(5);
        for text in ["abcd", weak.as_str(), &"zz".repeat(32), many.as_str()] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
    }
}
