//! Did you mean …? The name among many that was probably meant.

/// The candidate with the fewest edits from `wanted`, unless even that one is quite different.
///
/// A name without tag is compared with names less their tag as well, so that `smolm2` finds `smollm2:135m`.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .map(|candidate| {
            let name = candidate.to_lowercase();
            let whole = edits(&wanted, &name);
            let bare = match name.rsplit_once(':') {
                Some((bare, _)) if !wanted.contains(':') => edits(&wanted, bare),
                _ => whole,
            };
            (whole.min(bare), candidate)
        })
        .filter(|(n_edits, _)| *n_edits <= allowed)
        .min_by_key(|(n_edits, _)| *n_edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if j > 0 && last == Some(y) && b[j - 1] == x {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
        last = Some(x);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("qwen3", "qewn3", 1),
            ("über", "uber", 1),
        ] {
            assert_eq!(edits(a, b), expected, "{a} → {b}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let local = ["smollm2:135m", "qwen3:0.6b", "gemma3:270m"];
        let find = |wanted| nearest(wanted, local.into_iter());
        assert_eq!(find("smolm2:135m"), Some("smollm2:135m"));
        assert_eq!(find("smolm2"), Some("smollm2:135m"));
        assert_eq!(find("Qwen3:0.6B"), Some("qwen3:0.6b"));
        assert_eq!(find("gema3:270m"), Some("gemma3:270m"));
        assert_eq!(find("llama3.2"), None);
        assert_eq!(find("x"), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
