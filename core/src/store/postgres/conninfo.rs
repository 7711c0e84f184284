//! What a connection string says: a URL, or `keyword=value` pairs, as libpq reads them.
//!
//! Source: "Connection Strings" and "Parameter Key Words" in chapter 34.1 of the PostgreSQL manual.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::value::{Secret, percent_decoded};

/// The keywords of libpq that mean something to us, with the variable that sets each where no string does.
pub(super) const KEYWORDS: [(&str, Option<&str>); 20] = [
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("options", Some("PGOPTIONS")),
    ("passfile", Some("PGPASSFILE")),
    ("password", Some("PGPASSWORD")),
    ("port", Some("PGPORT")),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("requirepeer", Some("PGREQUIREPEER")),
    ("service", Some("PGSERVICE")),
    ("servicefile", Some("PGSERVICEFILE")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("user", Some("PGUSER")),
];

/// Keywords that change nothing for us: how the socket is kept, other ways to authenticate, what the driver of the service
/// wants for itself (SQLAlchemy, asyncpg, Prisma, JDBC and Go write such things into `DATABASE_URL`).
const OTHERS: [&str; 40] = [
    "application_name",
    "client_encoding",
    "command_timeout",
    "connection_limit",
    "default_query_exec_mode",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_overflow",
    "pgbouncer",
    "pool",
    "pool_max_conns",
    "pool_min_conns",
    "pool_recycle",
    "pool_size",
    "pool_timeout",
    "prepared_statement_cache_size",
    "prepared_statement_cache_queries",
    "schema",
    "server_settings",
    "socket_timeout",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "ssl_minversion",
    "sslnegotiation",
    "sslsni",
    "statement_cache_capacity",
    "statement_cache_mode",
    "statement_cache_size",
    "tcp_user_timeout",
    "uselibpqcompat",
];

/// Parameters of a connection. Shows their names, and no value.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters(BTreeMap<&'static str, Secret>);

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Parameters {
    /// Reads a connection string: a URL when it has a scheme, pairs otherwise.
    ///
    /// # Errors
    /// When it is neither, and for a keyword that nobody knows. No error has the text in it: a password may be anywhere.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let mut parameters = Self::default();
        match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['=', ' ', '\'']) => parameters.url(scheme, rest)?,
            _ => parameters.pairs(text)?,
        }
        Ok(parameters)
    }

    /// The value of a keyword. An empty one is none, as in libpq.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(Secret::reveal).filter(|value| !value.is_empty())
    }

    /// Sets a keyword unless it is set.
    pub(super) fn default_to(&mut self, keyword: &str, value: &str) -> Result<()> {
        if self.get(keyword).is_none() { self.set(keyword, value) } else { Ok(()) }
    }

    /// Sets a keyword.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(super) fn set(&mut self, keyword: &str, value: &str) -> Result<()> {
        let (keyword, value) = match (keyword, value) {
            // As JDBC and asyncpg write them.
            ("ssl", "true" | "1") => ("sslmode", "require"),
            ("ssl", "false" | "0") => ("sslmode", "disable"),
            ("ssl", mode) => ("sslmode", mode),
            other => other,
        };
        if let Some((known, _)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) {
            self.0.insert(known, Secret::new(value));
            return Ok(());
        }
        if OTHERS.contains(&keyword) {
            return Ok(());
        }
        let near =
            KEYWORDS.iter().map(|(known, _)| *known).find(|known| strsim::damerau_levenshtein(known, keyword) <= 2);
        // Never by its name, which may be a part of a password that was not quoted.
        let hint = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => HINT.to_owned(),
        };
        Err(wrong("sets a keyword that PostgreSQL does not have", &hint))
    }

    fn url(&mut self, scheme: &str, rest: &str) -> Result<()> {
        // `postgresql+asyncpg`: what SQLAlchemy calls the driver.
        if !matches!(scheme.split('+').next(), Some("postgres" | "postgresql")) {
            return Err(wrong("begins with neither postgres:// nor postgresql://", HINT));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, servers) = match authority.rsplit_once('@') {
            Some((credentials, servers)) => (credentials, servers),
            None => ("", authority),
        };
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for server in servers.split(',') {
            let (host, port) = match server.rsplit_once(':') {
                Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, port),
                _ => (server, ""),
            };
            if !port.chars().all(|c| c.is_ascii_digit()) {
                let hint =
                    "percent-encode what is not a letter or digit in the user and the password: / is %2F, @ is %40";
                return Err(wrong("has a port that is none", hint));
            }
            hosts.push(decode(host.trim_start_matches('[').trim_end_matches(']'))?);
            ports.push(port);
        }
        let text = [
            ("user", decode(user)?),
            ("password", password.map(decode).transpose()?.unwrap_or_default()),
            ("host", hosts.join(",")),
            ("port", if ports.iter().all(|port| port.is_empty()) { String::new() } else { ports.join(",") }),
            ("dbname", decode(database)?),
        ];
        for (keyword, value) in text.iter().filter(|(_, value)| !value.is_empty() && value != ",") {
            self.set(keyword, value)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (keyword, value) =
                pair.split_once('=').ok_or_else(|| wrong("has a parameter without a value", HINT))?;
            self.set(&decode(keyword)?, &decode(value)?)?;
        }
        Ok(())
    }

    fn pairs(&mut self, text: &str) -> Result<()> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (keyword, after) =
                rest.split_once('=').ok_or_else(|| wrong("is neither a URL nor keyword=value", HINT))?;
            let (value, after) = value(after.trim_start())?;
            self.set(keyword.trim(), &value)?;
            rest = after.trim_start();
        }
        Ok(())
    }
}

