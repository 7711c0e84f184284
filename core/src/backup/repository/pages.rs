//! Page maps: which units a database's file consists of, and in which data blobs they lie.
//!
//! A map names the units that changed and leaves the rest to its base, the map before it. So a day's metadata is
//! as large as a day's change. At most [`MAX_DEPTH`] maps lie below one, and [`PageMap::over`] lays one over the
//! next until none is left.

use std::io::BufRead;

use super::id::BlobId;
use super::lines::{Fields, Kind, LineWriter, RecordReader, RecordWriter};
use super::pieces::PieceWriter;
use crate::error::{Error, ErrorKind, Result};

const KIND: Kind = Kind::new("pages");
/// The smallest unit, in bytes.
pub(crate) const MIN_UNIT: u32 = 4 << 10;
/// The largest unit: the largest page of SQLite (sqlite.org/fileformat2, 1.3.2).
pub(crate) const MAX_UNIT: u32 = 64 << 10;
/// The most bytes of a data blob.
pub(crate) const MAX_DATA: u32 = 1 << 20;
/// The most maps below one.
pub(crate) const MAX_DEPTH: u32 = 15;
/// How much of a map is written at once.
const FLUSH: usize = 64 << 10;

/// A page map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageMap {
    /// Bytes of a unit: a power of two from [`MIN_UNIT`] to [`MAX_UNIT`].
    pub(crate) unit: u32,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Where units are that no run names.
    pub(crate) base: Option<BlobId>,
    /// How many maps lie below this one.
    pub(crate) depth: u32,
    /// The data blobs, each with the number of its units.
    pub(crate) data: Vec<(BlobId, u32)>,
    /// The units that this map names, ascending, not overlapping.
    pub(crate) runs: Vec<Run>,
    /// How many units from the first on may be those of the base: those that have the same length there.
    inherited: u64,
}

/// Units in a row that lie in a row in a data blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The number of the first unit in the file.
    pub(crate) first: u32,
    /// How many units.
    pub(crate) units: u32,
    /// Which data blob.
    pub(crate) data: u32,
    /// The number of the first unit in the data blob.
    pub(crate) at: u32,
}

impl Run {
    fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.units)
    }
}

/// The unit for databases with pages of `page_size` bytes.
pub(crate) fn unit_for(page_size: u32) -> u32 {
    page_size.clamp(MIN_UNIT, MAX_UNIT)
}

/// How many units a file of `length` bytes has; the last one may be shorter.
pub(crate) fn units_in(length: u64, unit: u32) -> u64 {
    length.div_ceil(u64::from(unit))
}

/// How many units, from the first on, have the same length in files of `a` and of `b` bytes.
pub(crate) fn same_units(a: u64, b: u64, unit: u32) -> u64 {
    if a == b { units_in(a, unit) } else { a.min(b) / u64::from(unit) }
}

impl PageMap {
    /// A map that names nothing yet, of a file of `length` bytes. `base` is the map below, its depth, and the
    /// length of its file.
    pub(crate) fn new(unit: u32, length: u64, base: Option<(BlobId, u32, u64)>) -> Self {
        Self {
            unit,
            length,
            base: base.map(|(id, ..)| id),
            depth: base.map_or(0, |(_, depth, _)| depth + 1),
            data: Vec::new(),
            runs: Vec::new(),
            inherited: base.map_or(0, |(_, _, base_length)| same_units(length, base_length, unit)),
        }
    }

    /// The same map, which names every unit itself and needs no other.
    pub(crate) fn without_base(self) -> Self {
        Self { base: None, depth: 0, inherited: 0, ..self }
    }

    /// A whole map that stands for a map of this depth, and all below it.
    pub(crate) fn in_place_of(depth: u32, flat: Self) -> Self {
        Self { depth, ..flat }
    }

    /// How many units the file has.
    pub(crate) fn units(&self) -> u64 {
        units_in(self.length, self.unit)
    }

    /// The bytes of the file that unit number `unit` is.
    pub(crate) fn range(&self, unit: u64) -> std::ops::Range<u64> {
        let start = unit * u64::from(self.unit);
        start..self.length.min(start + u64::from(self.unit))
    }

    /// Says that the next data blob begins: its id, and how many units it has.
    pub(crate) fn push_data(&mut self, id: BlobId, units: u32) {
        self.data.push((id, units));
    }

