//! A program with arguments, input, output and an exit code.

use std::io::{self, Read, Write};
use std::process::ExitCode;

fn main() -> Result<ExitCode, io::Error> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let number = || arguments.first().and_then(|text| text.parse().ok()).unwrap_or_default();
    match command.as_str() {
        "" => {}
        "show" => {
            println!("{:?}", std::env::args().collect::<Vec<_>>());
            eprintln!("{} variables", std::env::vars().count());
        }
        "cat" => drop(io::copy(&mut io::stdin(), &mut io::stdout())?),
        "count" => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            println!("{}", bytes.len());
            eprint!("no line end");
        }
        "exit" => {
            println!("before");
            std::process::exit(number());
        }
        "return" => return Ok(ExitCode::from(number() as u8)),
        "fail" => return Err(io::Error::other("on purpose")),
        "panic" => panic!("on purpose"),
        "store" => {
            std::fs::write("stored", arguments.concat())?;
            std::process::exit(3);
        }
        "stored" => print!("{}", std::fs::read_to_string("stored")?),
        "spin" => {
            print!("started");
            io::stdout().flush()?;
            loop {
                std::hint::black_box(());
            }
        }
        "flood" => {
            let block = [b'x'; 4096];
            let mut written = 0_u64;
            while io::stdout().write_all(&block).is_ok() {
                written += block.len() as u64;
            }
            std::fs::write("flooded", written.to_string())?;
        }
        "flooded" => print!("{}", std::fs::read_to_string("flooded")?),
        other => {
            eprintln!("there is no command {other}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
