//! Which snapshot is meant.

use super::archive_names::{id_in_key, key_name};
use super::{Found, Listed};
use crate::error::{Error, ErrorKind, Result};

/// The identifier of the snapshot that is `wanted`: by its identifier, the beginning of it, or `latest`.
///
/// # Errors
/// [`ErrorKind::NotFound`] and [`ErrorKind::InvalidInput`] with what there is; [`ErrorKind::Corrupt`] for a latest one that cannot
/// be read.
pub(super) fn choose(all: &[Found], service: Option<&str>, wanted: &str) -> Result<String> {
    let not_found = |message: String| {
        let newest = all.iter().filter_map(|found| found.listed.as_ref()).max_by_key(|listed| listed.time);
        let near = all
            .iter()
            .map(|found| (strsim::damerau_levenshtein(&found.snapshot_id, wanted), &found.snapshot_id))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        let hint = match (near, newest) {
            (Some((_, near)), _) => format!("did you mean {near}?"),
            (None, Some(newest)) => format!("the newest is {} of {}", newest.snapshot_id, newest.time),
            (None, None) => "make one: `uplifted-ops backup create`".to_owned(),
        };
        Error::new(ErrorKind::NotFound, message).with_hint(hint)
    };
    if wanted == "latest" {
        let of_service = |listed: &&Listed| service.is_none_or(|service| listed.service == service);
        let newest = all.iter().filter_map(|found| found.listed.as_ref()).filter(of_service).max_by_key(|l| l.time);
        return match newest {
            Some(newest) => match newer_and_unreadable(all, service, &newest.snapshot_id) {
                None => Ok(newest.snapshot_id.clone()),
                Some(found) => Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("the newest snapshot, {} in {}, cannot be read", found.snapshot_id, found.target),
                )
                .with_context("snapshot_id", &found.snapshot_id)
                .with_hint(format!(
                    "`uplifted-ops backup list` says why: it is damaged, or encrypted to a key that is not at hand; the newest \
                     that can be read is {} of {}: name it to take that one",
                    newest.snapshot_id, newest.time
                ))),
            },
            None => Err(not_found(match service {
                Some(service) => format!("there is no snapshot of {service:?} in the targets"),
                None => "there is no snapshot in the targets".to_owned(),
            })),
        };
    }
    if wanted.is_empty() {
        return Err(Error::invalid("no snapshot was named").with_hint("name an identifier, or \"latest\""));
    }
    if let Some(exact) = all.iter().find(|found| found.snapshot_id == wanted) {
        return Ok(exact.snapshot_id.clone());
    }
    let mut ids: Vec<&str> =
        all.iter().map(|found| found.snapshot_id.as_str()).filter(|id| id.starts_with(wanted)).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids[..] {
        [id] => Ok(id.to_owned()),
        [] => Err(not_found(format!("there is no snapshot {wanted:?} in the targets"))),
        _ => Err(Error::invalid(format!("{} snapshots begin with {wanted:?}: {}", ids.len(), ids.join(", ")))
            .with_hint("write more digits of the one that you mean")),
    }
}

/// A snapshot that no target has a readable copy of, and that was stored after `newest`: who asks for the latest would get an
/// older one, and take it for that.
fn newer_and_unreadable<'a>(all: &'a [Found], service: Option<&str>, newest: &str) -> Option<&'a Found> {
    let written = |target: &str| {
        let copies = all.iter().filter(|found| found.snapshot_id == newest);
        let here = copies.clone().find(|found| found.target == target).map(|found| found.object.modified_at);
        here.or_else(|| copies.map(|found| found.object.modified_at).max())
    };
    // What a repository has is not told by its name.
    let of_service = |key: &str| {
        service.is_none_or(|service| id_in_key(key).is_none() || key.starts_with(&format!("{}_", key_name(service))))
    };
    let unreadable = all.iter().filter(|found| of_service(&found.object.key)).filter(|found| {
        let mut copies = all.iter().filter(|copy| copy.snapshot_id == found.snapshot_id);
        copies.all(|copy| copy.listed.is_none())
            && written(&found.target).is_some_and(|at| found.object.modified_at > at)
    });
    unreadable.max_by_key(|found| found.object.modified_at)
}
