//! How large a model's file is, and how much memory its keys and values take.
//!
//! Files are computed from the number of weights and the bits that a quantisation spends on each, which comes within two
//! percent of real files; "about" is the word to print.

use crate::{Model, Variant};

/// Bytes of a token in a file's vocabulary, its merge included.
const BYTES_PER_TOKEN: u64 = 40;
/// Bits of a key or value.
const KV_BITS: u64 = 16;

/// Bits that a quantisation spends on a weight: of a layer, and of the token embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bits {
    /// For each weight of the layers.
    pub layers: f64,
    /// For each weight of the embedding.
    pub embedding: f64,
}

/// What is known of a quantisation.
struct Quantization {
    name: &'static str,
    even: Bits,
    /// Where rows are no multiple of 256.
    uneven: Bits,
}

const fn both(layers: f64, embedding: f64) -> Bits {
    Bits { layers, embedding }
}

const QUANTIZATIONS: &[Quantization] = &[
    Quantization {
        name: "I2_S",
        even: both(2.0, 16.0),
        uneven: both(2.0, 16.0),
    },
    Quantization {
        name: "Q4_K_M",
        even: both(4.85, 6.5625),
        uneven: both(5.5, 8.5),
    },
    Quantization {
        name: "Q8_0",
        even: both(8.5, 8.5),
        uneven: both(8.5, 8.5),
    },
    Quantization {
        name: "F16",
        even: both(16.0, 16.0),
        uneven: both(16.0, 16.0),
    },
];

/// Bits of a quantisation; `None` of one that no file of the catalogue has.
pub fn bits(quantization: &str, uneven: bool) -> Option<Bits> {
    let mut known = QUANTIZATIONS.iter();
    let found = known.find(|known| known.name.eq_ignore_ascii_case(quantization))?;
    Some(if uneven { found.uneven } else { found.even })
}

/// Bytes of weights in memory, about; 0 of an unknown quantisation.
pub fn weights_bytes(model: &Model, variant: &Variant) -> u64 {
    let Some(bits) = bits(&variant.quantization, model.uneven) else {
        return 0;
    };
    let layers = model.parameters.saturating_sub(model.embedding) as f64;
    let sum = layers * bits.layers + model.embedding as f64 * bits.embedding;
    (sum / 8.0) as u64
}

/// Bytes of the download, about.
pub fn file_bytes(model: &Model, variant: &Variant) -> u64 {
    let vocabulary = model.vocabulary.saturating_mul(BYTES_PER_TOKEN);
    // an image encoder keeps its 16 bits
    let vision = model.vision.saturating_mul(2);
    weights_bytes(model, variant)
        .saturating_add(vocabulary)
        .saturating_add(vision)
}

/// Bytes of keys and values of `context` tokens, in f16.
pub fn kv_bytes(model: &Model, context: u64) -> u64 {
    let (windowed, positions) = model
        .window
        .map_or((0, 0), |window| (window.layers, window.positions));
    let full = model.layers.saturating_sub(windowed);
    let remembered = full.saturating_mul(context) + windowed.saturating_mul(positions.min(context));
    let of_position = 2 * model.kv_heads.saturating_mul(model.head_size) * KV_BITS / 8;
    remembered.saturating_mul(of_position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    /// Published files and their true sizes.
    #[test]
    fn sizes_come_within_two_percent_of_real_files() {
        let catalog = Catalog::built_in().expect("it is read");
        for (name, n_bytes) in [
            ("qwen3:0.6b-q8_0", 639_446_688u64),
            ("qwen3:1.7b-q4_K_M", 1_107_409_472),
            ("llama3.2:1b-instruct-q4_K_M", 807_694_464),
            ("llama3.2:3b-instruct-q4_K_M", 2_019_377_696),
            ("hf.co/microsoft/bitnet-b1.58-2B-4T-gguf", 1_187_801_280),
            ("phi4-mini:3.8b-q4_K_M", 2_491_874_272),
            ("smollm2:135m-instruct-fp16", 270_898_672),
            ("nomic-embed-text:137m-v1.5-fp16", 274_290_560),
        ] {
            let (model, variant) = catalog.find(name).expect(name);
            let about = file_bytes(model, variant) as f64;
            let off = (about / n_bytes as f64 - 1.0).abs();
            assert!(off < 0.02, "{name}: {about} instead of {n_bytes}");
        }
    }

    #[test]
    fn keys_and_values() {
        let catalog = Catalog::built_in().expect("it is read");
        let of = |name, context| kv_bytes(catalog.find(name).expect("known").0, context);
        // 28 layers, 8 heads of 128, keys and values of two bytes
        assert_eq!(of("qwen3:0.6b", 1000), 28 * 8 * 128 * 4 * 1000);
        // 4 layers see everything, 22 the last 512
        assert_eq!(of("gemma3:1b", 1000), (4 * 1000 + 22 * 512) * 256 * 4);
        assert_eq!(of("gemma3:1b", 100), 26 * 100 * 256 * 4);
        assert_eq!(of("all-minilm:22m", 512), 0);
    }

    #[test]
    fn an_unknown_quantisation_has_no_bits() {
        assert_eq!(bits("Q9_X", false), None);
        assert_eq!(bits("q8_0", false), bits("Q8_0", true));
    }
}
