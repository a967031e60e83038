//! The console's password: SHA-512 crypt, the form that every Linux tool makes and reads (crypt(5)).
use anyhow::{Context, Result};
use gateway_api::Secret;
use sha_crypt::{PasswordHashRef, PasswordHasher, PasswordVerifier, ShaCrypt};

/// Shortest password, in bytes.
pub(crate) const BYTES_MIN: usize = 8;
/// Longest one: the hash's time grows with its square.
pub(crate) const BYTES_MAX: usize = 128;
const HASH_BYTES_MAX: usize = 256;

/// Whether a text can be the hash of a password.
pub(crate) fn is_hash(text: &str) -> bool {
    text.len() <= HASH_BYTES_MAX && text.starts_with("$6$") && PasswordHashRef::new(text).is_ok()
}

/// The hash of a new password, with a salt of its own.
///
/// # Errors
/// It is too short or too long; the kernel gives no random bytes.
pub(crate) fn hash(password: &Secret) -> Result<Secret> {
    let bytes = password.expose().as_bytes();
    anyhow::ensure!(
        (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()),
        "the password must have {BYTES_MIN} to {BYTES_MAX} characters"
    );
    let hash = ShaCrypt::SHA512.hash_password(bytes).context("hashing the password")?;
    Ok(Secret::new(hash.as_str()))
}

/// Whether it is the password with this hash.
pub(crate) fn matches(password: &Secret, hash: &Secret) -> bool {
    let bytes = password.expose().as_bytes();
    bytes.len() <= BYTES_MAX
        && PasswordHashRef::new(hash.expose())
            .is_ok_and(|hash| ShaCrypt::SHA512.verify_password(bytes, hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_and_no_other_matches() {
        let password = Secret::new("correct horse");
        let hash = hash(&password).unwrap();
        assert!(is_hash(hash.expose()));
        assert!(matches(&password, &hash));
        for other in ["", "correct horsf", "correct horse ", &"x".repeat(BYTES_MAX + 1)] {
            assert!(!matches(&Secret::new(other), &hash), "{other}");
        }
    }

    #[test]
    fn hashes_of_other_programs_are_known() {
        // openssl passwd -6 -salt saltstring 'Hello world!'
        let hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        assert!(is_hash(hash));
        assert!(matches(&Secret::new("Hello world!"), &Secret::new(hash)));
        for none in ["", "secret", "$1$salt$hash", "$6$", "$6$a b$c"] {
            assert!(!is_hash(none), "{none}");
        }
    }

    #[test]
    fn a_short_or_endless_password_is_refused() {
        for password in ["1234567".to_owned(), "x".repeat(BYTES_MAX + 1)] {
            assert!(hash(&Secret::new(password)).unwrap_err().to_string().contains("8 to 128"));
        }
    }
}
