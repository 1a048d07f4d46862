//! What fits this machine, in words: for `search`, before a pull, and where there is no model yet.

use slm_catalog::fit::Reason;
use slm_catalog::{Catalog, Choice, Fit, Machine};

use crate::settings::Settings;
use crate::text::size;
use crate::text::table::{self, Room};

/// How many models are offered where there is none.
const N_OFFERED: usize = 4;

/// This machine: memory that is left, or the bound that the person set, and how fast it is read. The first time takes
/// about 0.2 seconds.
pub(crate) fn machine(settings: &Settings) -> Machine {
    let left = slm_machine::memory::available_bytes();
    let cache = settings.cache_dir.as_deref();
    Machine {
        memory: [left, settings.memory].into_iter().flatten().min(),
        bandwidth: slm_machine::bandwidth::cached(
            cache.map(|folder| folder.join("bandwidth")).as_deref(),
        ),
    }
}

/// What the catalogue says about a pull.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Advice {
    /// What to pull.
    pub pull: String,
    /// Whether that is another name than was asked for.
    pub is_choice: bool,
    /// What it takes, and why it was chosen.
    pub line: String,
    /// Why it may not run.
    pub warning: Option<String>,
}

/// Whether the catalogue knows a name, of a family or of a file.
///
/// # Errors
/// A damaged catalogue, which is a mistake of this program.
pub(crate) fn is_known(name: &str) -> anyhow::Result<bool> {
    let catalog = Catalog::built_in()?;
    Ok(catalog.find(name).is_some() || catalog.family(name).next().is_some())
}

/// Whether a name is that of a file of a family.
///
/// # Errors
/// As [`is_known`].
pub(crate) fn is_of_family(name: &str, family: &str) -> anyhow::Result<bool> {
    let catalog = Catalog::built_in()?;
    let found = catalog.find(name);
    Ok(found.is_some_and(|(model, _)| model.family.eq_ignore_ascii_case(family)))
}

/// What the catalogue says about the pull of `name`: of a family it chooses the model and file that fit. `None` when the
/// catalogue does not know the name.
///
/// # Errors
/// As [`is_known`].
pub(crate) fn advise(name: &str, machine: &Machine) -> anyhow::Result<Option<Advice>> {
    let catalog = Catalog::built_in()?;
    if let Some((model, variant)) = catalog.find(name) {
        let fit = machine.fit(model, variant);
        return Ok(Some(Advice {
            pull: name.to_owned(),
            is_choice: false,
            line: format!("{name}: {}", needs(&fit)),
            warning: warning(&fit, machine),
        }));
    }
    if catalog.family(name).next().is_none() {
        return Ok(None);
    }
    Ok(machine.choose(&catalog, name).map(|choice| Advice {
        pull: choice.variant.pull.clone(),
        is_choice: true,
        line: format!(
            "{name}: choosing {}, {}; {}",
            choice.variant.pull,
            why(&choice, machine),
            needs(&choice.fit)
        ),
        warning: warning(&choice.fit, machine),
    }))
}

/// What is known of a model when only the size of its files is: a line, and a warning where it does not fit. `machine` is
/// `None` where it is not this one that runs it.
pub(crate) fn of_size(
    name: &str,
    total: u64,
    here: u64,
    machine: Option<&Machine>,
) -> (String, Option<String>) {
    let mut line = format!(
        "{name}: {} to download",
        size::bytes(total - here.min(total))
    );
    if here > 0 {
        line.push_str(&format!(" of {}", size::bytes(total)));
    }
    let Some(machine) = machine else {
        return (line, None);
    };
    let fit = machine.fit_bytes(total);
    line.push_str(&format!(
        ", at least {} of memory",
        size::bytes(fit.memory_bytes)
    ));
    if let Some(speed) = fit.tokens_per_second {
        line.push_str(&format!(", up to {} (estimate)", tokens_per_second(speed)));
    }
    (line, warning(&fit, machine))
}

fn why(choice: &Choice<'_>, machine: &Machine) -> String {
    let free = machine.memory.map_or(String::new(), |memory| {
        format!(" into the {} that are free", size::bytes(memory))
    });
    match choice.reason {
        Reason::Best => "the largest of its family".to_owned(),
        Reason::LargerIsSlow => "a larger one would be slow here".to_owned(),
        Reason::LargerDoesNotFit => format!("a larger one does not fit{free}"),
        Reason::NothingFits => format!("the smallest, though none fits{free}"),
        Reason::Unknown => "the smallest, since the memory is unknown".to_owned(),
    }
}

fn needs(fit: &Fit) -> String {
    let mut text = format!(
        "about {} to download, {} of memory with {} tokens of context",
        size::bytes(fit.file_bytes),
        size::bytes(fit.memory_bytes),
        fit.context
    );
    if let Some(speed) = fit.tokens_per_second {
        text.push_str(&format!(", {} (estimate)", tokens_per_second(speed)));
    }
    text
}

fn warning(fit: &Fit, machine: &Machine) -> Option<String> {
    let memory = machine.memory.filter(|_| fit.fits == Some(false))?;
    Some(format!(
        "it needs about {} and {} are free: it may run with a shorter context only, or not at all; \
         `slm search --fits` shows what fits",
        size::bytes(fit.memory_bytes),
        size::bytes(memory)
    ))
}

/// `12 tokens/s`, with a decimal below ten.
pub(crate) fn tokens_per_second(speed: f64) -> String {
    if speed < 10.0 {
        format!("{speed:.1} tokens/s")
    } else {
        format!("{speed:.0} tokens/s")
    }
}

