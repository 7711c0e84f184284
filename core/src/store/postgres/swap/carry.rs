//! What a database has beside its contents, which the one that takes its name gets from it: owner, rights, settings, comment,
//! and the number of connections that it lets in.

use serde::Deserialize;

use super::super::session::Session;
use super::super::trouble::quoted;
use super::look::Database;
use crate::error::Result;

/// Settings that are lists of names. The server keeps them as one text, and wants it as several.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

#[derive(Debug, Deserialize)]
struct Right {
    grantee: Option<String>,
    right: String,
    grantable: bool,
}

#[derive(Debug, Deserialize)]
struct Setting {
    role: Option<String>,
    setting: String,
    /// Whether we may set what is for that role.
    ours: bool,
}

#[derive(Debug, Deserialize)]
struct Rest {
    comment: Option<String>,
    labels: i64,
}

/// What is carried over.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The statements.
    pub(super) statements: String,
    /// In words.
    pub(super) told: Vec<String>,
    /// What we lack for it.
    pub(super) obstacles: Vec<String>,
    /// What is not.
    pub(super) notes: Vec<String>,
}

/// What `from` has and `to` is to get.
pub(super) async fn over(session: &Session, user: &str, from: &Database, to: &Database) -> Result<Carried> {
    const DOING: &str = "look at the rights and settings of the database";
    let (name, user) = (quoted(&to.name), quoted(user));
    let mut carried = Carried::default();
    let mut say = |statement: String| carried.statements.push_str(&format!("{statement};\n"));
    if from.owner != to.owner {
        say(format!("ALTER DATABASE {name} OWNER TO {}", quoted(&from.owner)));
        carried.told.push(format!("owner: {}", from.owner));
    }
    let rights = |oid: i64, owner: bool| {
        // Of the new one's own rights those of its owner go with the ownership.
        let unless = if owner { "" } else { " AND a.grantee <> datdba" };
        format!(
            "SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END AS grantee, privilege_type AS right,
               is_grantable AS grantable
             FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE oid = {oid}{unless} ORDER BY 1, 2"
        )
    };
    let of_to: Vec<Right> = session.ask(DOING, &rights(to.oid, false)).await?;
    let of_from: Vec<Right> = session.ask(DOING, &rights(from.oid, true)).await?;
    let who = |right: &Right| right.grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), quoted);
    for right in &of_to {
        say(format!("REVOKE {} ON DATABASE {name} FROM {}", right.right, who(right)));
    }
    for right in &of_from {
        let option = if right.grantable { " WITH GRANT OPTION" } else { "" };
        say(format!("GRANT {} ON DATABASE {name} TO {}{option}", right.right, who(right)));
        let owned = right.grantee.as_ref() == Some(&from.owner);
        if !owned {
            carried.told.push(format!("{} to {}", right.right, who(right)));
        }
    }
    let settings = |oid: i64| {
        format!(
            "SELECT r.rolname AS role, unnest(setconfig) AS setting, setrole = 0 OR r.oid = me.oid OR me.rolsuper
               OR (me.rolcreaterole AND NOT r.rolsuper AND (current_setting('server_version_num')::int < 160000
                 OR pg_has_role(r.oid, 'USAGE WITH ADMIN OPTION'))) AS ours
             FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole JOIN pg_roles me ON me.rolname = current_user
             WHERE setdatabase = {oid}"
        )
    };
    let target = |role: &Option<String>| match role {
        None => format!("ALTER DATABASE {name}"),
        Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", quoted(role)),
    };
    let had: Vec<Setting> = session.ask(DOING, &settings(to.oid)).await?;
    for setting in &had {
        let (parameter, _) = setting.setting.split_once('=').unwrap_or((&setting.setting, ""));
        say(format!("{} RESET {}", target(&setting.role), dotted(parameter)));
    }
    let has: Vec<Setting> = session.ask(DOING, &settings(from.oid)).await?;
    for setting in &has {
        let Some((parameter, value)) = setting.setting.split_once('=') else { continue };
        say(format!("{} SET {} TO {}", target(&setting.role), dotted(parameter), literal(parameter, value)));
        if let Some(role) = setting.role.as_deref().filter(|_| !setting.ours) {
            let (role, admin) = (quoted(role), session.version() >= 16);
            let grant = if admin { format!("; GRANT {role} TO {user} WITH ADMIN OPTION") } else { String::new() };
            let lacking = format!(
                "user {user} may not carry over the settings of {role} in the database: ALTER ROLE {user} CREATEROLE{grant}"
            );
            if !carried.obstacles.contains(&lacking) {
                carried.obstacles.push(lacking);
            }
        }
        // Its value may be a secret of an extension.
        let whose = setting.role.as_ref().map_or_else(String::new, |role| format!(" of {role}"));
        carried.told.push(format!("setting {parameter}{whose}"));
    }
    if from.connections != to.connections && from.connections >= -1 {
        say(format!("ALTER DATABASE {name} CONNECTION LIMIT {}", from.connections));
        carried.told.push(format!("connection limit: {}", from.connections));
    }
    let rest = format!(
        "SELECT shobj_description({0}, 'pg_database') AS comment,
           (SELECT count(*) FROM pg_shseclabel WHERE objoid = {0} AND classoid = 'pg_database'::regclass) AS labels",
        from.oid
    );
    let rest: Rest = session.ask_one(DOING, &rest).await?;
    if let Some(comment) = rest.comment {
        say(format!("COMMENT ON DATABASE {name} IS {}", text(&comment)));
        carried.told.push("comment".to_owned());
    }
    if rest.labels > 0 {
        carried.notes.push("security labels of the database are not carried over: set them again".to_owned());
    }
    for (what, has, gets) in [
        ("tablespace", &from.tablespace, &to.tablespace),
        ("encoding", &from.encoding, &to.encoding),
        ("collation", &from.collate, &to.collate),
    ] {
        if has != gets {
            carried.notes.push(format!("its {what} is {gets}, that of the database before was {has}"));
        }
    }
    Ok(carried)
}

/// A text as SQL writes it.
fn text(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('\'', "''");
    if value.contains('\\') { format!("E'{escaped}'") } else { format!("'{escaped}'") }
}

/// The name of a setting, which has a dot for those of extensions.
fn dotted(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

fn literal(parameter: &str, value: &str) -> String {
    if !LISTS.contains(&parameter.to_ascii_lowercase().as_str()) {
        return text(value);
    }
    let (mut items, mut item, mut inside) = (Vec::new(), String::new(), false);
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => item.extend(chars.next()),
            '"' => inside = !inside,
            ',' if !inside => items.push(std::mem::take(&mut item)),
            c if c.is_whitespace() && !inside => {}
            c => item.push(c),
        }
    }
    items.push(item);
    items.iter().map(|item| text(item)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_server_takes_them() {
        assert_eq!(literal("search_path", "\"$user\", public, \"a\"\"b, c\""), "'$user', 'public', 'a\"b, c'");
        assert_eq!(literal("search_path", ""), "''");
        assert_eq!(literal("work_mem", "64MB"), "'64MB'");
        assert_eq!(literal("app.it", "it's \\ that"), "E'it''s \\\\ that'");
        assert_eq!(dotted("app.it"), "\"app\".\"it\"");
    }
}
