//! The committed inputs of every decoder, as they are, cut and changed.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fuzz::DECODERS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
}

fn inputs(decoder: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder("corpus").join(decoder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A decoder without a corpus is not tested, one without a target is not fuzzed, and what is left of a
/// decoder that is gone is clutter.
#[test]
fn every_decoder_has_a_corpus_and_a_target() {
    let decoders: BTreeSet<String> = DECODERS.iter().map(|decoder| decoder.name.to_owned()).collect();
    assert_eq!(names(&folder("corpus")), decoders);
    assert_eq!(names(&folder("targets/src/bin")), decoders);
    for decoder in DECODERS {
        assert!(inputs(decoder.name).len() >= 3, "{}", decoder.name);
    }
}

#[test]
fn the_corpus_breaks_no_decoder() {
    for decoder in DECODERS {
        for input in inputs(decoder.name) {
            (decoder.run)(&input);
        }
    }
}

/// Neighbours of known inputs: cut anywhere, a byte changed, a byte too many. Where an input is long, some.
#[test]
fn changed_inputs_break_no_decoder() {
    const NEIGHBOURS: usize = 60;
    for decoder in DECODERS {
        for input in inputs(decoder.name) {
            let step = input.len() / NEIGHBOURS + 1;
            let mut changed = input.clone();
            for at in (0..input.len()).step_by(step) {
                (decoder.run)(&input[..at]);
                for value in [0, 0xFF, input[at] ^ 1, input[at] ^ 0x80] {
                    changed[at] = value;
                    (decoder.run)(&changed);
                }
                changed[at] = input[at];
            }
            changed.push(0);
            (decoder.run)(&changed);
        }
    }
}