/// Where there is no model yet: those that fit, the largest that are fast enough first, and how to get one, within
/// `width` columns.
///
/// # Errors
/// As [`advise`].
pub(crate) fn offer(machine: &Machine, width: Option<usize>) -> anyhow::Result<String> {
    let catalog = Catalog::built_in()?;
    let text = catalog
        .models
        .iter()
        .filter(|model| model.kind == slm_catalog::Kind::Text);
    let mut fitting: Vec<_> = text
        .filter_map(|model| {
            let (variant, fit) = machine.variant(model)?;
            (fit.fits != Some(false)).then_some((model, variant, fit))
        })
        .collect();
    fitting.sort_by_key(|(model, _, fit)| (fit.is_slow(), std::cmp::Reverse(model.parameters)));
    if fitting.is_empty() {
        return Ok(
            "no model is here yet, and none of the catalogue fits the free memory; \
                   `slm search` shows them"
                .to_owned(),
        );
    }
    let rows = fitting.iter().take(N_OFFERED).map(|(model, variant, fit)| {
        vec![
            format!("slm pull {}", variant.pull),
            format!("~{}", size::bytes(fit.file_bytes)),
            fit.tokens_per_second.map_or_else(String::new, |speed| {
                format!("~{}", tokens_per_second(speed))
            }),
            model.good_at.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    // the command is there to be copied
    let rooms = [Room::Whole, Room::Spare(2), Room::Spare(1), Room::Text(0)];
    let table = table::fit(&rows, &rooms, 2, width);
    Ok(format!(
        "no model is here yet; these fit this machine (`slm search` shows more):\n{}",
        table.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roomy() -> Machine {
        Machine {
            memory: Some(16_000_000_000),
            bandwidth: Some(20_000_000_000),
        }
    }

    fn tight() -> Machine {
        Machine {
            memory: Some(2_400_000_000),
            ..roomy()
        }
    }

    fn tiny() -> Machine {
        Machine {
            memory: Some(100_000_000),
            bandwidth: None,
        }
    }

    #[test]
    fn a_family_becomes_the_file_that_fits_and_says_why() {
        let advice = advise("qwen3", &tight())
            .expect("a catalogue")
            .expect("known");
        assert_eq!(advice.pull, "qwen3:1.7b-q4_K_M");
        assert!(advice.is_choice && advice.warning.is_none());
        assert_eq!(
            advice.line,
            "qwen3: choosing qwen3:1.7b-q4_K_M, a larger one does not fit into the 2.4 GB that are free; \
             about 1.1 GB to download, 2.3 GB of memory with 8192 tokens of context, 18 tokens/s (estimate)"
        );
        let best = advise("qwen3", &roomy())
            .expect("a catalogue")
            .expect("known");
        assert_eq!(best.pull, "qwen3:4b-q4_K_M");
        assert!(best.line.contains("the largest of its family"), "{best:?}");
    }

    #[test]
    fn a_named_file_is_left_alone_and_measured() {
        let advice = advise("qwen3:4b", &tight()).expect("a catalogue");
        let advice = advice.expect("known");
        assert_eq!(
            (advice.pull.as_str(), advice.is_choice),
            ("qwen3:4b", false)
        );
        let warning = advice.warning.expect("it does not fit");
        assert!(warning.contains("3.9 GB and 2.4 GB are free"), "{warning}");
        let unknown = advise("hf.co/user/repo", &tight()).expect("a catalogue");
        assert_eq!(unknown, None);
        assert!(is_known("qwen3").expect("a catalogue"));
        assert!(!is_known("hf.co/user/repo").expect("a catalogue"));
    }

    #[test]
    fn of_an_unknown_model_the_size_says_what_it_takes_at_least() {
        let (line, warning) = of_size("hf.co/u/r", 1_000_000_000, 0, Some(&tight()));
        assert_eq!(
            line,
            "hf.co/u/r: 1 GB to download, at least 1.2 GB of memory, up to 20 tokens/s (estimate)"
        );
        assert_eq!(warning, None);
        let (line, warning) = of_size("m", 4_000_000_000, 1_000_000_000, Some(&tight()));
        assert!(line.starts_with("m: 3 GB to download of 4 GB, "), "{line}");
        let warning = warning.expect("it does not fit");
        assert!(warning.contains("4.2 GB and 2.4 GB are free"), "{warning}");
        let elsewhere = of_size("m", 4_000_000_000, 0, None);
        assert_eq!(elsewhere, ("m: 4 GB to download".to_owned(), None));
    }

    #[test]
    fn the_offer_shows_what_fits() {
        let offer = |machine: Machine| super::offer(&machine, None).expect("a catalogue");
        let all = offer(roomy());
        assert!(all.contains("slm pull qwen3:4b-q4_K_M"), "{all}");
        assert_eq!(all.lines().count(), 1 + N_OFFERED);
        let few = offer(tight());
        assert!(!few.contains("4b"), "{few}");
        assert!(few.contains("slm pull qwen3:1.7b-q4_K_M"), "{few}");
        assert!(offer(tiny()).contains("none of the catalogue fits"));
        // where memory is slow, what is fast enough comes before what is larger
        let slow = offer(Machine {
            bandwidth: Some(8_000_000_000),
            ..roomy()
        });
        let rank = |name: &str| slow.find(name);
        assert!(rank("slm pull qwen3:1.7b-q4_K_M").is_some(), "{slow}");
        assert_eq!(rank("4b-q4_K_M"), None, "{slow}");
    }
}
