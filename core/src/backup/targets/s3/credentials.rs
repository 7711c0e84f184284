//! Where the keys come from.
//!
//! In the order of Amazon's own tools ("Standardized credential providers", AWS SDKs and Tools Reference Guide), and
//! the settings before all: `access_key_id` and `secret_access_key`, the profile that `profile` names, the variables
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (the process's, then `.env`'s), a web identity, the profile
//! `AWS_PROFILE` or `default` of `~/.aws/credentials` and `~/.aws/config`, a container's role, a machine's role. The
//! last two and the web identity are `object_store`'s; the rest is looked up here for each request, so that keys
//! which were renewed are used at once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::config::{Config, Keys};
use super::fault::Fault;
use super::wire;
use crate::config::{reference, small_file};
use crate::error::{Error, ErrorKind, Result};
use crate::value::Secret;

/// The variables of the process, by name.
pub(super) type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The keys that are ours to look up.
#[derive(Clone)]
pub(super) struct Wallet {
    config: Config,
    environment: Environment,
    /// What was handed out, to be taken out of whatever a server says.
    seen: Arc<Mutex<Vec<Secret>>>,
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").finish_non_exhaustive()
    }
}

/// What an `[profile]` says that matters here.
#[derive(Debug, Default, Clone)]
pub(super) struct Profile {
    keys: Option<Keys>,
    pub(super) region: Option<String>,
    /// A way of getting keys that is not known here: `sso_session`, `credential_process`, ….
    other_way: Option<String>,
    found: bool,
}

impl Wallet {
    pub(super) fn new(config: Config, environment: Environment) -> Self {
        Self { config, environment, seen: Arc::default() }
    }

    /// A variable of the process, or of the service's `.env`. One that is empty counts as missing.
    pub(super) fn variable(&self, name: &str) -> Result<Option<String>> {
        match reference::resolve_with(&format!("env:{name}"), &self.config.root, |name| (self.environment)(name)) {
            Ok(value) => Ok(Some(value.reveal().to_owned()).filter(|value| !value.is_empty())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys as they are now; nothing where `object_store` has to find some.
    ///
    /// # Errors
    /// A profile that is named and has no keys; a reference to a variable that is not set.
    pub(super) fn keys(&self) -> Result<Option<Keys>> {
        let keys = self.find()?;
        if let Some(Keys { id, secret, token }) = &keys {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            for secret in [Some(id), Some(secret), token.as_ref()].into_iter().flatten() {
                if !seen.contains(secret) {
                    seen.push(secret.clone());
                }
            }
        }
        Ok(keys)
    }

    fn find(&self) -> Result<Option<Keys>> {
        if let Some(Keys { id, secret, token }) = &self.config.keys {
            let resolved = |text: &Secret| {
                let found = reference::resolve_with(text.reveal(), &self.config.root, |name| (self.environment)(name));
                found.map_err(|error| error.while_doing(format!("target {:?}", self.config.name)))
            };
            let token = token.as_ref().map(resolved).transpose()?;
            return Ok(Some(Keys { id: resolved(id)?, secret: resolved(secret)?, token }));
        }
        if let Some(name) = &self.config.profile {
            return self.keys_of_profile(name, true);
        }
        let variable = |name: &str| self.variable(name);
        if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?) {
            let token = variable("AWS_SESSION_TOKEN")?.map(Secret::new);
            return Ok(Some(Keys { id: Secret::new(id), secret: Secret::new(secret), token }));
        }
        if variable("AWS_WEB_IDENTITY_TOKEN_FILE")?.is_some() && variable("AWS_ROLE_ARN")?.is_some() {
            return Ok(None);
        }
        match variable("AWS_PROFILE")? {
            Some(name) => self.keys_of_profile(&name, true),
            None => self.keys_of_profile("default", false),
        }
    }

    fn keys_of_profile(&self, name: &str, wanted: bool) -> Result<Option<Keys>> {
        let profile = self.profile(name)?;
        match profile {
            Profile { keys: Some(keys), .. } => Ok(Some(keys)),
            _ if !wanted => Ok(None),
            Profile { other_way: Some(way), .. } => Err(Error::new(
                ErrorKind::Unsupported,
                format!("profile {name:?} gets its keys by {way}, which is not supported here"),
            )
            .with_hint("export them into the environment: `aws configure export-credentials --format env`")),
            Profile { found, .. } => {
                let (credentials, config) = self.files();
                let what = if found { "has no keys" } else { "does not exist" };
                let files = format!("{} or {}", credentials.display(), config.display());
                Err(Error::new(ErrorKind::NotFound, format!("profile {name:?} {what} in {files}"))
                    .with_hint("correct `profile` or AWS_PROFILE, or run `aws configure` as the service's user"))
            }
        }
    }

    /// The files of the profiles, credentials first.
    fn files(&self) -> (PathBuf, PathBuf) {
        let home = (self.environment)("HOME").unwrap_or_else(|| "/root".to_owned());
        let file = |variable: &str, name: &str| {
            (self.environment)(variable).map_or_else(|| Path::new(&home).join(".aws").join(name), PathBuf::from)
        };
        (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config"))
    }

    /// What both files say about a profile; the credentials file goes first.
    pub(super) fn profile(&self, name: &str) -> Result<Profile> {
        let (credentials, config) = self.files();
        let mut profile = Profile::default();
        let in_config = if name == "default" { "default".to_owned() } else { format!("profile {name}") };
        for (path, section) in [(credentials, name.to_owned()), (config, in_config)] {
            if let Some(bytes) = small_file::read(&path)? {
                profile.add(&String::from_utf8_lossy(&bytes), &section);
            }
        }
        Ok(profile)
    }

    /// The region that is meant when the settings name none.
    pub(super) fn region(&self) -> Result<Option<String>> {
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            if let Some(region) = self.variable(name)? {
                return Ok(Some(region));
            }
        }
        let profile = match &self.config.profile {
            Some(name) => name.clone(),
            None => self.variable("AWS_PROFILE")?.unwrap_or_else(|| "default".to_owned()),
        };
        Ok(self.profile(&profile)?.region)
    }

    /// `text` without any key that was ever handed out.
    pub(super) fn scrub(&self, text: &str) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|secret| secret.reveal().len() >= 4)
            .fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), Secret::MASK))
    }
}

