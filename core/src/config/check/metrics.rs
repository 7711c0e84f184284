//! Mistakes in the settings of metrics.

use super::Checker;

impl Checker<'_> {
    pub(super) fn metrics(&mut self) {
        const KEY: &str = "metrics.listen";
        for mistake in self.config.settings.metrics.mistakes() {
            self.error(mistake.key, mistake.message, &mistake.hint);
        }
        let Some(listen) = self.config.settings.metrics.listen.clone() else { return };
        let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(9090)) => self.warn(
                KEY,
                "port 9090 is Prometheus' own: on one machine it would scrape itself",
                "use another port, such as 9464",
            ),
            Some(Ok(_)) => {}
            _ => self.error(KEY, "it is no address with a port", "write it like 127.0.0.1:9464"),
        }
    }
}
