//! Who something is encrypted to.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::fingerprint::Fingerprint;
use crate::error::{Error, ErrorKind, Result};

/// The public half of an age X25519 key, `age1…`: an operator's, or a repository's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(pub(super) age::x25519::Recipient);

impl Recipient {
    /// The short name of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::digest(self.to_string().as_bytes());
        Fingerprint::from_first_bytes(&digest[..8])
    }

    /// The recipients in the text of a file: one a line; empty lines and those that begin with `#` do not count.
    ///
    /// # Errors
    /// As [`Recipient::from_str`], with the line's number. The line itself is not repeated: it may be a secret.
    pub fn all_in(text: &str, name: &str) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            found
                .push(line.parse::<Self>().map_err(|error| error.while_doing(format!("{name}, line {}", number + 1)))?);
        }
        Ok(found)
    }
}

impl FromStr for Recipient {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidInput`] that names the mistake, and never repeats `text`: a secret key given by
    /// mistake, an SSH key, a key with a typing error. [`ErrorKind::Unsupported`] for keys of age's plugins.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let upper = text.to_ascii_uppercase();
        if upper.starts_with("AGE-SECRET-KEY-") || upper.starts_with("AGE-PLUGIN-") {
            return Err(Error::invalid("a recipient is the public half of a key, and this is the secret half")
                .with_hint(
                    "name the public key, age1…: `age-keygen -y FILE` prints it; keep the secret off this host",
                ));
        }
        if is_ssh(text) {
            return Err(Error::invalid("a recipient is an age key, and this is an SSH key")
                .with_hint("make an age key: `age-keygen -o FILE` prints its public half, age1…"));
        }
        match age::x25519::Recipient::from_str(text) {
            Ok(inner) => Ok(Self(inner)),
            // Plugins' names stand between `age1` and a second `1`; the post-quantum keys are `age1pq1…`.
            Err(_) if text.strip_prefix("age1").is_some_and(|rest| rest.contains('1')) => Err(Error::new(
                ErrorKind::Unsupported,
                "this recipient belongs to a plugin or a kind of age that this build does not have",
            )
            .with_hint("name an X25519 recipient, as `age-keygen` makes it: age1 and 58 more characters")),
            Err(why) => Err(Error::invalid(format!("this is no age recipient: {why}")).with_hint(
                "copy the public key whole: age1 and 58 more characters, as `age-keygen -y FILE` prints it",
            )),
        }
    }
}

pub(super) fn is_ssh(text: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| text.starts_with(prefix))
        || (text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----"))
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
