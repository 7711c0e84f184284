//! `dns`: does a name resolve, to the right addresses, and fast enough.
//!
//! ```toml
//! [[check]]
//! name = "database-name"
//! kind = "dns"
//! host = "db.internal"
//! addresses = ["10.0.0.5", "10.0.1.0/24"]  # what it may resolve to; anything unless set
//! timeout_seconds = 3              # the default
//! warn_seconds = 0.5               # warn when it takes longer; off unless set
//! ```
//!
//! It asks the way the service does: getaddrinfo(3), with `/etc/hosts`, the search list and the cache of the machine.
//! Every address that is found must be one of `addresses`; a network is written with the length of its prefix.
//!
//! Source: getaddrinfo(3), resolv.conf(5), RFC 4632 (prefixes).

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "dns",
    summary: "A name resolves, to the right addresses, fast enough",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(DnsCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// Settings of [`DnsCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsSettings {
    /// The name.
    pub host: String,
    /// Addresses and networks that it may resolve to: `10.0.0.5`, `10.0.1.0/24`, `fd00::/8`. Any when empty.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How long it may take, in seconds.
    #[serde(default = "three")]
    pub timeout_seconds: f64,
    /// Warn when it takes longer than this, in seconds.
    #[serde(default)]
    pub warn_seconds: Option<f64>,
}

fn three() -> f64 {
    3.0
}

impl DnsSettings {
    /// Settings for a name that may resolve to anything.
    pub fn new(host: impl Into<String>) -> Self {
        Self { host: host.into(), addresses: Vec::new(), timeout_seconds: three(), warn_seconds: None }
    }
}

/// What resolves a name, on a thread of its own.
type Resolver = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Resolves a name.
#[derive(Debug)]
pub struct DnsCheck {
    host: String,
    networks: Vec<Network>,
    timeout: Duration,
    warn: Option<Duration>,
    resolver: Resolver,
    resolving: Blocking,
}

impl DnsCheck {
    /// A check as the settings describe it. Resolves nothing yet.
    ///
    /// # Errors
    /// When the name cannot be one, an address is not one, or a duration is out of range.
    pub fn new(settings: DnsSettings) -> Result<Self> {
        let label = |label: &str| (1..=63).contains(&label.len());
        let host = settings.host.strip_suffix('.').unwrap_or(&settings.host);
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.len() > 253 || !host.split('.').all(label) || !host.chars().all(fits) {
            return Err(Error::invalid(format!("{:?} is not the name of a host", settings.host))
                .with_hint("write host = \"db.internal\", without a scheme, port or path"));
        }
        if host.parse::<IpAddr>().is_ok() {
            return Err(Error::invalid(format!("{host} is an address, which needs no resolving"))
                .with_hint("name a host, or use a check of kind \"tcp\""));
        }
        Ok(Self {
            networks: settings.addresses.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            timeout: seconds("timeout_seconds", settings.timeout_seconds)?,
            warn: settings.warn_seconds.map(|warn| seconds("warn_seconds", warn)).transpose()?,
            resolver: |host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()),
            resolving: Blocking::default(),
            host: settings.host,
        })
    }

    fn judge(&self, found: io::Result<Vec<IpAddr>>, taken: Duration) -> (CheckStatus, String) {
        let host = &self.host;
        let mut found = match found {
            Ok(found) if found.is_empty() => return (CheckStatus::Fail, format!("{host} has no address")),
            Ok(found) => found,
            Err(error) => return (CheckStatus::Fail, format!("{host} cannot be resolved: {error}")),
        };
        found.sort();
        found.dedup();
        let list = |addresses: &[IpAddr]| {
            let told: Vec<String> = addresses.iter().take(8).map(IpAddr::to_string).collect();
            let more = addresses.len().saturating_sub(8);
            told.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
        };
        let strange = |address: &IpAddr| !self.networks.iter().any(|network| network.holds(*address));
        let strangers: Vec<IpAddr> = found.iter().copied().filter(strange).collect();
        if !self.networks.is_empty() && !strangers.is_empty() {
            let message = format!("{host} resolves to {}, which is not in `addresses`", list(&strangers));
            return (CheckStatus::Fail, message);
        }
        let message = format!("{host} resolves to {}", list(&found));
        match self.warn {
            Some(warn) if taken > warn => (CheckStatus::Warn, format!("{message}, after {:.3} s", taken.as_secs_f64())),
            _ => (CheckStatus::Pass, message),
        }
    }
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        // An address of IPv4 may come in the dress of IPv6.
        let alike = |a: u128, b: u128, bits: u32| self.prefix == 0 || (a ^ b) >> (bits - self.prefix) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => alike(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => alike(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (address, prefix) = text.split_once('/').map_or((text, None), |(a, prefix)| (a, Some(prefix)));
            let address: IpAddr = address.parse().ok()?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok()).filter(|prefix| *prefix <= bits)?;
            Some(Self { address, prefix })
        };
        parse().ok_or_else(|| {
            Error::invalid(format!("{text:?} is neither an address nor a network"))
                .with_hint("write 10.0.0.5, 10.0.1.0/24 or fd00::/8")
        })
    }
}

