//! The settings of an SFTP target, checked.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::backup::decorate::RetryPolicy;
use crate::component::BuildContext;
use crate::error::{Error, Result};

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    identity_file: Option<PathBuf>,
    known_hosts_file: Option<PathBuf>,
    #[serde(default)]
    ssh_options: Vec<String>,
    command: Option<Vec<String>>,
    #[serde(default = "thirty")]
    timeout_seconds: f64,
    #[serde(default = "three_minutes")]
    retry_seconds: f64,
}

fn thirty() -> f64 {
    30.0
}

fn three_minutes() -> f64 {
    180.0
}

/// The settings of an SFTP target.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// The program that speaks SFTP by its standard input and output, and its arguments.
    pub(super) argv: Vec<OsString>,
    /// What the settings say, `sftp://host/folder`. No secret can be in it.
    pub(super) location: String,
    /// The folder: absolute, or relative to where a login begins; empty for that itself.
    pub(super) folder: String,
    /// How long the server may be silent.
    pub(super) timeout: Duration,
    pub(super) policy: RetryPolicy,
}

impl Config {
    pub(super) fn read(context: &BuildContext, settings: &Map<String, Value>) -> Result<Self> {
        let written: Written = context.settings(settings)?;
        let of_target = |error: Error| error.while_doing(format!("target {:?}", context.name));
        let url = Url::read(&written.url).map_err(of_target)?;
        let timeout = seconds("timeout_seconds", written.timeout_seconds).map_err(of_target)?;
        if timeout.is_zero() {
            return Err(of_target(
                Error::invalid("timeout_seconds is 0").with_hint("allow the server some seconds to answer"),
            ));
        }
        let deadline = seconds("retry_seconds", written.retry_seconds).map_err(of_target)?;
        let retries = if deadline.is_zero() { 0 } else { u32::MAX };
        let argv = match &written.command {
            Some(command) if command.is_empty() => {
                return Err(of_target(
                    Error::invalid("command is empty").with_hint("name a program that speaks SFTP, or leave it out"),
                ));
            }
            Some(_) if written.identity_file.is_some() || written.known_hosts_file.is_some() => {
                return Err(of_target(
                    Error::invalid(
                        "command stands in place of ssh, so identity_file and known_hosts_file mean nothing",
                    )
                    .with_hint("leave them out, or leave command out"),
                ));
            }
            Some(command) => command.clone(),
            None => {
                let file = |path: &PathBuf| context.resolve(path).display().to_string();
                let mut ssh = Ssh { url: &url, timeout, argv: Vec::new() };
                ssh.write(
                    written.identity_file.as_ref().map(file),
                    written.known_hosts_file.as_ref().map(file),
                    &written.ssh_options,
                );
                ssh.argv
            }
        };
        let policy = RetryPolicy { retries, deadline, ..RetryPolicy::default() };
        let argv = argv.into_iter().map(OsString::from).collect();
        Ok(Self { argv, location: url.to_string(), folder: url.folder, timeout, policy })
    }
}

fn seconds(key: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| Error::invalid(format!("{key} is no duration: {value}")).with_hint("write seconds, zero or more"))
}

/// The command line of OpenSSH's client.
struct Ssh<'a> {
    url: &'a Url,
    timeout: Duration,
    argv: Vec<String>,
}

impl Ssh<'_> {
    fn write(&mut self, identity: Option<String>, known_hosts: Option<String>, options: &[String]) {
        let timeout = self.timeout.as_secs().max(1);
        self.argv.push("ssh".to_owned());
        // What is said first counts (ssh_config(5)): the settings' own options come before ours.
        for option in options {
            self.option(option.clone());
        }
        for option in
            ["BatchMode=yes", "ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no"]
        {
            self.option(option.to_owned());
        }
        self.option(format!("ConnectTimeout={timeout}"));
        self.option(format!("ServerAliveInterval={}", (timeout / 3).max(1)));
        if let Some(identity) = identity {
            self.option("IdentitiesOnly=yes".to_owned());
            self.argv.extend(["-i".to_owned(), identity]);
        }
        if let Some(known_hosts) = known_hosts {
            // Several names may stand there, separated by spaces; a name that has some is quoted (ssh_config(5)).
            self.option(format!("UserKnownHostsFile=\"{known_hosts}\""));
        }
        if let Some(port) = self.url.port {
            self.argv.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &self.url.user {
            self.argv.extend(["-l".to_owned(), user.clone()]);
        }
        self.argv.extend(["-s", "--", &self.url.host, "sftp"].map(str::to_owned));
    }

    fn option(&mut self, option: String) {
        self.argv.extend(["-o".to_owned(), option]);
    }
}

/// `sftp://user@host:port/folder`, taken as it is written: nothing in it is percent-encoded.
#[derive(Debug)]
struct Url {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    folder: String,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sftp://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let home = if self.folder.starts_with('/') { "" } else { "/~/" };
        write!(f, "{home}{}", self.folder)
    }
}

