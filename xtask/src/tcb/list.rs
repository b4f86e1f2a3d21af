//! The committed list, as text.

use std::collections::BTreeSet;

use super::{Count, Member, Origin};

const HEADER: &str = "\
# Every crate that is measured into the image: `cargo xtask tcb` compares this list with the build and prints it with
# sums; `cargo xtask tcb --write` renews it. Behind the version: source lines as published, and how often they say
# `unsafe`, whether or not all of it is compiled for the enclave. Of this repository's own crates the lines are not
# listed: they change with every commit.
";

/// The list that belongs to these crates.
pub(super) fn text(members: &[(Member, Count)]) -> String {
    let mut text = HEADER.to_owned();
    for (origin, title) in
        [(Origin::Ours, "ours"), (Origin::CratesIo, "crates.io"), (Origin::Std, "std, by its toolchain")]
    {
        text += &format!("\n# {title}\n");
        for (member, count) in members.iter().filter(|(member, _)| member.origin == origin) {
            let lines = if origin == Origin::Ours { "-".to_owned() } else { count.lines.to_string() };
            text += &format!("{} {} {lines} {}\n", member.name, member.version, count.unsafes);
        }
    }
    text
}

/// What one list has and the other has not, as `- line` and `+ line`.
pub(super) fn differences(committed: &str, found: &str) -> Vec<String> {
    let (committed, found) = (entries(committed), entries(found));
    let gone = committed.difference(&found).map(|line| format!("- {line}"));
    let new = found.difference(&committed).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

fn entries(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}
