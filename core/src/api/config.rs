//! `config.*`: what the settings are, where they come from, and what is wrong with them.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::manifest::RelPath;
use crate::backup::seal::host_has_keys;
use crate::cancel::Scope;
use crate::config::{self, Finding, InitFacts, InitFound, Severity, ShownSetting};
use crate::error::{Error, Result};
use crate::http;
use crate::ops::{self, Context, Effect, Lane, Operation, Place, RunMode};

/// Nothing to ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {}

/// Every setting.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ShowResponse {
    /// The service's root folder.
    pub root: RelPath,
    /// The file that was read, when there is one.
    pub file: Option<RelPath>,
    /// The settings, sorted by key. Secrets are `***`.
    pub settings: Vec<ShownSetting>,
}

/// `config.show`
#[derive(Debug)]
pub struct Show;

impl Operation for Show {
    const NAME: &'static str = "config.show";
    const SUMMARY: &'static str = "Show every setting, and where its value comes from";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = ShowRequest;
    type Response = ShowResponse;

    async fn run(context: Arc<Context>, _scope: Scope, _request: ShowRequest) -> Result<ShowResponse> {
        Ok(ShowResponse {
            root: RelPath::new(&context.root),
            file: context.config()?.file.as_ref().map(RelPath::new),
            settings: context.config()?.show(),
        })
    }
}

/// Nothing to ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {}

/// What is wrong with the settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CheckResponse {
    /// Whether no finding is an error.
    pub ok: bool,
    /// The findings, errors first.
    pub findings: Vec<Finding>,
}

/// `config.check`
#[derive(Debug)]
pub struct Check;

impl Operation for Check {
    const NAME: &'static str = "config.check";
    const SUMMARY: &'static str = "Say what is wrong, or probably wrong, with the settings";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = CheckRequest;
    type Response = CheckResponse;

    async fn run(context: Arc<Context>, scope: Scope, _request: CheckRequest) -> Result<CheckResponse> {
        let config = context.config()?;
        let mut findings = config::check(config, &context.kinds.facts());
        findings.extend(http::findings(&context, config));
        let said = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let said: Vec<String> = said.map(|finding| finding.key.clone()).collect();
        // A time zone is the service's before it is a job's.
        findings.extend(ops::job_findings(&context, config).into_iter().filter(|finding| !said.contains(&finding.key)));
        findings.extend(encryption(&context, config)?);
        // Beside the service, its environment is not known: a variable may be set where it counts.
        let severity = match context.mode {
            RunMode::CommandLine => Severity::Warning,
            RunMode::Embedded => Severity::Error,
        };
        // Once there is a key, the host needs no passphrase.
        let but_for: &[&str] = match host_has_keys(&context.state)? {
            true => &["backup.encryption.passphrase"],
            false => &[],
        };
        findings.extend(config::unset_variables(config, &context.environment, severity, but_for));
        findings.extend(unreachable_servers(&context, &scope, config, &findings).await);
        for (key, error) in &context.unbuildable {
            // What is said of the setting already, or of a part of it, needs no second word.
            let below = format!("{key}.");
            let is_said = |it: &Finding| {
                error.message().contains(&it.message)
                    || it.severity == Severity::Error && (it.key == *key || it.key.starts_with(&below))
            };
            if findings.iter().any(is_said) {
                continue;
            }
            findings.push(Finding {
                severity: Severity::Error,
                key: key.clone(),
                message: error.message().to_owned(),
                hint: error.hint().map(str::to_owned),
                source: config.source_of(key),
            });
        }
        findings.sort_by_key(|finding| finding.severity);
        let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
        Ok(CheckResponse { ok, findings })
    }

    fn healthy(response: &CheckResponse) -> bool {
        response.ok
    }
}

/// How long a server may take to let us in and say how it is.
const SERVER_DEADLINE: Duration = Duration::from_secs(10);

