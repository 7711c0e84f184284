//! Sizes and settings of the live database, from a short read transaction.

use rusqlite::types::FromSql;
use serde_json::{Map, Value};

use super::blocking::Task;
use super::live::{LiveFile, Reader, sql_error, tidy};
use super::{Database, StoreStats};
use crate::error::Result;

/// Reads the facts. Costs a look at page 1 and at the schema.
pub(super) fn read(task: &Task, database: &Database) -> Result<StoreStats> {
    let file = LiveFile::find(task, database)?;
    let details = facts(task, database, &file);
    tidy(&file);
    let details = details?;
    // Asked by name: opening the file to ask would be a descriptor to close.
    let size_bytes = file.path.metadata().map_or(file.main_bytes, |meta| meta.len());
    Ok(StoreStats { size_bytes, log_bytes: Some(file.log_bytes()), details })
}

fn facts(task: &Task, database: &Database, file: &LiveFile) -> Result<Map<String, Value>> {
    let reader = Reader::begin(task, database, file)?;
    let read = || -> rusqlite::Result<Map<String, Value>> {
        let mut facts = Map::new();
        for name in ["page_size", "page_count", "freelist_count", "schema_version", "user_version", "application_id"] {
            facts.insert(name.to_owned(), pragma::<i64>(&reader, name)?.into());
        }
        for name in ["journal_mode", "encoding"] {
            facts.insert(name.to_owned(), pragma::<String>(&reader, name)?.into());
        }
        let auto_vacuum = match pragma::<i64>(&reader, "auto_vacuum")? {
            0 => "none",
            1 => "full",
            _ => "incremental",
        };
        facts.insert("auto_vacuum".to_owned(), auto_vacuum.into());
        Ok(facts)
    };
    let mut facts = read().map_err(|e| sql_error("read", &file.path, e))?;
    reader.close();
    let wal_bytes = file.wal.metadata().map_or(0, |meta| meta.len());
    facts.insert("wal_bytes".to_owned(), wal_bytes.into());
    facts.insert("engine_version".to_owned(), rusqlite::version().into());
    Ok(facts)
}

fn pragma<T: FromSql>(reader: &Reader, name: &str) -> rusqlite::Result<T> {
    reader.connection.pragma_query_value(None, name, |row| row.get(0))
}
