use super::*;

fn params() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        seed: Some(1),
        ..SamplingParams::default()
    }
}

/// The tokens that are ever chosen in many draws, sorted.
#[track_caller]
fn check(params: &SamplingParams, logits: &[f32], expected: &[TokenId]) {
    let mut sampler = Sampler::new(params, &[]);
    let mut chosen: Vec<_> = (0..4000)
        .map(|_| sampler.sample(&mut logits.to_vec()))
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen, expected);
}

#[test]
fn greedy_takes_the_first_maximum_and_never_a_nan() {
    for temperature in [0.0, -1.0, f32::NAN] {
        let greedy = SamplingParams {
            temperature,
            ..params()
        };
        check(&greedy, &[1.0, 3.0, 3.0, 2.0], &[1]);
        check(&greedy, &[f32::NAN, 1.0, f32::NAN, 2.0], &[3]);
        check(&greedy, &[f32::NAN, f32::NEG_INFINITY], &[0]);
        let mut many = vec![f32::NAN; 1000];
        many[997] = f32::NEG_INFINITY;
        many[700] = -3.0;
        many[998] = -3.0;
        check(&greedy, &many, &[700]);
        many[999] = f32::INFINITY;
        check(&greedy, &many, &[999]);
    }
}

#[test]
fn odd_logits_never_win() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    check(&params(), &[nan, 1.0, -inf, nan], &[1]);
    check(&params(), &[nan, nan], &[0]);
    check(&params(), &[-inf, -inf, -inf], &[0]);
    check(&params(), &[1.0, inf, inf], &[1, 2]);
    for k in [1, 2, 3] {
        let all = SamplingParams {
            top_k: k,
            top_p: 0.5,
            min_p: 0.5,
            typical_p: 0.5,
            ..params()
        };
        check(&all, &[nan, -inf, inf, -inf, nan], &[2]);
    }
}

#[test]
fn each_filter_keeps_what_its_definition_says() {
    // probabilities 0.5, 0.25, 0.15, 0.1
    let logits = [0.25f32, 0.5, 0.1, 0.15].map(f32::ln);
    check(&params(), &logits, &[0, 1, 2, 3]);
    check(
        &SamplingParams {
            top_k: 2,
            ..params()
        },
        &logits,
        &[0, 1],
    );
    check(
        &SamplingParams {
            top_p: 0.7,
            ..params()
        },
        &logits,
        &[0, 1],
    );
    check(
        &SamplingParams {
            top_p: 0.8,
            ..params()
        },
        &logits,
        &[0, 1, 3],
    );
    check(
        &SamplingParams {
            top_p: 0.0,
            ..params()
        },
        &logits,
        &[1],
    );
    check(
        &SamplingParams {
            min_p: 0.25,
            ..params()
        },
        &logits,
        &[0, 1, 3],
    );
    check(
        &SamplingParams {
            min_p: 5.0,
            ..params()
        },
        &logits,
        &[1],
    );
    // entropy 1.208; surprises 0.693, 1.386, 1.897, 2.303: nearest is the second, then the first
    check(
        &SamplingParams {
            typical_p: 0.2,
            ..params()
        },
        &logits,
        &[0],
    );
    check(
        &SamplingParams {
            typical_p: 0.6,
            ..params()
        },
        &logits,
        &[0, 1],
    );
}

#[test]
fn filters_come_before_temperature() {
    let logits = [0.25f32, 0.5, 0.1, 0.15].map(f32::ln);
    let hot = SamplingParams {
        temperature: 100.0,
        top_p: 0.7,
        ..params()
    };
    check(&hot, &logits, &[0, 1]);
}

