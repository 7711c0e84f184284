//! The folders and files that the demo makes.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use uplifted_example::Failure;

/// What stays in the work folder from one demo to the next: the packages for Python and Node, installed.
pub(crate) const HOSTS: &str = "hosts";

/// An empty work folder that only this user can look into. What an earlier demo left there is removed, but for [`HOSTS`].
pub(crate) fn fresh_work_folder(work: &Path) -> Result<PathBuf, Failure> {
    // The mark keeps the demo from emptying a folder that is not its own.
    let mark = work.join(".uplifted-demo");
    if work.exists() {
        let is_empty = fs::read_dir(work)?.next().is_none();
        if !is_empty && !mark.exists() {
            return Err(
                format!("{} is not empty and no folder of the demo: name another with --work", work.display()).into()
            );
        }
        for entry in fs::read_dir(work)? {
            let path = entry?.path();
            match fs::symlink_metadata(&path)?.is_dir() {
                true if path.ends_with(HOSTS) => {}
                true => fs::remove_dir_all(path)?,
                false => fs::remove_file(path)?,
            }
        }
    }
    fs::create_dir_all(work)?;
    fs::set_permissions(work, Permissions::from_mode(0o700))?;
    File::create(&mark)?;
    Ok(work.canonicalize()?)
}

/// Makes a small but real service folder: everything but the database, which the writer makes.
pub(crate) fn make_service(root: &Path) -> Result<(), Failure> {
    for folder in ["data", "config", "plugins/weather", "logs"] {
        fs::create_dir_all(root.join(folder))?;
    }
    file(root, "config/config.yaml", 0o640, b"server:\n  host: 127.0.0.1\n  port: 7541\nlogging:\n  level: INFO\n")?;
    file(
        root,
        ".env",
        0o600,
        b"UPLIFTED__DATABASE__PATH=data/uplifted.db\nUPLIFTED__SECURITY__JWT_SECRET=demo-only\n",
    )?;
    plugins(root)?;
    let mut log = String::new();
    for nth in 0..20_000 {
        let (minute, second) = (nth / 60 % 60, nth % 60);
        log.push_str(&format!("2026-01-01 00:{minute:02}:{second:02} INFO request {nth} served, 0 errors\n"));
    }
    file(root, "logs/uplifted.log", 0o644, log.as_bytes())
}

/// Plugins with every kind of name and file that has broken a backup somewhere.
fn plugins(root: &Path) -> Result<(), Failure> {
    for nth in 0..200 {
        let code = format!("\"\"\"Plugin {nth}.\"\"\"\n\ndef run(request):\n    return {{'plugin': {nth}}}\n")
            .repeat(1 + nth % 17);
        let folder = format!("plugins/p{nth:03}");
        fs::create_dir_all(root.join(&folder))?;
        file(root, &format!("{folder}/plugin.py"), 0o644, code.as_bytes())?;
        let manifest = serde_json::json!({ "name": format!("p{nth:03}"), "tools": ["run"] });
        file(root, &format!("{folder}/plugin.json"), 0o444, manifest.to_string().as_bytes())?;
    }
    file(root, "plugins/weather/run.sh", 0o755, b"#!/bin/sh\nexec true\n")?;
    file(
        root,
        "plugins/weather/plugin.json",
        0o644,
        br#"{"name": "weather", "active": false, "tools": ["forecast"]}"#,
    )?;
    file(root, "plugins/weather/empty", 0o600, b"")?;
    symlink("p001", root.join("plugins/latest"))?;
    symlink("/nowhere/at/all", root.join("plugins/dangling"))?;
    fs::hard_link(root.join("plugins/p001/plugin.py"), root.join("plugins/weather/same-as-p001.py"))?;
    let long = "n".repeat(255);
    file(root, &format!("plugins/weather/{long}"), 0o644, b"a name of 255 bytes\n")?;
    let deep = format!("plugins/{}/{}", "d".repeat(120), "e".repeat(120));
    fs::create_dir_all(root.join(&deep))?;
    file(root, &format!("{deep}/f"), 0o644, b"a path longer than a tar header holds\n")?;
    let odd = root.join("plugins").join(OsStr::from_bytes(b"caf\xe9-not-utf8.txt"));
    fs::write(&odd, "Latin-1, from an old machine\n")?;
    let sparse = File::create(root.join("plugins/weather/sparse.bin"))?;
    sparse.set_len(8 << 20)?;
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data in the middle", 4 << 20)?;
    Ok(())
}

fn file(root: &Path, name: &str, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
    let path = root.join(name);
    let mut file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(())
}

/// Settings that `init` wrote, with one target at `target` in place of those that it chose, and without
/// checks of servers that this scene does not have.
pub(crate) fn retarget(settings: &str, target: &Path) -> Result<String, Failure> {
    let mut kept = String::new();
    let mut dropping = false;
    for line in settings.lines() {
        let section = line.trim_start();
        if section.starts_with('[') {
            dropping = section.starts_with("[[target]]") || section.starts_with("[[check]]");
        }
        if !dropping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(format!("{kept}\n{}", target_section(target)?))
}

/// Settings for a folder of somebody else: all that is written stays in `work`.
pub(crate) fn settings_beside(root: &Path, work: &Path) -> Result<String, Failure> {
    let name = root.file_name().and_then(OsStr::to_str).unwrap_or("service");
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    let name = if name.is_empty() { "service" } else { &name };
    Ok(format!(
        "[service]\nname = {}\nroot = {}\n\n[state]\npath = {}\n\n[backup]\ninclude = [\".\"]\nclear_secrets = true\n\n{}",
        quoted(name),
        quoted_path(root)?,
        quoted_path(&work.join("state"))?,
        target_section(&work.join("backups"))?
    ))
}

fn target_section(target: &Path) -> Result<String, Failure> {
    Ok(format!("[[target]]\nname = \"local\"\nkind = \"fs\"\npath = {}\n", quoted_path(target)?))
}

fn quoted_path(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| format!("the folder {} has a name that is not UTF-8", path.display()))?;
    Ok(quoted(text))
}

/// A TOML basic string. JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_and_checks_are_exchanged() {
        let settings = "[service]\nname = \"a\"\n\n[[target]]\nname = \"x\"\npath = \"/b\"\n\n[[check]]\nkind = \"http\"\n\n[backup]\nlevel = 3\n";
        let changed = retarget(settings, Path::new("/t")).unwrap();
        assert_eq!(
            changed,
            "[service]\nname = \"a\"\n\n[backup]\nlevel = 3\n\n[[target]]\nname = \"local\"\nkind = \"fs\"\npath = \"/t\"\n"
        );
    }

    #[test]
    fn a_folder_that_is_not_the_demos_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "x").unwrap();
        assert!(fresh_work_folder(folder.path()).is_err());
        assert!(folder.path().join("precious").exists());
        let own = folder.path().join("own");
        fresh_work_folder(&own).unwrap();
        fs::write(own.join("old"), "x").unwrap();
        fs::create_dir_all(own.join("folder/old")).unwrap();
        fs::create_dir_all(own.join(HOSTS)).unwrap();
        fresh_work_folder(&own).unwrap();
        assert!(!own.join("old").exists() && !own.join("folder").exists());
        assert!(own.join(HOSTS).exists(), "what took minutes to install stays");
    }
}
