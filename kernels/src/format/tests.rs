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
    let n_blocks = (bytes.len() - quant_type.tail_bytes()) / quant_type.block_bytes();
    let mut values = vec![f32::NAN; n_blocks * quant_type.block_len()];
    dequantize(quant_type, bytes, &mut values);
    values
}

fn compress(quant_type: QuantType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xaa; quant_type.tensor_bytes(1, values.len()).unwrap()];
    quantize(quant_type, values, &mut bytes);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The formats that ggml knows: all but one of BitNet's fork.
fn of_ggml() -> impl Iterator<Item = QuantType> {
    let all = QuantType::ALL.iter().copied();
    all.filter(|&quant_type| quant_type != QuantType::I2S)
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
        let tensor_type = slm_gguf::TensorType::from_id(quant_type.id()).unwrap();
        assert_eq!(tensor_type.name(), quant_type.name());
        assert_eq!(tensor_type.tail_bytes(), quant_type.tail_bytes() as u64);
        if matches!(quant_type, QuantType::F32 | QuantType::I2S) {
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
    for quant_type in of_ggml() {
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
    for quant_type in of_ggml() {
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
        let n_bytes = quant_type.tensor_bytes(1, 1024).unwrap();
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
fn sizes_of_tensors_count_their_tail() {
    assert_eq!(QuantType::Q4_1.tensor_bytes(3, 576), Some(3 * 360));
    assert_eq!(QuantType::Q4_1.tensor_bytes(usize::MAX, 576), None);
    assert_eq!(QuantType::I2S.tensor_bytes(3, 256), Some(3 * 64 + 32));
    assert_eq!(QuantType::I2S.tensor_bytes(2, 64), None);
    assert_eq!(QuantType::I2S.tensor_bytes(usize::MAX >> 5, 128), None);
}

#[test]
fn parts_of_tensors_are_tensors() {
    let bytes: Vec<u8> = (0..4 * 32 + 32).collect();
    let part = |values| QuantType::I2S.part(&bytes, values);
    assert_eq!(part(0..512).as_deref(), Some(&bytes[..]));
    let middle = [&bytes[32..96], &bytes[128..]].concat();
    assert_eq!(part(128..384).as_deref(), Some(&middle[..]));
    for outside in [0..640, 0..64, 512..640, 640..640, 0..usize::MAX] {
        assert_eq!(part(outside.clone()), None, "{outside:?}");
    }
    assert_eq!(
        part(Range {
            start: 256,
            end: 128
        }),
        None
    );
    assert_eq!(QuantType::I2S.part(&bytes[..31], 0..0), None);
    let part = |values| QuantType::Q4_0.part(&bytes[..36], values);
    assert_eq!(part(32..64).as_deref(), Some(&bytes[18..36]));
    assert_eq!(part(32..96), None);
}

#[test]
fn i2_s_is_as_described() {
    let mut bytes = vec![0; 2 * 32 + 32];
    bytes[0] = 0b00_01_10_00;
    bytes[31] = 0b10_10_01_01;
    bytes[32 + 5] = 0b01_00_00_10;
    bytes[64..68].copy_from_slice(&0.75f32.to_le_bytes());
    bytes[68..].fill(0xff);
    let mut expected = vec![-0.75; 256];
    (expected[32], expected[64]) = (0.0, 0.75);
    (expected[31], expected[63], expected[95], expected[127]) = (0.75, 0.75, 0.0, 0.0);
    (expected[128 + 5], expected[128 + 96 + 5]) = (0.0, 0.75);
    assert_eq!(expand(QuantType::I2S, &bytes), expected);

    bytes[68..].fill(0);
    assert_eq!(compress(QuantType::I2S, &expected), bytes);
    let values: Vec<f32> = (0..128).map(|i| [-2.0, 1e-7, 0.5][i % 3]).collect();
    let signs: Vec<f32> = (0..128).map(|i| [-2.0, 0.0, 2.0][i % 3]).collect();
    let bytes = compress(QuantType::I2S, &values);
    assert_eq!(expand(QuantType::I2S, &bytes), signs);
}

#[test]
#[should_panic(expected = "128 values of I2_S")]
fn a_scale_that_is_not_there_is_a_bug_of_the_caller() {
    dequantize(QuantType::I2S, &[0; 32], &mut [0.0; 128]);
}

#[test]
#[should_panic(expected = "32 values of Q4_0")]
fn bytes_of_another_length_are_a_bug_of_the_caller() {
    dequantize(QuantType::Q4_0, &[0; 17], &mut [0.0; 32]);
}
