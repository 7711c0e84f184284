//! The configuration of a Prometheus.

use std::fmt::Write;

use crate::error::{Error, Result};
use crate::ops::Context;

use super::alerts;
use super::files::mark;
use super::yaml::quoted;

/// The port of Prometheus itself.
const PROMETHEUS: u16 = 9090;
/// Where the metrics are unless somebody says otherwise.
const USUAL: &str = "127.0.0.1:9464";
/// The file that the token is to be put in, beside the configuration.
const TOKEN: &str = "uplifted-token";

/// What the configuration says.
pub(super) struct Plan {
    job: String,
    target: String,
    token: bool,
    alertmanager: Option<String>,
    pub(super) warnings: Vec<String>,
}

impl Plan {
    pub(super) fn of(context: &Context, target: Option<&str>, alertmanager: Option<&str>) -> Result<Self> {
        let settings = &context.settings;
        let mut warnings = Vec::new();
        let (mut host, port) = match (target, settings.metrics.listen.as_deref()) {
            (Some(target), _) => split("target", target)?,
            (None, Some(listen)) => split("metrics.listen", listen)?,
            (None, None) => {
                warnings.push(format!(
                    "metrics.listen is not set: set it to {USUAL} in ops.toml, or name where the service answers with --target"
                ));
                split("target", USUAL)?
            }
        };
        if ["0.0.0.0", "::"].contains(&host.trim_matches(['[', ']'])) {
            warnings.push(format!(
                "the service listens on all addresses: a Prometheus on another machine needs its name, --target NAME:{port}"
            ));
            host = "127.0.0.1".to_owned();
        }
        if port == PROMETHEUS {
            warnings.push(format!(
                "port {PROMETHEUS} is Prometheus' own: on one machine it would scrape itself and call that the service; use {USUAL}"
            ));
        }
        let alertmanager = alertmanager.map(|at| split("alertmanager", at)).transpose()?;
        if alertmanager.is_none() {
            warnings.push(
                "no Alertmanager is named: alerts fire, and nobody hears of it; use --alertmanager HOST:PORT"
                    .to_owned(),
            );
        }
        let name = host.trim_matches(['[', ']']);
        let loopback =
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let token = settings.http.token.is_some();
        if token {
            warnings.push(format!(
                "put the token of http.token into the file {TOKEN} beside prometheus.yml, readable for Prometheus alone"
            ));
        } else if !(loopback && settings.http.trust_loopback) {
            warnings.push(
                "set http.token in ops.toml: without it the service answers callers on its own machine alone"
                    .to_owned(),
            );
        }
        Ok(Self {
            job: context.service_name(),
            target: format!("{host}:{port}"),
            token,
            alertmanager: alertmanager.map(|(host, port)| format!("{host}:{port}")),
            warnings,
        })
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# A Prometheus that watches {}. Written by uplifted-ops {}, {}\n",
            alerts::comment(&self.job),
            env!("CARGO_PKG_VERSION"),
            mark(),
        );
        for warning in &self.warnings {
            let _ = writeln!(text, "# TODO: {warning}");
        }
        let _ = write!(
            text,
            "global:\n  scrape_interval: 15s\n  evaluation_interval: 15s\n\n\
             # Made by `uplifted-ops generate alerts --write .` in this folder.\nrule_files:\n  - {}\n\n",
            alerts::FILE
        );
        match &self.alertmanager {
            Some(target) => {
                let _ = write!(
                    text,
                    "alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: [{}]\n\n",
                    quoted(target)
                );
            }
            None => text.push_str(
                "# alerting:\n#   alertmanagers:\n#     - static_configs:\n#         - targets: [\"127.0.0.1:9093\"]\n\n",
            ),
        }
        let _ = write!(text, "scrape_configs:\n  - job_name: {}\n    metrics_path: /metrics\n", quoted(&self.job));
        if self.token {
            let _ = write!(text, "    authorization:\n      type: Bearer\n      credentials_file: {TOKEN}\n");
        }
        let _ = write!(text, "    static_configs:\n      - targets: [{}]\n", quoted(&self.target));
        text
    }
}

/// A host and a port. An IPv6 address keeps its brackets.
fn split(what: &str, text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let plain = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let of_address = |c: char| c.is_ascii_hexdigit() || ":.%".contains(c);
        match inner {
            Some(inner) => !inner.is_empty() && inner.chars().all(of_address),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
        }
    };
    match parts {
        Some((host, port)) if plain(host) && port > 0 => Ok((host.to_owned(), port)),
        _ => Err(Error::invalid(format!("{what} is {text:?}, which is no host with a port"))
            .with_hint(format!("write it like {USUAL}, ops.internal:9464 or [::1]:9464"))),
    }
}
