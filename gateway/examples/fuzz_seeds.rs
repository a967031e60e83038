//! Writes the inputs that fuzzing begins with, `gateway/fuzz/corpus/TARGET/NAME`:
//! `cargo run -p gateway --no-default-features --features testing --example fuzz_seeds`.
use std::{fs, io, path::Path};

use gateway::nfs::testing::fuzz::seeds;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let seeds = seeds();
    for seed in &seeds {
        let folder = corpus.join(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(&seed.name), &seed.bytes)?;
    }
    println!("{} inputs in {}", seeds.len(), corpus.display());
    Ok(())
}
