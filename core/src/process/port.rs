//! Who listens on a port of this machine.
//!
//! Source: proc_net_tcp(5) for the sockets that listen, proc_pid_fd(5) for the processes that have them open. A socket of
//! another network namespace is not seen, and the descriptors of another user's process are seen by root alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Somebody who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// The user whose socket it is.
    pub uid: u32,
    /// The process that has it open, the one with the lowest number where several have. `None` when it is not ours to see.
    pub pid: Option<u32>,
    /// The program of that process, as its `comm` says it.
    pub program: Option<String>,
    inode: u64,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.program) {
            (Some(pid), Some(program)) => write!(f, "process {pid} ({program})"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => write!(f, "a process of the user {} that cannot be seen from here", self.uid),
        }
    }
}

/// Who listens on TCP port `port`, on any address. Empty when nobody does, and where there is no `/proc`.
pub fn listening_on(port: u16) -> Vec<Listening> {
    listening_below(Path::new("/"), port)
}

/// Who is in the way of listening on `address`: on itself, or on all addresses of the machine.
pub fn in_the_way_of(address: SocketAddr) -> Option<Listening> {
    let meets = |other: IpAddr| other == address.ip() || other.is_unspecified() || address.ip().is_unspecified();
    listening_on(address.port()).into_iter().find(|listening| meets(listening.address.ip().to_canonical()))
}

/// The same, of the machine whose `proc` is in the folder `root`.
pub fn listening_below(root: &Path, port: u16) -> Vec<Listening> {
    let mut found: Vec<Listening> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(root.join("proc/net").join(table)).ok())
        .flat_map(|text| text.lines().skip(1).filter_map(parse).collect::<Vec<_>>())
        .filter(|listening| listening.address.port() == port)
        .collect();
    if !found.is_empty() {
        name_owners(root, &mut found);
    }
    found
}

/// Looks for the processes that have these sockets open.
fn name_owners(root: &Path, found: &mut [Listening]) {
    let Ok(processes) = std::fs::read_dir(root.join("proc")) else { return };
    let mut pids: Vec<u32> = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        let folder = root.join(format!("proc/{pid}"));
        let Ok(descriptors) = std::fs::read_dir(folder.join("fd")) else { continue };
        for target in descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()) {
            let Some(inode) = socket(&target) else { continue };
            for listening in found.iter_mut().filter(|it| it.inode == inode && it.pid.is_none()) {
                listening.pid = Some(pid);
                listening.program =
                    std::fs::read_to_string(folder.join("comm")).ok().map(|text| text.trim_end().to_owned());
            }
        }
        if found.iter().all(|listening| listening.pid.is_some()) {
            return;
        }
    }
}

/// The inode in `socket:[12345]`.
fn socket(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A line of `/proc/net/tcp` or `tcp6`, if it is of a socket that listens (state `0A`).
fn parse(line: &str) -> Option<Listening> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != "0A" {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match ip.len() {
        // Each word of 32 bits is printed as the machine holds it, and holds the bytes of the network.
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(Listening {
        address: SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?),
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
        pid: None,
        program: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_finds_itself() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = in_the_way_of(address).unwrap();
        assert_eq!((found.address, found.pid), (address, Some(std::process::id())));
        assert!(found.to_string().starts_with(&format!("process {} (", std::process::id())), "{found}");
        assert_eq!(in_the_way_of(SocketAddr::from(([127, 0, 0, 2], address.port()))), None, "another address is free");
        drop(listener);
        assert_eq!(listening_on(address.port()), []);
    }

    #[test]
    fn whoever_listens_on_all_addresses_is_in_the_way_of_each() {
        for all in ["0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(all) else { continue };
            let port = listener.local_addr().unwrap().port();
            let found = in_the_way_of(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            assert_eq!(found.pid, Some(std::process::id()), "{all}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("proc/net");
        std::fs::create_dir_all(&net).unwrap();
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line =
            "   0: 0100007F:24F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4711 1\n";
        let gone =
            "   1: 0100007F:24F8 0100007F:1F90 01 00000000:00000000 00:00000000 00000000   101        0 4712 1\n";
        std::fs::write(net.join("tcp"), format!("{head}{line}{gone}torn")).unwrap();
        let found = listening_below(folder.path(), 9464);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].to_string(), "a process of the user 101 that cannot be seen from here");
        let fd = folder.path().join("proc/77/fd");
        std::fs::create_dir_all(&fd).unwrap();
        std::os::unix::fs::symlink("socket:[4711]", fd.join("3")).unwrap();
        std::fs::write(folder.path().join("proc/77/comm"), "prometheus\n").unwrap();
        assert_eq!(listening_below(folder.path(), 9464)[0].to_string(), "process 77 (prometheus)");
        assert_eq!(listening_below(folder.path(), 9465), []);
    }
}
