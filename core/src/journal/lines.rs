//! The lines of a file from either end, in memory that does not grow with the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much is read at once, in bytes.
const BLOCK: usize = 64 << 10;

/// A line longer than this, in bytes, is not held: no record is that long.
const MAX_LINE: usize = super::MAX_RECORD_BYTES + (64 << 10);

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// Longer than any record can be.
    TooLong,
}

/// Reads the lines of what the file held when this was made. What is appended meanwhile is left for later.
pub(super) struct Lines {
    file: File,
    newest_first: bool,
    /// What is not read yet, as positions in the file.
    from: u64,
    to: u64,
    /// Read, and from `start` on not given out. Newest first, it is the part before what was given out.
    held: Vec<u8>,
    start: usize,
    /// How much of `held` was looked through for a line end; from the end when newest first.
    looked: usize,
    /// Inside a line whose beginning (or end) was dropped.
    dropping: bool,
    done: bool,
}

impl Lines {
    pub(super) fn new(file: File, newest_first: bool) -> io::Result<Self> {
        let to = file.metadata()?.len();
        Ok(Self {
            file,
            newest_first,
            from: 0,
            to,
            held: Vec::new(),
            start: 0,
            looked: 0,
            dropping: false,
            done: false,
        })
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        while !self.done {
            let line = if self.newest_first { self.cut_from_end() } else { self.cut_from_start() };
            match line {
                Some(line) if line.is_empty() && !self.dropping => continue,
                Some(line) => {
                    let too_long = std::mem::take(&mut self.dropping) || line.len() > MAX_LINE;
                    return Ok(Some(if too_long { Line::TooLong } else { Line::Whole(line) }));
                }
                None => {}
            }
            if self.held.len() - self.start > MAX_LINE {
                self.dropping = true;
                self.held.clear();
                (self.start, self.looked) = (0, 0);
            }
            if self.from < self.to {
                self.read_block()?;
            } else {
                self.done = true;
                if self.held.len() > self.start || self.dropping {
                    let line = self.held.split_off(self.start);
                    self.held.clear();
                    (self.start, self.looked) = (0, 0);
                    let too_long = std::mem::take(&mut self.dropping) || line.len() > MAX_LINE;
                    return Ok(Some(if too_long { Line::TooLong } else { Line::Whole(line) }));
                }
            }
        }
        Ok(None)
    }

    fn cut_from_start(&mut self) -> Option<Vec<u8>> {
        match self.held[self.looked..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let end = self.looked + at;
                let line = self.held[self.start..end].to_vec();
                (self.start, self.looked) = (end + 1, end + 1);
                Some(line)
            }
            None => {
                self.looked = self.held.len();
                None
            }
        }
    }

    fn cut_from_end(&mut self) -> Option<Vec<u8>> {
        let unseen = self.held.len() - self.looked;
        match self.held[..unseen].iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.held.split_off(at + 1);
                self.held.pop();
                self.looked = 0;
                Some(line)
            }
            None => {
                self.looked = self.held.len();
                None
            }
        }
    }

    fn read_block(&mut self) -> io::Result<()> {
        let len = usize::try_from(self.to - self.from).unwrap_or(usize::MAX).min(BLOCK);
        let at = if self.newest_first { self.to - len as u64 } else { self.from };
        let mut block = vec![0; len];
        self.file.read_exact_at(&mut block, at)?;
        if self.newest_first {
            self.to = at;
            block.append(&mut self.held);
            self.held = block;
        } else {
            self.from += len as u64;
            self.held.drain(..self.start);
            self.looked -= self.start;
            self.start = 0;
            self.held.append(&mut block);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &[u8], newest_first: bool) -> Vec<Line> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, content).unwrap();
        let mut lines = Lines::new(File::open(path).unwrap(), newest_first).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line);
        }
        assert_eq!(lines.next().unwrap(), None);
        all
    }

    #[test]
    fn both_directions_see_the_same_lines() {
        let long = [b"x".repeat(BLOCK * 2 + 7), b"\n".to_vec()].concat();
        let exact = [b"y".repeat(BLOCK - 1), b"\n".to_vec()].concat();
        for content in [
            b"".to_vec(),
            b"\n\n\n".to_vec(),
            b"a".to_vec(),
            b"a\nb\n".to_vec(),
            b"a\n\nb\nc".to_vec(),
            b"\na\n".to_vec(),
            [long.clone(), b"a\n".to_vec(), long.clone()].concat(),
            [exact.clone(), exact.clone(), b"tail".to_vec()].concat(),
        ] {
            let forwards = lines(&content, false);
            let mut backwards = lines(&content, true);
            backwards.reverse();
            assert_eq!(forwards, backwards);
            let expected: Vec<Line> = content
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| Line::Whole(line.to_vec()))
                .collect();
            assert_eq!(forwards, expected);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_one_line_and_is_not_held() {
        let huge = b"z".repeat(MAX_LINE * 3);
        for content in [
            [b"a\n".to_vec(), huge.clone(), b"\nb\n".to_vec()].concat(),
            [b"a\n".to_vec(), b"z".repeat(MAX_LINE + 1), b"\nb".to_vec()].concat(),
        ] {
            let expected = [Line::Whole(b"a".to_vec()), Line::TooLong, Line::Whole(b"b".to_vec())];
            assert_eq!(lines(&content, false), expected);
            let mut backwards = lines(&content, true);
            backwards.reverse();
            assert_eq!(backwards, expected);
        }
        assert_eq!(lines(&huge, true), [Line::TooLong]);
        assert_eq!(lines(&huge, false), [Line::TooLong]);
    }
}
