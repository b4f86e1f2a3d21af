//! What the source itself may say: which parts of std the trusted side uses, where unsafe may live, how
//! long a file may be.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Violation, place};

/// Folders whose code runs inside an enclave.
const TRUSTED: &[&str] = &["enclave", "boundary"];

/// What an enclave has not got, by path prefix.
const ABSENT: &[(&str, &str)] = &[
    ("std::fs", "an enclave has no files; use enclave/sealed-store"),
    ("std::net::Tcp", "an enclave has no sockets; use enclave/worker"),
    ("std::net::Udp", "an enclave has no sockets; use enclave/worker"),
    ("std::net::ToSocketAddrs", "an enclave resolves no names; use enclave/worker"),
    ("std::os", "an enclave has no operating system"),
    ("std::process", "an enclave has no processes"),
    ("std::env", "an enclave has no environment; settings come through the policy page"),
    ("std::time::Instant", "the clock is the host's claim; use enclave_platform::clock"),
    ("std::time::SystemTime", "the clock is the host's claim; use enclave_platform::clock"),
    ("std::is_x86_feature_detected", "CPUID is not available in an enclave"),
    ("std::arch::x86_64::__cpuid", "CPUID is not available in an enclave"),
    ("core::arch::x86_64::__cpuid", "CPUID is not available in an enclave"),
];

/// What a file may use all the same, by path prefix, and why.
const EXCEPTED: &[(&str, &str, &str)] = &[
    (
        "enclave/worker/src/hyper_rt.rs",
        "std::time::Instant",
        "hyper's timer trait names the type; one anchor is taken, all time comes from the enclave's clock",
    ),
    (
        "enclave/platform/src/sgx.rs",
        "std::os::fortanix_sgx",
        "the way out of an SGX image, and where it lies: this file is what everything else uses instead",
    ),
    (
        "enclave/platform/src/sgx/enclu.rs",
        "std::os::fortanix_sgx::arch",
        "EGETKEY and EREPORT as std has them",
    ),
    (
        "enclave/platform/src/sgx/calls.rs",
        "std::os::fortanix_sgx::usercalls::raw::UsercallNrs",
        "the number of the call that asks for the time",
    ),
    ("enclave/image/src/main.rs", "std::process::ExitCode", "what `main` returns"),
];

/// The marks `[unsafe]` of DESIGN §3. Every other crate forbids unsafe code.
const UNSAFE: &[&str] =
    &["enclave/platform", "enclave/wasm-platform", "boundary/ring", "host/launcher/image", "sgx-emu"];

/// Within a crate on the list, the only file that may contain it.
const UNSAFE_FILES: &[(&str, &str)] = &[("boundary/ring", "src/untrusted.rs")];

/// Past this a file is split by concern.
const MOST_LINES: usize = 1000;

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let at = place(root, package.manifest_path.as_std_path());
        let folder = root.join(&at);
        let trusted = TRUSTED.iter().any(|t| at == *t || at.starts_with(&format!("{t}/")));
        for file in sources(&folder.join("src"))? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            let shown = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            if text.lines().count() > MOST_LINES {
                found.push(Violation::new("length", &shown, format!("longer than {MOST_LINES} lines")));
            }
            let syntax = syn::parse_file(&text).with_context(|| format!("{shown} does not parse"))?;
            let mut reader = Reader { file: &shown, trusted, unsafe_lines: Vec::new(), found: &mut found };
            reader.visit_file(&syntax);
            let unsafe_lines = reader.unsafe_lines;
            let inside = file.strip_prefix(&folder).unwrap_or(&file).to_string_lossy().into_owned();
            let confined =
                UNSAFE_FILES.iter().find(|(c, _)| *c == at).is_some_and(|(_, only)| *only != inside);
            if confined {
                for line in unsafe_lines {
                    found.push(Violation::new(
                        "unsafe",
                        format!("{shown}:{line}"),
                        "unsafe outside its one file",
                    ));
                }
            }
        }
        if !UNSAFE.contains(&at.as_str()) {
            for name in ["src/lib.rs", "src/main.rs"] {
                let path = folder.join(name);
                if path.is_file() && !forbids_unsafe(&std::fs::read_to_string(&path)?) {
                    found.push(Violation::new(
                        "unsafe",
                        format!("{at}/{name}"),
                        "lacks #![forbid(unsafe_code)]",
                    ));
                }
            }
        }
    }
    Ok(found)
}