impl Profile {
    /// Adds what a file says in `[section]`, where nothing is known yet. The format is INI with `#` and `;` comments;
    /// indented lines belong to a nested setting ("Shared config and credentials files", AWS SDKs and Tools).
    fn add(&mut self, text: &str, section: &str) {
        let mut here = false;
        let (mut id, mut secret, mut token) = (None, None, None);
        for line in text.lines() {
            let indented = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let name = name.split(']').next().unwrap_or_default();
                here = name.split_whitespace().eq(section.split_whitespace());
                self.found |= here;
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| here && !indented) else { continue };
            let value = value.split(" #").next().unwrap_or_default().trim();
            match key.trim().to_ascii_lowercase().as_str() {
                _ if value.is_empty() => {}
                "aws_access_key_id" => id = Some(Secret::new(value)),
                "aws_secret_access_key" => secret = Some(Secret::new(value)),
                "aws_session_token" => token = Some(Secret::new(value)),
                "region" if self.region.is_none() => self.region = Some(value.to_owned()),
                way @ ("credential_process" | "sso_session" | "sso_start_url" | "role_arn" | "login_session") => {
                    self.other_way.get_or_insert_with(|| way.to_owned());
                }
                _ => {}
            }
        }
        if let (None, Some(id), Some(secret)) = (&self.keys, id, secret) {
            self.keys = Some(Keys { id, secret, token });
        }
    }
}

#[async_trait]
impl CredentialProvider for Wallet {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let keys = self.keys().and_then(|keys| keys.ok_or_else(wire::no_credentials));
        match keys {
            Ok(Keys { id, secret, token }) => Ok(Arc::new(AwsCredential {
                key_id: id.reveal().to_owned(),
                secret_key: secret.reveal().to_owned(),
                token: token.map(|token| token.reveal().to_owned()),
            })),
            Err(error) => {
                wire::note(Fault::Ours(error));
                Err(object_store::Error::Generic { store: "S3", source: "no credentials".into() })
            }
        }
    }
}
