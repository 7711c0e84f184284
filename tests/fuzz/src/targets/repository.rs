//! The records of a repository.

use uplifted_ops::testing::parsers;

use super::{KIB, MIB};
use crate::{Target, seeds};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "fields", read: parsers::fields, seeds: fields, floor: 512 * KIB, factor: 64, short: 3000 },
    Target {
        name: "identity",
        read: parsers::identity,
        seeds: seeds::identities,
        floor: 512 * KIB,
        factor: 64,
        short: 1000,
    },
    Target { name: "header", read: parsers::header, seeds: seeds::headers, floor: 512 * KIB, factor: 64, short: 1000 },
    Target {
        name: "collect",
        read: parsers::collect,
        seeds: seeds::collects,
        floor: 512 * KIB,
        factor: 64,
        short: 1000,
    },
    Target { name: "index", read: parsers::index, seeds: seeds::indexes, floor: MIB, factor: 64, short: 500 },
    // A little may expand: to 32 MiB of text, which has a blob in 50 bytes.
    Target {
        name: "index_stored",
        read: parsers::index_stored,
        seeds: seeds::stored_indexes,
        floor: 4 * MIB,
        factor: 64,
        short: 500,
    },
    Target { name: "tree", read: parsers::tree, seeds: seeds::trees, floor: 512 * KIB, factor: 64, short: 1000 },
    Target {
        name: "root",
        read: parsers::root,
        seeds: || seeds::blobs("uplifted-ops root "),
        floor: 512 * KIB,
        factor: 64,
        short: 1000,
    },
    Target {
        name: "page_maps",
        read: parsers::page_maps,
        seeds: seeds::page_maps,
        floor: 512 * KIB,
        factor: 64,
        short: 1000,
    },
    Target { name: "pieces", read: parsers::pieces, seeds: seeds::pieces, floor: 512 * KIB, factor: 64, short: 1000 },
    Target { name: "frame", read: parsers::frame, seeds: seeds::frames, floor: 64 * KIB, factor: 16, short: 300 },
    // The longest frame, packed and unpacked.
    Target { name: "pack", read: parsers::pack, seeds: seeds::packs, floor: 32 * MIB, factor: 64, short: 60 },
    Target {
        name: "recover_text",
        read: parsers::recover_text,
        seeds: seeds::recover_texts,
        floor: 512 * KIB,
        factor: 64,
        short: 300,
    },
    Target {
        name: "object_key",
        read: parsers::object_key,
        seeds: object_keys,
        floor: 16 * KIB,
        factor: 64,
        short: 3000,
    },
];

fn fields() -> Vec<Vec<u8>> {
    [
        "plain",
        "%",
        "%0A%25%FF",
        "18446744073709551615",
        "2026-03-01T02:00:05.25Z",
        "-",
        "00ff00ff00ff00ff00ff00ff00ff00ff",
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec()
}

fn object_keys() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef0123456789abcdef";
    let keys = [
        format!("packs/{id}.tar.zst"),
        format!("packs/{id}.tar.zst.age"),
        format!("index/{id}.zst"),
        "snapshots/20260301T020005Z_cdcdcdcdcdcd".to_owned(),
        "collect/20260301T020005Z_cdcdcdcdcdcd".to_owned(),
    ];
    keys.map(String::into_bytes).to_vec()
}