#[test]
fn draws_follow_the_probabilities() {
    for (temperature, expected) in [(1.0, [0.1, 0.6, 0.3]), (0.5, [0.0217, 0.7826, 0.1957])] {
        let logits = [0.1f32, 0.6, 0.3].map(f32::ln);
        let mut sampler = Sampler::new(
            &SamplingParams {
                temperature,
                ..params()
            },
            &[],
        );
        let mut counts = [0; 3];
        for _ in 0..100_000 {
            counts[sampler.sample(&mut logits.to_vec()) as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip(expected) {
            assert!(
                (f64::from(count) / 1e5 - expected).abs() < 0.01,
                "{counts:?}"
            );
        }
    }
}

#[test]
fn penalties_follow_the_formulas() {
    #[track_caller]
    fn penalised(params: &SamplingParams, prompt: &[TokenId], expected: [f32; 4]) {
        let mut logits = [2.0, -2.0, 0.5, 1.0];
        Penalties::new(params, prompt).apply(&mut logits);
        assert_eq!(logits, expected);
    }
    let off = params();
    penalised(&off, &[0, 1, 2], [2.0, -2.0, 0.5, 1.0]);
    let repeat = SamplingParams {
        repeat_penalty: 2.0,
        ..params()
    };
    penalised(&repeat, &[0, 0, 1, 99], [1.0, -4.0, 0.5, 1.0]);
    let others = SamplingParams {
        frequency_penalty: 0.25,
        presence_penalty: 1.0,
        ..params()
    };
    penalised(&others, &[0, 0, 3], [0.5, -2.0, 0.5, -0.25]);
    let window = SamplingParams {
        repeat_last_n: 2,
        ..others.clone()
    };
    penalised(&window, &[0, 0, 3, 1], [2.0, -3.25, 0.5, -0.25]);
    penalised(
        &SamplingParams {
            repeat_last_n: 0,
            ..others.clone()
        },
        &[0],
        [2.0, -2.0, 0.5, 1.0],
    );
    penalised(
        &SamplingParams {
            repeat_last_n: usize::MAX,
            ..others
        },
        &[0],
        [0.75, -2.0, 0.5, 1.0],
    );
}

#[test]
fn a_bias_makes_a_token_likelier_or_impossible_but_none_that_is_forbidden_possible() {
    let with = |temperature, logit_bias: &[(TokenId, f32)]| SamplingParams {
        temperature,
        logit_bias: logit_bias.to_vec(),
        ..params()
    };
    let logits = [1.0, 1.5, 0.5, f32::NEG_INFINITY];
    check(&with(0.0, &[(0, 0.75)]), &logits, &[0]);
    check(&with(0.0, &[(0, 0.25), (9, 100.0)]), &logits, &[1]);
    check(&with(1.0, &[(1, -100.0)]), &logits, &[0, 2]);
    check(&with(1.0, &[(2, 100.0), (3, 100.0)]), &logits, &[2]);
}

#[test]
fn chosen_tokens_are_penalised_from_then_on() {
    let greedy = SamplingParams {
        temperature: 0.0,
        presence_penalty: 1.0,
        repeat_last_n: 2,
        ..params()
    };
    let mut sampler = Sampler::new(&greedy, &[]);
    let tokens: Vec<_> = (0..5)
        .map(|_| sampler.sample(&mut [3.0, 2.5, 2.4]))
        .collect();
    assert_eq!(tokens, [0, 1, 2, 0, 1]);
}

#[test]
fn a_seed_gives_these_tokens_in_every_version() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 100) as f32 / 10.0).collect();
    let draw = |seed| {
        let mut sampler = Sampler::new(
            &SamplingParams {
                seed,
                ..SamplingParams::default()
            },
            &[],
        );
        (0..8)
            .map(|_| sampler.sample(&mut logits.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(Some(42)), SEED_42);
    assert_ne!(draw(Some(43)), draw(Some(42)));
    assert_ne!(draw(None), draw(None));
}

const SEED_42: [TokenId; 8] = [781, 927, 508, 381, 781, 954, 327, 954];

#[test]
fn the_order_of_candidates_is_settled() {
    // top-k alone: what selection leaves in some order must not reach the draw
    let logits: Vec<f32> = (0..5000).map(|i| (i * 37 % 100) as f32 / 10.0).collect();
    let mut selected = Vec::new();
    top_k::select(&logits, 300, &mut selected);
    assert!(selected.is_sorted_by(|a, b| candidates::most_likely_first(a, b).is_lt()));
    top_k::select(&logits, 0, &mut selected);
    assert!(selected.is_sorted_by_key(|candidate| candidate.token));
}

#[test]
fn partial_selection_is_what_sorting_gives() {
    let mut random = fastrand::Rng::with_seed(3);
    for n in [1, 2, 1000, 5000, 40_000] {
        let logits: Vec<_> = (0..n)
            .map(|_| match random.u8(..) {
                0 => f32::NAN,
                1 => f32::NEG_INFINITY,
                _ => random.u16(..2000) as f32 / 100.0 - 10.0, // many equal ones
            })
            .collect();
        let mut sorted: Vec<_> = (0..)
            .zip(&logits)
            .filter(|(_, logit)| logit.is_finite())
            .map(|(token, &logit)| Candidate { token, logit })
            .collect();
        sorted.sort_by(candidates::most_likely_first);
        for k in [0, 1, 3, 40, 1000, 1024, 100_000] {
            let mut selected = Vec::new();
            top_k::select(&logits, k, &mut selected);
            let wanted = if k == 0 {
                sorted.len()
            } else {
                k.min(sorted.len())
            };
            selected.sort_by(candidates::most_likely_first);
            assert_eq!(selected, sorted[..wanted], "{k} of {n}");
        }
        for n_wanted in [1, 100, 128, 129, 700, n] {
            let mut items = sorted.clone();
            items.sort_by_key(|candidate| candidate.token);
            let mut seen = Vec::new();
            let n_kept =
                candidates::sorted_prefix(&mut items, candidates::most_likely_first, |item| {
                    seen.push(*item);
                    seen.len() == n_wanted
                });
            assert_eq!(n_kept, n_wanted.min(sorted.len()));
            assert_eq!(seen, sorted[..n_kept]);
            assert_eq!(items[..n_kept], sorted[..n_kept]);
        }
    }
}