    /// Says that unit number `unit`, greater than all before, is number `at` of data blob number `data`.
    pub(crate) fn push_unit(&mut self, unit: u32, data: u32, at: u32) {
        if let Some(last) = self.runs.last_mut()
            && last.end() == u64::from(unit)
            && last.data == data
            && last.at + last.units == at
        {
            last.units += 1;
            return;
        }
        self.runs.push(Run { first: unit, units: 1, data, at });
    }

    /// Writes the record.
    pub(crate) fn write<F: FnMut(&[u8]) -> Result<BlobId>>(&self, out: &mut PieceWriter<F>) -> Result<()> {
        let mut record = RecordWriter::new(KIND);
        record.line("unit").number(self.unit);
        record.line("length").number(self.length);
        if let Some(base) = self.base {
            record.line("base").number(base);
        }
        record.line("depth").number(self.depth);
        for (id, units) in &self.data {
            write_data(record.line("data"), id, *units);
            if record.len() > FLUSH {
                out.push(&record.take())?;
            }
        }
        for run in &self.runs {
            write_run(record.line("run"), run);
            if record.len() > FLUSH {
                out.push(&record.take())?;
            }
        }
        out.push(&record.finish())
    }

    /// Reads a record. What it says of its base is checked when it is laid over it.
    pub(crate) fn read(input: impl BufRead) -> Result<Self> {
        let mut reader = RecordReader::proven(input, KIND)?;
        let (mut unit, mut length, mut depth, mut base) = (None, None, None, None);
        let mut map = Self::new(MIN_UNIT, 0, None);
        while let Some(mut fields) = reader.next()? {
            let head = map.data.is_empty() && map.runs.is_empty();
            let in_order = match fields.word() {
                "unit" => unit.replace(fields.number::<u32>()?).is_none() && length.is_none(),
                "length" => length.replace(fields.number::<u64>()?).is_none() && unit.is_some(),
                "base" => base.replace(BlobId(fields.hex()?)).is_none() && length.is_some() && depth.is_none(),
                "depth" => {
                    let (Some(unit), Some(length)) = (unit, length) else {
                        return Err(fields.wrong("the depth comes before the length"));
                    };
                    let below = fields.number()?;
                    map = Self::headed(&fields, unit, length, base, below)?;
                    depth.replace(map.depth).is_none() && head
                }
                "data" => {
                    map.take_data(&mut fields)?;
                    depth.is_some() && map.runs.is_empty()
                }
                "run" => {
                    map.take_run(&mut fields)?;
                    depth.is_some()
                }
                _ => return Err(fields.unknown()),
            };
            if !in_order {
                return Err(fields.wrong("a line is there twice, or out of order"));
            }
            fields.end()?;
        }
        if depth.is_none() {
            return Err(corrupt("it ends before its depth"));
        }
        Ok(map)
    }

    /// A map with these numbers, and nothing named yet. The errors are those of the line at hand.
    pub(super) fn headed(
        fields: &Fields<'_>,
        unit: u32,
        length: u64,
        base: Option<BlobId>,
        depth: u32,
    ) -> Result<Self> {
        if !unit.is_power_of_two() || !(MIN_UNIT..=MAX_UNIT).contains(&unit) {
            return Err(fields.wrong("the unit is none"));
        }
        if units_in(length, unit) > u64::from(u32::MAX) {
            return Err(fields.wrong("the file is longer than any database"));
        }
        let mut map = Self::new(unit, length, None);
        map.base = base;
        map.depth = depth;
        map.inherited = map.units();
        if map.depth > MAX_DEPTH || (map.depth == 0) != map.base.is_none() {
            return Err(fields.wrong("the depth does not go with the base"));
        }
        Ok(map)
    }

    /// Takes a line `data`.
    pub(super) fn take_data(&mut self, fields: &mut Fields<'_>) -> Result<()> {
        let (id, units) = (BlobId(fields.hex()?), fields.number::<u32>()?);
        if units == 0 || units > MAX_DATA / self.unit {
            return Err(fields.wrong("a data blob is empty or too long"));
        }
        // Each brings a unit of the file at least.
        if self.data.len() as u64 >= self.units() {
            return Err(fields.wrong("there are more data blobs than units"));
        }
        self.data.push((id, units));
        Ok(())
    }

