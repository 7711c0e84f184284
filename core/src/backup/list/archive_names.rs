//! What archives are called in a target.

use crate::clock::Timestamp;

/// How the name of every archive ends.
pub const SUFFIX: &str = ".tar.zst";
/// How the name of every encrypted archive ends.
pub const SEALED_SUFFIX: &str = ".tar.zst.age";

/// The key of a snapshot: `<service>_<YYYYMMDDTHHMMSSZ>_<id>.tar.zst`, and `.age` when it is encrypted.
pub fn archive_key(service: &str, time: Timestamp, snapshot_id: &str, encrypted: bool) -> String {
    let suffix = if encrypted { SEALED_SUFFIX } else { SUFFIX };
    format!("{}_{}_{snapshot_id}{suffix}", key_name(service), time.strftime("%Y%m%dT%H%M%SZ"))
}

/// A service's name with the characters that a key can have.
pub(super) fn key_name(service: &str) -> String {
    let name: String = service
        .chars()
        .take(100)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    match name.trim_start_matches('.') {
        "" => "service".to_owned(),
        name => name.to_owned(),
    }
}

/// The snapshot that a key of [`archive_key`]'s form names.
pub(in crate::backup) fn id_in_key(key: &str) -> Option<&str> {
    let id = key.strip_suffix(".age").unwrap_or(key).strip_suffix(SUFFIX)?.rsplit('_').next()?;
    (id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}