#[async_trait]
impl HealthCheck for DnsCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let start = scope.clock.monotonic();
        let (host, resolver) = (self.host.clone(), self.resolver);
        let resolve = self.resolving.run(scope, move || Ok(resolver(&host)));
        let found = tokio::time::timeout(self.timeout, resolve).await;
        let taken = scope.clock.monotonic().saturating_sub(start);
        let (status, message) = match found {
            Ok(found) => self.judge(found?, taken),
            Err(_) => {
                let seconds = self.timeout.as_secs_f64();
                (CheckStatus::Fail, format!("{} was not resolved within {seconds} s", self.host))
            }
        };
        Ok(CheckOutcome::new(status, message).observing(taken.as_secs_f64(), "seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use CheckStatus::{Fail, Pass, Warn};

    fn check(addresses: &[&str]) -> DnsCheck {
        let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        DnsCheck::new(DnsSettings { addresses, warn_seconds: Some(1.0), ..DnsSettings::new("db.internal") }).unwrap()
    }

    #[test]
    fn every_address_must_be_one_of_the_right_ones() {
        for (allowed, found, status) in [
            (&[][..], &["1.2.3.4"][..], Pass),
            (&[], &[], Fail),
            (&["10.0.0.5"], &["10.0.0.5", "10.0.0.5"], Pass),
            (&["10.0.0.5"], &["10.0.0.6"], Fail),
            (&["10.0.0.5"], &["10.0.0.5", "10.0.0.6"], Fail),
            (&["10.0.0.5", "10.0.1.0/24"], &["10.0.0.5", "10.0.1.255"], Pass),
            (&["10.0.1.0/24"], &["10.0.2.0"], Fail),
            (&["10.0.1.0/23"], &["10.0.0.1"], Pass),
            (&["0.0.0.0/0"], &["255.1.2.3"], Pass),
            (&["0.0.0.0/0"], &["::1"], Fail),
            (&["fd00::/8"], &["fdff::1"], Pass),
            (&["fd00::/8"], &["fe00::1"], Fail),
            (&["10.0.0.5"], &["::ffff:10.0.0.5"], Pass),
        ] {
            let found: Vec<IpAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
            let (verdict, message) = check(allowed).judge(Ok(found.clone()), Duration::ZERO);
            assert_eq!(verdict, status, "{allowed:?} {found:?}: {message}");
        }
        let slow = check(&[]).judge(Ok(vec!["1.2.3.4".parse().unwrap()]), Duration::from_secs(2));
        assert_eq!(slow, (Warn, "db.internal resolves to 1.2.3.4, after 2.000 s".to_owned()));
    }

    #[tokio::test]
    async fn the_machines_own_names_resolve_and_impossible_ones_do_not() {
        let settings =
            DnsSettings { addresses: vec!["127.0.0.0/8".into(), "::1".into()], ..DnsSettings::new("localhost") };
        let outcome = DnsCheck::new(settings).unwrap().check(&Scope::default()).await.unwrap();
        assert_eq!(outcome.status, Pass, "{outcome:?}");
        // With a resolver of our own: that of the machine may be slow to say no.
        let resolver: Resolver = |_| Err(io::Error::other("no such name"));
        let outcome = DnsCheck { resolver, ..check(&[]) }.check(&Scope::default()).await.unwrap();
        assert_eq!((outcome.status, outcome.message.as_str()), (Fail, "db.internal cannot be resolved: no such name"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_is_silent_fails_in_time() {
        let resolver: Resolver = |_| loop {
            std::thread::park();
        };
        let check = DnsCheck { resolver, ..check(&[]) };
        let outcome = check.check(&Scope::default()).await.unwrap();
        assert_eq!((outcome.status, outcome.message.as_str()), (Fail, "db.internal was not resolved within 3 s"));
        // It is still at it, and no second one is started.
        assert_eq!(check.check(&Scope::default()).await.unwrap_err().kind(), ErrorKind::Busy);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for host in ["", ".", "a..b", "http://a", "a:80", "a b", "127.0.0.1", &"a".repeat(64), &"a.".repeat(200)] {
            assert!(DnsCheck::new(DnsSettings::new(host)).is_err(), "{host}");
        }
        for address in ["", "x", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            let settings = DnsSettings { addresses: vec![address.to_owned()], ..DnsSettings::new("a") };
            assert!(DnsCheck::new(settings).is_err(), "{address}");
        }
        assert!(DnsCheck::new(DnsSettings::new("db.internal.")).is_ok());
    }
}
