//! Where a path leads once its symbolic links are followed, also when its end does not exist yet.

use super::{WorkspaceError, files::io_error};
use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// Links followed before a chain counts as a loop; Linux has the same limit.
const MAX_LINKS: usize = 40;

/// Where `path` leads. The answer holds for the moment of asking: whoever can write there can swap a
/// directory for a link right after.
///
/// # Errors
/// When the path is relative, or a link on its way cannot be followed.
pub fn follow(path: &str) -> Result<PathBuf, WorkspaceError> {
    if !Path::new(path).is_absolute() {
        return Err(WorkspaceError::NotAbsolute(path.to_owned()));
    }
    if path.contains('\0') {
        return Err(WorkspaceError::NotFound(path.to_owned()));
    }
    let mut real = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = steps(Path::new(path));
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        if step == ".." {
            real.pop();
            continue;
        }
        real.push(&step);
        match std::fs::symlink_metadata(&real) {
            Ok(meta) if meta.is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(WorkspaceError::LinkLoop(path.to_owned()));
                }
                let target = std::fs::read_link(&real).map_err(|cause| io_error("follow", path, cause))?;
                if target.is_absolute() {
                    real = PathBuf::from("/");
                } else {
                    real.pop();
                }
                for step in steps(&target).into_iter().rev() {
                    rest.push_front(step);
                }
            }
            Ok(_) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(io_error("look up", path, cause)),
        }
    }
    Ok(real)
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_where_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("sub", root.join("inner")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink(&root, base.join("door")).unwrap();
        let at = |path: &str| follow(&format!("{}/{path}", root.display()));
        for (path, place) in [
            ("sub/new/file", root.join("sub/new/file")),
            ("inner/./x", root.join("sub/x")),
            ("sub/../y", root.join("y")),
            ("../door/z", root.join("z")),
            ("", root.clone()),
            ("etc/passwd", PathBuf::from("/etc/passwd")),
            ("no/../../other", base.join("other")),
            ("inner/../../x", base.join("x")),
        ] {
            assert_eq!(at(path).unwrap(), place, "{path}");
        }
        assert!(matches!(at("loop"), Err(WorkspaceError::LinkLoop(_))));
        assert!(matches!(follow("sub/x"), Err(WorkspaceError::NotAbsolute(_))));
        assert!(at("a\0b").is_err());
    }
}
