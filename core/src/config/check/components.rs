//! What is wrong with stores, targets, checks and sinks, whatever their kind.

use super::super::settings::{ListedComponent, SinkSettings};
use super::super::{redact, reference};
use super::Checker;

impl Checker<'_> {
    pub(super) fn kinds(&mut self) {
        let settings = &self.config.settings;
        for ListedComponent { list, name, kind, .. } in settings.components() {
            let known = self.build.kinds_of(list);
            if known.iter().any(|known| known == kind) {
                continue;
            }
            // Short names are all alike: `s3` is no misspelling of `fs`.
            let near = known.iter().find(|known| strsim::normalized_damerau_levenshtein(known, kind) >= 0.6);
            let hint = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("use one of: {}", known.join(", ")),
            };
            self.error(&format!("{list}.{name}.kind"), format!("this build has no {list} of kind {kind:?}"), &hint);
        }
        if settings.targets.is_empty() {
            self.warn("target", "there is no [[target]], so no backup can be made", "add a [[target]] to ops.toml");
        }
    }

    /// Times that no sink could be given.
    pub(super) fn sinks(&mut self) {
        let settings = &self.config.settings;
        for sink in &settings.sinks {
            for (field, seconds) in
                [("interval_seconds", sink.interval_seconds), ("deadline_seconds", sink.deadline_seconds)]
            {
                if let Some(mistake) = seconds.and_then(SinkSettings::mistake) {
                    let key = format!("sink.{}.{field}", sink.name);
                    self.error(&key, mistake, "use a number above zero, at most a day");
                }
            }
        }
    }

    /// Secrets that stand in the file, where `env:NAME` would keep them out.
    pub(super) fn clear_secrets(&mut self) {
        let settings = &self.config.settings;
        let single = [
            ("http.token", &settings.http.token),
            ("http.write_token", &settings.http.write_token),
            ("backup.encryption.passphrase", &settings.backup.encryption.passphrase),
            ("backup.ping_url", &settings.backup.ping_url),
        ];
        let literal = |token: &Option<String>| token.as_ref().is_some_and(|text| reference::name_in(text).is_none());
        let mut keys: Vec<String> =
            single.iter().filter(|(_, token)| literal(token)).map(|(key, _)| (*key).to_owned()).collect();
        let jobs = settings.jobs.iter().filter(|job| literal(&job.ping_url));
        keys.extend(jobs.map(|job| format!("job.{}.ping_url", job.name)));
        for ListedComponent { list, name, settings, .. } in settings.components() {
            for (field, value) in settings {
                if redact::value(field, value) != *value {
                    keys.push(format!("{list}.{name}.{field}"));
                }
            }
        }
        for key in keys {
            if self.config.file.is_some() && self.config.is_from_file(&key) {
                let message = "a secret stands in the configuration file";
                self.warn(&key, message, "write \"env:NAME\" and put the secret into .env or the environment");
            }
        }
    }
}
