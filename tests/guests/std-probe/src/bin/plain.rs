//! A program like any other, which knows nothing of components: it is run through `wasi:cli/run`.

fn main() -> std::io::Result<()> {
    let runs = std::fs::read("runs").map_or(0, |runs| runs.len()) + 1;
    std::fs::write("runs", vec![b'.'; runs])?;
    println!("run number {runs}");
    Ok(())
}
