//! The record `repository`: which repository this is, and where its id key is.

use super::id::{IdKey, RepositoryId};
use super::lines::{Kind, RecordReader, RecordWriter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

const KIND: Kind = Kind::new("repository");

/// Which repository this is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: RepositoryId,
    /// When it was created, by its creator's clock.
    pub(crate) created: Timestamp,
    /// Its id key, when the repository is in clear. Otherwise the host has it, and `keys/`.
    pub(crate) clear_key: Option<IdKey>,
}

impl Identity {
    /// A new repository in clear, or one that will be encrypted.
    pub(crate) fn new(created: Timestamp, clear_key: Option<IdKey>) -> Result<Self> {
        Ok(Self { id: RepositoryId::random()?, created, clear_key })
    }

    /// The record. `key` is the id key, also of an encrypted repository.
    pub(crate) fn write(&self, key: &IdKey) -> Vec<u8> {
        let mut record = RecordWriter::new(KIND);
        record.line("repository").number(self.id);
        record.line("created").number(self.created);
        match &self.clear_key {
            Some(key) => record.line("id_key").text(&hex(key.reveal())),
            None => record.line("encryption").text("age"),
        };
        record.finish_with_mac(key).0
    }

    /// What the record says. One in clear proves itself; an encrypted one is to be proven by
    /// [`Identity::prove`] once the key is at hand.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = RecordReader::proven(bytes, KIND)?;
        let (mut id, mut created, mut clear_key, mut sealed, mut ended) = (None, None, None, false, false);
        while let Some(mut fields) = reader.next()? {
            let fresh = match fields.word() {
                _ if ended => false,
                "repository" => id.replace(RepositoryId(fields.hex()?)).is_none(),
                "created" => created.replace(fields.time()?).is_none(),
                "id_key" => clear_key.replace(IdKey::new(fields.hex()?)).is_none(),
                "encryption" => match fields.text()?.as_str() {
                    "age" => !std::mem::replace(&mut sealed, true),
                    other => {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            format!("the repository is encrypted with {other:?}, which this build does not know"),
                        )
                        .with_hint("use the version of uplifted-ops that made it, or a newer one"));
                    }
                },
                "mac" => {
                    ended = true;
                    fields.hex::<32>().map(|_| true)?
                }
                _ => return Err(fields.unknown()),
            };
            if !fresh {
                return Err(fields.wrong("a line is there twice, or behind the mac"));
            }
            fields.end()?;
        }
        let (Some(id), Some(created)) = (id, created) else { return Err(incomplete()) };
        if clear_key.is_some() == sealed || !ended {
            return Err(incomplete());
        }
        let identity = Self { id, created, clear_key };
        if let Some(key) = &identity.clear_key {
            Self::prove(bytes, key)?;
        }
        Ok(identity)
    }

    /// Whether `key` is the one that the record was made with.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not, or the record was changed.
    pub(crate) fn prove(bytes: &[u8], key: &IdKey) -> Result<()> {
        let mut reader = RecordReader::with_mac(bytes, KIND, key)?;
        while reader.next()?.is_some() {}
        Ok(())
    }
}

fn incomplete() -> Error {
    Error::new(ErrorKind::Corrupt, "the repository record lacks its id, its time, its key or its mac")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_clear_it_proves_itself_and_sealed_it_needs_the_key() {
        let key = IdKey::new([5; 32]);
        let time = "2026-03-01T02:00:05Z".parse().unwrap();
        let clear = Identity::new(time, Some(key.clone())).unwrap();
        let bytes = clear.write(&key);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.starts_with(&format!("uplifted-ops repository 1\nrepository {}\ncreated 2026-", clear.id)),
            "{text}"
        );
        let read = Identity::read(&bytes).unwrap();
        assert_eq!((read.id, read.created), (clear.id, time));
        assert_eq!(read.clear_key.unwrap().reveal(), &[5; 32]);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Identity::read(&changed).is_err(), "byte {at}");
        }

        let sealed = Identity::new(time, None).unwrap();
        let bytes = sealed.write(&key);
        assert!(!String::from_utf8_lossy(&bytes).contains(&hex(key.reveal())));
        assert!(Identity::read(&bytes).unwrap().clear_key.is_none());
        Identity::prove(&bytes, &key).unwrap();
        assert_eq!(Identity::prove(&bytes, &IdKey::new([6; 32])).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn what_is_missing_twice_or_new_is_refused() {
        let key = IdKey::new([5; 32]);
        let record = |lines: &str| {
            let mut record = RecordWriter::new(KIND);
            record.lines(lines.as_bytes());
            Identity::read(&record.finish_with_mac(&key).0).unwrap_err()
        };
        let id = "repository 00000000000000000000000000000000\n";
        let time = "created 2026-03-01T02:00:05Z\n";
        for wrong in [
            String::new(),
            id.to_owned(),
            format!("{id}{time}"),
            format!("{id}{id}{time}encryption age\n"),
            format!("{id}{time}encryption age\nnew 1\n"),
            format!("{id}{time}encryption age\nid_key {}\n", hex(&[5; 32])),
        ] {
            assert_eq!(record(&wrong).kind(), ErrorKind::Corrupt, "{wrong}");
        }
        assert_eq!(record(&format!("{id}{time}encryption rot13\n")).kind(), ErrorKind::Unsupported);
    }
}