    /// Takes a line `run`.
    pub(super) fn take_run(&mut self, fields: &mut Fields<'_>) -> Result<()> {
        let run =
            Run { first: fields.number()?, units: fields.number()?, data: fields.number()?, at: fields.number()? };
        let room = self.data.get(run.data as usize).map_or(0, |(_, units)| u64::from(*units));
        if run.units == 0
            || u64::from(run.at) + u64::from(run.units) > room
            || u64::from(run.first) < self.runs.last().map_or(0, Run::end)
            || run.end() > self.units()
        {
            return Err(fields.wrong("a run does not lie in its file, in its data, or behind the one before"));
        }
        self.runs.push(run);
        Ok(())
    }

    /// How many units this map itself names.
    pub(crate) fn named(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.units)).sum()
    }

    /// Lays this map over `base`, the one that it names: a map of the same file with one map less below it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the two do not go together.
    pub(crate) fn over(self, base: Self) -> Result<Self> {
        if self.base.is_none() || base.unit != self.unit || base.depth + 1 != self.depth {
            return Err(corrupt("its base has another unit or depth than it says"));
        }
        let inherited = self.inherited.min(same_units(self.length, base.length, self.unit));
        let shift = u32::try_from(self.data.len()).map_err(|_| corrupt("it has too many data blobs"))?;
        let mut runs = Vec::with_capacity(self.runs.len() + base.runs.len());
        let mut below = base.runs.iter().map(|run| Run { data: run.data + shift, ..*run });
        let mut next_below = below.next();
        // Between two runs of ours, and behind the last, whatever of the base's runs lies there.
        let mut gap_start = 0;
        for ours in self.runs.iter().map(Some).chain([None]) {
            let gap_end = ours.map_or(u64::MAX, |run| u64::from(run.first)).min(inherited);
            while let Some(run) = next_below {
                let (start, end) = (u64::from(run.first).max(gap_start), run.end().min(gap_end));
                if start < end {
                    let skipped = (start - u64::from(run.first)) as u32;
                    runs.push(Run {
                        first: start as u32,
                        units: (end - start) as u32,
                        data: run.data,
                        at: run.at + skipped,
                    });
                }
                if run.end() > gap_end {
                    break;
                }
                next_below = below.next();
            }
            if let Some(run) = ours {
                runs.push(*run);
                gap_start = run.end();
            }
        }
        let mut data = self.data;
        data.extend(base.data);
        let inherited = if base.base.is_some() { inherited.min(base.inherited) } else { inherited };
        Ok(Self { base: base.base, depth: base.depth, data, runs, inherited, ..self })
    }

    /// The whole map: laid over all that `fetch` finds below it, and complete.
    ///
    /// # Errors
    /// Those of `fetch`, and [`ErrorKind::Corrupt`] when units are missing or maps do not go together.
    pub(crate) fn flatten(mut self, mut fetch: impl FnMut(&BlobId) -> Result<Self>) -> Result<Self> {
        while let Some(base) = self.base {
            self = self.over(fetch(&base)?)?;
        }
        let mut end = 0;
        for run in &self.runs {
            if u64::from(run.first) != end {
                return Err(corrupt(&format!("nobody says where unit {end} is")));
            }
            end = run.end();
        }
        if end != self.units() {
            return Err(corrupt(&format!("nobody says where unit {end} is")));
        }
        self.drop_unused_data();
        Ok(self)
    }

    /// Forgets data blobs that no run needs, and joins runs that belong together.
    fn drop_unused_data(&mut self) {
        let mut new_number = vec![u32::MAX; self.data.len()];
        let mut data = Vec::new();
        let mut runs: Vec<Run> = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let number = &mut new_number[run.data as usize];
            if *number == u32::MAX {
                *number = data.len() as u32;
                data.push(self.data[run.data as usize]);
            }
            let run = Run { data: *number, ..*run };
            match runs.last_mut() {
                Some(last)
                    if last.data == run.data
                        && last.end() == u64::from(run.first)
                        && last.at + last.units == run.at =>
                {
                    last.units += run.units;
                }
                _ => runs.push(run),
            }
        }
        self.data = data;
        self.runs = runs;
    }
}

/// The fields of a line `data`.
pub(super) fn write_data(line: LineWriter<'_>, id: &BlobId, units: u32) {
    drop(line.number(id).number(units));
}

/// The fields of a line `run`.
pub(super) fn write_run(line: LineWriter<'_>, run: &Run) {
    drop(line.number(run.first).number(run.units).number(run.data).number(run.at));
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a page map is damaged: {what}"))
}

#[cfg(test)]
pub(super) mod tests;
