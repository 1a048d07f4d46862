//! The GGUF reader: whatever the bytes, an answer; and a file that is accepted can be read to its last byte, written
//! and read again.
use slm_gguf::{Error, Gguf, Value, Writer};

/// Longest text of an error.
const MAX_ERROR_BYTES: usize = 2000;

/// The input is a file.
pub fn run(data: &[u8]) {
    let gguf = match Gguf::parse(data) {
        Ok(gguf) => gguf,
        Err(error) => return check_error(&error),
    };
    read_all(&gguf);
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        writer.put_value(key, value);
    }
    for info in gguf.tensors() {
        writer.tensor(
            info.name,
            info.tensor_type,
            &info.shape,
            gguf.tensor_data(info),
        );
    }
    let written = writer.finish().expect("what was read can be written");
    let again = Gguf::parse(&written).expect("what was written can be read");
    let entries = |gguf: &Gguf<'_>| {
        let pairs = gguf.metadata().iter();
        // NaN differs from itself; its text does not
        pairs
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(entries(&gguf), entries(&again));
    assert_eq!(gguf.tensors().len(), again.tensors().len());
    for (info, other) in gguf.tensors().iter().zip(again.tensors()) {
        assert_eq!(
            (info.name, info.tensor_type, &info.shape),
            (other.name, other.tensor_type, &other.shape)
        );
        assert!(gguf.tensor_data(info) == again.tensor_data(other));
    }
    join(gguf, data);
}

fn read_all(gguf: &Gguf<'_>) {
    let metadata = gguf.metadata();
    for (key, value) in metadata.iter() {
        assert!(value.to_string().len() <= MAX_ERROR_BYTES);
        assert!(metadata.get(key).is_some());
        let errors = [
            metadata.string(key).err(),
            metadata.u32(key).err(),
            metadata.u64(key).err(),
            metadata.f32(key).err(),
            metadata.opt_bool(key).err(),
            metadata.array(key).err(),
        ];
        errors.iter().flatten().for_each(check_error);
        if let Value::Array(array) = value {
            assert_eq!(array.iter().count(), array.len());
            let strings = array.strings().map(Iterator::count);
            let integers = array.integers().map(|numbers| numbers.len());
            let floats = array.floats().map(|numbers| numbers.len());
            for count in [strings, integers, floats].into_iter().flatten() {
                assert_eq!(count, array.len());
            }
        }
    }
    for info in gguf.tensors() {
        assert!(
            gguf.tensor(info.name)
                .is_some_and(|found| std::ptr::eq(found, info))
        );
        std::hint::black_box(
            gguf.tensor_data(info)
                .iter()
                .map(|&b| u64::from(b))
                .sum::<u64>(),
        );
    }
    if let Err(error) = gguf.shard() {
        check_error(&error);
    }
}

/// A file joined to itself has every name twice.
fn join<'a>(mut gguf: Gguf<'a>, data: &'a [u8]) {
    let other = Gguf::parse(data).expect("it was parsed before");
    let is_empty = other.tensors().is_empty();
    assert_eq!(gguf.join(other).is_ok(), is_empty);
}

fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() <= MAX_ERROR_BYTES, "{text}");
}