/// Servers whose databases are stores, and that do not let us in or do not show us all. A store that is a file is not opened.
async fn unreachable_servers(
    context: &Context,
    scope: &Scope,
    config: &config::Config,
    known: &[Finding],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for store in context.stores.iter().filter(|store| store.component.capability().file.is_none()) {
        let key = format!("store.{}", store.name);
        let below = format!("{key}.");
        // A variable that is not set is named already.
        if known.iter().any(|it| it.key == key || it.key.starts_with(&below)) {
            continue;
        }
        let finding = |severity, message: String, hint: Option<String>| Finding {
            severity,
            key: key.clone(),
            message,
            hint,
            source: config.source_of(&key),
        };
        let answer = tokio::time::timeout(SERVER_DEADLINE, store.component.stats(scope)).await;
        match answer {
            Err(_) => findings.push(finding(
                Severity::Warning,
                format!("the database did not answer within {} s", SERVER_DEADLINE.as_secs()),
                Some("look whether its server runs".to_owned()),
            )),
            Ok(Err(error)) => {
                // What may be well later is no mistake of the settings.
                let severity = if error.retryable() { Severity::Warning } else { Severity::Error };
                findings.push(finding(severity, error.message().to_owned(), error.hint().map(str::to_owned)));
            }
            Ok(Ok(stats)) => {
                let missing = stats.details.get("missing").and_then(Value::as_array).into_iter().flatten();
                findings.extend(missing.filter_map(|missing| {
                    let [what, grant] = ["what", "grant"].map(|name| missing.get(name).and_then(Value::as_str));
                    let message = format!("the user of the database may not see: {}", what?);
                    Some(finding(Severity::Warning, message, grant.map(str::to_owned)))
                }));
            }
        }
    }
    findings
}

/// Encryption that is asked for, and that no backup can have yet.
fn encryption(context: &Context, config: &config::Config) -> Result<Option<Finding>> {
    const KEY: &str = "backup.encryption";
    let wanted = config.settings.backup.encryption.is_wanted() && cfg!(feature = "encryption");
    if !wanted || host_has_keys(&context.state)? {
        return Ok(None);
    }
    Ok(Some(Finding {
        severity: Severity::Error,
        key: KEY.to_owned(),
        message: "backups are to be encrypted, and no key was made yet: until then every backup is refused".to_owned(),
        hint: Some("make it: `uplifted-ops backup keys init`".to_owned()),
        source: config.source_of(KEY),
    }))
}

/// How to write the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InitRequest {
    /// Replace an `ops.toml` that exists, also one that is broken. It is kept beside the new one.
    pub force: bool,
    /// Say what would be written, and write nothing.
    pub dry_run: bool,
}

/// What was written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InitResponse {
    /// The file.
    pub path: RelPath,
    /// Its whole text.
    pub text: String,
    /// Whether it was written.
    pub written: bool,
    /// Where the file that it replaces is kept.
    pub kept: Option<String>,
    /// What the text is based on.
    pub found: InitFound,
}

/// `config.init`
#[derive(Debug)]
pub struct Init;

impl Operation for Init {
    const NAME: &'static str = "config.init";
    const SUMMARY: &'static str = "Look at the service's folder and write an ops.toml for it";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = InitRequest;
    type Response = InitResponse;

