//! Lines of a crate, and how often it says `unsafe`.

use std::ops::Add;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};

/// Folders of sources that std compiles into its crates from beside them.
const BESIDE: &[(&str, &[&str])] = &[
    ("library/std", &["backtrace/src"]),
    ("library/core", &["stdarch/crates/core_arch/src", "portable-simd/crates/core_simd/src"]),
];

/// What a crate as it is published holds, whether or not all of it is compiled for the enclave; its tests not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Lines with something on them besides a comment.
    pub(super) lines: usize,
    /// The keyword, in code: blocks, functions, implementations, traits, attributes, macros.
    pub(super) unsafes: usize,
}

impl Count {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let source = folder.join("src");
        let mut count = of_folder(if source.is_dir() { &source } else { folder })?;
        for (_, others) in BESIDE.iter().filter(|(known, _)| folder.ends_with(known)) {
            let library = folder.parent().unwrap_or(folder);
            for other in *others {
                count = count + of_folder(&library.join(other))?;
            }
        }
        Ok(count)
    }

    fn of_text(text: &str) -> Self {
        let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = text.lines().filter(code).count();
        // What is no Rust (a template, say) is counted by words.
        let unsafes = TokenStream::from_str(text)
            .map_or_else(|_| text.split_whitespace().filter(|word| *word == "unsafe").count(), in_tokens);
        Self { lines, unsafes }
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lines: self.lines + other.lines, unsafes: self.unsafes + other.unsafes }
    }
}

fn in_tokens(tokens: TokenStream) -> usize {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => in_tokens(group.stream()),
            TokenTree::Ident(word) => usize::from(word == "unsafe"),
            TokenTree::Punct(_) | TokenTree::Literal(_) => 0,
        })
        .sum()
}

fn of_folder(folder: &Path) -> Result<Count> {
    let mut count = Count::default();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(&*name, "tests" | "benches" | "examples" | "target") {
            count = count + of_folder(&path)?;
        } else if name.ends_with(".rs") && !matches!(&*name, "tests.rs" | "test.rs" | "build.rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            count = count + Count::of_text(&text);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::{Count, of_folder};

    #[test]
    fn code_counts_and_comments_do_not() {
        let text = "\
// unsafe in a comment

/// unsafe in documentation
#[unsafe(no_mangle)]
fn one() { unsafe { two(\"unsafe in a string\") } }
    // unsafe
macro_rules! three { () => { unsafe impl Send for Four {} } }
let unsafely = r\"unsafe\"; // unsafe
";
        assert_eq!(Count::of_text(text), Count { lines: 4, unsafes: 3 });
        assert_eq!(Count::of_text(""), Count::default());
        assert_eq!(Count::of_text("unsafe { not Rust \n unsafe"), Count { lines: 2, unsafes: 2 });
    }

    #[test]
    fn tests_of_a_crate_are_not_in_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "unsafe {}\n").unwrap();
        for inside in ["tests", "deeper"] {
            std::fs::create_dir(folder.path().join(inside)).unwrap();
        }
        for name in ["lib.rs", "tests.rs", "tests/one.rs", "deeper/two.rs", "notes.txt"] {
            write(name);
        }
        assert_eq!(of_folder(folder.path()).unwrap(), Count { lines: 2, unsafes: 2 });
    }
}
