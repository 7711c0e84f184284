//! Unix sockets that have a name: made so that nobody else can ever connect, and reached however deep they lie.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs as sys;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{PRIVATE_DIR, PRIVATE_FILE, identity, split};
use crate::error::{Error, ErrorKind, Result};

/// The longest name that a socket's address holds, in bytes: `sun_path` of unix(7) and the NUL at its end.
const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A name by which a socket can be bound and connected to, for as long as this is kept.
#[derive(Debug)]
pub struct SocketName {
    name: PathBuf,
    /// The folder, where the name leads through its descriptor.
    _folder: Option<OwnedFd>,
}

impl SocketName {
    /// The name for `path`: itself, or where that is too long for an address, one through the descriptor of its folder
    /// (`/proc/self/fd`, proc_pid_fd(5)).
    ///
    /// # Errors
    /// What the system says to opening the folder; [`ErrorKind::Unsupported`] for a path that is too long where there is no
    /// `/proc`.
    pub fn of(path: &Path) -> Result<Self> {
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { name: path.to_owned(), _folder: None });
        }
        let (folder, last) = split(path)?;
        let too_long = || {
            let length = path.as_os_str().len();
            Error::new(
                ErrorKind::Unsupported,
                format!("{path:?} has {length} bytes, and a socket's name at most {LONGEST}"),
            )
            .with_hint("set state.path to a shorter folder")
        };
        if !cfg!(target_os = "linux") {
            return Err(too_long());
        }
        let opened = sys::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::io(format!("open folder {folder:?}"), error))?;
        let name = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(last);
        if name.as_os_str().len() > LONGEST || !name.parent().is_some_and(Path::exists) {
            return Err(too_long());
        }
        Ok(Self { name, _folder: Some(opened) })
    }

    /// What to give to bind(2) or connect(2).
    pub fn as_path(&self) -> &Path {
        &self.name
    }
}

/// The name of a socket that listens. Dropped, it takes the name away, unless somebody else has it by now; to be dropped
/// before the lock of [`NamedSocket::listen`] is given back.
#[derive(Debug)]
pub struct NamedSocket {
    path: PathBuf,
    node: (u64, u64),
    pid: u32,
}

impl NamedSocket {
    /// Listens on `path`, for this user (and root) alone: the socket is made in a folder that nobody else may enter, gets the
    /// mode 0600 and listens there before it gets its name. A socket that has the name, which a dead process left, is
    /// replaced. Whoever calls this holds a lock: of two who do it at once, one would go on listening without a name.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::Refused`] when something else than a socket has the name.
    pub fn listen(path: &Path) -> Result<(UnixListener, Self)> {
        let (folder, last) = split(path)?;
        match kind(path)? {
            None | Some(FileType::Socket) => {}
            Some(_) => {
                return Err(Error::new(ErrorKind::Refused, format!("{path:?} is there, and is no socket"))
                    .with_hint("move it away: the running service listens there"));
            }
        }
        let mut beside = OsString::from(".");
        beside.push(last);
        beside.push(".new");
        let beside = folder.join(beside);
        // Left by a process that died in here.
        let _ = sys::unlink(beside.join("s"));
        let _ = sys::rmdir(&beside);
        let made = sys::mkdir(&beside, Mode::from_raw_mode(PRIVATE_DIR))
            .map_err(|error| Error::io(format!("create folder {beside:?}"), error));
        let listening = made.and_then(|()| {
            let own = beside.join("s");
            let failed = |error: io::Error| Error::io(format!("listen on {path:?}"), error);
            let listener = UnixListener::bind(SocketName::of(&own)?.as_path()).map_err(failed)?;
            sys::chmod(&own, Mode::from_raw_mode(PRIVATE_FILE)).map_err(|error| failed(error.into()))?;
            let node = identity(&own)?;
            sys::rename(&own, path).map_err(|error| failed(error.into()))?;
            let node = node.ok_or_else(|| Error::internal("a socket was removed while it was made"))?;
            Ok((listener, Self { path: path.to_owned(), node, pid: std::process::id() }))
        });
        let _ = sys::unlink(beside.join("s"));
        let _ = sys::rmdir(&beside);
        listening
    }

    /// Whether it still has its name: whoever connects there gets here.
    pub fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|node| node == Some(self.node))
    }
}

impl Drop for NamedSocket {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.pid == std::process::id() && self.is_there() {
            let _ = sys::unlink(&self.path);
        }
    }
}

/// What has this name, itself and not what it leads to.
fn kind(path: &Path) -> Result<Option<FileType>> {
    match sys::statat(sys::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io(format!("look at {path:?}"), error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn it_is_private_and_listens_from_the_first_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.sock");
        let (listener, named) = NamedSocket::listen(&path).unwrap();
        let meta = path.symlink_metadata().unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        assert_eq!(names(folder.path()), ["ops.sock"], "nothing is left beside it");
        drop(listener);
        assert!(UnixStream::connect(&path).is_err());
        // As after a death: a folder that was not removed, a socket that nobody listens on.
        let beside = folder.path().join(".ops.sock.new");
        std::fs::create_dir(&beside).unwrap();
        let _left = UnixListener::bind(beside.join("s")).unwrap();
        let (_listener, next) = NamedSocket::listen(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert!(!named.is_there() && next.is_there());
        drop(named);
        assert!(path.exists(), "it is another's");
        drop(next);
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn a_path_that_is_too_long_is_reached_through_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("ops.sock");
        let (_listener, named) = NamedSocket::listen(&path).unwrap();
        let name = SocketName::of(&path).unwrap();
        assert!(name.as_path().as_os_str().len() <= LONGEST, "{name:?}");
        UnixStream::connect(name.as_path()).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().mode() & 0o777, 0o600);
        drop(named);
        assert_eq!(names(&deep), [""; 0]);
        let error = SocketName::of(&deep.join("n".repeat(100))).unwrap_err();
        assert!(error.message().contains("at most 107"), "{error:?}");
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.sock");
        std::fs::write(&path, "mine").unwrap();
        let error = NamedSocket::listen(&path).unwrap_err();
        assert!(error.message().contains("is no socket"), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert!(NamedSocket::listen(&folder.path().join("no/ops.sock")).is_err());
    }
}
