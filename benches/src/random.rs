//! Everything random comes from one seed, so that a run can be repeated.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream for `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 up to but not 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `len` bytes that nothing compresses.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Words that look like a language: few are frequent, many are rare.
#[derive(Debug)]
pub(crate) struct Words(Vec<String>);

impl Words {
    /// A vocabulary of 5,000 words.
    pub(crate) fn new(random: &mut Random) -> Self {
        const SYLLABLES: [&str; 24] = [
            "ka", "lo", "mi", "ter", "sen", "dra", "ul", "pre", "vo", "ning", "ex", "ta", "ri", "con", "se", "qua",
            "ple", "thi", "or", "man", "de", "gra", "fu", "zy",
        ];
        let mut word = || {
            let syllables = 1 + random.below(4);
            (0..syllables).map(|_| SYLLABLES[random.below(24) as usize]).collect::<String>()
        };
        Self((0..5000).map(|_| word()).collect())
    }

    /// Appends about `len` bytes of text.
    pub(crate) fn write(&self, random: &mut Random, len: usize, out: &mut String) {
        let end = out.len() + len;
        while out.len() < end {
            // The square of a share prefers the first words, as Zipf's law does.
            let share = random.share();
            let at = (share * share * self.0.len() as f64) as usize;
            out.push_str(&self.0[at.min(self.0.len() - 1)]);
            out.push(if random.below(12) == 0 { '\n' } else { ' ' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_text() {
        let text = |seed| {
            let mut random = Random::new(seed);
            let words = Words::new(&mut random);
            let mut out = String::new();
            words.write(&mut random, 1000, &mut out);
            (out, random.bytes(13))
        };
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
        assert!(text(7).0.len() >= 1000);
    }
}
