//! The very first start: an organization, a user, a token in a file that only its owner can read.

use super::StartError;
use crate::{
    api::{sessions, token},
    clock::Clock,
    store::{
        Error, Store,
        records::{SiteRole, UserRecord},
    },
};
use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What the very first start made for its operator.
pub struct FirstUser {
    /// Where the token lies.
    pub token_file: PathBuf,
    /// Text of a login link; see [`sessions::link_url`].
    pub login: String,
}

/// Makes the first user when there is none.
///
/// # Errors
/// When the database or the file cannot be written.
pub async fn first_user(
    store: &Store,
    clock: &Clock,
    data_dir: &Path,
) -> Result<Option<FirstUser>, StartError> {
    let now = clock.now();
    let failed = |e: Error| StartError::Database(e.to_string());
    store.default_organization(now).await.map_err(failed)?;
    if !store.list_users().await.map_err(failed)?.is_empty() {
        return Ok(None);
    }
    let admin = UserRecord {
        name: "Administrator".into(),
        ..UserRecord::new("admin", now).with_role(SiteRole::Owner)
    };
    let admin = match store.create_user(admin, now).await {
        Ok(user) => user,
        // Another replica was faster, and has the token.
        Err(Error::Duplicate(_)) => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let minted = token::mint(admin.id, now, None);
    store.create_token(minted.record).await.map_err(failed)?;
    let path = data_dir.join("token");
    write_private(&path, &minted.text).map_err(|e| {
        StartError::Failed(format!(
            "the token could not be written to {}: {e}; make another with `chatd token create --user admin`",
            path.display()
        ))
    })?;
    let (login, link) = sessions::link(admin.id, now);
    store.create_login_link(link).await.map_err(failed)?;
    Ok(Some(FirstUser { token_file: path, login }))
}

/// Replaces a file by one that only its owner can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    if let Err(e) = std::fs::remove_file(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
