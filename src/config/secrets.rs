//! `[secrets]`: how secrets that come through the API are kept in the database.

use super::secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How secrets are kept in the database.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// Environment variable that holds the encryption keys, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_env: Option<String>,
    /// File that holds them. Default, without the variable: `keys` in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
    /// Whether users may store keys of their own for providers. Default: true.
    pub allow_user_api_keys: bool,
    /// The keys from the variable.
    #[serde(skip)]
    pub keys: Option<Secret>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { encryption_key_env: None, encryption_key_file: None, allow_user_api_keys: true, keys: None }
    }
}

impl Secrets {
    /// The key file; meaningless when the keys come from a variable.
    #[must_use]
    pub fn key_file(&self, data_dir: &Path) -> PathBuf {
        self.encryption_key_file.clone().unwrap_or_else(|| data_dir.join("keys"))
    }
}
