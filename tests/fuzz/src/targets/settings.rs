//! What people write: schedules, time zones, `ops.toml`, `.env`. And files that they bring: archives of `tar`, databases.

use std::path::Path;

use uplifted_ops::clock::{Timestamp, time_zone};
use uplifted_ops::config::{LoadInput, load};
use uplifted_ops::schedule::Cron;
use uplifted_ops::testing::parsers::{self, Form};
use uplifted_ops::{ErrorKind, Result};

use super::{KIB, MIB, broken, text};
use crate::{Target, seeds};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "cron", read: cron, seeds: crons, floor: 64 * KIB, factor: 64, short: 1500 },
    Target { name: "time_zone", read: zone, seeds: zones, floor: MIB, factor: 64, short: 150 },
    Target { name: "settings", read: settings, seeds: files, floor: 2 * MIB, factor: 256, short: 200 },
    Target { name: "dotenv", read: dotenv, seeds: variables, floor: 2 * MIB, factor: 256, short: 200 },
    Target { name: "import", read: import, seeds: imports, floor: 64 * MIB, factor: 64, short: 60 },
    Target {
        name: "sqlite_header",
        read: parsers::sqlite_header,
        seeds: databases,
        floor: 64 * KIB,
        factor: 16,
        short: 3000,
    },
];

/// Moments at which clocks do odd things, and the ends of the calendar.
const MOMENTS: [&str; 6] = [
    "2026-03-29T00:59:59Z",
    "2026-10-25T00:30:00Z",
    "2024-02-28T23:59:59.9Z",
    "1970-01-01T00:00:00Z",
    "-009999-01-02T01:59:59Z",
    "9999-12-30T21:59:59Z",
];

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn crons() -> Vec<Vec<u8>> {
    bytes(&["30 2 * * mon-fri", "*/15 * * * *", "0 0 29 2 *", "5 4,16 1-15/3 jan,jul 0-7", "15 30 2 1 * mon", "@daily"])
}

fn cron(input: &[u8]) -> Result<Form> {
    let cron: Cron = text(input)?.parse()?;
    for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe"] {
        let zone = time_zone(Some(zone))?;
        for moment in MOMENTS {
            let mut at: Timestamp = moment.parse().unwrap();
            for _ in 0..3 {
                match cron.next_after(at, &zone) {
                    Some(next) if next > at => at = next,
                    None => break,
                    Some(next) => return Err(broken(format!("after {at} comes {next}"))),
                }
            }
        }
    }
    Ok(Form::Same(cron.to_string().into_bytes()))
}

fn zones() -> Vec<Vec<u8>> {
    bytes(&["Europe/Berlin", "UTC", "America/New_York", "Etc/GMT+5"])
}

fn zone(input: &[u8]) -> Result<Form> {
    let zone = time_zone(Some(text(input)?))?;
    for moment in MOMENTS {
        let at: Timestamp = moment.parse().unwrap();
        zone.to_datetime(at);
        "30 2 * * *".parse::<Cron>()?.next_after(at, &zone);
    }
    Ok(Form::Read)
}

fn files() -> Vec<Vec<u8>> {
    bytes(&[
        "[service]\nname = \"uplifted\"\ntimezone = \"Europe/Berlin\"\n\n[[store]]\nname = \"main\"\nkind = \"sqlite\"\npath = \"data/app.db\"\n",
        "[backup]\ninclude = [\"data\", \"config\"]\nschedule = \"0 2 * * *\"\nretention = { keep_last = 3, daily = 7, min_verified = 2 }\nlevel = 5\n\n\
         [[target]]\nname = \"local\"\nkind = \"fs\"\npath = \"/backup\"\n\n[[check]]\nname = \"api\"\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\n",
    ])
}

/// Reads a folder with one file in it. An error names the file and the line.
fn folder(name: &str, input: &[u8]) -> Result<Form> {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(name), input).unwrap();
    let loaded = load(&LoadInput { root: Some(root.path().to_owned()), ..LoadInput::new(root.path()) });
    match loaded {
        Ok(config) => {
            // Whatever was taken can be shown.
            config.show();
            Ok(Form::Read)
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput && !error.message().contains(name) => {
            Err(broken(format!("the error does not name the file: {error}")))
        }
        Err(error) => Err(error),
    }
}

fn settings(input: &[u8]) -> Result<Form> {
    folder("ops.toml", input)
}

fn variables() -> Vec<Vec<u8>> {
    bytes(&[
        "# comment\nexport UPLIFTED__BACKUP__LEVEL=5\nUPLIFTED__SERVICE__NAME='it''s'\nSECRET=\"a\\n${HOME:-x}b\" # why\n",
        "UPLIFTED__DATABASE__PATH=data/app.db\nREDIS_URL=redis://:secret@localhost/0\nUPLIFTED__BACKUP__INCLUDE=[\"data\"]\n",
    ])
}

fn dotenv(input: &[u8]) -> Result<Form> {
    folder(".env", input)
}

fn imports() -> Vec<Vec<u8>> {
    let ours = seeds::archive();
    // What follows the frames says nothing to `tar`.
    let stream = zstd::stream::decode_all(&ours[..]).unwrap();
    vec![zstd::bulk::compress(&stream, 1).unwrap(), stream, ours]
}

fn import(input: &[u8]) -> Result<Form> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file.tar");
    std::fs::write(&file, input).unwrap();
    let scratch = place.path().join("scratch");
    let read = parsers::unpack(&file, &scratch);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if left.iter().any(|name| name != "file.tar" && name != "scratch") {
        return Err(broken(format!("{left:?} lies beside what was unpacked")));
    }
    if Path::new(&scratch).exists() && std::fs::read_dir(&scratch).unwrap().next().is_some() {
        return Err(broken("something is left in scratch"));
    }
    read
}

fn databases() -> Vec<Vec<u8>> {
    let mut header = [0; 100];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..20].copy_from_slice(&[16, 0, 2, 2]);
    header[31] = 3;
    header[59] = 1;
    vec![header.to_vec(), Vec::new()]
}
