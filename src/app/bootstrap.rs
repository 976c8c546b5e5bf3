//! The very first start: an organization, a user, a token in a file that only its owner can read.

use super::StartError;
use crate::{
    api::{sessions, token},
    clock::Clock,
    store::{
        Error, Store,
        records::{LoginType, SiteRole, UserRecord},
    },
};
use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the first user.
const FIRST: &str = "admin";

/// What the very first start made for its operator.
pub struct FirstUser {
    /// Where the token lies.
    pub token_file: PathBuf,
    /// Text of a login link; see [`sessions::link_url`].
    pub login: String,
}

/// How long another replica may take between making the first user and writing the token down.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// Makes the first user when there is none, and ends what an earlier first start was killed in. `alone`: no other
/// daemon can be at it.
///
/// # Errors
/// When the database or the file cannot be written.
pub async fn first_user(
    store: &Store,
    clock: &Clock,
    data_dir: &Path,
    alone: bool,
) -> Result<Option<FirstUser>, StartError> {
    let now = clock.now();
    let failed = |e: Error| StartError::Database(e.to_string());
    store.default_organization(now).await.map_err(failed)?;
    let users = store.list_users().await.map_err(failed)?;
    let admin = match users.as_slice() {
        [] => {
            let admin = UserRecord {
                name: "Administrator".into(),
                ..UserRecord::new(FIRST, now).with_role(SiteRole::Owner)
            };
            match store.create_user(admin, now).await {
                Ok(user) => user,
                // Another replica was faster, and has the token.
                Err(Error::Duplicate(_)) => return Ok(None),
                Err(e) => return Err(failed(e)),
            }
        }
        [only] if is_new(only) && (alone || now.since(only.created_at) > UNDER_WAY) => {
            if !store.tokens(Some(only.id)).await.map_err(failed)?.is_empty() {
                return Ok(None);
            }
            only.clone()
        }
        _ => return Ok(None),
    };
    let minted = token::mint(admin.id, now, None);
    let path = data_dir.join("token");
    // Before the token is one: from then on nobody comes back to this.
    write_private(&path, &minted.text).map_err(|e| {
        StartError::Failed(format!(
            "the token could not be written to {}: {e}; make another with `chatd token create --user {FIRST}`",
            path.display()
        ))
    })?;
    store.create_token(minted.record).await.map_err(failed)?;
    let (login, link) = sessions::link(admin.id, now);
    store.create_login_link(link).await.map_err(failed)?;
    Ok(Some(FirstUser { token_file: path, login }))
}

/// Whether nobody but a first start can have made this user, and nobody has come in as them.
fn is_new(user: &UserRecord) -> bool {
    let made = user.username == FIRST && user.is_owner() && user.login_type == LoginType::Token;
    made && user.last_seen_at.is_none() && !user.suspended
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
