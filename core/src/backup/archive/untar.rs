//! Tar headers as entries: the way back of [`super::tar`], for archives whose index is lost.
//!
//! It understands what we write. Whoever calls it encodes the entry again and compares, so that nothing is
//! taken for ours that is not.

use super::tar::MAX_PAX;
use crate::backup::manifest::{Entry, Node, RelPath, Xattr};
use crate::backup::nodes::{BLOCK, MAX_PARTS, padded};
use crate::value::hex;

/// The longest map of a sparse file, in bytes: two numbers of 20 digits for each part.
const MAX_MAP: usize = 2 * 21 * (MAX_PARTS + 2);

/// What the bytes at a place of the stream are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Too few to tell: come back with at least so many.
    Need(usize),
    /// The end of the stream.
    End,
    /// An entry, whose header (and map) is `header` bytes long. Its checksum and offset are not filled in.
    Member { entry: Box<Entry>, header: usize },
}

/// Reads the header that begins `bytes`. The error says what is not ours.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let block = BLOCK as usize;
    let Some(first) = bytes.get(..block) else { return Ok(Parsed::Need(block)) };
    if first.iter().all(|byte| *byte == 0) {
        return Ok(Parsed::End);
    }
    let mut at = 0;
    let mut pax = Pax::default();
    let mut header = Header::read(first)?;
    if header.kind == b'x' {
        let len =
            usize::try_from(header.size).ok().filter(|len| *len <= MAX_PAX).ok_or("the PAX header is too long")?;
        at = block + padded(len as u64) as usize;
        if bytes.len() < at + block {
            return Ok(Parsed::Need(at + block));
        }
        pax = Pax::read(&bytes[block..block + len])?;
        header = Header::read(&bytes[at..at + block])?;
    }
    at += block;
    let size = pax.size.unwrap_or(header.size);
    let mut name = pax.path.unwrap_or(header.name);
    let link = pax.link.unwrap_or(header.link);
    let node = match header.kind {
        b'0' => match pax.real_size {
            None => Node::File { size, blake3: None, data: None, valid_size: None },
            Some(real) => {
                let Some((data, len)) = read_map(&bytes[at..], real)? else { return Ok(Parsed::Need(2 * bytes.len())) };
                at += len;
                Node::File { size: real, blake3: None, data: Some(data), valid_size: None }
            }
        },
        b'1' => Node::HardLink { target: RelPath::from(link.as_slice()) },
        b'2' => Node::Symlink { target: RelPath::from(link.as_slice()) },
        b'5' => {
            name.pop_if(|last| *last == b'/');
            Node::Dir
        }
        b'6' => Node::Fifo,
        _ => return Err("the entry is of a kind that is never written"),
    };
    let (mtime, mtime_nanos) = match pax.mtime {
        Some(mtime) => mtime,
        None => (i64::try_from(header.mtime).map_err(|_| "the time is out of range")?, 0),
    };
    let number = |value: u64| u32::try_from(value).map_err(|_| "a number is out of range");
    let entry = Entry {
        path: RelPath::from(name.as_slice()),
        node,
        mode: number(header.mode)?,
        uid: number(pax.uid.unwrap_or(header.uid))?,
        gid: number(pax.gid.unwrap_or(header.gid))?,
        mtime,
        mtime_nanos,
        xattrs: pax.xattrs,
        offset: 0,
    };
    Ok(Parsed::Member { entry: Box::new(entry), header: at })
}

/// The fields of a ustar header.
struct Header {
    name: Vec<u8>,
    mode: u64,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    kind: u8,
    link: Vec<u8>,
}

