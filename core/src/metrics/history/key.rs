//! The name and labels of a series as one string of bytes, by which it is found.

/// Parts, each with its length before it, so that no byte of a label can be taken for the end of one.
#[derive(Debug, Default)]
pub(super) struct KeyBuffer(Vec<u8>);

impl KeyBuffer {
    /// Makes the key of a series; its memory is used again.
    pub(super) fn set<'a>(
        &mut self,
        name: [&str; 2],
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        le: Option<&str>,
    ) {
        self.0.clear();
        self.part(&name);
        for (name, value) in labels {
            self.part(&[name]);
            self.part(&[value]);
        }
        if let Some(le) = le {
            self.part(&["le"]);
            self.part(&[le]);
        }
    }

    fn part(&mut self, pieces: &[&str]) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        // No label is longer: the registry keeps them all in memory.
        self.0.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        pieces.iter().for_each(|piece| self.0.extend_from_slice(piece.as_bytes()));
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The name of a series and its labels.
pub(super) fn parse(key: &[u8]) -> Option<(String, Vec<(String, String)>)> {
    let mut rest = key;
    let mut part = || -> Option<String> {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = behind;
        String::from_utf8(text.to_vec()).ok()
    };
    let name = part()?;
    let labels = std::iter::from_fn(|| Some((part()?, part()?))).collect();
    Some((name, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_whatever_the_labels_hold() {
        let mut key = KeyBuffer::default();
        let labels = [("a", "x\0y=\"z\""), ("b", ""), ("c", "\u{1F600}\n")];
        key.set(["requests", "_bucket"], labels.into_iter(), Some("+Inf"));
        let (name, parsed) = parse(key.bytes()).unwrap();
        assert_eq!(name, "requests_bucket");
        let parsed: Vec<(&str, &str)> = parsed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(parsed, [labels[0], labels[1], labels[2], ("le", "+Inf")]);
        let first = key.bytes().to_vec();
        key.set(["requests", "_bucket"], [("a", "x"), ("\0y=\"z\"b", "")].into_iter(), Some("+Inf"));
        assert_ne!(key.bytes(), first);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[9, 0, 0, 0, 1]), None);
    }
}
