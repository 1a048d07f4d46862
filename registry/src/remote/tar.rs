//! The tar archives of packages: an image's layer with one file in it, always the same bytes for the same file.
//!
//! Written is `ustar` with no owner, no time and mode 0644; sizes that eight gigabytes of octal digits cannot say are
//! binary, as everybody reads them. Read are those of others, too.

use crate::tar::{END, Entry, Reader, TarError, header_of_kind, padding};
use std::io::Cursor;

/// What comes before a file and after it, in an archive that has only `folder` and the file in it.
pub(super) struct Frame {
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
}

/// The archive around the file `folder/name` of `size` bytes.
pub(super) fn frame(folder: &str, name: &str, size: u64) -> Frame {
    let mut before = header_of_kind(&format!("{folder}/"), 0, b'5', 0o755).to_vec();
    let file = format!("{folder}/{name}");
    before.extend(header_of_kind(&file, size, b'0', 0o644));
    let after = vec![0; padding(size) as usize + END.len()];
    Frame { before, after }
}

/// Files and their bytes.
pub(super) type Files<'a> = Vec<(Entry, &'a [u8])>;

/// What comes behind the files whose bytes are all there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The archive ends.
    End,
    /// A file whose bytes are not all there.
    Large(Entry),
    /// What it is lies beyond.
    Beyond,
}

/// The files of the whole archive `bytes`, with the bytes of each; at most `limit`.
///
/// # Errors
/// Why it is no such archive.
pub(super) fn files(bytes: &[u8], limit: usize) -> Result<Files<'_>, String> {
    match walk(bytes, limit)? {
        (found, Next::End) => Ok(found),
        (_, Next::Large(_) | Next::Beyond) => Err("it is cut off".to_owned()),
    }
}

/// The files whose bytes are all in the beginning `head` of an archive, up to the first whose are not; at most `limit`.
///
/// # Errors
/// Why it is no such archive.
pub(super) fn walk(head: &[u8], limit: usize) -> Result<(Files<'_>, Next), String> {
    let mut cursor = Cursor::new(head);
    let mut reader = Reader::of_layer(&mut cursor);
    let mut found = Vec::new();
    loop {
        let entry = match reader.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok((found, Next::End)),
            Err(TarError::CutOff) => return Ok((found, Next::Beyond)),
            Err(TarError::Wrong(reason)) => return Err(reason),
            Err(TarError::Read(error)) => return Err(error.to_string()),
        };
        if found.len() == limit {
            return Err(format!("it has more than {limit} files"));
        }
        let span = usize::try_from(entry.start).ok().and_then(|start| {
            let end = start.checked_add(usize::try_from(entry.size).ok()?)?;
            head.get(start..end)
        });
        match span {
            Some(contents) => found.push((entry, contents)),
            None => return Ok((found, Next::Large(entry))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{BLOCK_BYTES as BLOCK, MAX_OCTAL_SIZE};

    #[test]
    fn what_is_written_is_read() {
        for size in [1, 512, 513, MAX_OCTAL_SIZE, MAX_OCTAL_SIZE + 1, 1 << 45] {
            let frame = frame("models", "model.gguf", size);
            let (small, Next::Large(file)) = walk(&frame.before, 10).unwrap() else {
                panic!("no large file");
            };
            assert!(small.is_empty(), "a folder is no file");
            assert_eq!(
                (file.path.as_str(), file.start, file.size),
                ("models/model.gguf", 1024, size)
            );
            assert_eq!((1024 + size + frame.after.len() as u64) % 512, 0);
        }
    }

    /// As the system's own program sees it, where there is one.
    #[test]
    fn others_read_it_too() {
        let Ok(tar) = std::process::Command::new("tar").arg("--version").output() else {
            return;
        };
        assert!(tar.status.success());
        let frame = frame("models", "LICENSE", 5);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        std::fs::write(&path, [&frame.before[..], b"hello", &frame.after].concat()).unwrap();
        let listed = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(
            listed.contains("models/\n") && listed.contains("models/LICENSE"),
            "{listed}"
        );
        assert!(
            listed.starts_with("drwxr-xr-x 0/0") && listed.contains("-rw-r--r-- 0/0"),
            "{listed}"
        );
    }

    /// Go's and Python's writers say long paths and large sizes in records before the entry.
    #[test]
    fn records_before_an_entry_count() {
        let record = |text: &str| {
            let len = text.len() + 4;
            format!("{len} {text}\n")
        };
        let records =
            record("path=models/long.gguf") + &record("size=70000") + &record("mtime=1.5");
        let mut archive =
            header_of_kind("PaxHeaders/x", records.len() as u64, b'x', 0o644).to_vec();
        archive.extend(records.as_bytes());
        archive.resize(2 * BLOCK, 0);
        archive.extend(header_of_kind("short", 0, b'0', 0o644));
        archive.resize(archive.len() + 600, 7);
        let (small, Next::Large(large)) = walk(&archive, 10).unwrap() else {
            panic!("no large file");
        };
        assert!(small.is_empty());
        assert_eq!(
            (large.path.as_str(), large.start, large.size),
            ("models/long.gguf", 1536, 70_000)
        );
        archive[BLOCK] = b'x';
        assert!(walk(&archive, 10).is_err(), "a record without length");
    }

    #[test]
    fn damage_is_no_archive() {
        let frame = frame("models", "a", 3);
        let whole = [&frame.before[..], b"abc", &frame.after].concat();
        let found = files(&whole, 10).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, b"abc");
        assert!(files(&whole, 0).is_err());
        for at in [0, 124, 512, 700] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(files(&damaged, 10).is_err(), "{at}");
        }
        let mut cut = whole.clone();
        cut.truncate(1024 + 2);
        assert!(files(&cut, 10).is_err());
        assert!(files(&[1; 600], 10).is_err());
    }
}
