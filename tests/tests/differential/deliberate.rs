//! Where the enclave answers otherwise than wasmtime, and why. What is not in this table has to be equal.

/// A difference that is meant.
struct Difference {
    /// The section of the transcript.
    section: &'static str,
    /// How the operations begin that differ.
    operation: &'static str,
    /// What stands in wasmtime's line.
    theirs: &'static str,
    /// What stands in ours.
    ours: &'static str,
    why: &'static str,
}

const POSIX_DIRECTORY: &str = "a path that ends in a slash or a dot names a directory (POSIX 4.13)";
const NO_LINKS: &str = "there are no links, which all calls of an app would have to agree on";
const GONE: &str = "a removed directory is gone at once: its handles find nothing";
const NO_NAMES: &str = "names are part of what is denied, as sockets are (DESIGN, section 4)";

const TABLE: &[Difference] = &[
    Difference {
        section: "filesystem-paths",
        operation: "stat-at",
        theirs: "Ok((DescriptorType::RegularFile, false))",
        ours: "not-directory",
        why: POSIX_DIRECTORY,
    },
    Difference {
        section: "filesystem-paths",
        operation: "metadata-hash-at",
        theirs: "Ok(())",
        ours: "not-directory",
        why: POSIX_DIRECTORY,
    },
    Difference {
        section: "filesystem-paths",
        operation: "remove-directory-at \"d/",
        theirs: "invalid",
        ours: "not-empty",
        why: "a trailing slash does not make a directory's name invalid (POSIX rmdir)",
    },
    Difference {
        section: "filesystem-paths",
        operation: "set-times-at",
        theirs: "Ok(())",
        ours: "no-entry",
        why: "Linux does not look for the file when neither time is to change; here a missing file is always said",
    },
    Difference {
        section: "filesystem-paths",
        operation: "set-times-at 256 bytes",
        theirs: "Ok(())",
        ours: "name-too-long",
        why: "as above: the name is looked at even when neither time is to change",
    },
    Difference { section: "filesystem-remove", operation: "stat", theirs: "Ok", ours: "no-entry", why: GONE },
    Difference {
        section: "filesystem-remove",
        operation: "names",
        theirs: "Ok([])",
        ours: "no-entry",
        why: GONE,
    },
    Difference {
        section: "filesystem-remove",
        operation: "find itself",
        theirs: "Ok",
        ours: "no-entry",
        why: GONE,
    },
    Difference {
        section: "filesystem-links",
        operation: "symlink-at",
        theirs: "",
        ours: "unsupported",
        why: NO_LINKS,
    },
    Difference {
        section: "filesystem-links",
        operation: "link-at",
        theirs: "",
        ours: "unsupported",
        why: NO_LINKS,
    },
    Difference {
        section: "filesystem-links",
        operation: "names",
        theirs: "hard",
        ours: "[\"d/\", \"file\"]",
        why: NO_LINKS,
    },
    Difference {
        section: "io-input-streams",
        operation: "blocking, nothing",
        theirs: "closed",
        ours: "Ok([])",
        why: "to ask for nothing does not end a stream; a file of wasmtime takes the empty answer for its end",
    },
    Difference {
        section: "sockets",
        operation: "resolve",
        theirs: "permanent-resolver-failure",
        ours: "access-denied",
        why: NO_NAMES,
    },
];

/// Misuses that wasmtime lets pass, and why they trap here.
pub(crate) const ONLY_HERE_A_TRAP: &[(&str, &str)] = &[(
    "write-without-permit",
    "`output-stream.write`: more than `check-write` permitted traps (wasi:io/streams); a file of wasmtime takes it",
)];

/// Why these two lines may differ, if they may.
pub(crate) fn reason(section: &str, operation: &str, theirs: &str, ours: &str) -> Option<&'static str> {
    let listed = |difference: &&Difference| {
        difference.section == section
            && operation.starts_with(difference.operation)
            && theirs.contains(difference.theirs)
            && ours.contains(difference.ours)
    };
    TABLE.iter().find(listed).map(|difference| difference.why)
}
