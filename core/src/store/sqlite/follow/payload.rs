//! What an increment of a SQLite database holds: whole pages.
//!
//! `upsw`, then four numbers of 32 bits, least significant byte first: the version (1), the page size in bytes, how many pages
//! the database has afterwards (0 in a part that is not the last), how many pages are void; how many pages follow; then the
//! numbers of the void pages, the numbers of the pages, and the pages themselves. Both lists ascend.

use super::hashes::lock_page;
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::MAX_PAYLOAD;

const MAGIC: &[u8; 4] = b"upsw";
const VERSION: u32 = 1;
/// Bytes before the lists.
const HEAD: usize = 24;

/// A payload, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    pub(super) page_size: u32,
    /// Pages of the database afterwards; 0 in a part that is not the last.
    pub(super) size: u32,
    pub(super) void: Vec<u32>,
    pub(super) pages: Vec<(u32, &'a [u8])>,
}

/// How long a payload becomes.
pub(super) fn len(page_size: u32, pages: usize, void: usize) -> usize {
    HEAD + 4 * void + (4 + page_size as usize) * pages
}

/// Puts one together. The lists ascend.
pub(super) fn encode<'a>(
    page_size: u32,
    size: u32,
    void: &[u32],
    pages: impl ExactSizeIterator<Item = (u32, &'a [u8])> + Clone,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len(page_size, pages.len(), void.len()));
    bytes.extend_from_slice(MAGIC);
    // A payload has at most MAX_PAYLOAD bytes: no list is longer than 32 bits can say.
    let counts = [void.len(), pages.len()].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    for number in [VERSION, page_size, size, counts[0], counts[1]] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    void.iter().for_each(|page| bytes.extend_from_slice(&page.to_le_bytes()));
    pages.clone().for_each(|(page, _)| bytes.extend_from_slice(&page.to_le_bytes()));
    pages.for_each(|(_, content)| bytes.extend_from_slice(content));
    bytes
}

/// Takes one apart.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for what we never put together; [`ErrorKind::Unsupported`] for a newer version.
pub(super) fn decode(bytes: &[u8]) -> Result<Payload<'_>> {
    let number =
        |at: usize| bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    if bytes.len() < HEAD || !bytes.starts_with(MAGIC) {
        return Err(damaged("it is no increment of a SQLite database"));
    }
    if bytes.len() > MAX_PAYLOAD {
        return Err(damaged(format!("it has {} bytes, more than an increment may", bytes.len())));
    }
    if number(4) != VERSION {
        let message = format!("the increment has version {}, this build knows {VERSION}", number(4));
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint("update uplifted-ops"));
    }
    let (page_size, size) = (number(8), number(12));
    if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
        return Err(damaged(format!("it names a page size of {page_size} bytes")));
    }
    let [void_count, page_count] = [number(16), number(20)].map(|count| count as usize);
    // Neither can overflow: the counts have 32 bits, and a length 64 (the product has at most 32 + 17).
    let needed = HEAD as u64 + 4 * void_count as u64 + (4 + u64::from(page_size)) * page_count as u64;
    if needed != bytes.len() as u64 {
        return Err(damaged(format!("it has {} bytes instead of {needed}", bytes.len())));
    }
    let list = |from: usize, count: usize| -> Result<Vec<u32>> {
        let pages: Vec<u32> = (0..count).map(|index| number(from + 4 * index)).collect();
        if !pages.is_sorted_by(|a, b| a < b) {
            return Err(damaged("its pages are not in order"));
        }
        let lock = lock_page(page_size);
        match pages.iter().find(|page| **page == 0 || **page == lock || (size > 0 && **page > size)) {
            Some(page) => Err(damaged(format!("it has a page {page} of a database of {size} pages"))),
            None => Ok(pages),
        }
    };
    let void = list(HEAD, void_count)?;
    let pages = list(HEAD + 4 * void_count, page_count)?;
    let contents = bytes[HEAD + 4 * (void_count + page_count)..].chunks_exact(page_size as usize);
    Ok(Payload { page_size, size, void, pages: pages.into_iter().zip(contents).collect() })
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the increment is damaged: {what}"))
        .with_hint("go back to a moment before it, or begin with a newer copy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_together_is_taken_apart() {
        let (one, two) = ([1; 512], [2; 512]);
        for (size, void, pages) in [
            (9, vec![3, 4], vec![(1, &one[..]), (9, &two[..])]),
            (0, vec![], vec![(70, &two[..])]),
            (1, vec![], vec![]),
        ] {
            let bytes = encode(512, size, &void, pages.clone().into_iter());
            assert_eq!(bytes.len(), len(512, pages.len(), void.len()));
            assert_eq!(decode(&bytes).unwrap(), Payload { page_size: 512, size, void, pages });
        }
    }

    #[test]
    fn hostile_payloads_are_refused_by_name() {
        let page = [1; 512];
        let good = encode(512, 9, &[3], [(1, &page[..]), (9, &page[..])].into_iter());
        let with = |at: usize, number: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            decode(&bytes).unwrap_err().to_string()
        };
        assert!(with(0, 7).contains("no increment"), "{}", with(0, 7));
        assert!(with(4, 2).contains("version 2"));
        assert!(with(8, 513).contains("page size of 513"));
        assert!(with(8, 1024).contains("bytes instead of"));
        assert!(with(12, 8).contains("a page 9 of a database of 8"));
        assert!(with(16, u32::MAX).contains("bytes instead of"));
        assert!(with(20, u32::MAX).contains("bytes instead of"));
        assert!(with(24, 0).contains("a page 0"), "{}", with(24, 0));
        assert!(with(28, 9).contains("not in order"));
        assert!(with(28, 0).contains("a page 0"));
        assert!(with(32, u32::MAX).contains("a page 4294967295"));
        let lock = encode(512, u32::MAX, &[], [(lock_page(512), &page[..])].into_iter());
        assert!(decode(&lock).is_err());
        let mut random = crate::testing::random::seeded("payloads with wrong bytes");
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.u32(1..4) {
                let at = random.usize(..40);
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(bytes.len() / 2..=bytes.len()));
            if let Ok(payload) = decode(&bytes) {
                assert!(payload.pages.iter().all(|(page, bytes)| *page > 0 && bytes.len() == 512));
            }
        }
    }
}
