//! What filesystems lack that are not of this machine, or not of Unix.

use std::io;
use std::path::Path;

/// A call that some filesystems do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A second name for a file.
    Link,
    /// A rename that replaces nothing.
    RenameNew,
}

/// Whether an error means that the filesystem has no such call, whatever it is asked: link(2) says EPERM, FUSE says
/// ENOSYS, renameat2(2) EINVAL.
pub(super) fn is_refused_for_all(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EMLINK)) || is_unknown(error)
}

/// Whether an error means that the filesystem does not know what it was asked.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    matches!(number, Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP)) || error.kind() == io::ErrorKind::Unsupported
}

/// Whether the filesystem of `path` shows modes that nobody can set. What is on it is as private as its mount.
pub(super) fn has_no_modes(path: &Path) -> bool {
    // FAT, exFAT, NTFS, SMB in its three versions, 9P; and FUSE, behind which is any of them.
    const WITHOUT: [u32; 9] =
        [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, FUSE];
    kind(path).is_some_and(|kind| WITHOUT.contains(&kind))
}

/// Whether the filesystem of `path` may be another machine's: NFS, SMB, AFS, Ceph, 9P, and FUSE, behind which is any.
pub(super) fn is_shared(path: &Path) -> bool {
    const SHARED: [u32; 8] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x5346_414f, 0x00c3_6400, 0x0102_1997, FUSE];
    kind(path).is_some_and(|kind| SHARED.contains(&kind))
}

const FUSE: u32 = 0x6573_5546;

/// The magic number of a filesystem (statfs(2)).
fn kind(path: &Path) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        let stat = rustix::fs::statfs(path).ok()?;
        #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
        Some(stat.f_type as u32)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// Fails as a filesystem without `call` would. In tests that ask for it.
#[cfg_attr(not(test), inline)]
pub(super) fn lacking(call: Call) -> io::Result<()> {
    #[cfg(test)]
    if test::LACKING.with_borrow(|lacking| lacking.contains(&call)) {
        return Err(io::Error::from_raw_os_error(if call == Call::Link { libc::EPERM } else { libc::EINVAL }));
    }
    let _ = call;
    Ok(())
}

#[cfg(test)]
pub(super) mod test {
    use std::cell::RefCell;

    use super::Call;

    thread_local! {
        /// What this thread's filesystem lacks.
        pub(in crate::fs) static LACKING: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
    }
}
