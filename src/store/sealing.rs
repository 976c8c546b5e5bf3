//! Secrets at rest: XChaCha20-Poly1305 under one of several keys (DESIGN.md §2).
//!
//! A sealed value says which key it needs, and is bound to the table, column and row it was sealed
//! for: moved to another place it cannot be opened. Columns that hold sealed values are listed in
//! [`Column`] and nowhere else; rotation goes by that list.
//!
//! Which key seals is a fact of the deployment, the key of the canary in table `deployment`: it is
//! read, and locked, in each transaction that seals, so that a rotation can be sure that nothing is
//! sealed with an old key behind its back ([`super::queries::sealed`]).

mod file;
mod key;
mod keyring;

pub(in crate::store) use key::Bound;
pub use key::{KeyId, fresh_text};
pub use keyring::{KeyError, Keyring, Place};

macro_rules! sealed_columns {
    ($($(#[$doc:meta])* $name:ident = $table:literal . $column:literal;)*) => {
        /// A column of sealed values. Its table has a UUID column `id`, to which values are bound.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Column { $($(#[$doc])* $name),* }

        impl Column {
            /// Every one of them; rotation goes through this list.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The table.
            #[must_use]
            pub const fn table(self) -> &'static str {
                match self { $(Self::$name => $table),* }
            }

            /// The column.
            #[must_use]
            pub const fn column(self) -> &'static str {
                match self { $(Self::$name => $column),* }
            }
        }
    };
}

sealed_columns! {
    /// Keys of providers, for everybody.
    ProviderKey = "ai_provider_keys"."api_key";
    /// Keys of providers that users brought themselves.
    UserProviderKey = "user_provider_keys"."api_key";
    /// OAuth client secrets of tool servers.
    McpClientSecret = "mcp_servers"."oauth2_client_secret";
    /// Keys of tool servers.
    McpApiKey = "mcp_servers"."api_key_value";
    /// Headers of tool servers.
    McpHeaders = "mcp_servers"."custom_headers";
    /// Tokens of users for tool servers.
    McpAccessToken = "mcp_user_tokens"."access_token";
    /// What renews them.
    McpRefreshToken = "mcp_user_tokens"."refresh_token";
}
