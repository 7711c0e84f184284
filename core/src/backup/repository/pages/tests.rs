use std::collections::HashMap;

use super::*;
use crate::backup::repository::id::IdKey;
use crate::backup::repository::pieces::PieceSource;
use crate::testing::random;

/// A file as the maps see it, with everything that was ever stored.
struct Model {
    key: IdKey,
    data: HashMap<BlobId, Vec<u8>>,
    maps: HashMap<BlobId, PageMap>,
}

impl Model {
    fn new() -> Self {
        Self { key: IdKey::new([1; 32]), data: HashMap::new(), maps: HashMap::new() }
    }

    /// Stores `file` over `base`, as a writer would.
    fn store(&mut self, file: &[u8], unit: u32, base: Option<(BlobId, &[u8])>) -> BlobId {
        let below = base.map(|(id, old)| (id, self.maps[&id].depth, old.len() as u64));
        let mut map = PageMap::new(unit, file.len() as u64, below);
        let same = base.map_or(0, |(_, old)| same_units(file.len() as u64, old.len() as u64, unit));
        let mut gathered = Vec::new();
        let mut units = 0;
        for number in 0..map.units() {
            let range = map.range(number);
            let bytes = &file[range.start as usize..range.end as usize];
            if number < same && base.is_some_and(|(_, old)| bytes == &old[range.start as usize..range.end as usize]) {
                continue;
            }
            map.push_unit(number as u32, map.data.len() as u32, units);
            gathered.extend_from_slice(bytes);
            units += 1;
            if units == 3 {
                map.push_data(self.keep(std::mem::take(&mut gathered)), std::mem::take(&mut units));
            }
        }
        if units > 0 {
            map.push_data(self.keep(gathered), units);
        }
        let mut blobs = HashMap::new();
        let mut writer = PieceWriter::new(|bytes: &[u8]| {
            let id = self.key.blob_id(bytes);
            blobs.insert(id, bytes.to_vec());
            Ok(id)
        });
        map.write(&mut writer).unwrap();
        let id = writer.finish().unwrap();
        let source = PieceSource::open(&id, |id| Ok(blobs[id].clone())).unwrap();
        let read = PageMap::read(std::io::BufReader::new(source)).unwrap();
        assert_eq!((&read.data, &read.runs, read.base, read.depth), (&map.data, &map.runs, map.base, map.depth));
        self.maps.insert(id, read);
        id
    }

    fn keep(&mut self, bytes: Vec<u8>) -> BlobId {
        let id = self.key.blob_id(&bytes);
        self.data.insert(id, bytes);
        id
    }

    fn flat(&self, id: &BlobId) -> Result<PageMap> {
        self.maps[id].clone().flatten(|id| Ok(self.maps[id].clone()))
    }

    fn content(&self, map: &PageMap) -> Vec<u8> {
        let mut file = Vec::new();
        for run in &map.runs {
            let data = &self.data[&map.data[run.data as usize].0];
            let start = (run.at * map.unit) as usize;
            let end = data.len().min(start + (run.units * map.unit) as usize);
            file.extend_from_slice(&data[start..end]);
        }
        file
    }
}

#[test]
fn chains_of_every_shape_come_back() {
    let mut random = random::seeded("pages");
    for round in 0..60 {
        let unit = 4096 << (round % 5);
        let mut model = Model::new();
        let mut file: Vec<u8> = Vec::new();
        let mut last: Option<(BlobId, Vec<u8>)> = None;
        for _ in 0..=MAX_DEPTH {
            // It grows, shrinks, ends inside a unit, and changes here and there.
            let length = random.u64(..40 * u64::from(unit)) as usize;
            file.resize(length, random.u8(..));
            for _ in 0..random.u64(..6) {
                if length > 0 {
                    file[random.usize(..length)] = random.u8(..);
                }
            }
            let id = model.store(&file, unit, last.as_ref().map(|(id, old)| (*id, &old[..])));
            let flat = model.flat(&id).unwrap();
            assert!(flat.base.is_none() && flat.depth == 0);
            assert!(model.content(&flat) == file, "");
            last = Some((id, file.clone()));
        }
    }
}

