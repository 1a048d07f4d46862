//! The models directory: whether it is whole as far as a quick look tells, and whether there is room for more.

use super::{Check, bytes};
use crate::config::Config;
use slm_registry::{Error, Store};

/// Below this not even a small model can be pulled.
const LEAST_DISK: u64 = 500_000_000;
/// Room for a model of a few billion weights.
const GOOD_DISK: u64 = 5_000_000_000;
/// Models that are named when they are damaged.
const MAX_NAMED: usize = 5;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let root = config.locations.hot.display().to_string();
    let store = match Store::open_without_index(config.locations.clone()) {
        Ok(store) => store,
        Err(error) => return vec![unusable(&root, error)],
    };
    let mut checks = vec![of_models(&root, &store)];
    match store.usage() {
        Ok(usage) => checks.extend(usage.free.map(of_disk)),
        Err(error) => checks.push(unusable(&root, error)),
    }
    checks
}

fn unusable(root: &str, error: Error) -> Check {
    let hint = error.hint();
    Check::fail(
        "store",
        format!("{root}: {:#}", anyhow::Error::new(error)),
        hint.unwrap_or_else(|| {
            "give this user the rights to the directory, or name another with SLM_MODELS".to_owned()
        }),
    )
}

/// Whether every model has all of its files, in the size that its manifest says. Their bytes are not read.
fn of_models(root: &str, store: &Store) -> Check {
    let models = match store.list() {
        Ok(models) => models,
        Err(error) => return unusable(root, error),
    };
    let is_damaged = |name| -> Result<bool, Error> {
        for layer in &store.manifest(name)?.layers {
            let file = store.locate(&layer.digest)?;
            if file.is_none_or(|file| file.size != layer.size) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let damaged: Vec<String> = models
        .iter()
        .filter(|model| is_damaged(&model.name).unwrap_or(true))
        .map(|model| model.name.to_string())
        .collect();
    of_damaged(root, models.len(), &damaged)
}

fn of_damaged(root: &str, n_models: usize, damaged: &[String]) -> Check {
    if damaged.is_empty() {
        let models = match n_models {
            0 => "no model yet".to_owned(),
            1 => "one model, whole at a quick look".to_owned(),
            n => format!("{n} models, whole at a quick look"),
        };
        return Check::ok("store", format!("{root}: {models}"));
    }
    let named = damaged
        .iter()
        .take(MAX_NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>();
    let more = match damaged.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Check::fail(
        "store",
        format!("{root}: files are missing of {}{more}", named.join(", ")),
        "fetch them again with `slm verify --repair`, or remove the models with `slm rm`",
    )
}

fn of_disk(free: u64) -> Check {
    let found = format!("{} free", bytes(free));
    match free {
        0..LEAST_DISK => Check::fail(
            "disk",
            found,
            "make room: `slm df` shows what takes it, `slm gc` what nobody needs",
        ),
        LEAST_DISK..GOOD_DISK => Check::warn(
            "disk",
            found,
            "there is room for small models only; `slm df` shows what takes it",
        ),
        _ => Check::ok("disk", found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn disk_space() {
        assert_eq!(of_disk(100_000_000).status, Status::Fail);
        assert_eq!(of_disk(1_000_000_000).status, Status::Warn);
        assert_eq!(of_disk(50_000_000_000).status, Status::Ok);
    }

    #[test]
    fn damaged_models_are_named() {
        assert_eq!(of_damaged("/m", 0, &[]).found, "/m: no model yet");
        let names: Vec<String> = (0..7).map(|i| format!("m{i}")).collect();
        let check = of_damaged("/m", 9, &names);
        assert_eq!(check.status, Status::Fail);
        assert_eq!(
            check.found,
            "/m: files are missing of m0, m1, m2, m3, m4 and 2 more"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_made_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Store::open_without_index(file.join("models").as_path()).unwrap_err();
        let check = unusable("/m", error);
        assert_eq!(check.status, Status::Fail);
        assert!(check.advice.is_some());
    }
}