fn forbids_unsafe(text: &str) -> bool {
    syn::parse_file(text).is_ok_and(|file| {
        file.attrs.iter().any(|a| {
            a.path().is_ident("forbid")
                && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("unsafe_code"))
        })
    })
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if matches!(path.file_stem().and_then(|n| n.to_str()), Some("tests")) {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

struct Reader<'a> {
    file: &'a str,
    trusted: bool,
    unsafe_lines: Vec<usize>,
    found: &'a mut Vec<Violation>,
}

impl Reader<'_> {
    fn path(&mut self, path: &str, line: usize) {
        if !self.trusted {
            return;
        }
        if let Some((absent, why)) = ABSENT.iter().find(|(absent, _)| names(path, absent)) {
            if EXCEPTED.iter().any(|(file, part, _)| *file == self.file && names(path, part)) {
                return;
            }
            let what = format!("uses {absent}: {why}");
            self.found.push(Violation::new("std", format!("{}:{line}", self.file), what));
        }
    }

    fn tree(&mut self, prefix: &str, tree: &syn::UseTree) {
        let line = tree.span().start().line;
        match tree {
            syn::UseTree::Path(p) => self.tree(&format!("{prefix}{}::", p.ident), &p.tree),
            syn::UseTree::Name(n) if n.ident == "self" => self.path(prefix.trim_end_matches(':'), line),
            syn::UseTree::Name(n) => self.path(&format!("{prefix}{}", n.ident), line),
            syn::UseTree::Rename(r) if r.ident == "self" => self.path(prefix.trim_end_matches(':'), line),
            syn::UseTree::Rename(r) => self.path(&format!("{prefix}{}", r.ident), line),
            // A glob of std's root or of a module with absent parts hides what is used.
            syn::UseTree::Glob(_) => {
                let module = prefix.trim_end_matches(':');
                self.path(module, line);
                if self.trusted && ABSENT.iter().any(|(absent, _)| absent.starts_with(prefix)) {
                    let what = format!("`use {module}::*` hides what of it is used");
                    self.found.push(Violation::new("std", format!("{}:{line}", self.file), what));
                }
            }
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| self.tree(prefix, t)),
        }
    }
}

/// `path` is `absent` itself, something in it, or a name that starts with it (`std::net::Tcp…`).
fn names(path: &str, absent: &str) -> bool {
    path.strip_prefix(absent).is_some_and(|rest| {
        rest.is_empty()
            || rest.starts_with("::")
            || absent
                .rsplit("::")
                .next()
                .is_some_and(|l| l.starts_with(char::is_uppercase) || l.starts_with('_'))
    })
}

fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("cfg") && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test"))
            || a.path().is_ident("test")
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(i) => &i.attrs,
            syn::Item::Fn(i) => &i.attrs,
            syn::Item::Use(i) => &i.attrs,
            syn::Item::Impl(i) => &i.attrs,
            syn::Item::Struct(i) => &i.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !only_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Files of test modules are not read; so nothing else may take their name.
        if item.ident == "tests" && item.content.is_none() && !only_for_tests(&item.attrs) {
            let place = format!("{}:{}", self.file, item.span().start().line);
            self.found.push(Violation::new("std", place, "a module named `tests` must be #[cfg(test)]"));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.path(&segments.join("::"), path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_lines.push(block.span().start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.unsafe_lines.push(item.span().start().line);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if matches!(signature.safety, syn::Safety::Unsafe(_)) {
            self.unsafe_lines.push(signature.span().start().line);
        }
        visit::visit_signature(self, signature);
    }
}
