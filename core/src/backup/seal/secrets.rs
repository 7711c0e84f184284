//! Which files are secrets by their names.
//!
//! A backup that is not encrypted holds them in clear, for whoever can read the target. So a backup without a key
//! is refused while the settings do not say `clear_secrets = true`.

use std::path::Path;

/// Whether a file of this name is a secret: `.env` and `.env.*` but for examples, private keys and key stores,
/// files of passwords and tokens. Capital letters count as small ones.
///
/// `*.pem` is one: what it holds cannot be told from its name.
pub fn is_secret_file(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let name = name.to_string_lossy().to_ascii_lowercase();
    if let Some(rest) = name.strip_prefix(".env") {
        let example = [".example", ".sample", ".template", ".dist", ".schema"].iter().any(|end| name.ends_with(end));
        return rest.is_empty() || (rest.starts_with('.') && !example);
    }
    const NAMES: [&str; 13] = [
        ".git-credentials",
        ".htpasswd",
        ".my.cnf",
        ".netrc",
        ".npmrc",
        ".pgpass",
        ".pypirc",
        "credentials.json",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "id_rsa",
        "service-account.json",
    ];
    const ENDS: [&str; 8] = [".jks", ".kdbx", ".key", ".keystore", ".p12", ".pem", ".pfx", ".ppk"];
    // Certificates of authorities, which come with every Python.
    name != "cacert.pem"
        && (NAMES.contains(&name.as_str())
            || ENDS.iter().any(|end| name.ends_with(end))
            || (name.starts_with("id_") && name.ends_with("_sk"))
            || name.split('.').next().is_some_and(|stem| stem == "secrets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            ".env",
            ".env.production",
            "deep/er/.ENV.local",
            "tls/server.key",
            "tls/server.pem",
            "id_rsa",
            ".ssh/id_ed25519",
            ".ssh/id_ed25519_sk",
            "keystore.p12",
            "secrets.yaml",
            "config/secrets",
            ".pgpass",
        ] {
            assert!(is_secret_file(Path::new(name)), "{name}");
        }
        for name in [
            ".env.example",
            ".envrc.md",
            ".environment",
            "id_rsa.pub",
            "id_cards.csv",
            "keys.md",
            "certifi/cacert.pem",
            "data/app.db",
            "monkey",
            "",
        ] {
            assert!(!is_secret_file(Path::new(name)), "{name}");
        }
    }
}
