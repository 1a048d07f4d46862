//! Archives of bundles and of images' layers: what comes out lies in the archive, whatever the pieces it arrives in, and a
//! bundle is read by the reader of layers too, as the same files.
use crate::input::Input;
use slm_registry::untrusted::{File, bundle, layer, packed_layer};

/// What a compressed layer may unpack to here.
const MAX_UNPACKED_BYTES: u64 = 4 << 20;

/// `b` and an archive of plain files, `l` and a layer, or `g` or `z` and one that is compressed.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        b'g' => unpack(input.rest(), true),
        b'z' => unpack(input.rest(), false),
        b'b' => read_bundle(input.rest()),
        _ => drop(read_layer(input.rest())),
    }
}

fn unpack(bytes: &[u8], gzip: bool) {
    let Ok(files) = packed_layer(bytes, gzip, MAX_UNPACKED_BYTES) else {
        return;
    };
    let n_bytes: u64 = files.iter().map(|(_, _, bytes)| bytes.len() as u64).sum();
    assert!(n_bytes <= MAX_UNPACKED_BYTES);
}

fn read_layer(bytes: &[u8]) -> Result<Vec<File>, String> {
    let files = layer(bytes, usize::MAX);
    assert_eq!(files, layer(bytes, 7), "what pieces it comes in");
    let mut end = 0;
    for (_, start, contents) in files.iter().flatten() {
        assert!(*start >= end && start.is_multiple_of(512));
        let start = usize::try_from(*start).expect("it lies in memory");
        assert_eq!(
            bytes.get(start..start + contents.len()),
            Some(&contents[..])
        );
        end = (start + contents.len()) as u64;
    }
    files
}

fn read_bundle(bytes: &[u8]) {
    let files = bundle(bytes, usize::MAX);
    assert_eq!(files, bundle(bytes, 7), "what pieces it comes in");
    let Ok(files) = files else { return };
    for (path, _, _) in &files {
        assert!(!path.starts_with('/') && !path.contains(['\\', '\0']));
        let is_plain = |part| !["", ".", ".."].contains(&part);
        assert!(path.is_empty() || path.split('/').all(is_plain), "{path:?}");
    }
    let in_layer = read_layer(bytes).expect("what is plain is nothing else either");
    let without_path = |files: &[File]| -> Vec<(u64, Vec<u8>)> {
        let files = files.iter();
        files
            .map(|(_, start, bytes)| (*start, bytes.clone()))
            .collect()
    };
    assert_eq!(without_path(&files), without_path(&in_layer));
}
