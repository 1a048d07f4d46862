//! The tar archives of packages: an image's layer with one file in it, always the same bytes for the same file.
//!
//! Written is `ustar` with no owner, no time and mode 0644; sizes that eight gigabytes of octal digits cannot say are
//! binary, as everybody reads them. Read are also PAX and GNU headers of others.

use crate::tar::{END, header_of_kind, padding};

/// Archives consist of such blocks.
pub(super) const BLOCK: usize = crate::tar::BLOCK_BYTES;

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

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    /// Where its bytes begin in the archive.
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) is_file: bool,
    /// The entry says something about the next one (`x`, GNU's `L` for its path) or about nothing that matters here.
    extension: Option<u8>,
}

impl Entry {
    /// Where the next header begins.
    pub(super) fn next(&self) -> Option<u64> {
        let end = self.start.checked_add(self.size)?;
        end.checked_next_multiple_of(BLOCK as u64)
    }
}

/// What the block at `at` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Entry(Entry),
    /// The archive ends here.
    End,
}

/// Reads the header at `at`; `None` when it is none.
pub(super) fn parse(block: &[u8], at: u64) -> Option<Header> {
    let block: &[u8; BLOCK] = block.try_into().ok()?;
    if block.iter().all(|byte| *byte == 0) {
        return Some(Header::End);
    }
    let said = octal(&block[148..156])?;
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let of_field: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    if said != sum - of_field + 8 * u64::from(b' ') {
        return None;
    }
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
    };
    let mut path = text(&block[..100]);
    let prefix = text(&block[345..500]);
    if block[257..262] == *b"ustar" && block[262] == 0 && !prefix.is_empty() {
        path = format!("{prefix}/{path}");
    }
    let kind = block[156];
    Some(Header::Entry(Entry {
        path,
        start: at.checked_add(BLOCK as u64)?,
        size: number(&block[124..136])?,
        is_file: [b'0', 0, b'7'].contains(&kind),
        extension: b"xgLK".contains(&kind).then_some(kind),
    }))
}

/// Entries and their bytes.
pub(super) type Files<'a> = Vec<(Entry, &'a [u8])>;

/// The entries of the whole archive `bytes`, with the bytes of each; at most `limit`. `None` when it is no archive.
pub(super) fn entries(bytes: &[u8], limit: usize) -> Option<Files<'_>> {
    let (found, large) = walk(bytes, limit)?;
    large.is_none().then_some(found)
}

/// The small files in the beginning `head` of an archive, and the first one that goes beyond it. `None` when it is no
/// archive or there is no such file.
pub(super) fn first_large(head: &[u8], limit: usize) -> Option<(Files<'_>, Entry)> {
    let (found, large) = walk(head, limit)?;
    Some((found, large?))
}

/// Entries whose bytes are all in `bytes`, up to the first whose are not.
fn walk(bytes: &[u8], limit: usize) -> Option<(Files<'_>, Option<Entry>)> {
    let mut found = Vec::new();
    let mut next = Next::default();
    let mut at = 0;
    for _ in 0..limit {
        let start = usize::try_from(at).ok()?;
        // An archive may end without its zeros.
        let Some(block) = bytes.get(start..start.checked_add(BLOCK)?) else {
            return Some((found, None));
        };
        let Header::Entry(mut entry) = parse(block, at)? else {
            return Some((found, None));
        };
        if entry.extension.is_none() {
            next.apply(&mut entry);
        }
        at = entry.next()?;
        let (start, size) = (
            usize::try_from(entry.start).ok()?,
            usize::try_from(entry.size).ok()?,
        );
        let content = bytes.get(start..start.checked_add(size)?);
        match (entry.extension, content) {
            (None, None) => return Some((found, Some(entry))),
            (None, Some(content)) => found.push((entry, content)),
            (Some(kind), content) => next.read(kind, content?)?,
        }
    }
    None
}

/// What extensions say about the next entry.
#[derive(Default)]
struct Next {
    path: Option<String>,
    size: Option<u64>,
}

impl Next {
    fn read(&mut self, kind: u8, content: &[u8]) -> Option<()> {
        if kind == b'L' {
            let path = String::from_utf8_lossy(content);
            self.path = Some(path.trim_end_matches('\0').to_owned());
        }
        if kind != b'x' {
            return Some(());
        }
        // Records `LENGTH KEY=VALUE\n`, where the length counts itself.
        let mut rest = std::str::from_utf8(content).ok()?;
        while !rest.is_empty() {
            let (len, _) = rest.split_once(' ')?;
            let (digits, len) = (len.len(), len.parse::<usize>().ok()?);
            let record = rest.get(digits + 1..len)?.strip_suffix('\n')?;
            match record.split_once('=')? {
                ("path", path) => self.path = Some(path.to_owned()),
                ("size", size) => self.size = Some(size.parse().ok()?),
                _ => {}
            }
            rest = &rest[len..];
        }
        Some(())
    }

    fn apply(&mut self, entry: &mut Entry) {
        if let Some(path) = self.path.take() {
            entry.path = path;
        }
        if let Some(size) = self.size.take() {
            entry.size = size;
        }
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches([' ', '\0']);
    u64::from_str_radix(if text.is_empty() { "0" } else { text }, 8).ok()
}

/// Octal digits, or a binary number after a byte with its highest bit set.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    let (high, low) = field.split_at(field.len() - 8);
    let is_small = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
    is_small.then(|| u64::from_be_bytes(low.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::MAX_OCTAL_SIZE;

    #[test]
    fn what_is_written_is_read() {
        for size in [0, 1, 512, 513, MAX_OCTAL_SIZE, MAX_OCTAL_SIZE + 1, 1 << 45] {
            let frame = frame("models", "model.gguf", size);
            let entry = |at: usize| parse(&frame.before[at..at + BLOCK], at as u64).unwrap();
            assert!(
                matches!(entry(0), Header::Entry(folder) if folder.path == "models/" && !folder.is_file)
            );
            let Header::Entry(file) = entry(BLOCK) else {
                panic!("an end");
            };
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
        let (small, large) = first_large(&archive, 10).unwrap();
        assert!(small.is_empty());
        assert_eq!(
            (large.path.as_str(), large.start, large.size),
            ("models/long.gguf", 1536, 70_000)
        );
        archive[BLOCK] = b'x';
        assert!(
            first_large(&archive, 10).is_none(),
            "a record without length"
        );
    }

    #[test]
    fn damage_is_no_archive() {
        let frame = frame("models", "a", 3);
        let whole = [&frame.before[..], b"abc", &frame.after].concat();
        let found = entries(&whole, 10).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].1, b"abc");
        for at in [0, 124, 512, 700] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(entries(&damaged, 10).is_none(), "{at}");
        }
        let mut cut = whole.clone();
        cut.truncate(1024 + 2);
        assert!(entries(&cut, 10).is_none());
        assert!(entries(&[1; 600], 10).is_none());
    }
}