#[test]
fn what_is_not_whole_is_damage() {
    let unit = 4096;
    let mut model = Model::new();
    let old = vec![1; 5 * 4096 + 100];
    let first = model.store(&old, unit, None);
    let mut new = vec![1; 6 * 4096];
    new[0] = 2;
    let second = model.store(&new, unit, Some((first, &old)));
    // The old last unit is shorter than the new one at its place.
    assert_eq!(model.maps[&second].runs.iter().map(|run| (run.first, run.units)).collect::<Vec<_>>(), [(0, 1), (5, 1)]);
    let with = |change: &dyn Fn(&mut PageMap, &mut PageMap)| {
        let (mut top, mut base) = (model.maps[&second].clone(), model.maps[&first].clone());
        change(&mut top, &mut base);
        top.flatten(|_| Ok(base.clone())).map(drop)
    };
    with(&|_, _| {}).unwrap();
    for (what, change) in [
        (
            "a run is missing",
            &(|top: &mut PageMap, _: &mut PageMap| _ = top.runs.pop()) as &dyn Fn(&mut PageMap, &mut PageMap),
        ),
        ("a run is missing below", &|_, base: &mut PageMap| _ = base.runs.remove(1)),
        ("another unit", &|_, base: &mut PageMap| base.unit = 8192),
        ("another depth", &|top: &mut PageMap, _| top.depth = 2),
        ("the base is shorter", &|_, base: &mut PageMap| base.length = 4096 * 3),
    ] {
        assert_eq!(with(change).unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
    }
    // A map that is its own base ends, since the depth must fall.
    let own = model.maps[&second].clone();
    assert!(own.clone().flatten(|_| Ok(own.clone())).is_err());
}

#[test]
fn a_unit_that_was_cut_off_does_not_come_back() {
    let mut model = Model::new();
    let long = vec![1; 4 * 4096];
    let first = model.store(&long, 4096, None);
    let short = vec![1; 4096];
    let second = model.store(&short, 4096, Some((first, &long)));
    let again = vec![1; 4 * 4096];
    let third = model.store(&again, 4096, Some((second, &short)));
    let mut top = model.maps[&third].clone();
    assert!(model.content(&model.flat(&third).unwrap()) == again);
    // The map in between had one unit: the others are not to be found through it.
    top.runs.clear();
    assert!(top.flatten(|id| Ok(model.maps[id].clone())).is_err());
}

#[test]
fn records_that_lie_are_refused() {
    let blob = "03".repeat(16);
    let head = "unit 4096\nlength 20480\ndepth 0\n";
    for wrong in [
        String::new(),
        "unit 4096\nlength 20480\n".into(),
        "unit 4096\ndepth 0\n".into(),
        "unit 5000\nlength 20480\ndepth 0\n".into(),
        "unit 2048\nlength 20480\ndepth 0\n".into(),
        "unit 131072\nlength 20480\ndepth 0\n".into(),
        "unit 4096\nlength 18446744073709551615\ndepth 0\n".into(),
        "unit 4096\nlength 20480\ndepth 1\n".into(),
        format!("unit 4096\nlength 20480\nbase {blob}\ndepth 0\n"),
        format!("unit 4096\nlength 20480\nbase {blob}\ndepth 16\n"),
        format!("{head}depth 0\n"),
        format!("{head}unit 4096\n"),
        format!("{head}data {blob} 0\n"),
        format!("{head}data {blob} 257\n"),
        format!("{head}run 0 1 0 0\n"),
        format!("{head}data {blob} 5\nrun 0 0 0 0\n"),
        format!("{head}data {blob} 5\nrun 0 5 1 0\n"),
        format!("{head}data {blob} 5\nrun 0 5 0 1\n"),
        format!("{head}data {blob} 5\nrun 1 5 0 0\n"),
        format!("{head}data {blob} 5\nrun 1 2 0 0\nrun 2 1 0 2\n"),
        format!("{head}data {blob} 5\nrun 0 4294967295 0 4294967295\n"),
        format!("{head}data {blob} 5\nrun 0 1 0 0\ndata {blob} 5\n"),
        format!("{head}other\n"),
    ] {
        let record = format!("uplifted-ops pages 1\n{wrong}");
        assert_eq!(PageMap::read(record.as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong}");
    }
    let whole = format!("uplifted-ops pages 1\n{head}data {blob} 5\nrun 0 5 0 0\n");
    PageMap::read(whole.as_bytes()).unwrap().flatten(|_| unreachable!()).unwrap();
}

#[test]
fn units_follow_the_page_size() {
    let units: Vec<u32> = (9..=16).map(|bits| unit_for(1 << bits)).collect();
    assert_eq!(units, [4096, 4096, 4096, 4096, 8192, 16384, 32768, 65536]);
    assert_eq!((units_in(0, 4096), units_in(4096, 4096), units_in(4097, 4096)), (0, 1, 2));
    assert_eq!((same_units(5000, 5000, 4096), same_units(5000, 9000, 4096), same_units(0, 9, 4096)), (2, 1, 0));
}
