//! Mutations of inputs that a parser takes. They know about lines, fields, numbers and digits, which most of our formats
//! consist of, and about nothing else.

use uplifted_ops::testing::random::Rng;

/// Numbers at the edges of types, sizes and tables.
const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "2",
    "15",
    "16",
    "255",
    "256",
    "4095",
    "4096",
    "65535",
    "65536",
    "1048577",
    "4194305",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "007",
];
/// Bytes that mean something to somebody.
const WORDS: [&[u8]; 24] = [
    b" ",
    b"\n",
    b"%",
    b"%0A",
    b"%25",
    b"-",
    b"+",
    b"=",
    b"/",
    b"../",
    b"./",
    b"\0",
    b"\xff",
    b"\"",
    b"{",
    b"[",
    b"}",
    b",",
    b":",
    b"00000000000000000000000000000000",
    b"ffffffffffffffffffffffffffffffff",
    b"mac ",
    b"\n----\n",
    b"*/",
];
/// Inputs do not grow beyond this.
const MOST: usize = 1 << 18;

/// Makes another input out of one of `corpus`.
pub fn mutate(random: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(corpus).unwrap().clone();
    for _ in 0..random.u8(1..=5) {
        once(random, corpus, &mut bytes);
        bytes.truncate(MOST);
    }
    bytes
}

fn once(random: &mut Rng, corpus: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let at = random.usize(..bytes.len() + 1);
    let end = (at + 1 + random.usize(..40)).min(bytes.len());
    match random.u8(..14) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        2 if at < bytes.len() => bytes[at] = random.u8(..),
        3 => drop(bytes.drain(at.min(end)..end)),
        4 => drop(bytes.splice(at..at, random.choice(&WORDS).unwrap().to_vec())),
        5 => {
            let again = bytes[at.min(end)..end].to_vec();
            let to = random.usize(..bytes.len() + 1);
            drop(bytes.splice(to..to, again));
        }
        6 => {
            let other = random.choice(corpus).unwrap();
            let from = random.usize(..other.len() + 1);
            let part = other[from..(from + random.usize(..200)).min(other.len())].to_vec();
            drop(bytes.splice(at..at, part));
        }
        7 | 8 => number(random, bytes, at),
        9..=12 => line(random, corpus, bytes),
        _ => bytes.extend((0..random.usize(..9)).map(|_| 0)),
    }
}

/// Replaces the decimal number around or behind a place.
fn number(random: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(inside) = bytes[at..].iter().position(digit).map(|behind| at + behind) else { return };
    let start = bytes[..inside].iter().rposition(|byte| !digit(byte)).map_or(0, |before| before + 1);
    let end = bytes[inside..].iter().position(|byte| !digit(byte)).map_or(bytes.len(), |behind| inside + behind);
    let text = std::str::from_utf8(&bytes[start..end]).unwrap_or_default();
    let value: u64 = text.parse().unwrap_or(0);
    let other = match random.u8(..4) {
        0 => value.wrapping_add(1).to_string(),
        1 => value.wrapping_sub(1).to_string(),
        _ => (*random.choice(&NUMBERS).unwrap()).to_owned(),
    };
    drop(bytes.splice(start..end, other.into_bytes()));
}

/// Moves, repeats, removes or borrows a line.
fn line(random: &mut Rng, corpus: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let (at, other) = (random.usize(..lines.len()), random.usize(..lines.len()));
    match random.u8(..6) {
        0 => drop(lines.remove(at)),
        1 => lines.swap(at, other),
        2 => {
            let moved = lines.remove(at);
            lines.insert(other.min(lines.len()), moved);
        }
        3 => lines.insert(at, lines[other].clone()),
        4 => {
            // So often that what grows with it shows.
            let many = 1 << random.u8(..11);
            let again = lines[at].clone();
            drop(lines.splice(at..at, std::iter::repeat_n(again, many)));
        }
        _ => {
            let theirs: Vec<&[u8]> = random.choice(corpus).unwrap().split_inclusive(|byte| *byte == b'\n').collect();
            if !theirs.is_empty() {
                lines.insert(at, random.choice(&theirs).unwrap().to_vec());
            }
        }
    }
    *bytes = lines.concat();
}
