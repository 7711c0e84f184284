//! The `sftp` target through a real `sshd` on loopback, with keys of its own.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;

const SSHD: &str = "/usr/sbin/sshd";

/// A server, ended when dropped.
struct Sshd {
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl Sshd {
    /// `None`, with a word about it, where no server can be started.
    fn start(folder: &Path) -> Option<Self> {
        if !Path::new(SSHD).exists() || !rustix::process::getuid().is_root() {
            eprintln!("skipped: {SSHD} is missing, or this is not root");
            return None;
        }
        fs::create_dir_all(folder).unwrap();
        // Where it goes without rights; Debian's start script makes it at boot.
        fs::create_dir_all("/run/sshd").unwrap();
        for name in ["host", "client", "stranger"] {
            key(&folder.join(name));
        }
        fs::copy(folder.join("client.pub"), folder.join("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = fs::read_to_string(folder.join("host.pub")).unwrap();
        fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let at = folder.display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n\
             Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        let mut server = Self { folder: folder.to_owned(), port, process: serve(folder) };
        server.wait();
        Some(server)
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().unwrap();
            let said = fs::read_to_string(self.folder.join("sshd.log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "sshd does not listen: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The settings of a target in this server's `folder`.
    fn target(&self, folder: &Path, identity: &str, known_hosts: &str) -> String {
        let (at, port) = (self.folder.display(), self.port);
        format!(
            "\n[[target]]\nname = \"nas\"\nkind = \"sftp\"\nurl = \"sftp://root@127.0.0.1:{port}{}\"\n\
             identity_file = \"{at}/{identity}\"\nknown_hosts_file = \"{at}/{known_hosts}\"\nretry_seconds = 20\n",
            folder.display()
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(folder: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("sshd.log")).unwrap();
    let mut sshd = Command::new(SSHD);
    sshd.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config")).stdin(Stdio::null());
    sshd.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn key(path: &Path) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// A service whose second target is the server's folder `kept`.
fn service() -> Option<(Scene, Sshd)> {
    let scene = Scene::small(PROGRAM);
    let server = Sshd::start(&scene.beside("ssh"))?;
    settle(&scene, &server, "client", "known_hosts");
    Some((scene, server))
}

fn settle(scene: &Scene, server: &Sshd, identity: &str, known_hosts: &str) {
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    let (text, _) = text.split_once("\n[[target]]\nname = \"nas\"").unwrap_or((&text, ""));
    scene.write("ops.toml", &format!("{text}{}", server.target(&scene.beside("kept"), identity, known_hosts)));
}

#[test]
fn both_layouts_go_to_another_machine_and_come_back() {
    let Some((scene, _server)) = service() else { return };
    for layout in ["archive", "repository", "repository"] {
        scene.write("data/note", layout);
        let made = scene.call("backup.create", &json!({"target": "nas", "layout": layout})).done();
        let id = &made["snapshot_id"];
        let verdict = scene.call("backup.verify", &json!({"snapshot_id": id, "target": "nas", "depth": "full"})).done();
        assert_eq!(verdict["ok"], true);
        let into = scene.beside("into");
        scene.call("restore.apply", &json!({"snapshot_id": id, "target": "nas", "into": into})).done();
        assert_eq!(fs::read_to_string(into.join("data/note")).unwrap(), layout);
        fs::remove_dir_all(into).unwrap();
    }
    let listed = scene.call("backup.list", &json!({"target": "nas"})).done();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 3);
    assert_eq!((&listed["failed"], &listed["unreadable"]), (&json!([]), &json!([])));
    let kept = Tree::of(&scene.beside("kept"), &[]);
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    assert!(!kept.0.keys().any(|path| hidden(path)), "litter: {:?}", kept.0.keys());
}

#[test]
fn strangers_are_refused_on_both_sides() {
    let Some((scene, server)) = service() else { return };
    let refused = |kind: &str, hint: &str| {
        let answer = scene.call("backup.list", &json!({"target": "nas"})).json;
        let error = &answer["failed"][0]["error"];
        assert_eq!(error["kind"], kind, "{answer}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{answer}");
    };
    settle(&scene, &server, "stranger", "known_hosts");
    refused("denied", "authorized_keys");
    let other = fs::read_to_string(server.folder.join("stranger.pub")).unwrap();
    fs::write(server.folder.join("others"), format!("[127.0.0.1]:{} {other}", server.port)).unwrap();
    settle(&scene, &server, "client", "others");
    refused("refused", "known_hosts");
    fs::write(server.folder.join("empty"), "").unwrap();
    settle(&scene, &server, "client", "empty");
    refused("refused", "ssh-keyscan");
    fs::set_permissions(server.folder.join("client"), Permissions::from_mode(0o644)).unwrap();
    settle(&scene, &server, "client", "known_hosts");
    refused("denied", "chmod 600");
}

#[test]
fn a_server_that_starts_again_in_the_middle_is_waited_for() {
    let Some((scene, mut server)) = service() else { return };
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let folder = server.folder.clone();
    let back = std::thread::spawn(move || {
        // Long enough for some tries to fail; the backup has begun either way.
        std::thread::sleep(Duration::from_secs(1));
        serve(&folder)
    });
    let made = scene.call("backup.create", &json!({"target": "nas", "layout": "repository"}));
    server.process = back.join().unwrap();
    assert_eq!(made.done()["outcome"], "complete");
}
