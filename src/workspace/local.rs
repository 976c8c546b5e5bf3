//! A folder on the daemon's own machine as a workspace.
//!
//! It keeps chats from stepping on each other's files; it is no sandbox. A command it runs has the
//! rights of the daemon, and can reach everything the daemon's user can. What it does not get is the
//! daemon's environment, which may hold provider keys.

mod process;

use super::{
    CommandEnd, RunCommand, Workspace, WorkspaceError,
    files::{self, blocking, io_error},
    lines::{Lines, ReadRequest},
    paths,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of one chat.
#[derive(Debug, Clone)]
pub struct LocalFolder {
    /// With all symbolic links resolved.
    root: PathBuf,
}

impl LocalFolder {
    /// Opens the folder, making it and its parents where they are missing.
    ///
    /// # Errors
    /// When it cannot be made or reached.
    pub fn open(root: &Path) -> Result<Self, WorkspaceError> {
        let failed = |cause| io_error("open the workspace folder", &root.to_string_lossy(), cause);
        fs::create_dir_all(root).map_err(failed)?;
        Ok(Self { root: root.canonicalize().map_err(failed)? })
    }

    /// The folder, with all symbolic links resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, WorkspaceError> {
        paths::resolve(&self.root, path)
    }
}

#[async_trait::async_trait]
impl Workspace for LocalFolder {
    async fn read_lines(&self, request: ReadRequest) -> Result<Lines, WorkspaceError> {
        let folder = self.clone();
        blocking(move || {
            let path = folder.resolve(&request.path)?;
            files::read_lines(&path, &request)
        })
        .await
    }

    async fn write_file(&self, path: &str, content: Vec<u8>) -> Result<(), WorkspaceError> {
        let (folder, path) = (self.clone(), path.to_owned());
        blocking(move || files::replace(&folder.resolve(&path)?, &path, &content)).await
    }

    async fn run_command(&self, command: RunCommand) -> Result<CommandEnd, WorkspaceError> {
        let directory = match &command.workdir {
            Some(path) => {
                let (folder, path) = (self.clone(), path.clone());
                blocking(move || {
                    let directory = folder.resolve(&path)?;
                    let meta = fs::metadata(&directory).map_err(|cause| io_error("enter", &path, cause))?;
                    if meta.is_dir() { Ok(directory) } else { Err(WorkspaceError::NotADirectory(path)) }
                })
                .await?
            }
            None => self.root.clone(),
        };
        process::run(command, &directory).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::lines::{self, ReadRefusal};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn request(path: &Path) -> ReadRequest {
        ReadRequest {
            path: path.to_string_lossy().into_owned(),
            offset: 1,
            limit: 0,
            caps: lines::ReadCaps::default(),
        }
    }

    #[tokio::test]
    async fn files_are_written_whole_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(&dir.path().join("a/b")).unwrap();
        let path = folder.root().join("new/deep/f.txt");
        let text = path.to_string_lossy().into_owned();
        folder.write_file(&text, b"one\ntwo".to_vec()).await.unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        folder.write_file(&text, b"three".to_vec()).await.unwrap();
        assert_eq!(folder.read_lines(request(&path)).await.unwrap().content, "1\tthree");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[tokio::test]
    async fn a_link_is_followed_but_not_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(&dir.path().join("ws")).unwrap();
        let outside = dir.path().join("secret");
        fs::write(&outside, "secret").unwrap();
        fs::write(folder.root().join("target"), "old").unwrap();
        symlink("target", folder.root().join("link")).unwrap();
        symlink(&outside, folder.root().join("out")).unwrap();
        let at = |name: &str| folder.root().join(name).to_string_lossy().into_owned();
        folder.write_file(&at("link"), b"new".to_vec()).await.unwrap();
        assert_eq!(fs::read_to_string(folder.root().join("target")).unwrap(), "new");
        assert!(fs::symlink_metadata(folder.root().join("link")).unwrap().is_symlink());
        assert!(matches!(folder.write_file(&at("out"), vec![]).await, Err(WorkspaceError::Outside { .. })));
        assert!(matches!(folder.read_lines(request(&outside)).await, Err(WorkspaceError::Outside { .. })));
        assert_eq!(fs::read_to_string(outside).unwrap(), "secret");
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(dir.path()).unwrap();
        let root = folder.root().to_path_buf();
        assert!(matches!(folder.read_lines(request(&root)).await, Err(WorkspaceError::NotAFile(_))));
        assert!(matches!(
            folder.read_lines(request(&root.join("no"))).await,
            Err(WorkspaceError::NotFound(_))
        ));
        let text = root.to_string_lossy().into_owned();
        assert!(matches!(folder.write_file(&text, vec![]).await, Err(WorkspaceError::NotAFile(_))));
        fs::write(root.join("big"), vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(matches!(
            folder.read_lines(request(&root.join("big"))).await,
            Err(WorkspaceError::Read(ReadRefusal::FileTooLarge { .. }))
        ));
    }
}
