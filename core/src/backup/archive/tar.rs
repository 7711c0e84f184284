//! Entries as tar headers.
//!
//! [`encode`] is a pure function: the index alone tells every header byte of the stream, so a verify compares
//! whole headers and an extraction never has to believe one. The base is POSIX ustar (IEEE Std 1003.1, `pax`);
//! what it cannot hold goes into one PAX extended header before it, in the keywords that GNU tar reads.

use std::io::Write as _;

use crate::backup::manifest::{Entry, Node};
use crate::backup::nodes::{BLOCK, padded, stored_len};
use crate::error::{Error, Result};
use crate::value::unhex;

/// The largest value of the 11 octal digits of size and mtime: 8 GiB - 1.
const MAX_OCTAL_11: u64 = 0o777_7777_7777;
/// The largest value of the 7 octal digits of uid and gid.
const MAX_OCTAL_7: u64 = 0o777_7777;
/// The length of the name and of the linkname field.
const NAME_LEN: usize = 100;
/// The largest PAX header that is written or read, in bytes: all attributes of an entry together.
pub(super) const MAX_PAX: usize = 16 << 20;
/// The name of every PAX header. Only a reader that knows no PAX ever shows it.
const PAX_NAME: &[u8] = b"././@PaxHeader";
/// The folder that GNU tar puts in the ustar name of a sparse member, for readers that know no PAX.
const SPARSE_FOLDER: &[u8] = b"GNUSparseFile.0/";

/// Appends the bytes before the entry's content: a PAX header where one is needed, the ustar header, and the
/// map of a sparse file. Always whole blocks.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the attributes exceed [`MAX_PAX`] or are
/// not hexadecimal.
pub(in crate::backup) fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let map = match &entry.node {
        Node::File { size, data: Some(parts), .. } => Some(sparse_map(*size, parts)),
        _ => None,
    };
    let size = stored_len(&entry.node) + map.as_ref().map_or(0, |map| map.len() as u64);
    let name = member_name(entry);
    let link = match &entry.node {
        Node::Symlink { target } | Node::HardLink { target } => target.as_bytes(),
        _ => b"",
    };
    let pax = pax_records(entry, &name, link, size)?;
    if !pax.is_empty() {
        let header = Fields { name: PAX_NAME, mode: 0o644, size: pax.len() as u64, kind: b'x', ..Fields::default() };
        header.push(out);
        push_padded(out, &pax);
    }
    let sparse_name;
    let header = Fields {
        name: if map.is_some() {
            sparse_name = [SPARSE_FOLDER, cut(&name, NAME_LEN - SPARSE_FOLDER.len())].concat();
            &sparse_name
        } else {
            cut(&name, NAME_LEN)
        },
        mode: entry.mode.into(),
        uid: within(entry.uid.into(), MAX_OCTAL_7),
        gid: within(entry.gid.into(), MAX_OCTAL_7),
        size: within(size, MAX_OCTAL_11),
        mtime: u64::try_from(entry.mtime).map_or(0, |mtime| within(mtime, MAX_OCTAL_11)),
        kind: match entry.node {
            Node::File { .. } => b'0',
            Node::HardLink { .. } => b'1',
            Node::Symlink { .. } => b'2',
            Node::Dir => b'5',
            Node::Fifo => b'6',
        },
        link: cut(link, NAME_LEN),
    };
    header.push(out);
    if let Some(map) = map {
        out.extend_from_slice(&map);
    }
    Ok(())
}

/// The name as tar has it: folders end in a slash.
fn member_name(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.as_bytes().to_vec();
    if entry.node == Node::Dir {
        name.push(b'/');
    }
    name
}

/// A field that is too small for its value holds zero; the PAX header has the value.
fn within(value: u64, max: u64) -> u64 {
    if value <= max { value } else { 0 }
}

