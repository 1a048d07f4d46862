//! `slm-synth MODEL --type MIX -o FILE`: a GGUF with the geometry of a released model and random weights.
//!
//! Speed depends on shapes and types, not on values, so that a file made in seconds measures what a download of
//! gigabytes would. Tensor types are those that llama-quantize gives; the text that such a model writes is noise.
//! `shapes` is the table of models, `mix` says which tensor gets which type, `vocabulary` makes tokens that any text
//! splits into, `rows` draws the weights, `file` puts it together.

mod file;
mod mix;
mod rows;
mod shapes;
mod vocabulary;

use anyhow::Context;
use clap::Parser;
use mix::Mix;
use shapes::{SHAPES, Shape};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Writes a model file of true shapes with random weights, to measure speed with
#[derive(Debug, Parser)]
#[command(name = "cargo xtask synth-model")]
struct Args {
    /// Model whose geometry to take: one of --list
    #[arg(required_unless_present = "list", value_parser = shape)]
    model: Option<&'static Shape>,
    /// Types of the tensors, as llama-quantize mixes them: q4_0, q4_k_m, q8_0, tq2_0, …
    #[arg(long = "type", value_name = "MIX", default_value = "q4_0")]
    mix: Mix,
    /// File to write [default: MODEL-MIX.gguf]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Another `general.architecture` than the model's own here
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Print the models and their sizes
    #[arg(long)]
    list: bool,
}

fn shape(name: &str) -> Result<&'static Shape, String> {
    SHAPES.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<&str> = SHAPES.iter().map(|s| s.name).collect();
        format!("the models are {}", names.join(", "))
    })
}

#[expect(
    clippy::print_stderr,
    reason = "a command-line program that speaks to the terminal"
)]
fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a command-line program that speaks to the terminal"
)]
fn run(args: &Args) -> anyhow::Result<()> {
    let Some(shape) = args.model.filter(|_| !args.list) else {
        for shape in SHAPES {
            let millions = shape.n_params() as f64 / 1e6;
            println!(
                "{:16} {millions:7.1} M parameters, architecture {}",
                shape.name, shape.arch
            );
        }
        return Ok(());
    };
    let path = args.output.clone().unwrap_or_else(|| {
        let mix = args.mix.to_string().to_lowercase();
        PathBuf::from(format!("{}-{mix}.gguf", shape.name))
    });
    let writing = || format!("cannot write `{}`", path.display());
    let target = File::create(&path).with_context(writing)?;
    let mut target = BufWriter::with_capacity(1 << 20, target);
    let arch = args.arch.as_deref().unwrap_or(shape.arch);
    let n_bytes = file::write(shape, args.mix, arch, &mut target)
        .and_then(|n_bytes| Ok(target.flush().map(|()| n_bytes)?))
        .with_context(writing)?;
    println!("{}: {} MiB of weights", path.display(), n_bytes >> 20);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        assert!(Args::try_parse_from(["x", "none"]).is_err());
        assert!(Args::try_parse_from(["x", "qwen3-0.6b", "--type", "q4_9"]).is_err());
        assert!(Args::try_parse_from(["x", "--list"]).is_ok());
    }
}
