//! The two files in which people keep their servers: passwords (`.pgpass`) and services (`pg_service.conf`).
//!
//! Source: chapters 34.16 "The Password File" and 34.17 "The Connection Service File" of the PostgreSQL manual.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::conninfo::Parameters;
use crate::error::{Error, ErrorKind, Result};
use crate::value::Secret;

/// A file of passwords or services is smaller than this.
const MAX_FILE: u64 = 1 << 20;

/// The password that a password file has for a server, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// This one.
    Password(Secret),
    /// There is no such file.
    NoFile,
    /// The file is not read, as libpq would not: why, and the repair.
    Ignored(String),
    /// It has no line for that server, database and user.
    NoLine(PathBuf),
}

/// Looks in a password file: lines of `host:port:database:user:password`, `*` for any, the first that fits.
pub(super) fn password(path: &Path, wanted: [&str; 4]) -> Kept {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Kept::NoFile,
        Err(error) => return Kept::Ignored(format!("{path:?} cannot be looked at: {error}")),
    };
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Kept::Ignored(format!("{path:?} is ignored: it is no password file"));
    }
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Kept::Ignored(format!(
            "{path:?} is ignored, because others can read it (mode {mode:04o}): chmod 0600 it"
        ));
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) => return Kept::Ignored(format!("{path:?} cannot be read: {error}")),
    };
    for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.starts_with('#')) {
        let fields = fields(line);
        let [host, port, database, user, password] = &fields[..] else { continue };
        let fits = |(pattern, wanted): (&String, &str)| pattern == "*" || unescaped(pattern) == wanted;
        if [host, port, database, user].into_iter().zip(wanted).all(fits) {
            return Kept::Password(Secret::new(unescaped(password)));
        }
    }
    Kept::NoLine(path.to_owned())
}

/// The five fields of a line, still escaped: a colon behind a backslash ends none, and the fifth goes to the end of the line.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut escaped = false;
    for c in line.chars() {
        if c == ':' && !escaped && fields.len() < 5 {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    fields
}

fn unescaped(text: &str) -> String {
    let (mut plain, mut escaped) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            plain.push(c);
        }
    }
    plain
}

/// Adds what the service `name` sets, where `parameters` do not: the first of `paths` that has it.
///
/// # Errors
/// When none has it, and for a line that is none.
pub(super) fn service(parameters: &mut Parameters, name: &str, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let text = match path.metadata() {
            Ok(meta) if meta.len() > MAX_FILE => continue,
            Ok(_) => std::fs::read_to_string(path).map_err(|error| Error::io(format!("read {path:?}"), error))?,
            Err(_) => continue,
        };
        let (mut inside, mut found) = (false, false);
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                inside = section.strip_suffix(']').is_some_and(|section| section == name) && !found;
                found |= inside;
                continue;
            }
            if !inside {
                continue;
            }
            let at = || format!("line {} of {path:?}", number + 1);
            let (keyword, value) = line.split_once('=').ok_or_else(|| {
                Error::invalid(format!("{} is no keyword=value", at())).with_hint("correct that line")
            })?;
            let set = parameters.default_to(keyword.trim(), value.trim());
            set.map_err(|error| error.while_doing(at()))?;
        }
        if found {
            return Ok(());
        }
    }
    let looked: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Err(Error::new(ErrorKind::NotFound, format!("there is no service {name:?} of PostgreSQL"))
        .with_hint(format!("add a section [{name}] to {}", looked.join(" or "))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        let text = "# a:1:d:u:no\nbroken\na\\:b:1:*:u:pass\\:word\\\\:more\nh:*:d:u:first\n*:*:*:*:last\n";
        std::fs::write(&path, text).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let kept = |text: &str| Kept::Password(Secret::new(text));
        mode(0o600);
        assert_eq!(password(&path, ["a:b", "1", "x", "u"]), kept("pass:word\\:more"));
        assert_eq!(password(&path, ["h", "5432", "d", "u"]), kept("first"));
        assert_eq!(password(&path, ["h", "5432", "d", "other"]), kept("last"));
        assert_eq!(password(&folder.path().join("none"), ["h", "1", "d", "u"]), Kept::NoFile);
        mode(0o640);
        let Kept::Ignored(why) = password(&path, ["h", "1", "d", "u"]) else { panic!("it was read") };
        assert!(why.contains("0640") && why.contains("chmod 0600"), "{why}");
        mode(0o600);
        std::fs::write(&path, "h:1:d:u:x\n").unwrap();
        assert_eq!(password(&path, ["h", "2", "d", "u"]), Kept::NoLine(path.clone()));
    }

    #[test]
    fn a_service_sets_what_nothing_else_sets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pg_service.conf");
        std::fs::write(&path, "# mine\n[other]\nhost=no\n\n[mine]\nhost=h\nport = 6\nuser=u\n[mine]\nhost=late\n")
            .unwrap();
        let mut parameters = Parameters::parse("service=mine user=me").unwrap();
        let paths = [folder.path().join("none"), path.clone()];
        service(&mut parameters, "mine", &paths).unwrap();
        let seen = ["host", "port", "user"].map(|keyword| parameters.get(keyword).unwrap().to_owned());
        assert_eq!(seen, ["h", "6", "me"]);
        let error = service(&mut parameters, "gone", &paths).unwrap_err();
        assert!(error.hint().unwrap().starts_with("add a section [gone] to "), "{error:?}");
        std::fs::write(&path, "[mine]\nhunter2\n").unwrap();
        let error = service(&mut parameters, "mine", &paths).unwrap_err();
        assert!(error.message().starts_with("line 2 of ") && !error.message().contains("hunter2"), "{error}");
    }
}
