//! Tags: words that a caller gives a snapshot, to find it by and to keep it by.

use crate::error::{Error, Result};
use crate::value::is_tag;

/// How many tags a snapshot has at most.
const MAX_TAGS: usize = 32;

/// The tags sorted, each once.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for more than 32 of them, and for one that
/// [`is_tag`] refuses.
pub fn tidy(tags: &[String]) -> Result<Vec<String>> {
    if let Some(wrong) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(Error::invalid(format!("{wrong:?} is no tag"))
            .with_hint("use letters, digits and . _ - : @ + = / only, at most 64 bytes"));
    }
    let mut tidy = tags.to_vec();
    tidy.sort();
    tidy.dedup();
    if tidy.len() > MAX_TAGS {
        return Err(Error::invalid(format!("{} tags are too many for one snapshot", tidy.len()))
            .with_hint(format!("give it at most {MAX_TAGS}; a label takes longer text")));
    }
    Ok(tidy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tags: &[&str]) -> Result<Vec<String>> {
        tidy(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn tags_are_sorted_and_odd_ones_refused() {
        assert_eq!(of(&["release:1.2", "keep", "keep", "für-später"]).unwrap(), ["für-später", "keep", "release:1.2"]);
        assert_eq!(of(&[]).unwrap(), Vec::<String>::new());
        for wrong in ["", " ", "a b", "a,b", "a\nb", "\u{202e}x", "\"", "$(x)", &"x".repeat(65)] {
            assert!(of(&[wrong]).unwrap_err().message().ends_with("is no tag"), "{wrong:?}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("t{n}")).collect();
        assert!(tidy(&many).unwrap_err().message().starts_with("33 tags"));
    }
}
