//! Passwords: Argon2id with the parameters that OWASP's cheat sheet names first (19 MiB of memory,
//! two passes, one lane), away from the threads that serve, a few at a time.

use super::problem::{Problem, Result};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

/// Shortest password in characters (NIST SP 800-63B).
const MIN_CHARS: usize = 8;
/// Longest password in bytes: no passphrase is longer, and hashing one costs no more for it.
const MAX_BYTES: usize = 1024;
/// Passwords that are hashed at once: each takes a core and 19 MiB for some 20 ms.
static SLOTS: Semaphore = Semaphore::const_new(4);

/// The rule, for people.
pub const RULE: &str = "A password has at least 8 characters and at most 1024 bytes.";

/// Whether this may be a password.
#[must_use]
pub fn is_good(password: &str) -> bool {
    password.chars().count() >= MIN_CHARS && password.len() <= MAX_BYTES
}

fn hasher() -> Result<Argon2<'static>, String> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|e| e.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash to keep, as a PHC string. Blocks for a while.
///
/// # Errors
/// When the system has no randomness or memory to give.
pub fn hash_now(password: &str) -> Result<String, String> {
    let hash = hasher()?.hash_password(password.as_bytes()).map_err(|e| e.to_string())?;
    Ok(hash.to_string())
}

/// A hash that no password has. With the parameters of the others, so that to compare with it takes as long; written out,
/// because to make it at the start would cost every daemon the memory of a hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether it is the password behind a hash. Without a hash it takes as long and says no, so that
/// nobody learns from the time who has an account.
fn verify_now(password: &str, hash: Option<&str>) -> Result<bool, String> {
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODY)).map_err(|e| e.to_string())?;
    let same = hasher()?.verify_password(password.as_bytes(), &parsed).is_ok();
    Ok(same && hash.is_some())
}

async fn aside<R: Send + 'static>(work: impl FnOnce() -> Result<R, String> + Send + 'static) -> Result<R> {
    let _slot = SLOTS.acquire().await.map_err(Problem::internal)?;
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?.map_err(Problem::internal)
}

/// The hash to keep.
///
/// # Errors
/// 500 when it cannot be made.
pub async fn hash(password: String) -> Result<String> {
    aside(move || hash_now(&password)).await
}

/// Whether it is the password behind a hash; always no when there is none, after as long a time.
///
/// # Errors
/// 500 when the hash cannot be read.
pub async fn verify(password: String, hash: Option<String>) -> Result<bool> {
    aside(move || verify_now(&password, hash.as_deref())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_opens() {
        let hash = hash_now("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hash_now("correct horse").unwrap(), "each hash has its own salt");
        assert!(verify_now("correct horse", Some(&hash)).unwrap());
        assert!(!verify_now("Correct horse", Some(&hash)).unwrap());
        assert!(!verify_now("nobody has this password", None).unwrap());
        let nobody = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(nobody.params.to_string(), PasswordHash::new(&hash).unwrap().params.to_string());
        assert_eq!(
            nobody.hash.unwrap().as_bytes().len(),
            PasswordHash::new(&hash).unwrap().hash.unwrap().as_bytes().len()
        );
        assert!(verify_now("x", Some("nonsense")).is_err());
        assert!(is_good("12345678") && is_good("äöüßäöüß") && !is_good("1234567"));
        assert!(!is_good(&"x".repeat(1025)));
    }
}
