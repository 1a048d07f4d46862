//! What is read, what is refused and why, and that reading undoes writing.

use crate::*;

/// A file put together by hand, so that it can be wrong.
struct Raw(Vec<u8>);

impl Raw {
    fn new(n_tensors: u64, n_entries: u64) -> Self {
        let mut raw = Self(b"GGUF".to_vec());
        raw.u32(3).u64(n_tensors).u64(n_entries);
        raw
    }
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }
    fn u32(&mut self, n: u32) -> &mut Self {
        self.bytes(&n.to_le_bytes())
    }
    fn u64(&mut self, n: u64) -> &mut Self {
        self.bytes(&n.to_le_bytes())
    }
    fn string(&mut self, text: &[u8]) -> &mut Self {
        self.u64(text.len() as u64).bytes(text)
    }
    /// A row of the tensor table.
    fn tensor(&mut self, name: &str, dims: &[u64], type_id: u32, offset: u64) -> &mut Self {
        self.string(name.as_bytes()).u32(dims.len() as u32);
        for &dim in dims {
            self.u64(dim);
        }
        self.u32(type_id).u64(offset)
    }
    /// Padding and `n_bytes` of data.
    fn data(&mut self, n_bytes: usize) -> &mut Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + n_bytes, 0);
        self
    }

    #[track_caller]
    fn is_refused(&self, because: &str) {
        let error = Gguf::parse(&self.0).expect_err("a broken file was accepted");
        let text = error.to_string();
        assert!(text.contains(because), "{text:?} does not say {because:?}");
        assert!(text.len() < 600, "{} bytes of error", text.len());
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    #[track_caller]
    fn is_read(&self) -> Gguf<'_> {
        Gguf::parse(&self.0).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

#[test]
fn headers() {
    Raw(vec![]).is_refused("ends after 0 bytes inside the header");
    Raw(b"GGU".to_vec()).is_refused("inside the header");
    Raw(b"PK\x03\x04 and more".to_vec()).is_refused("starts with [50, 4b, 03, 04]");
    Raw(b"GGUF\x03\x00\x00".to_vec()).is_refused("inside the header");
    for (version, text) in [
        ([0, 0, 0, 3], "big-endian"),
        ([0, 0, 0, 2], "big-endian"),
        ([0, 0, 0, 0], "version 0 is not"),
        ([1, 0, 0, 0], "version 1 is not"),
        ([4, 0, 0, 0], "version 4 is not"),
    ] {
        Raw([&b"GGUF"[..], &version, &[0; 16]].concat()).is_refused(text);
    }
    let mut second = Raw::new(0, 0);
    second.0[4] = 2;
    assert_eq!(second.is_read().version(), 2);
    assert_eq!(Raw::new(0, 0).is_read().version(), 3);
}

#[test]
fn counts_that_cannot_be() {
    Raw::new(u64::MAX, 0).is_refused("claims 18446744073709551615 tensors, but at most 0");
    Raw::new(0, 1 << 63).is_refused("metadata entries");
    Raw::new(1, 0).bytes(&[0; 23]).is_refused("at most 0 are");
    Raw::new(0, 2).bytes(&[0; 27]).is_refused("at most 1 are");
    // more than any model has, although the bytes are there
    Raw::new(1 << 17, 0)
        .data(24 << 17)
        .is_refused("at most 65536 are");
}

#[test]
fn keys_that_are_none() {
    Raw::new(0, 1)
        .string(b"")
        .u32(0)
        .u64(0)
        .is_refused("entry 0 has an empty key");
    Raw::new(0, 1)
        .string(b"\xff\xfe")
        .u32(0)
        .u64(0)
        .is_refused("the key of metadata entry 0 is not UTF-8");
    Raw::new(0, 1)
        .u64(u64::MAX)
        .u64(0)
        .is_refused("inside the key of metadata entry 0");
    Raw::new(0, 2)
        .string(b"twice")
        .u32(0)
        .bytes(&[1])
        .string(b"twice")
        .u32(0)
        .bytes(&[1])
        .is_refused("`twice` occurs twice");
    let long_with_controls = "\x1b[31m".repeat(1000);
    Raw::new(0, 1)
        .string(long_with_controls.as_bytes())
        .u32(99)
        .is_refused("unknown type 99");
}

#[test]
fn values_that_are_none() {
    let key = || {
        let mut raw = Raw::new(0, 1);
        raw.string(b"some.key");
        raw
    };
    key()
        .u32(13)
        .u64(0)
        .is_refused("`some.key` has a value of unknown type 13");
    key()
        .u32(10)
        .u32(0)
        .is_refused("inside the value of metadata key `some.key`");
    key()
        .u32(8)
        .u64(1 << 40)
        .is_refused("inside the value of metadata key `some.key`");
    key()
        .u32(9)
        .u32(9)
        .u64(1)
        .is_refused("`some.key` holds an array of arrays");
    key().u32(9).u32(77).u64(1).is_refused("unknown type 77");
    key()
        .u32(9)
        .u32(4)
        .u64(1 << 62)
        .is_refused("elements of metadata key `some.key`");
    key()
        .u32(9)
        .u32(4)
        .u64(3)
        .u64(0)
        .is_refused("3 elements of metadata key `some.key`, but at most 2");
    key()
        .u32(9)
        .u32(8)
        .u64(2)
        .u64(u64::MAX)
        .u64(0)
        .is_refused("inside the value");
    key().u32(9).u32(8).u64(0).is_read();
}

#[test]
fn alignments() {
    let align = |type_id: u32, value: u32| {
        let mut raw = Raw::new(0, 1);
        raw.string(b"general.alignment").u32(type_id).u32(value);
        raw
    };
    align(4, 0).is_refused("`general.alignment` is 0");
    align(4, 24).is_refused("is 24, which is not a power of two");
    align(4, 1 << 21).is_refused("up to 1048576");
    align(5, -32i32 as u32).is_refused("but is i32 -32");
    align(6, 0).is_refused("but is f32 0");
    align(4, 1).is_read();
    align(4, 1 << 20).is_read();
}

#[test]
fn tensor_rows_that_are_none() {
    let f32 = TensorType::F32.id();
    let longest = "n".repeat(63);
    Raw::new(1, 0)
        .tensor(&longest, &[8], f32, 0)
        .data(32)
        .is_read();
    Raw::new(1, 0)
        .tensor(&"n".repeat(64), &[8], f32, 0)
        .data(32)
        .is_refused("the name of tensor 0 is 64 bytes long, more than 63");
    Raw::new(1, 0)
        .string(b"\xff")
        .u32(0)
        .u32(0)
        .u64(0)
        .data(32)
        .is_refused("the name of tensor 0 is not UTF-8");
    Raw::new(2, 0)
        .tensor("w", &[8], f32, 0)
        .tensor("w", &[8], f32, 32)
        .data(64)
        .is_refused("tensor `w` occurs twice");
    Raw::new(1, 0)
        .tensor("w", &[1, 1, 1, 1, 1], f32, 0)
        .data(32)
        .is_refused("`w` has 5 dimensions");
    Raw::new(1, 0)
        .tensor("w", &[1], 99, 0)
        .data(32)
        .is_refused("unknown type 99");
    for (id, name) in [
        (4, "Q4_2"),
        (5, "Q4_3"),
        (31, "Q4_0_4_4"),
        (38, "IQ4_NL_8_8"),
    ] {
        Raw::new(1, 0)
            .tensor("w", &[32], id, 0)
            .data(32)
            .is_refused(&format!("has the type {name} (id {id})"));
    }
    Raw::new(1, 0)
        .tensor("w", &[33], TensorType::Q4_0.id(), 0)
        .data(64)
        .is_refused("rows of 33 values, which blocks of 32 (Q4_0) do not divide");
    // rows matter, not their sum
    Raw::new(1, 0)
        .tensor("w", &[16, 2], TensorType::Q4_0.id(), 0)
        .data(64)
        .is_refused("rows of 16 values");
}

#[test]
fn tensors_that_do_not_fit() {
    let f32 = TensorType::F32.id();
    for dims in [
        &[u64::MAX][..],
        &[1 << 62, 4],
        &[1 << 32, 1 << 32],
        &[0, u64::MAX],
        &[1 << 31, 1 << 31, 2, 1],
    ] {
        Raw::new(1, 0)
            .tensor("w", dims, f32, 0)
            .data(64)
            .is_refused("too large to address");
    }
    Raw::new(1, 0)
        .tensor("w", &[8], f32, 8)
        .data(64)
        .is_refused("offset 8, which is not a multiple of the alignment 32");
    Raw::new(1, 0)
        .tensor("w", &[8], f32, u64::MAX - 31)
        .data(64)
        .is_refused("`w` needs 32 bytes");
    Raw::new(1, 0)
        .tensor("w", &[9], f32, 0)
        .data(35)
        .is_refused("`w` needs 36 bytes at offset 0 of the data, but there are only 35");
    Raw::new(1, 0)
        .tensor("w", &[8], f32, 32)
        .data(63)
        .is_refused("only 63");
    Raw::new(2, 0)
        .tensor("late", &[9], f32, 32)
        .tensor("early", &[9], f32, 0)
        .data(96)
        .is_refused("`early` and `late` overlap");
    let in_any_order = {
        let mut raw = Raw::new(2, 0);
        raw.tensor("late", &[8], f32, 64)
            .tensor("early", &[9], f32, 0);
        raw.data(96);
        raw
    };
    assert_eq!(in_any_order.is_read().tensors().len(), 2);
}

/// The scale of `I2_S` stands once, behind all codes.
#[test]
fn tensors_with_a_tail_are_measured_with_it() {
    let i2_s = TensorType::I2_S.id();
    let ternary = |dims: &[u64], n_data_bytes| {
        let mut raw = Raw::new(1, 0);
        raw.tensor("w", dims, i2_s, 0).data(n_data_bytes);
        raw
    };
    for (dims, size_bytes) in [
        (&[128][..], 64),
        (&[128, 3], 128),
        (&[128, 3, 2], 224),
        (&[4], 33),
        (&[0, 3], 32),
    ] {
        let raw = ternary(dims, size_bytes);
        assert_eq!(raw.is_read().tensors()[0].size_bytes, size_bytes);
        ternary(dims, size_bytes - 1)
            .is_refused(&format!("`w` needs {size_bytes} bytes at offset 0"));
    }
    ternary(&[126, 2], 95).is_refused("rows of 126 values");
    ternary(&[1 << 62, 2], 64).is_refused("too large to address");
    ternary(&[(1 << 63) - 128], 64).is_refused("`w` needs 2305843009213693952 bytes");
}

#[test]
fn odd_tensors_that_are_fine() {
    let mut raw = Raw::new(3, 0);
    raw.tensor("scalar", &[], TensorType::F32.id(), 0)
        .tensor("nothing", &[0, 7], TensorType::F32.id(), 1 << 20)
        .tensor("ternary", &[64, 2], TensorType::I2_S.id(), 32)
        .data(96);
    let gguf = raw.is_read();
    let [scalar, nothing, ternary] = gguf.tensors() else {
        panic!("three were written");
    };
    assert_eq!((&scalar.shape[..], scalar.size_bytes), (&[1][..], 4));
    assert!(gguf.tensor_data(nothing).is_empty());
    assert_eq!(nothing.n_elements(), 0);
    assert_eq!(ternary.size_bytes, 128 / 4 + 32);
    assert_eq!(gguf.tensor_data(ternary).len(), 64);
}

#[test]
fn tensor_types_are_ggmls() {
    assert_eq!(TensorType::all().count(), 36);
    for tensor_type in TensorType::all() {
        assert_eq!(TensorType::from_id(tensor_type.id()), Some(tensor_type));
    }
    let json: serde_json::Value = serde_json::from_slice(&golden("quants.json")).unwrap();
    let file = golden("quants.gguf");
    let gguf = Gguf::parse(&file).unwrap();
    let types = json["types"].as_object().unwrap();
    assert!(types.len() > 20);
    for (name, facts) in types {
        let info = gguf.tensor(name).unwrap();
        assert_eq!(facts["ggml_type"], info.tensor_type.id(), "{name}");
        assert_eq!(info.tensor_type.name(), name);
        assert_eq!(facts["block"], info.tensor_type.block_len(), "{name}");
        assert_eq!(facts["bytes_per_block"], info.tensor_type.block_bytes());
        assert_eq!(facts["bytes"], gguf.tensor_data(info).len(), "{name}");
        assert_eq!(info.n_elements(), 64 * 512);
    }
}

#[test]
fn the_values_are_those_that_were_converted() {
    for name in ["llama", "mistral"] {
        let json: serde_json::Value =
            serde_json::from_slice(&golden(&format!("{name}.json"))).unwrap();
        let file = golden(&format!("{name}.gguf"));
        let gguf = Gguf::parse(&file).unwrap();
        let metadata = gguf.metadata();
        for (key, expected) in json["gguf_metadata"].as_object().unwrap() {
            if let Some(text) = expected.as_str() {
                assert_eq!(metadata.string(key).unwrap(), text);
            } else if let Some(n) = expected.as_u64() {
                assert_eq!(u64::from(metadata.u32(key).unwrap()), n, "{key}");
            } else {
                let x = expected.as_f64().unwrap();
                assert_eq!(metadata.f32(key).unwrap(), x as f32, "{key}");
            }
        }
        let n_vocab = metadata.u32("llama.vocab_size").unwrap() as usize;
        let tokens = metadata.array("tokenizer.ggml.tokens").unwrap();
        assert_eq!(tokens.strings().unwrap().count(), n_vocab);
        let types = metadata.array("tokenizer.ggml.token_type").unwrap();
        assert_eq!(types.integers().unwrap().len(), n_vocab);
        let embeddings = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!(embeddings.shape, [64, n_vocab as u64]);
        assert_eq!(gguf.shard().unwrap(), None);
    }
}

#[test]
fn files_by_llama_cpp_are_written_again_to_the_byte() {
    for name in ["llama.gguf", "mistral.gguf", "quants.gguf"] {
        let file = golden(name);
        assert!(rewrite(&file) == file, "{name}");
    }
}

/// Copies a file through [`Gguf`] and [`Writer`].
fn rewrite(file: &[u8]) -> Vec<u8> {
    let gguf = Gguf::parse(file).unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        writer.put_value(key, value);
    }
    for info in gguf.tensors() {
        let data = gguf.tensor_data(info);
        writer.tensor(info.name, info.tensor_type, &info.shape, data);
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_put_comes_out() {
    let mut writer = Writer::new();
    writer
        .put("u8", 200u8)
        .put("i8", -100i8)
        .put("u16", 60_000u16)
        .put("i16", -30_000i16)
        .put("u32", u32::MAX)
        .put("i32", 7i32)
        .put("u64", u64::MAX)
        .put("i64", -5i64)
        .put("f32", 0.5f32)
        .put("f64", 0.25f64)
        .put("bool", true)
        .put("text", "Größe")
        .put("bytes", &b"\xff\x00"[..])
        .put_array("bools", &[true, false])
        .put_array("i16s", &[-1i16, 2])
        .put_array("u64s", &[u64::MAX])
        .put_array("f64s", &[1.5f64, -2.5])
        .put_array("f32s", &[0.5f32])
        .put_array("texts", &["a", "", "ccc"])
        .put_array("none", &[0u32; 0]);
    let file = writer.finish().unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.len(), 20);

    // widths do not matter to counts, signs and fits do
    assert_eq!(metadata.u32("u8").unwrap(), 200);
    assert_eq!(metadata.u32("u16").unwrap(), 60_000);
    assert_eq!(metadata.u32("u32").unwrap(), u32::MAX);
    assert_eq!(metadata.u32("i32").unwrap(), 7);
    assert_eq!(metadata.u64("u64").unwrap(), u64::MAX);
    assert_eq!(metadata.opt_u32("absent").unwrap(), None);
    for (key, found) in [
        ("i8", "i8 -100"),
        ("i64", "i64 -5"),
        ("u64", "u64 18446744073709551615"),
        ("bool", "bool true"),
        ("f32", "f32 0.5"),
        ("text", "string \"Größe\""),
        ("i16s", "array of 2 i16"),
    ] {
        let text = metadata.u32(key).unwrap_err().to_string();
        let expected =
            format!("metadata key `{key}` should be an integer that fits a u32 but is {found}");
        assert_eq!(text, expected);
    }
    let text = metadata.u32("absent").unwrap_err().to_string();
    assert_eq!(text, "metadata key `absent` is missing");

    assert_eq!(metadata.f32("f32").unwrap(), 0.5);
    assert_eq!(metadata.f32("f64").unwrap(), 0.25);
    assert!(metadata.opt_f32("u8").is_err());
    assert_eq!(metadata.opt_bool("bool").unwrap(), Some(true));
    assert!(metadata.opt_bool("u8").is_err());
    assert_eq!(metadata.string("text").unwrap(), "Größe");
    let text = metadata.string("bytes").unwrap_err().to_string();
    assert!(text.ends_with("is string of 2 bytes that are not UTF-8"));
    assert_eq!(metadata.get("bytes"), Some(&Value::String(b"\xff\x00")));

    let array = |key| metadata.array(key).unwrap();
    assert_eq!(array("bools").integers(), Some(vec![1, 0]));
    assert_eq!(array("i16s").integers(), Some(vec![-1, 2]));
    assert_eq!(array("i16s").floats(), Some(vec![-1.0, 2.0]));
    assert_eq!(array("u64s").integers(), None);
    assert_eq!(array("f64s").floats(), Some(vec![1.5, -2.5]));
    assert_eq!(array("f32s").integers(), None);
    assert!(array("f32s").strings().is_none());
    let texts: Vec<&[u8]> = array("texts").strings().unwrap().collect();
    assert_eq!(texts, [&b"a"[..], b"", b"ccc"]);
    assert_eq!(array("texts").floats(), None);
    assert!(array("none").is_empty());
    assert_eq!(array("none").element_type(), ValueType::U32);
    assert!(metadata.opt_array("u8").is_err());
    assert_eq!(metadata.opt_array("absent").unwrap(), None);
}

#[test]
fn writers_refuse_what_readers_would() {
    #[track_caller]
    fn check(writer: &Writer<'_>, because: &str) {
        let text = writer.finish().unwrap_err().to_string();
        assert!(text.contains(because), "{text:?} does not say {because:?}");
    }
    check(Writer::new().put("k", 1u8).put("k", 2u8), "occurs twice");
    check(Writer::new().put("", 1u64), "empty key");
    check(Writer::new().put("general.alignment", 3u32), "power of two");
    let mut writer = Writer::new();
    writer.tensor("w", TensorType::F32, &[2], &[0u8; 7][..]);
    check(&writer, "should have 8 bytes of data but has 7");
    let mut writer = Writer::new();
    writer.tensor("w", TensorType::F32, &[1; 5], &[0u8; 4][..]);
    check(&writer, "5 dimensions");
    let mut writer = Writer::new();
    writer.tensor("w", TensorType::Q8_0, &[31], &[0u8; 34][..]);
    check(&writer, "do not divide");
}

#[test]
fn shards() {
    let split = |index: u16, count: u16| {
        let mut writer = Writer::new();
        writer.put("split.no", index).put("split.count", count);
        writer.finish().unwrap()
    };
    let shard = |file: &[u8]| {
        Gguf::parse(file)
            .unwrap()
            .shard()
            .map_err(|e| e.to_string())
    };
    assert_eq!(shard(&split(0, 1)), Ok(None));
    assert_eq!(shard(&split(1, 3)), Ok(Some(Shard { index: 1, count: 3 })));
    assert!(shard(&split(3, 3)).unwrap_err().contains("3 of 3"));
}

#[test]
fn joined_files_have_the_tensors_of_all_and_none_twice() {
    let file = |name: &str, data: [u8; 8]| {
        let mut writer = Writer::new();
        writer.put("general.name", name);
        writer.tensor(name, TensorType::F32, &[2], &data[..]);
        writer.finish().unwrap()
    };
    let files = [
        file("a", [1; 8]),
        file("long.name.weight", [2; 8]),
        file("c", [3; 8]),
    ];
    let [first, second, third] = files.each_ref().map(|file| Gguf::parse(file).unwrap());
    let mut joined = first;
    joined.join(second).unwrap();
    joined.join(third).unwrap();
    assert_eq!(joined.tensors().len(), 3);
    for (name, value) in [("a", 1), ("long.name.weight", 2), ("c", 3)] {
        let info = joined.tensor(name).unwrap();
        assert_eq!(
            (info.name, joined.tensor_data(info)),
            (name, &[value; 8][..])
        );
    }
    assert_eq!(joined.metadata().string("general.name").unwrap(), "a");
    let again = Gguf::parse(&files[1]).unwrap();
    let error = joined.join(again).unwrap_err();
    assert!(matches!(error, Error::DuplicateTensor { name } if name == "long.name.weight"));
}

#[test]
fn reading_undoes_writing() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let tensors = random_tensors(&mut rng);
        let mut writer = Writer::new();
        let alignment = 1u32 << rng.u32(0..=12);
        if rng.bool() {
            writer.put("general.alignment", alignment);
        }
        let n_entries = rng.usize(..20);
        for index in 0..n_entries {
            put_random(&mut writer, &format!("key.{index}"), &mut rng);
        }
        for (name, tensor_type, shape, data) in &tensors {
            writer.tensor(name, *tensor_type, shape, &data[..]);
        }
        let file = writer.finish().unwrap();
        let gguf = Gguf::parse(&file).unwrap();

        assert!(gguf.metadata().len() >= n_entries);
        assert_eq!(gguf.tensors().len(), tensors.len());
        for (info, (name, tensor_type, shape, data)) in gguf.tensors().iter().zip(&tensors) {
            assert_eq!((info.name, info.tensor_type), (name.as_str(), *tensor_type));
            assert_eq!(&info.shape, shape);
            assert_eq!(gguf.tensor_data(gguf.tensor(name).unwrap()), data);
        }
        assert!(rewrite(&file) == file, "seed {seed}");
    }
}

