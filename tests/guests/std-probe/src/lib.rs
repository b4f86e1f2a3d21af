//! Uses the Rust standard library as if there were an ordinary machine below.

wit_bindgen::generate!({ path: "wit", world: "std-probe" });

mod files;

use exports::test::std_probe::probe::Guest;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Probe;

fn words<T>(result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{:?}", error.kind()))
}

fn append(path: &str, text: &str) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

impl Guest for Probe {
    fn write(path: String, text: String) -> Result<(), String> {
        words(fs::write(path, text))
    }

    fn append(path: String, text: String) -> Result<(), String> {
        words(append(&path, &text).map(drop))
    }

    fn append_and_sync(path: String, text: String) -> Result<(), String> {
        words(append(&path, &text).and_then(|file| file.sync_data()))
    }

    fn read(path: String) -> Result<String, String> {
        words(fs::read_to_string(path))
    }

    fn remove(path: String) -> Result<(), String> {
        words(fs::remove_file(path))
    }

    fn list(path: String) -> Result<Vec<String>, String> {
        let entries = words(fs::read_dir(path))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(words(entry)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn make_directories(path: String) -> Result<(), String> {
        words(fs::create_dir_all(path))
    }

    fn rename(from: String, to: String) -> Result<(), String> {
        words(fs::rename(from, to))
    }

    fn metadata(path: String) -> Result<(u64, bool), String> {
        let metadata = words(fs::metadata(path))?;
        Ok((metadata.len(), metadata.is_dir()))
    }

    fn exercise_files() -> String {
        match files::exercise() {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error}"),
        }
    }

    fn large_file(mib: u32) -> u64 {
        files::large(mib).unwrap_or(0)
    }

    fn unix_seconds() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
    }

    fn slept_ns(ms: u32) -> u64 {
        let start = Instant::now();
        sleep(Duration::from_millis(u64::from(ms)));
        start.elapsed().as_nanos() as u64
    }

    fn variables() -> Vec<(String, String)> {
        std::env::vars().collect()
    }

    fn arguments() -> Vec<String> {
        std::env::args().collect()
    }

    fn map_order() -> Vec<u32> {
        let map: HashMap<u32, ()> = (0..32).map(|n| (n, ())).collect();
        map.into_keys().collect()
    }

    fn print(out: String, err: String) {
        println!("{out}");
        eprintln!("{err}");
    }

    fn read_input() -> Result<String, String> {
        let mut text = String::new();
        words(io::stdin().read_to_string(&mut text))?;
        Ok(text)
    }

    fn connect(address: String) -> String {
        match TcpStream::connect(address) {
            Ok(_) => "connected".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    fn resolve(name: String) -> String {
        match (name.as_str(), 443).to_socket_addrs() {
            Ok(addresses) => format!("{} addresses", addresses.count()),
            Err(error) => format!("{error}"),
        }
    }
}

export!(Probe);