/// One value of `keyword=value`, in quotes or up to white space, with `\` before what is meant as it stands; and what is left.
fn value(text: &str) -> Result<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in body.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => value.push(c),
            '\\' => escaped = true,
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            c if quoted.is_none() && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted.is_some() { Err(wrong("has a quote that is not closed", HINT)) } else { Ok((value, "")) }
}

const HINT: &str = "write it like postgres://user@host:5432/database, or host=/run/postgresql dbname=database";

fn wrong(why: &str, hint: &str) -> Error {
    Error::invalid(format!("the url of PostgreSQL {why}")).with_hint(hint)
}

fn decode(encoded: &str) -> Result<String> {
    let wrongly = || {
        wrong("is not percent-encoded UTF-8", "write % itself as %25, and other signs as % and two hexadecimal digits")
    };
    let text = percent_decoded(encoded).ok_or_else(wrongly)?;
    if text.contains('\0') { Err(wrong("has a zero byte", "take %00 out")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_pairs_are_taken_apart() {
        for (text, expected) in [
            ("postgres://", &[][..]),
            ("postgresql://localhost", &[("host", "localhost")]),
            (
                "postgresql+asyncpg://u:p%40%2Fss@h:5433/my%20db?ssl=require&pool_size=5",
                &[
                    ("user", "u"),
                    ("password", "p@/ss"),
                    ("host", "h"),
                    ("port", "5433"),
                    ("dbname", "my db"),
                    ("sslmode", "require"),
                ],
            ),
            ("postgres://u:a@b@h/x", &[("user", "u"), ("password", "a@b"), ("host", "h"), ("dbname", "x")]),
            ("postgres://[::1]:1,h2:2/x", &[("host", "::1,h2"), ("port", "1,2"), ("dbname", "x")]),
            ("postgres:///x?host=/run/postgresql", &[("host", "/run/postgresql"), ("dbname", "x")]),
            ("postgres://%2Frun%2Fpg/x", &[("host", "/run/pg"), ("dbname", "x")]),
            (
                "host=h port = 5 password='it\\'s \\\\ me' dbname=a\\ b",
                &[("host", "h"), ("port", "5"), ("password", "it's \\ me"), ("dbname", "a b")],
            ),
            ("service=mine", &[("service", "mine")]),
            ("", &[]),
        ] {
            let parameters = Parameters::parse(text).unwrap();
            let mut found: Vec<(&str, &str)> =
                parameters.0.iter().map(|(name, value)| (*name, value.reveal())).collect();
            let mut expected = expected.to_vec();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn no_error_and_no_debug_shows_a_password() {
        for text in [
            "mysql://u:hunter2@h/x",
            "postgres://u:hun/hunter2@h:1/x",
            "postgres://u:hunter2%zz@h",
            "postgres://u@h/x?hunter2",
            "postgres://u@h/x?hunter2=1",
            "password=hun hunter2",
            "password='hunter2",
            "password=a HUNTER2=b",
            "pasword=hunter2",
            "hunter2",
            "postgres://u:%00hunter2@h",
        ] {
            let error = Parameters::parse(text).unwrap_err();
            let told = format!("{error:?} {error} {:?}", error.hint());
            assert!(!told.to_lowercase().contains("hunter2"), "{text}: {told}");
            assert!(error.hint().is_some());
        }
        let parameters = Parameters::parse("password=hunter2 host=h").unwrap();
        assert_eq!(format!("{parameters:?}"), "{\"host\", \"password\"}");
        let error = Parameters::parse("postgres://h/x?ssl_mode=require").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \"sslmode\"?"));
    }
}