type RandomTensor = (String, TensorType, Vec<u64>, Vec<u8>);

fn random_tensors(rng: &mut fastrand::Rng) -> Vec<RandomTensor> {
    let types: Vec<TensorType> = TensorType::all().collect();
    (0..rng.usize(..6))
        .map(|index| {
            let tensor_type = types[rng.usize(..types.len())];
            let mut shape = vec![tensor_type.block_len() * rng.u64(1..4)];
            for _ in 0..rng.usize(..4) {
                shape.push(rng.u64(1..4));
            }
            let n_blocks = shape.iter().product::<u64>() / tensor_type.block_len();
            let n_bytes = n_blocks * tensor_type.block_bytes() + tensor_type.tail_bytes();
            let data = (0..n_bytes).map(|_| rng.u8(..)).collect();
            (format!("blk.{index}.weight"), tensor_type, shape, data)
        })
        .collect()
}

fn put_random(writer: &mut Writer<'_>, key: &str, rng: &mut fastrand::Rng) {
    let text: Vec<u8> = (0..rng.usize(..30)).map(|_| rng.u8(..)).collect();
    let n = rng.u64(..);
    match rng.u8(..16) {
        0 => writer.put(key, n as u8),
        1 => writer.put(key, n as i8),
        2 => writer.put(key, n as u16),
        3 => writer.put(key, n as i16),
        4 => writer.put(key, n as u32),
        5 => writer.put(key, n as i32),
        6 => writer.put(key, n),
        7 => writer.put(key, n as i64),
        8 => writer.put(key, f32::from_bits(n as u32)),
        9 => writer.put(key, f64::from_bits(n)),
        10 => writer.put(key, n % 2 == 1),
        11 => writer.put(key, text),
        12 => writer.put_array(key, &text),
        13 => writer.put_array(key, &[n as f32, f32::NAN]),
        14 => writer.put_array(key, &[&text[..], b"", &text]),
        _ => writer.put_array(key, &text.iter().map(|b| b % 2 == 0).collect::<Vec<_>>()),
    };
}
