//! A restored database held against the archive that it came from: rows, sequences, large objects, and everything that has a
//! name, with its owner. What a definition says (defaults, generated columns, bodies) is the archive's own statement, of which
//! none may fail.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::archive::{Data, TableOfContents};
use super::check;
use super::session::Session;
use crate::error::Result;
use crate::store::RestoredDatabase;

/// Tables that are asked for by one question.
const BATCH: usize = 200;
/// Problems of one kind that are named.
const SHOWN: usize = 20;

#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Number {
    name: String,
    number: i64,
}

#[derive(Debug, Deserialize)]
struct Owned {
    name: String,
    owner: String,
}

/// Holds the database of `session` against its archive. `owners` says whether everything was given to whom it belonged to.
///
/// # Errors
/// What the server says.
pub(super) async fn with_archive(
    session: &Session,
    contents: &TableOfContents,
    data: &Data,
    owners: bool,
    restored: &mut RestoredDatabase,
) -> Result<()> {
    rows(session, &data.rows, restored).await?;
    sequences(session, &data.sequences, restored).await?;
    objects(session, &contents.objects, owners, restored).await?;
    large_objects(session, data.large_objects, restored).await?;
    the_rest(session, &contents.extensions, restored).await
}

/// What belongs to an extension brings rows of its own.
const OF_EXTENSIONS: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'";

async fn rows(session: &Session, rows: &BTreeMap<String, u64>, restored: &mut RestoredDatabase) -> Result<()> {
    const DOING: &str = "count the rows that were restored";
    let foreign: Vec<Name> = session.ask_within(DOING, OF_EXTENSIONS).await?;
    let tables: Vec<(&String, u64)> = rows
        .iter()
        .filter(|(table, _)| foreign.iter().all(|it| it.name != **table))
        .map(|(table, rows)| (table, *rows))
        .collect();
    for batch in tables.chunks(BATCH) {
        let each = |(table, _): &(&String, u64)| {
            format!("SELECT '{}' AS name, count(*) AS number FROM ONLY {table}", table.replace('\'', "''"))
        };
        let counted: Vec<Number> =
            session.ask_within(DOING, &batch.iter().map(each).collect::<Vec<_>>().join(" UNION ALL ")).await?;
        let counted: BTreeMap<&str, i64> = counted.iter().map(|it| (it.name.as_str(), it.number)).collect();
        for (table, rows) in batch {
            let there = counted.get(table.as_str()).copied().unwrap_or(0);
            restored.tables += 1;
            restored.rows += u64::try_from(there).unwrap_or(0);
            if i128::from(there) != i128::from(*rows) {
                restored.problems.push(format!("{table} has {there} rows, the archive has {rows}"));
            }
        }
    }
    Ok(())
}

async fn sequences(session: &Session, stand: &BTreeMap<String, i64>, restored: &mut RestoredDatabase) -> Result<()> {
    const DOING: &str = "look where the sequences stand";
    let all: Vec<(&String, &i64)> = stand.iter().collect();
    for batch in all.chunks(BATCH) {
        let each = |(name, _): &(&String, &i64)| {
            format!("SELECT '{}' AS name, last_value AS number FROM {name}", name.replace('\'', "''"))
        };
        let found: Vec<Number> =
            session.ask_within(DOING, &batch.iter().map(each).collect::<Vec<_>>().join(" UNION ALL ")).await?;
        for Number { name, number } in found {
            restored.sequences += 1;
            if stand.get(&name) != Some(&number) {
                restored.problems.push(format!("the sequence {name} stands at {number}, not where the archive has it"));
            }
        }
    }
    Ok(())
}

