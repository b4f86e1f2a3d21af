//! Values under names, each in a file of its own. The enclave seals what files hold.

use crate::bindings::wasi::filesystem::preopens;
use crate::bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags,
};

/// Keeps `value` under `key`. When it returns, the value survives whatever happens to the machine.
pub fn put(key: &str, value: &[u8]) -> Result<(), ErrorCode> {
    let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = root()?.open_at(PathFlags::empty(), &file_name(key), how, DescriptorFlags::WRITE)?;
    let mut written = 0;
    while let Some(rest) = value.get(written..).filter(|rest| !rest.is_empty()) {
        written += file.write(rest, written as u64)? as usize;
    }
    file.sync_data()
}

/// What is kept under `key`.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, ErrorCode> {
    let none = OpenFlags::empty();
    let file = match root()?.open_at(PathFlags::empty(), &file_name(key), none, DescriptorFlags::READ) {
        Ok(file) => file,
        Err(ErrorCode::NoEntry) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut value = Vec::new();
    loop {
        let (part, end) = file.read(64 * 1024, value.len() as u64)?;
        value.extend_from_slice(&part);
        if end {
            return Ok(Some(value));
        }
    }
}

fn root() -> Result<Descriptor, ErrorCode> {
    let directories = preopens::get_directories();
    directories.into_iter().next().map(|(root, _)| root).ok_or(ErrorCode::NoEntry)
}

/// Any key is a file name once everything but letters, digits and `-` is written as `%` and two digits.
fn file_name(key: &str) -> String {
    let mut name = "kv.".to_owned();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}