/// The first `max` bytes of a name, never half a UTF-8 character, and never ending in a slash where it was cut:
/// readers take a regular file of such a name for a folder.
fn cut(name: &[u8], max: usize) -> &[u8] {
    if name.len() <= max {
        return name;
    }
    let mut end = max;
    while end > 0 && max - end < 4 && name[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    while end > 1 && name[end - 1] == b'/' {
        end -= 1;
    }
    &name[..end]
}

/// The records that ustar has no room for, in a fixed order.
fn pax_records(entry: &Entry, name: &[u8], link: &[u8], size: u64) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let sparse = matches!(entry.node, Node::File { data: Some(_), .. });
    let long_name = name.len() > NAME_LEN && !sparse;
    let long_link = link.len() > NAME_LEN;
    let raw = |needed: bool, bytes: &[u8]| needed && std::str::from_utf8(bytes).is_err();
    if raw(long_name || sparse, name) || raw(long_link, link) {
        record(&mut body, b"hdrcharset", b"BINARY");
    }
    if long_name {
        record(&mut body, b"path", name);
    }
    if long_link {
        record(&mut body, b"linkpath", link);
    }
    for (key, value, max) in [
        (&b"size"[..], size, MAX_OCTAL_11),
        (b"uid", entry.uid.into(), MAX_OCTAL_7),
        (b"gid", entry.gid.into(), MAX_OCTAL_7),
    ] {
        if value > max {
            record(&mut body, key, value.to_string().as_bytes());
        }
    }
    let mtime_fits = u64::try_from(entry.mtime).is_ok_and(|mtime| mtime <= MAX_OCTAL_11);
    if !mtime_fits || entry.mtime_nanos != 0 {
        record(&mut body, b"mtime", decimal_time(entry.mtime, entry.mtime_nanos).as_bytes());
    }
    for xattr in &entry.xattrs {
        let value = unhex(&xattr.value).ok_or_else(|| {
            Error::invalid(format!("attribute {:?} of {:?} is not hexadecimal", xattr.name, entry.path))
        })?;
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in xattr.name.as_bytes() {
            // `=` ends a keyword: GNU tar writes it, and the sign it uses for that, in this way.
            match byte {
                b'%' => key.extend_from_slice(b"%25"),
                b'=' => key.extend_from_slice(b"%3D"),
                _ => key.push(*byte),
            }
        }
        record(&mut body, &key, &value);
    }
    if let Node::File { size, data: Some(_), .. } = &entry.node {
        record(&mut body, b"GNU.sparse.major", b"1");
        record(&mut body, b"GNU.sparse.minor", b"0");
        record(&mut body, b"GNU.sparse.name", name);
        record(&mut body, b"GNU.sparse.realsize", size.to_string().as_bytes());
    }
    if body.len() > MAX_PAX {
        return Err(Error::invalid(format!("the attributes of {:?} exceed {MAX_PAX} bytes", entry.path))
            .with_hint("exclude the file, or remove attributes with setfattr -x"));
    }
    Ok(body)
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    // Writing to a vector cannot fail.
    let _ = write!(body, "{len} ");
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

/// Seconds and nanoseconds as one decimal number: 0.25 s before the epoch, (-1, 750000000), is `-0.25…`.
fn decimal_time(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        seconds.to_string()
    } else if seconds < 0 {
        format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    }
}

/// The map that begins the content of a sparse member (GNU tar manual, "Storing Sparse Files", format 1.0):
/// decimal numbers, one a line: how many parts, then offset and length of each; padded to whole blocks.
fn sparse_map(size: u64, parts: &[(u64, u64)]) -> Vec<u8> {
    // GNU tar marks a hole at the end by an empty part there.
    let ends_in_hole = parts.last().is_none_or(|(offset, len)| offset + len < size);
    let mut map = Vec::new();
    let _ = writeln!(map, "{}", parts.len() + usize::from(ends_in_hole));
    for (offset, len) in parts.iter().copied().chain(ends_in_hole.then_some((size, 0))) {
        let _ = write!(map, "{offset}\n{len}\n");
    }
    map.resize(padded(map.len() as u64) as usize, 0);
    map
}

fn push_padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    let len = padded(bytes.len() as u64) as usize - bytes.len();
    out.resize(out.len() + len, 0);
}

/// The fields of a ustar header. User and group names stay empty: numbers are what a restore uses.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    mode: u64,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    kind: u8,
    link: &'a [u8],
}

impl Fields<'_> {
    fn push(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + BLOCK as usize, 0);
        let block = &mut out[start..];
        block[..self.name.len()].copy_from_slice(self.name);
        octal(&mut block[100..107], self.mode);
        octal(&mut block[108..115], self.uid);
        octal(&mut block[116..123], self.gid);
        octal(&mut block[124..135], self.size);
        octal(&mut block[136..147], self.mtime);
        block[156] = self.kind;
        block[157..157 + self.link.len()].copy_from_slice(self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..336], 0);
        octal(&mut block[337..344], 0);
        // The sum counts its own field as spaces, and ends in NUL and space.
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..154], sum);
        block[154] = 0;
    }
}

/// Fills `field` with octal digits, the last one last.
fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}