async fn the_rest(session: &Session, extensions: &[String], restored: &mut RestoredDatabase) -> Result<()> {
    const DOING: &str = "look at what was restored";
    let there: Vec<Name> = session.ask_within(DOING, "SELECT extname AS name FROM pg_extension").await?;
    for extension in extensions {
        if there.iter().all(|it| it.name != *extension) {
            restored.problems.push(format!("the extension {extension} is missing"));
        }
    }
    restored.extensions = extensions.to_vec();
    let invalid = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid";
    let invalid: Vec<Name> = session.ask_within(DOING, invalid).await?;
    restored.problems.extend(invalid.into_iter().map(|index| format!("the index {} is not valid", index.name)));
    let unchecked = "SELECT conrelid::regclass::text || ' ' || quote_ident(conname) AS name FROM pg_constraint
        WHERE NOT convalidated AND contype IN ('c', 'f') ORDER BY 1";
    let unchecked: Vec<Name> = session.ask_within(DOING, unchecked).await?;
    let note = |constraint: Name| format!("the constraint {} is NOT VALID, as it is in the archive", constraint.name);
    restored.notes.extend(unchecked.into_iter().map(note));
    restored.notes.extend(check::collations(session).await?);
    Ok(())
}

/// Everything of the archive's kinds, in the words of its table of contents, with its owner.
const OBJECTS: &str = "WITH it AS (
      SELECT c.*, n.nspname, pg_get_userbyid(relowner) AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
      WHERE c.oid >= 16384
    ), named AS (
      SELECT CASE relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
          WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'INDEX' END || ' ' || nspname || ' ' || relname AS name, owner
        FROM it WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I')
      UNION ALL SELECT 'TABLE ATTACH ' || nspname || ' ' || relname, owner FROM it WHERE relispartition AND relkind IN ('r', 'p', 'f')
      UNION ALL SELECT CASE contype WHEN 'f' THEN 'FK CONSTRAINT' WHEN 'c' THEN 'CHECK CONSTRAINT' ELSE 'CONSTRAINT' END
          || ' ' || nspname || ' ' || relname || ' ' || conname, owner
        FROM it JOIN pg_constraint o ON conrelid = it.oid WHERE contype IN ('p', 'u', 'x', 'f', 'c')
      UNION ALL SELECT 'TRIGGER ' || nspname || ' ' || relname || ' ' || tgname, owner
        FROM it JOIN pg_trigger t ON tgrelid = it.oid WHERE NOT tgisinternal
    )
    SELECT translate(name, E'\\n\\r', '  ') AS name, owner FROM named";

/// Holds what has a name against the archive's table of contents.
async fn objects(
    session: &Session,
    archive: &BTreeSet<String>,
    owners: bool,
    restored: &mut RestoredDatabase,
) -> Result<()> {
    let there: Vec<Owned> = session.ask_within("look at everything that was restored", OBJECTS).await?;
    let there: BTreeMap<&str, &str> = there.iter().map(|it| (it.name.as_str(), it.owner.as_str())).collect();
    let mut wrong = Vec::new();
    for line in archive {
        restored.objects += 1;
        // Names and owners may have spaces in them: whichever way of reading the line is true is the one that is there.
        let found = line.match_indices(' ').rev().find_map(|(at, _)| there.get(&line[..at]).map(|owner| (at, *owner)));
        match found {
            None => wrong.push(format!("what the archive calls {line:?} is missing")),
            Some((at, owner)) if owners && line[at + 1..] != *owner => {
                wrong.push(format!("{:?} belongs to {owner:?}, in the archive to {:?}", &line[..at], &line[at + 1..]));
            }
            Some(_) => {}
        }
    }
    let more = wrong.len().saturating_sub(SHOWN);
    restored.problems.extend(wrong.into_iter().take(SHOWN));
    if more > 0 {
        restored.problems.push(format!("and {more} more that are missing or belong to somebody else"));
    }
    Ok(())
}

async fn large_objects(session: &Session, archive: u64, restored: &mut RestoredDatabase) -> Result<()> {
    let count = "SELECT '' AS name, count(*) AS number FROM pg_largeobject_metadata";
    let there: Number = session.one_within("count the large objects", count).await?;
    restored.large_objects = u64::try_from(there.number).unwrap_or(0);
    if restored.large_objects != archive {
        let there = restored.large_objects;
        restored.problems.push(format!("there are {there} large objects, the archive has {archive}"));
    }
    Ok(())
}
