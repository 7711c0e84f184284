//! How a service knows the requests that its own checks send.
//!
//! A check that asks its own service whether it is well would wait for itself. So an http check says in a header
//! whose it is, and what answers for that service refuses to run the checks for it.

use std::path::Path;

use crate::process::ProcessIdentity;
use crate::value::hex;

/// The header that carries [`mark`], in the requests of a check and in the refusal of one.
pub(crate) const HEADER: &str = "uplifted-ops-check";

/// A word for the service of this state folder on this machine, the same in each of its processes: any of them may
/// be the one that answers. It says nothing to others.
pub(crate) fn mark(state: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let here = ProcessIdentity::current();
    let mut hash = blake3::Hasher::new();
    // Containers of one machine share its boot, and may share their paths.
    for part in [here.boot_id.as_bytes(), here.pid_namespace.as_bytes(), state.as_os_str().as_bytes()] {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hex(&hash.finalize().as_bytes()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_state_folder_and_does_not_change() {
        let mark = |path: &str| super::mark(Path::new(path));
        assert_eq!(mark("/opt/uplifted/.uplifted-ops"), mark("/opt/uplifted/.uplifted-ops"));
        assert_ne!(mark("/opt/uplifted/.uplifted-ops"), mark("/opt/other/.uplifted-ops"));
        assert_eq!(mark("/x").len(), 32);
    }
}
