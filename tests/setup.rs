//! What `make setup` says on machines that lack something, with an `apt-get` of ours.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A machine: the programs that `.ci/setup` itself needs, and those that are given, as scripts.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(programs: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for name in ["sh", "mktemp", "rm", "tail", "sed", "chmod", "touch"] {
            let real = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
            symlink(real.iter().find(|path| path.exists()).unwrap(), machine.0.path().join(name)).unwrap();
        }
        for (name, script) in programs {
            let path = machine.0.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine
    }

    /// What it prints. It never fails.
    fn set_up(&self, packages: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/setup");
        let done = Command::new("/bin/sh")
            .arg(script)
            .args(packages)
            .env_clear()
            .env("PATH", self.0.path())
            .env("HERE", self.0.path())
            .output()
            .unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }
}

const ROOT: (&str, &str) = ("id", "echo 0");
/// Installs what it can: each package but `gone` brings a program of its name, `python3-venv` a file.
const APT: (&str, &str) = (
    "apt-get",
    r#"
echo "$*" >>"$HERE/asked"
[ "$1" = install ] || { echo "W: the lists are old" >&2; exit 100; }
case " $* " in *" gone "*) echo "E: Unable to locate package gone" >&2; exit 100 ;; esac
for package in "$@"; do
    case $package in
    install | -*) ;;
    python3-venv) touch "$HERE/venv" ;;
    *) printf '#!/bin/sh\n' >"$HERE/$package"; chmod +x "$HERE/$package" ;;
    esac
done"#,
);
/// Debian's Python: it is there, and its `venv` is a package of its own.
const PYTHON: (&str, &str) = ("python3", r#"test -e "$HERE/venv""#);
const VENV: &str = "python3-venv:python3 -c 'import ensurepip, venv'";

#[test]
fn what_is_there_is_not_spoken_of() {
    let machine = Machine::new(&[("node", ""), ("python3", ""), ("apt-get", "echo \"$*\"; touch \"$HERE/asked\"")]);
    assert_eq!(machine.set_up(&["nodejs:node", "python3", VENV]), "");
    assert!(!machine.0.path().join("asked").exists());
}

#[test]
fn what_is_missing_is_installed_in_silence() {
    let machine = Machine::new(&[ROOT, APT, PYTHON]);
    assert_eq!(machine.set_up(&["zstd", "python3", VENV]), "");
    let asked = std::fs::read_to_string(machine.0.path().join("asked")).unwrap();
    assert_eq!(asked, "update -qq\ninstall -y -qq --no-install-recommends zstd python3-venv\n");
}

#[test]
fn one_that_cannot_be_had_is_named_with_the_reason_and_keeps_none_away() {
    let machine = Machine::new(&[ROOT, APT]);
    let said = machine.set_up(&["zstd", "gone", "restic"]);
    let expected = "setup: missing and not installed: gone (install these Debian packages as root: apt-get install gone)\n\
        setup: | W: the lists are old\nsetup: | E: Unable to locate package gone\nsetup: | E: Unable to locate package gone\n";
    assert_eq!(said, expected);
    assert!(machine.0.path().join("restic").exists());
}

#[test]
fn who_is_not_root_and_a_machine_without_apt_are_told() {
    let missing =
        "setup: missing and not installed: zstd (install these Debian packages as root: apt-get install zstd)\n";
    let user = Machine::new(&[("id", "echo 1000"), APT]);
    assert_eq!(user.set_up(&["zstd"]), format!("{missing}setup: | only root can install packages\n"));
    let other = Machine::new(&[ROOT]);
    assert_eq!(other.set_up(&["zstd"]), format!("{missing}setup: | this machine has no apt-get\n"));
}
