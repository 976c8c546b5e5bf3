//! Limits on how often something may be asked for (api.md §1.3: 429).

use super::problem::{Problem, Result};
use crate::ids::UserId;
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};
use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Requests after which keys that were long quiet are forgotten.
const SWEEP_EVERY: u32 = 4096;
/// Keys that may be known at once. Beyond it new ones are refused: nobody has that many users, but
/// somebody may make up as many names.
const MAX_KEYS: usize = 100_000;
/// What those are told who are refused because there are too many keys.
const LATER: Duration = Duration::from_secs(60);
/// Many people may share one address, so it may sign in so many times as often as one account.
const ACCOUNTS_AN_ADDRESS: u32 = 6;

/// A limit for each key: so many a minute, and as many at once after a quiet minute. One for each
/// class of requests.
pub struct RateLimiter<K: Hash + Eq + Clone> {
    limiter: Option<DefaultKeyedRateLimiter<K>>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").field("on", &self.limiter.is_some()).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Default for RateLimiter<K> {
    /// No limit.
    fn default() -> Self {
        Self::per_minute(0)
    }
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// So many a minute; 0 = no limit.
    #[must_use]
    pub fn per_minute(most: u32) -> Self {
        let quota = NonZeroU32::new(most).map(Quota::per_minute);
        Self { limiter: quota.map(DefaultKeyedRateLimiter::keyed), checks: AtomicU32::new(0) }
    }

    /// Counts one.
    ///
    /// # Errors
    /// How long to wait before the next one.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        if limiter.len() >= MAX_KEYS {
            limiter.retain_recent();
            if limiter.len() >= MAX_KEYS {
                return Err(LATER);
            }
        }
        limiter.check_key(key).map_err(|not| not.wait_time_from(DefaultClock::default().now()))
    }

    /// Counts one.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn check(&self, key: &K) -> Result<()> {
        self.take(key).map_err(Problem::too_many)
    }
}

/// The limits of one replica.
#[derive(Debug, Default)]
pub struct Limits {
    /// All requests of a user.
    pub requests: RateLimiter<UserId>,
    /// Uploads and downloads of a user, together.
    pub files: RateLimiter<UserId>,
    login_accounts: RateLimiter<String>,
    login_addresses: RateLimiter<IpAddr>,
}

impl Limits {
    /// Requests of a user, sign-ins to an account, and uploads and downloads of a user, a minute; 0 = no limit.
    #[must_use]
    pub fn per_minute(requests: u32, logins: u32, files: u32) -> Self {
        Self {
            requests: RateLimiter::per_minute(requests),
            files: RateLimiter::per_minute(files),
            login_accounts: RateLimiter::per_minute(logins),
            login_addresses: RateLimiter::per_minute(logins.saturating_mul(ACCOUNTS_AN_ADDRESS)),
        }
    }

    /// Counts an attempt to sign in from an address.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn login_from(&self, address: Option<IpAddr>) -> Result<()> {
        address.map_or(Ok(()), |address| self.login_addresses.check(&network(address)))
    }

    /// Counts an attempt to sign in to an account, whether it exists or not.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn login_to(&self, account: &str) -> Result<()> {
        self.login_accounts.check(&account.trim().to_lowercase())
    }
}

/// One customer has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(a) => match a.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => std::net::Ipv6Addr::from_bits(a.to_bits() >> 64 << 64).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit() {
        let limiter = RateLimiter::per_minute(3);
        for _ in 0..3 {
            assert_eq!(limiter.take(&1), Ok(()));
        }
        let wait = limiter.take(&1).unwrap_err();
        // One more every twenty seconds.
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(limiter.take(&2), Ok(()));
        let problem = limiter.check(&1).unwrap_err();
        assert_eq!(problem.status().as_u16(), 429);
        let off = RateLimiter::per_minute(0);
        assert!((0..10_000).all(|_| off.take(&1).is_ok()));
    }

    #[test]
    fn memory_is_bounded() {
        // Refilled at once, so every key is forgotten by the next sweep.
        let quick = RateLimiter::per_minute(u32::MAX);
        for key in 0..3 * SWEEP_EVERY {
            assert_eq!(quick.take(&key), Ok(()));
        }
        assert!(quick.limiter.as_ref().unwrap().len() <= 2 * SWEEP_EVERY as usize);
        let slow = RateLimiter::per_minute(1);
        let refused = (0..MAX_KEYS + 10).filter(|key| slow.take(key).is_err()).count();
        assert_eq!(refused, 10);
    }

    #[test]
    fn an_account_and_a_network_are_limited() {
        let limits = Limits::per_minute(0, 2, 0);
        assert!(limits.login_to("Ann@x").is_ok());
        assert!(limits.login_to(" ann@X").is_ok());
        assert!(limits.login_to("ann@x").is_err());
        let from = |text: &str| limits.login_from(Some(text.parse().unwrap()));
        for n in 0..12 {
            assert!(from(&format!("2001:db8::{n:x}")).is_ok());
        }
        assert!(from("2001:db8::ffff").is_err());
        assert!(from("2001:db8:0:1::1").is_ok());
        assert!(from("::ffff:10.0.0.1").is_ok() && from("10.0.0.1").is_ok());
        assert!(limits.login_from(None).is_ok());
    }
}