    async fn run(context: Arc<Context>, _scope: Scope, request: InitRequest) -> Result<InitResponse> {
        let written = tokio::task::spawn_blocking(move || {
            let facts = InitFacts {
                environment: context.environment.clone(),
                build: context.kinds.facts(),
                has_key: host_has_keys(&context.state)?,
                force: request.force,
                ..InitFacts::default()
            };
            let plan = config::plan_init(&context.root, &facts)?;
            if !request.dry_run {
                config::write_init(&plan)?;
            }
            Ok(InitResponse {
                path: RelPath::new(plan.path),
                text: plan.text,
                written: !request.dry_run,
                kept: plan.kept.map(|kept| kept.display().to_string()),
                found: plan.found,
            })
        });
        written.await.map_err(|error| Error::internal(format!("init ended without an answer: {error}")))?
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::ops::{Ops, RunMode};

    /// The findings of `config.check` as the command line asks for it, each as `severity key (source): message`.
    async fn findings(toml: &str, environment: &[(&str, &str)], prepare: impl Fn(&std::path::Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ops.toml"), toml).unwrap();
        prepare(folder.path());
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let ops = Ops::builder()
            .root(folder.path())
            .environment(environment)
            .mode(RunMode::CommandLine)
            .worker_command(["/bin/false"])
            .tolerant()
            .build()
            .unwrap();
        let answer = ops.call(ops.scope(), "config.check", Value::Null).await.unwrap();
        let findings = answer.response["findings"].as_array().unwrap().clone();
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let said = findings.iter().map(|it| {
            assert!(!text(it, "hint").is_empty() || text(it, "severity") == "warning", "{it}");
            format!("{} {} ({}): {}", text(it, "severity"), text(it, "key"), text(it, "source"), text(it, "message"))
        });
        said.collect()
    }

    fn has(findings: &[String], beginning: &str) -> bool {
        findings.iter().any(|finding| finding.starts_with(beginning))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_mistake_is_told_at_once() {
        let toml = "\
[backup]
levle = 3
layout = \"zip\"
threads = \"many\"
schedule = \"every night\"
[[target]]
name = \"a\"
kind = \"fs\"
[[target]]
name = \"b\"
kind = \"fs\"
path = \"/backup/b\"
pathh = \"/backup/c\"
[[target]]
name = \"c\"
kind = \"ftp\"
[[target]]
name = \"a\"
kind = \"fs\"
path = \"/backup/d\"
[[check]]
name = \"api\"
kind = \"http\"
url = \"no address\"
[[job]]
name = \"after\"
operation = \"store.verify\"
after = \"backup\"
";
        let environment = [("UPLIFTED__BACKUP__VERIFY_DAYS", "soon"), ("UPLIFTED__HEALTH__CONCURRENCY", "x")];
        let found = findings(toml, &environment, |_| {}).await;
        for expected in [
            "error backup.levle (ops.toml:2): unknown key",
            "error backup.layout (ops.toml:3): ",
            "error backup.threads (ops.toml:4): ",
            "error backup.schedule (ops.toml:5): ",
            "error target.0 (ops.toml:6): ",
            "error target.b.pathh (ops.toml:13): ",
            "error target.c.kind (ops.toml:16): ",
            "error target.3.name (ops.toml:18): the name \"a\" of a [[target]] is taken",
            "error check.api",
            "error backup.verify_days (environment (UPLIFTED__BACKUP__VERIFY_DAYS)): ",
            "error health.concurrency (environment (UPLIFTED__HEALTH__CONCURRENCY)): ",
        ] {
            assert!(has(&found, expected), "{expected}: {found:#?}");
        }
        // One for each: a job that follows one whose schedule is wrong has no mistake of its own.
        assert_eq!(found.iter().filter(|it| it.starts_with("error")).count(), 11, "{found:#?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn variables_that_are_not_set_are_named_and_keys_that_were_not_made() {
        let toml = "\
[http]
token = \"env:READ\"
write_token = \"env:WRITE\"
[backup]
encryption = { passphrase = \"env:PASS\" }
[[check]]
name = \"api\"
kind = \"http\"
url = \"http://127.0.0.1:1/status\"
[[check]]
name = \"other\"
kind = \"http\"
url = \"env:URL\"
";
        let set = |folder: &std::path::Path| std::fs::write(folder.join(".env"), "WRITE=0123456789abcdef\n").unwrap();
        let found = findings(toml, &[("URL", "http://127.0.0.1:1/x")], set).await;
        assert!(has(&found, "warning http.token (ops.toml:2): the variable READ is not set"), "{found:#?}");
        assert!(!has(&found, "warning http.write_token") && !has(&found, "warning check.other"), "{found:#?}");
        let encrypts = cfg!(feature = "encryption");
        if encrypts {
            let passphrase = "warning backup.encryption.passphrase (ops.toml:5): the variable PASS is not set";
            assert!(has(&found, passphrase), "{found:#?}");
            assert!(has(&found, "error backup.encryption (ops.toml:5): backups are to be encrypted, and no key"));
        }

        // A host with a key needs no passphrase.
        let with_key = |folder: &std::path::Path| {
            std::fs::create_dir_all(folder.join(".uplifted-ops/keys")).unwrap();
            std::fs::write(folder.join(".uplifted-ops/keys/0.json"), "{}").unwrap();
        };
        let found = findings(toml, &[], with_key).await;
        assert!(!found.iter().any(|it| it.contains(" backup.encryption")), "{found:#?}");
        assert!(has(&found, "warning check.other.url (ops.toml:13): the variable URL is not set"), "{found:#?}");
    }
}
