//! Operations on sealed values; what is done with them is in [`crate::store::rotation`].

use super::*;
use crate::store::sealing::{Column, KeyId, Keyring};
use uuid::Uuid;

operations! {
    /// A sealed value whose key is the one that seals; see [`crate::store::sealing`].
    read pub(in crate::store) canary = sealed::canary() -> Option<Vec<u8>>;
    /// Makes the canary if there is none, and opens it.
    write pub(in crate::store) check_keys = sealed::check(keys: Keyring) -> KeyId;
    /// Has another key seal from now on.
    write pub(in crate::store) activate_key = sealed::activate(keys: Keyring, id: KeyId) -> ();
    /// Re-seals some values of a column.
    write pub(in crate::store) reseal = sealed::reseal(keys: Keyring, column: Column, after: Uuid) -> (Option<Uuid>, usize);
    /// How many values each key has sealed.
    read pub sealed_counts = sealed::counts() -> Vec<(KeyId, i64)>;
}
