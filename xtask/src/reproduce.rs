//! `cargo xtask reproduce`: two builds of the image that share nothing but the sources and the compiler, and one
//! MRENCLAVE.

use std::ffi::OsString;
use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::image::{self, Build, cargo_home, hex};
use crate::tool;

#[derive(Args, Default)]
pub(crate) struct Options {
    /// The policy that is measured with the image. Without it: the development policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Leave both builds under target/reproduce, to compare them.
    #[arg(long)]
    keep: bool,
}

/// What differs between two builders.
struct Surroundings {
    /// Folder below `target/reproduce`, of another depth and length.
    place: &'static str,
    user: &'static str,
    zone: &'static str,
    locale: &'static str,
    /// When the sources were last changed, and what SOURCE_DATE_EPOCH says; now and nothing, if none.
    clock: Option<u64>,
    /// The compiler lies in another folder.
    own_toolchain: bool,
}

const BUILDERS: [Surroundings; 2] = [
    Surroundings {
        place: "alice",
        user: "alice",
        zone: "UTC",
        locale: "C.UTF-8",
        clock: None,
        own_toolchain: false,
    },
    Surroundings {
        place: "home/of/the-other-builder",
        user: "bob",
        zone: "Pacific/Auckland",
        locale: "de_DE.UTF-8",
        clock: Some(1_000_000_000),
        own_toolchain: true,
    },
];

pub(crate) fn command(options: &Options) -> Result<()> {
    let parameters = image::parameters(&tool::root())?;
    let base = tool::target_dir().join("reproduce");
    remove(&base)?;
    // Both copies are taken before either is built: a build takes minutes, in which somebody may go on working.
    let prepare = |surroundings: &'static Surroundings| {
        let place = base.join(surroundings.place);
        let build = Build::of_this_checkout(&parameters, place.join("target"))?;
        Ok((surroundings, prepare(&place, surroundings, build)?))
    };
    let builds = BUILDERS.iter().map(prepare).collect::<Result<Vec<_>>>()?;
    let mut built = Vec::new();
    for (surroundings, build) in builds {
        let Surroundings { user, .. } = surroundings;
        eprintln!("build {} of {}, as {user}: {}", built.len() + 1, BUILDERS.len(), build.root.display());
        let elf = image::read(&build.run()?)?;
        let (image, _) = image::laid_out(&elf, &parameters, options.policy.as_deref(), false)?;
        let mrenclave = image_tool::mrenclave(&image.sgxs)?;
        println!("MRENCLAVE {} ({user})", hex(&mrenclave));
        if !options.keep {
            remove(&base.join(surroundings.place))?;
        }
        built.push((mrenclave, elf));
    }
    let [(one, one_elf), (other, other_elf)] = &built[..] else { bail!("there are two builders") };
    if one == other {
        println!("reproduced: both builds measure the same");
        return Ok(());
    }
    for difference in image_tool::differences(one_elf, other_elf)? {
        let (size, other_size) = difference.sizes;
        eprintln!(
            "section {}: {size} and {other_size} bytes, first differing at {:#x}",
            difference.section, difference.first
        );
    }
    bail!("the two builds measure differently; `cargo xtask reproduce --keep` leaves both to compare")
}

/// A checkout, home, cargo home and toolchain at `place`.
fn prepare(place: &Path, surroundings: &Surroundings, build: Build) -> Result<Build> {
    let (root, home) = (place.join("checkout"), place.join("home"));
    make(&home)?;
    copy_checkout(&root, surroundings.clock)?;
    let toolchain = if surroundings.own_toolchain {
        let sysroot = place.join("toolchain");
        for part in ["bin", "lib"] {
            link_tree(&build.toolchain.sysroot.join(part), &sysroot.join(part))?;
        }
        build.toolchain.moved_to(sysroot)
    } else {
        build.toolchain.clone()
    };
    let mut environment: Vec<(&'static str, OsString)> = vec![
        ("HOME", home.clone().into()),
        ("USER", surroundings.user.into()),
        ("LOGNAME", surroundings.user.into()),
        ("TZ", surroundings.zone.into()),
        ("LC_ALL", surroundings.locale.into()),
    ];
    if let Some(clock) = surroundings.clock {
        environment.push(("SOURCE_DATE_EPOCH", clock.to_string().into()));
    }
    Ok(Build { root, toolchain, cargo_home: own_cargo_home(&home)?, environment, ..build })
}

/// The files of this checkout as they are, whether committed or not.
fn copy_checkout(to: &Path, clock: Option<u64>) -> Result<()> {
    let root = tool::root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .context("git is not on PATH")?;
    if !listed.status.success() {
        bail!("{} is no git checkout: {}", root.display(), String::from_utf8_lossy(&listed.stderr).trim());
    }
    let names = String::from_utf8(listed.stdout).context("git lists a file whose name is not UTF-8")?;
    for name in names.split_terminator('\0') {
        let (from, to) = (root.join(name), to.join(name));
        // Deleted, and not committed yet.
        if !from.exists() {
            continue;
        }
        make(to.parent().unwrap_or(&to))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        if let Some(clock) = clock {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(clock);
            let file = fs::File::options().write(true).open(&to)?;
            file.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
        }
    }
    Ok(())
}

/// A cargo home of its own, which unpacks what was downloaded already.
fn own_cargo_home(home: &Path) -> Result<PathBuf> {
    let (theirs, ours) = (home.join(".cargo"), cargo_home()?);
    make(&theirs.join("registry"))?;
    for shared in ["registry/index", "registry/cache", "config.toml"] {
        let existing = ours.join(shared);
        if existing.exists() {
            std::os::unix::fs::symlink(&existing, theirs.join(shared))
                .with_context(|| format!("cannot link {}", existing.display()))?;
        }
    }
    Ok(theirs)
}

/// The same files in another place: linked, or copied where the file system cannot.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    make(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_tree(&from, &to)?;
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", folder.display())
        }
        _ => Ok(()),
    }
}
