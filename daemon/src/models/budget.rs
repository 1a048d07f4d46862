//! What of the memory may be promised to models.
//!
//! A loaded model is promised its weights and buffers, which it has, and a limit for keys and values, which it may not
//! have used up yet. Whatever the system calls available is less by what is promised and not used. `--memory` bounds all
//! promises together, and the daemon's own needs.

use slm_engine::{Footprint, MemoryUse};

/// What the daemon takes beside its models: code, connections, the index.
const DAEMON_BYTES: u64 = 64 << 20;
/// Share of what is left that a model gets for keys and values at first.
const KV_SHARE: u64 = 4;

/// Everything that a model was promised.
pub(super) fn promised(memory: &MemoryUse) -> u64 {
    [
        memory.weights_bytes,
        memory.scratch_bytes,
        memory.other_bytes,
        // one that was lowered is reached before the next step
        memory.kv_bytes_limit.max(memory.kv_bytes_in_use),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// What may still be promised: `limit` is that of `--memory`, `available` what the system has left. `None` where neither
/// is known.
pub(super) fn room(
    limit: Option<u64>,
    available: Option<u64>,
    models: impl Iterator<Item = MemoryUse>,
) -> Option<u64> {
    let (mut all, mut unused) = (DAEMON_BYTES, 0u64);
    for memory in models {
        all = all.saturating_add(promised(&memory));
        unused += memory.kv_bytes_limit.saturating_sub(memory.kv_bytes_in_use);
    }
    let of_limit = limit.map(|limit| limit.saturating_sub(all));
    let of_system = available.map(|available| available.saturating_sub(unused));
    [of_limit, of_system].into_iter().flatten().min()
}

/// The limit for keys and values of a model that is about to be loaded: enough for `window`, and where there is more
/// room, for several sequences of it.
pub(super) fn kv_limit(
    footprint: &Footprint,
    window: usize,
    n_parallel: usize,
    room: Option<u64>,
) -> u64 {
    let of_one = footprint.kv_bytes(window);
    let of_all = of_one.saturating_mul(n_parallel as u64);
    let share = |room: u64| room.saturating_sub(footprint.fixed_bytes()) / KV_SHARE;
    room.map_or(of_all, share).clamp(of_one, of_all.max(of_one))
}

/// What would fit in place of a model that does not: one sentence.
pub(super) fn advice(
    footprint: &Footprint,
    room: u64,
    least_window: usize,
    n_parameters: u64,
) -> String {
    let left = room.saturating_sub(footprint.fixed_bytes());
    let longest = footprint.longest_in(left);
    // shorter ones are of no use
    const SHORTEST: usize = 256;
    if longest >= SHORTEST.min(least_window) {
        return format!("a context of {longest} tokens would fit (num_ctx), or stop other models");
    }
    let others = footprint.fixed_bytes() - footprint.weights_bytes;
    let others = others.saturating_add(footprint.kv_bytes(SHORTEST.max(least_window.min(2048))));
    let for_weights = room.saturating_sub(others);
    let fits = |(_, bits): &&(&str, f64)| n_parameters as f64 * bits / 8.0 <= for_weights as f64;
    match QUANTISATIONS.iter().find(fits) {
        Some((label, _)) if n_parameters > 0 => format!(
            "the same model as {label} would fit; or stop other models, or use a smaller one"
        ),
        _ => "stop other models, or use a smaller one".to_owned(),
    }
}

/// Weight formats and their bits for a weight, over a whole file.
const QUANTISATIONS: &[(&str, f64)] = &[
    ("Q8_0", 8.6),
    ("Q6_K", 6.7),
    ("Q5_K_M", 5.8),
    ("Q4_K_M", 5.0),
    ("Q4_0", 4.7),
    ("Q3_K_M", 4.1),
    ("Q2_K", 3.3),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(kv_bytes_limit: u64, kv_bytes_in_use: u64) -> MemoryUse {
        MemoryUse {
            weights_bytes: 1000,
            scratch_bytes: 100,
            other_bytes: 10,
            kv_bytes: 5,
            kv_bytes_limit,
            kv_bytes_in_use,
        }
    }

    fn tiny() -> Footprint {
        let path = crate::testing::golden_path("llama.gguf");
        Footprint::read(&path, &slm_engine::LoadOptions::default()).unwrap()
    }

    #[test]
    fn what_is_promised_and_not_used_is_not_free() {
        let models = || [memory(500, 200), memory(300, 300)].into_iter();
        assert_eq!(room(None, None, models()), None);
        assert_eq!(room(None, Some(1000), models()), Some(700));
        let limit = DAEMON_BYTES + 5000;
        assert_eq!(
            room(Some(limit), None, models()),
            Some(5000 - 2 * 1110 - 800)
        );
        assert_eq!(room(Some(limit), Some(400), models()), Some(100));
        assert_eq!(room(Some(1), Some(400), models()), Some(0));
    }

    #[test]
    fn a_model_gets_room_for_several_sequences_and_at_least_for_one() {
        let footprint = tiny();
        let of_one = footprint.kv_bytes(512);
        let fixed = footprint.fixed_bytes();
        let limit = |left: u64| kv_limit(&footprint, 512, 16, Some(fixed + left));
        assert_eq!(limit(of_one), of_one);
        assert_eq!(limit(20 * of_one), 5 * of_one);
        assert_eq!(limit(1000 * of_one), 16 * of_one);
        assert_eq!(kv_limit(&footprint, 512, 16, None), 16 * of_one);
    }

    #[test]
    fn what_would_fit_is_said() {
        let footprint = tiny();
        let fixed = footprint.fixed_bytes();
        let with_context = advice(&footprint, fixed + footprint.kv_bytes(300), 512, 1);
        assert!(with_context.contains("a context of 3"), "{with_context}");
        let smaller = advice(&footprint, fixed, 512, 100);
        assert!(smaller.contains("as Q8_0 would fit"), "{smaller}");
        let none = advice(&footprint, 0, 512, 1 << 30);
        assert!(none.starts_with("stop other models"), "{none}");
    }
}