impl Url {
    fn read(url: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Err(Error::invalid(format!("{url:?} is no place on an SFTP server: {why}")).with_hint(
                "write url = \"sftp://user@host/folder\", or \"sftp://user@host/~/folder\" for one in that user's home",
            ))
        };
        let Some(rest) = url.strip_prefix("sftp://") else { return wrong("it does not begin with sftp://") };
        let Some((authority, folder)) = rest.split_once('/') else { return wrong("it names no folder") };
        let (user, host) = match authority.rsplit_once('@') {
            // Not repeated: what stands there may be a password.
            Some((user, _)) if user.contains(':') => {
                return Err(Error::invalid("url has a password in it")
                    .with_hint("let a key open the door: identity_file, an agent or ~/.ssh/config"));
            }
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (host, port) = match host.strip_prefix('[').map(|host| host.split_once(']')) {
            Some(Some((host, port))) => (host, port.strip_prefix(':')),
            Some(None) => return wrong("the bracket of its address is not closed"),
            None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return wrong("its port is no number from 1 to 65535"),
        };
        // What begins with a dash is an option to programs, and no host or user is called so.
        let name_ok = |name: &str| {
            !name.is_empty() && !name.starts_with('-') && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if !name_ok(host) || user.is_some_and(|user| !name_ok(user)) {
            return wrong("it names no host that could be");
        }
        let in_home = folder == "~" || folder.starts_with("~/");
        let folder = folder.strip_prefix('~').filter(|_| in_home).unwrap_or(folder).trim_matches('/');
        if folder.contains(char::is_control) || folder.split('/').any(|part| part == "..") {
            return wrong("its folder has \"..\" or a control character in it");
        }
        let folder = if in_home { folder.to_owned() } else { format!("/{folder}") };
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, folder })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(settings: Value) -> Result<Config> {
        let context = BuildContext {
            name: "nas".to_owned(),
            root: "/srv/shop".into(),
            state: "/srv/shop/state".into(),
            service: String::new(),
        };
        Config::read(&context, settings.as_object().unwrap())
    }

    #[test]
    fn a_url_becomes_a_command_and_a_folder() {
        for (url, told, folder) in [
            ("sftp://nas/srv/backup/", "-s -- nas sftp", "/srv/backup"),
            ("sftp://backup@nas.local:2222/~/shop", "-p 2222 -l backup -s -- nas.local sftp", "shop"),
            ("sftp://[::1]:22/~", "-p 22 -s -- ::1 sftp", ""),
            ("sftp://a@b@nas/", "-l a@b -s -- nas sftp", "/"),
            ("sftp://nas/~other/x", "-s -- nas sftp", "/~other/x"),
        ] {
            let config = read(json!({ "url": url })).unwrap();
            let argv = config.argv.join(" ".as_ref()).into_string().unwrap();
            assert!(argv.starts_with("ssh -o BatchMode=yes ") && argv.ends_with(told), "{argv}");
            assert_eq!(config.folder, folder);
        }
        assert_eq!(read(json!({ "url": "sftp://[::1]:22/~/a" })).unwrap().location, "sftp://[::1]:22/~/a");
        assert_eq!(read(json!({ "url": "sftp://u@nas/a" })).unwrap().location, "sftp://u@nas/a");
    }

    #[test]
    fn files_options_and_another_program() {
        let config = read(json!({
            "url": "sftp://nas/b", "identity_file": "keys/id", "known_hosts_file": "known hosts",
            "ssh_options": ["ProxyJump=door", "BatchMode=no"], "timeout_seconds": 6,
        }));
        let argv = config.unwrap().argv;
        assert_eq!(argv[1..5], ["-o", "ProxyJump=door", "-o", "BatchMode=no"]);
        for part in [
            "/srv/shop/keys/id",
            "UserKnownHostsFile=\"/srv/shop/known hosts\"",
            "ConnectTimeout=6",
            "ServerAliveInterval=2",
        ] {
            assert!(argv.iter().any(|it| it == part), "{argv:?}");
        }
        let other = read(json!({ "url": "sftp://box/b", "command": ["docker", "exec", "-i", "box", "sftp-server"] }));
        assert_eq!(other.unwrap().argv.len(), 5);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_no_password_is_repeated() {
        for (settings, says) in [
            (json!({ "url": "ssh://nas/b" }), "begin with sftp://"),
            (json!({ "url": "sftp://nas" }), "no folder"),
            (json!({ "url": "sftp://nas:0/b" }), "port"),
            (json!({ "url": "sftp://-oProxyCommand=x/b" }), "no host"),
            (json!({ "url": "sftp://-x@nas/b" }), "no host"),
            (json!({ "url": "sftp:///b" }), "no host"),
            (json!({ "url": "sftp://[::1/b" }), "bracket"),
            (json!({ "url": "sftp://nas/a/../b" }), ".."),
            (json!({ "url": "sftp://u:hunter2@nas/b" }), "password"),
            (json!({ "url": "sftp://nas/b", "command": [] }), "command is empty"),
            (json!({ "url": "sftp://nas/b", "command": ["x"], "identity_file": "y" }), "in place of ssh"),
            (json!({ "url": "sftp://nas/b", "timeout_seconds": 0 }), "timeout_seconds"),
            (json!({ "url": "sftp://nas/b", "retry_seconds": -1 }), "retry_seconds"),
            (json!({ "url": "sftp://nas/b", "password": "hunter2" }), "password"),
        ] {
            let error = read(settings).unwrap_err();
            assert!(error.message().contains(says) && error.hint().is_some(), "{error}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
        }
    }
}
