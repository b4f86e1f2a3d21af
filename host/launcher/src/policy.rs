//! The policy file. On native it is read at start; in an image it is measured, and no file can change it.

use std::fs;
use std::io;
use std::path::Path;

use attestation::image_policy::{ImagePolicy, PageError, SourceError};

/// A policy file is far smaller; a wrong path may not be.
const MAX_FILE: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is larger than {MAX_FILE} bytes")]
    TooLarge,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Page(#[from] PageError),
}

/// The page that the enclave reads, and what the host needs to know of it.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) page: Vec<u8>,
    pub(crate) development: bool,
}

impl Policy {
    /// Reads `file`; without one, the policy under which nobody may load anything. Files that it names are
    /// looked for beside it.
    pub(crate) fn read(file: Option<&Path>) -> Result<Policy, PolicyError> {
        let policy = match file {
            None => ImagePolicy::from_toml("", |_| Err("no file"))?,
            Some(file) => {
                let dir = file.parent().unwrap_or(Path::new(""));
                ImagePolicy::from_toml(&read(file)?, |name| read(&dir.join(name)))?
            }
        };
        Ok(Policy { development: policy.development, page: policy.to_page()? })
    }
}

fn read(path: &Path) -> Result<String, PolicyError> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(PolicyError::TooLarge);
    }
    Ok(fs::read_to_string(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_loading_is_closed() {
        let policy = Policy::read(None).unwrap();
        assert!(!policy.development);
        let page = ImagePolicy::from_page(&policy.page).unwrap();
        assert!(!page.development && page.operators.is_empty());
    }

    #[test]
    fn development_is_said_in_one_line_and_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        fs::write(&file, "development = true\n").unwrap();
        assert!(Policy::read(Some(&file)).unwrap().development);
        fs::write(&file, "developement = true\n").unwrap();
        let error = Policy::read(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("developement"), "{error}");
        let error = Policy::read(Some(&dir.path().join("none"))).unwrap_err();
        assert!(matches!(error, PolicyError::Read(_)), "{error}");
    }
}