impl Header {
    fn read(block: &[u8]) -> Result<Self, &'static str> {
        let text = |field: &[u8]| field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let octal = |field: &[u8]| {
            field.iter().try_fold(0_u64, |value, byte| match byte {
                b'0'..=b'7' => Ok(value << 3 | u64::from(byte - b'0')),
                _ => Err("a number of a tar header is not octal"),
            })
        };
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
        if octal(&block[148..154])? != sum - own + 8 * u64::from(b' ') {
            return Err("the checksum of a tar header is wrong");
        }
        Ok(Self {
            name: text(&block[..100]),
            mode: octal(&block[100..107])?,
            uid: octal(&block[108..115])?,
            gid: octal(&block[116..123])?,
            size: octal(&block[124..135])?,
            mtime: octal(&block[136..147])?,
            kind: block[156],
            link: text(&block[157..257]),
        })
    }
}

/// What a PAX header overrides.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    real_size: Option<u64>,
    xattrs: Vec<Xattr>,
}

impl Pax {
    fn read(mut body: &[u8]) -> Result<Self, &'static str> {
        const BAD: &str = "a record of a PAX header is malformed";
        let mut pax = Self::default();
        while !body.is_empty() {
            let space = body.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
            let len = usize::try_from(decimal(&body[..space]).ok_or(BAD)?).map_err(|_| BAD)?;
            if len <= space + 1 || len > body.len() || body[len - 1] != b'\n' {
                return Err(BAD);
            }
            let record = &body[space + 1..len - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
            pax.take(&record[..equals], &record[equals + 1..]).ok_or(BAD)?;
            body = &body[len..];
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" | b"GNU.sparse.name" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.realsize" => self.real_size = Some(decimal(value)?),
            b"hdrcharset" | b"GNU.sparse.major" | b"GNU.sparse.minor" => {}
            _ => {
                let name = key.strip_prefix(b"SCHILY.xattr.")?;
                let name = unescape(name)?;
                self.xattrs.push(Xattr { name: RelPath::from(name.as_slice()), value: hex(value) });
            }
        }
        Some(())
    }
}

/// `%25` and `%3D` as what they stand for.
fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (code, after) = rest.split_first_chunk::<2>()?;
        out.push(match code {
            b"25" => b'%',
            b"3D" => b'=',
            _ => return None,
        });
        rest = after;
    }
    Some(out)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds and nanoseconds of a decimal number with nine places, or none.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut halves = text.splitn(2, |byte| *byte == b'.');
    let whole = i128::from(decimal(halves.next()?)?);
    let nanos = match halves.next() {
        Some(places) if places.len() == 9 => decimal(places)?,
        Some(_) => return None,
        None => 0,
    };
    let all = whole * 1_000_000_000 + i128::from(nanos);
    let all = if negative { -all } else { all };
    let seconds = i64::try_from(all.div_euclid(1_000_000_000)).ok()?;
    Some((seconds, u32::try_from(all.rem_euclid(1_000_000_000)).ok()?))
}

/// The data parts of a sparse file.
type Parts = Vec<(u64, u64)>;

/// The map of a sparse file and its length in blocks; `None` when `bytes` do not hold all of it.
fn read_map(bytes: &[u8], real_size: u64) -> Result<Option<(Parts, usize)>, &'static str> {
    const BAD: &str = "the map of a sparse file is malformed";
    let mut at = 0;
    let mut number = || -> Result<Option<u64>, &'static str> {
        let rest = &bytes[at..];
        let Some(end) = rest.iter().take(21).position(|byte| *byte == b'\n') else {
            return if rest.len() > 20 { Err(BAD) } else { Ok(None) };
        };
        at += end + 1;
        decimal(&rest[..end]).map(Some).ok_or(BAD)
    };
    let Some(count) = number()? else { return Ok(None) };
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_PARTS + 1).ok_or(BAD)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(len)) = (number()?, number()?) else { return Ok(None) };
        parts.push((offset, len));
    }
    if at > MAX_MAP {
        return Err(BAD);
    }
    let len = padded(at as u64) as usize;
    if bytes.len() < len {
        return Ok(None);
    }
    // The empty part that marks a hole at the end.
    if parts.last() == Some(&(real_size, 0)) {
        parts.pop();
    }
    Ok(Some((parts, len)))
}
