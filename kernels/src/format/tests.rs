//! Every format against the oracle in `tests/data/golden`, whose bytes come from ggml itself.

use sha2::{Digest, Sha256};
use slm_gguf::Gguf;

use super::*;

struct Oracle {
    file: Vec<u8>,
    json: serde_json::Value,
}

impl Oracle {
    fn open() -> Self {
        let path = |name| {
            std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../tests/data/golden")
                .join(name)
        };
        let json = std::fs::read_to_string(path("quants.json")).unwrap();
        Self {
            file: std::fs::read(path("quants.gguf")).unwrap(),
            json: serde_json::from_str(&json).unwrap(),
        }
    }

    fn bytes(&self, quant_type: QuantType) -> &[u8] {
        let gguf = Gguf::parse(&self.file).unwrap();
        let info = gguf.tensor(quant_type.name()).unwrap().clone();
        assert_eq!(info.tensor_type.id(), quant_type.id());
        gguf.tensor_data(&info)
    }

    fn original(&self) -> Vec<f32> {
        expand(QuantType::F32, self.bytes(QuantType::F32))
    }

    /// What the oracle says of a format other than F32.
    fn facts(&self, quant_type: QuantType) -> &serde_json::Value {
        let facts = &self.json["types"][quant_type.name()];
        assert!(facts.is_object(), "no facts about {}", quant_type.name());
        facts
    }
}

fn expand(quant_type: QuantType, bytes: &[u8]) -> Vec<f32> {
    let mut values =
        vec![f32::NAN; bytes.len() / quant_type.block_bytes() * quant_type.block_len()];
    dequantize(quant_type, bytes, &mut values);
    values
}

fn compress(quant_type: QuantType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xaa; quant_type.row_bytes(values.len()).unwrap()];
    quantize(quant_type, values, &mut bytes);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[test]
fn the_table_says_what_ggml_says() {
    let oracle = Oracle::open();
    for &quant_type in QuantType::ALL {
        assert_eq!(QuantType::from_id(quant_type.id()), Some(quant_type));
        assert_eq!(
            QuantType::from_name(&quant_type.name().to_lowercase()),
            Some(quant_type)
        );
        if quant_type == QuantType::F32 {
            continue;
        }
        let facts = oracle.facts(quant_type);
        assert_eq!(facts["ggml_type"], quant_type.id(), "{quant_type:?}");
        assert_eq!(facts["block"], quant_type.block_len(), "{quant_type:?}");
        assert_eq!(
            facts["bytes_per_block"],
            quant_type.block_bytes(),
            "{quant_type:?}"
        );
    }
    assert_eq!(QuantType::from_id(4), None);
    assert_eq!(QuantType::from_name("Q4_2"), None);
}

#[test]
fn dequantised_bits_are_the_references() {
    let oracle = Oracle::open();
    for &quant_type in QuantType::ALL {
        let expected = match quant_type {
            QuantType::F32 => &oracle.json["f32"]["sha256"],
            _ => &oracle.facts(quant_type)["dequantised"]["sha256"],
        };
        let values = expand(quant_type, oracle.bytes(quant_type));
        let actual = sha256(bytemuck::cast_slice(&values));
        assert_eq!(expected, actual.as_str(), "{quant_type:?}");
    }
}

#[test]
fn quantised_bytes_are_the_references() {
    let oracle = Oracle::open();
    let original = oracle.original();
    for &quant_type in QuantType::ALL {
        let bytes = compress(quant_type, &original);
        let blocks = bytes.chunks(quant_type.block_bytes());
        let theirs = oracle.bytes(quant_type).chunks(quant_type.block_bytes());
        let n_different = blocks.zip(theirs).filter(|(a, b)| a != b).count();
        assert_eq!(n_different, 0, "blocks of {quant_type:?}");
        if quant_type != QuantType::F32 {
            let expected = &oracle.facts(quant_type)["quantised_sha256"];
            assert_eq!(expected, sha256(&bytes).as_str(), "{quant_type:?}");
        }
    }
}

#[test]
fn no_number_makes_a_quantiser_panic() {
    let hostile = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-40,
        -1e-20,
        -0.0,
        1.0,
    ];
    let mut rng = fastrand::Rng::with_seed(7);
    for &quant_type in QuantType::ALL {
        for _ in 0..200 {
            let n_kinds = rng.usize(1..=hostile.len());
            let values: Vec<f32> = (0..256).map(|_| hostile[rng.usize(..n_kinds)]).collect();
            expand(quant_type, &compress(quant_type, &values));
        }
        for value in hostile {
            expand(quant_type, &compress(quant_type, &[value; 256]));
        }
    }
}

#[test]
fn any_bytes_dequantise_at_any_address() {
    let mut rng = fastrand::Rng::with_seed(8);
    for &quant_type in QuantType::ALL {
        let n_bytes = quant_type.row_bytes(1024).unwrap();
        let bytes: Vec<u8> = (0..n_bytes + 1).map(|_| rng.u8(..)).collect();
        let shifted = expand(quant_type, &bytes[1..]);
        let moved_bytes = bytes[1..].to_vec();
        let moved = expand(quant_type, &moved_bytes);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&shifted), bits(&moved), "{quant_type:?}");
    }
}

#[test]
fn rows_that_blocks_do_not_divide_have_no_size() {
    assert_eq!(QuantType::Q4_1.row_bytes(576), Some(360));
    assert_eq!(QuantType::Q4_1.row_bytes(577), None);
    assert_eq!(QuantType::Q4K.row_bytes(576), None);
    assert_eq!(QuantType::F32.row_bytes(usize::MAX), None);
}

#[test]
#[should_panic(expected = "32 values of Q4_0")]
fn bytes_of_another_length_are_a_bug_of_the_caller() {
    dequantize(QuantType::Q4_0, &[0; 17], &mut [0.0; 32]);
}
