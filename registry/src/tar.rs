//! Tar archives of plain files, as streams.
//!
//! [`header`] and [`END`] write them: nothing but names, sizes and bytes, so that the same files give the same archive.
//! [`Reader`] reads what these and other programs wrote (ustar, pax, large sizes and long names of GNU tar). What an
//! archive of plain files has no use for (links, devices, names that lead elsewhere) it refuses in a bundle and passes over
//! in a layer of an image. It allocates no more than [`MAX_PAX_BYTES`].
use std::io::{self, Read};

/// Bytes of a header; contents are filled up to a multiple of it.
pub(crate) const BLOCK_BYTES: usize = 512;
/// How an archive ends.
pub(crate) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
/// No honest extended header is longer.
const MAX_PAX_BYTES: u64 = 64 << 10;
/// No honest bundle has more files.
const MAX_ENTRIES: usize = 100_000;
/// The largest size that the octal field holds.
pub(crate) const MAX_OCTAL_SIZE: u64 = (1 << 33) - 1;

/// The header of a file called `path`, which has at most 100 bytes, of `size` bytes. No owner, no time: equal files have
/// equal headers.
pub(crate) fn header(path: &str, size: u64) -> [u8; BLOCK_BYTES] {
    header_of_kind(path, size, b'0', 0o644)
}

/// As [`header`], for an entry of that kind and mode.
pub(crate) fn header_of_kind(path: &str, size: u64, kind: u8, mode: u32) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    assert!(path.len() <= 100, "a longer name needs another header");
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size <= MAX_OCTAL_SIZE {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // as GNU tar has it, which all that read archives know
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// How many bytes fill up contents of `size` bytes.
pub(crate) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES as u64) - size
}

/// A plain file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In a bundle its path, relative, without `.` and `..`; in a layer what the archive says, fit for looking at only.
    pub(crate) path: String,
    /// Where its contents begin in the archive.
    pub(crate) start: u64,
    /// Bytes of its contents.
    pub(crate) size: u64,
}

/// Reads an archive, file by file; as a reader it gives the contents of the current file.
pub(crate) struct Reader<'a> {
    inner: &'a mut dyn Read,
    /// Whether anything but plain files may be in it.
    is_layer: bool,
    /// Bytes that were read.
    at: u64,
    /// Bytes of the current file that are still to come.
    n_left: u64,
    n_padding: u64,
    n_entries: usize,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(crate) enum TarError {
    /// The stream failed.
    Read(io::Error),
    /// The stream ends too early.
    CutOff,
    /// The archive is wrong.
    Wrong(String),
}

fn wrong<T>(reason: impl Into<String>) -> Result<T, TarError> {
    Err(TarError::Wrong(reason.into()))
}

impl<'a> Reader<'a> {
    /// A reader of the archive that `inner` gives, which has nothing but plain files.
    pub(crate) fn new(inner: &'a mut dyn Read) -> Self {
        Self {
            inner,
            is_layer: false,
            at: 0,
            n_left: 0,
            n_padding: 0,
            n_entries: 0,
        }
    }

    /// A reader of the layer of an image that `inner` gives: what is no plain file is passed over, and it may end without
    /// the zeros at the end.
    pub(crate) fn of_layer(inner: &'a mut dyn Read) -> Self {
        Self {
            is_layer: true,
            ..Self::new(inner)
        }
    }

    /// The next file, whatever is left of the current one passed over; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pax = Pax::default();
        loop {
            self.skip(self.n_left + self.n_padding)?;
            (self.n_left, self.n_padding) = (0, 0);
            let mut block = [0; BLOCK_BYTES];
            if !self.fill(&mut block)? || block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            self.n_entries += 1;
            if self.n_entries > MAX_ENTRIES {
                return wrong(format!("it has more than {MAX_ENTRIES} entries"));
            }
            check_sum(&block)?;
            let kind = block[156];
            let size = pax.size.map_or_else(|| number(&block[124..136]), Ok)?;
            if size > i64::MAX as u64 {
                return wrong("a size in it is impossible");
            }
            self.n_left = size;
            self.n_padding = padding(size);
            match kind {
                b'0' | 0 => {
                    let path = pax.path.take();
                    let path = if self.is_layer {
                        path.unwrap_or_else(|| shown_path(&block))
                    } else {
                        let path = path.map_or_else(|| stored_path(&block), Ok)?;
                        plain_path(&path)?
                    };
                    return Ok(Some(Entry {
                        path,
                        start: self.at,
                        size,
                    }));
                }
                b'5' if size == 0 => pax = Pax::default(),
                b'x' => pax.add(self.read_pax(size)?),
                // what holds for all files is nothing that we need
                b'g' if size <= MAX_PAX_BYTES => {}
                b'g' => return wrong("an extended header in it is too long"),
                b'L' if self.is_layer => pax.path = Some(self.read_long_name(size)?),
                b'K' if self.is_layer && size <= MAX_PAX_BYTES => {}
                b'S' => return wrong("it has a file with holes in it"),
                // links, devices and folders have no contents, whatever their headers say
                b'1'..=b'6' if self.is_layer => {
                    (self.n_left, self.n_padding) = (0, 0);
                    pax = Pax::default();
                }
                _ if self.is_layer => pax = Pax::default(),
                b'1' | b'2' => return wrong("it has a link in it, and takes only plain files"),
                b'L' | b'K' => return wrong("it has a name of more than 100 bytes in it"),
                _ => return wrong("it has something else than plain files in it"),
            }
        }
    }

    /// Reads the contents of the current file, which may have at most `limit` bytes.
    pub(crate) fn read_small(&mut self, limit: u64) -> Result<Vec<u8>, TarError> {
        if self.n_left > limit {
            return wrong(format!(
                "a file in it has {} bytes where at most {limit} make sense",
                self.n_left
            ));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(cut_off)?;
        Ok(bytes)
    }

    fn read_pax(&mut self, size: u64) -> Result<Pax, TarError> {
        if size > MAX_PAX_BYTES {
            return wrong("an extended header in it is too long");
        }
        let bytes = self.read_small(size)?;
        Pax::parse(&bytes).map_or_else(|| wrong("an extended header in it is damaged"), Ok)
    }

    /// The name of the next entry, as GNU tar stores long ones.
    fn read_long_name(&mut self, size: u64) -> Result<String, TarError> {
        if size > MAX_PAX_BYTES {
            return wrong("a name in it is too long");
        }
        let bytes = self.read_small(size)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        Ok(String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned())
    }

    /// Reads a block; whether there was one. Only a layer may end where one begins.
    fn fill(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, TarError> {
        let mut n_filled = 0;
        while n_filled < BLOCK_BYTES {
            match self.inner.read(&mut block[n_filled..]) {
                Ok(0) if n_filled == 0 && self.is_layer => return Ok(false),
                Ok(0) => return Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
                Ok(n_bytes) => n_filled += n_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.at += BLOCK_BYTES as u64;
        Ok(true)
    }

    fn skip(&mut self, n_bytes: u64) -> Result<(), TarError> {
        let mut limited = (&mut *self.inner).take(n_bytes);
        let n_read = io::copy(&mut limited, &mut io::sink()).map_err(TarError::Read)?;
        self.at = self.at.saturating_add(n_read);
        if n_read < n_bytes {
            return Err(cut_off(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

fn cut_off(error: io::Error) -> TarError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return TarError::CutOff;
    }
    TarError::Read(error)
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n_wanted = out
            .len()
            .min(usize::try_from(self.n_left).unwrap_or(usize::MAX));
        if n_wanted == 0 {
            return Ok(0);
        }
        let n_read = self.inner.read(&mut out[..n_wanted])?;
        if n_read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.n_left -= n_read as u64;
        self.at = self.at.saturating_add(n_read as u64);
        Ok(n_read)
    }
}

/// What an extended header says about the file after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pax {
    path: Option<String>,
    size: Option<u64>,
}

impl Pax {
    /// What a further header says holds too.
    fn add(&mut self, next: Self) {
        self.path = next.path.or(self.path.take());
        self.size = next.size.or(self.size);
    }

    /// Records of `LENGTH KEY=VALUE\n`, the length in bytes of the whole record.
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
            let len: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
            let record = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
            bytes = &bytes[len..];
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let value = &record[equals + 1..];
            match &record[..equals] {
                b"path" => pax.path = Some(std::str::from_utf8(value).ok()?.to_owned()),
                b"size" => pax.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => {}
            }
        }
        Some(pax)
    }
}

fn check_sum(block: &[u8; BLOCK_BYTES]) -> Result<(), TarError> {
    let sum = block.iter().enumerate().map(|(at, byte)| match at {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    });
    if number(&block[148..156])? != sum.sum::<u64>() {
        return wrong("it is no tar archive, or a header in it is damaged");
    }
    Ok(())
}

/// A number in octal digits, or in the binary form for large ones.
fn number(field: &[u8]) -> Result<u64, TarError> {
    let (first, rest) = field.split_first().expect("fields are not empty");
    if first & 0x80 != 0 {
        let (zeros, low) = rest.split_at(rest.len().saturating_sub(8));
        let low: Option<&[u8; 8]> = low.try_into().ok();
        return match low {
            Some(low) if *first == 0x80 && zeros.iter().all(|byte| *byte == 0) => {
                Ok(u64::from_be_bytes(*low))
            }
            _ => wrong("a size in it is impossible"),
        };
    }
    let digits = std::str::from_utf8(field).unwrap_or("?");
    let digits = digits.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).map_or_else(
        |_| wrong("it is no tar archive, or a header in it is damaged"),
        Ok,
    )
}

/// [`stored_path`], with signs in place of what is no text.
fn shown_path(block: &[u8; BLOCK_BYTES]) -> String {
    stored_path(block).unwrap_or_else(|_| String::from_utf8_lossy(&block[..100]).into_owned())
}

fn stored_path(block: &[u8; BLOCK_BYTES]) -> Result<String, TarError> {
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0);
        let text = std::str::from_utf8(&field[..end.unwrap_or(field.len())]);
        text.map_or_else(
            |_| wrong("a name in it is no text"),
            |text| Ok(text.to_owned()),
        )
    };
    let name = text(&block[..100])?;
    let prefix = if block[257..263] == *b"ustar\0" {
        text(&block[345..500])?
    } else {
        String::new()
    };
    Ok(if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    })
}

/// The path without `./`; refused when it could lead out of the archive.
fn plain_path(path: &str) -> Result<String, TarError> {
    let leads_elsewhere =
        path.starts_with('/') || path.contains('\\') || path.split('/').any(|part| part == "..");
    if leads_elsewhere || path.contains('\0') {
        return wrong(format!(
            "the name `{}` in it leads elsewhere",
            crate::error::one_line(path)
        ));
    }
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    Ok(parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, contents) in files {
            bytes.extend(header(path, contents.len() as u64));
            bytes.extend(*contents);
            bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        bytes.extend(END);
        bytes
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut reader = Reader::new(&mut bytes);
        let mut files = Vec::new();
        let explain = |error| match error {
            TarError::Wrong(reason) => reason,
            TarError::CutOff => "it is cut off".to_owned(),
            TarError::Read(error) => error.to_string(),
        };
        while let Some(entry) = reader.next().map_err(explain)? {
            files.push((entry.path, reader.read_small(1 << 20).map_err(explain)?));
        }
        Ok(files)
    }

    /// What other builders of images write beside plain files is passed over, and long names are read.
    #[test]
    fn a_layer_may_have_anything_in_it() {
        let record = |text: &str| format!("{} {text}\n", text.len() + 4);
        let mut bytes = header_of_kind("usr/", 0, b'5', 0o755).to_vec();
        bytes.extend(header_of_kind("usr/link", 7, b'1', 0o644));
        bytes.extend(header_of_kind("dev/null", 0, b'3', 0o644));
        let mut add = |header: [u8; BLOCK_BYTES], contents: &[u8]| {
            bytes.extend(header);
            bytes.extend(contents);
            bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        };
        let records = record("path=models/long.gguf") + &record("size=600");
        let records = [records.as_bytes(), b"20 SCHILY.xattr.x=\xff\n"].concat();
        add(
            header_of_kind("x", records.len() as u64, b'x', 0o644),
            &records,
        );
        add(header("short", 0), &[7; 600]);
        let name = [&[b'n'; 150][..], b".gguf\0"].concat();
        add(
            header_of_kind("././@LongLink", name.len() as u64, b'L', 0o644),
            &name,
        );
        add(header("n", 3), b"abc");
        add(header("/../outside", 1), b"x");
        let mut reader = &bytes[..];
        let mut reader = Reader::of_layer(&mut reader);
        let mut found = Vec::new();
        while let Some(entry) = reader.next().map_err(|_| ()).unwrap() {
            let contents = reader.read_small(1000).map_err(|_| ()).unwrap();
            let start = usize::try_from(entry.start).unwrap();
            assert_eq!(contents, bytes[start..start + contents.len()]);
            found.push((entry.path, contents.len()));
        }
        let long = format!("{}.gguf", "n".repeat(150));
        let expected = [
            ("models/long.gguf".to_owned(), 600),
            (long, 3),
            ("/../outside".to_owned(), 1),
        ];
        assert_eq!(found, expected);
        assert!(read(&bytes).is_err(), "a bundle has no links");
    }

    #[test]
    fn files_come_back_whatever_their_length() {
        let lengths = [0, 1, 511, 512, 513, 5000];
        let contents = lengths.map(|len| vec![7_u8; len]);
        let names = lengths.map(|len| format!("blobs/{len}"));
        let files: Vec<(&str, &[u8])> = names
            .iter()
            .zip(&contents)
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        let read = read(&archive(&files)).unwrap();
        for ((name, bytes), (path, contents)) in files.iter().zip(&read) {
            assert_eq!((*name, *bytes), (path.as_str(), contents.as_slice()));
        }
        assert_eq!(read.len(), files.len());
    }

    #[test]
    fn large_sizes_are_written_and_read() {
        for size in [0, MAX_OCTAL_SIZE, MAX_OCTAL_SIZE + 1, 1 << 45] {
            let block = header("x", size);
            check_sum(&block).unwrap();
            assert_eq!(number(&block[124..136]).unwrap(), size);
        }
    }

    #[test]
    fn extended_headers_count_for_the_next_file() {
        let mut bytes = archive(&[("x", b"19 path=sub/long.x\n10 size=3\n")]);
        bytes.truncate(bytes.len() - END.len());
        bytes[156] = b'x';
        resum(&mut bytes);
        bytes.extend(archive(&[("short", b"abc")]));
        assert_eq!(
            read(&bytes).unwrap(),
            [("sub/long.x".to_owned(), b"abc".to_vec())]
        );
        assert_eq!(Pax::parse(b"5 a=b"), None);
        assert_eq!(Pax::parse(b"99999 a=b\n"), None);
        assert_eq!(Pax::parse(b"0 a=b\n"), None);
    }

    fn resum(bytes: &mut [u8]) {
        bytes[148..156].copy_from_slice(b"        ");
        let sum: u32 = bytes[..BLOCK_BYTES]
            .iter()
            .map(|byte| u32::from(*byte))
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn what_is_hostile_is_refused_in_a_sentence() {
        #[track_caller]
        fn check(change: impl Fn(&mut Vec<u8>), expected: &str) {
            let mut bytes = archive(&[("dir/file", b"contents")]);
            change(&mut bytes);
            let reason = read(&bytes).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
        let set = |at: usize, new: &'static [u8]| {
            move |bytes: &mut Vec<u8>| {
                bytes[at..at + new.len()].copy_from_slice(new);
                resum(bytes);
            }
        };
        check(set(0, b"../file\0"), "`../file` in it leads elsewhere");
        check(set(0, b"/etc/x\0\0"), "leads elsewhere");
        check(set(0, b"a/../../b\0"), "leads elsewhere");
        check(set(0, b"\xff\xfe"), "no text");
        for kind in [b"1", b"2"] {
            check(set(156, kind), "link");
        }
        check(set(156, b"3"), "something else");
        check(set(156, b"L"), "more than 100 bytes");
        check(set(124, b"00000400000\0"), "cut off");
        check(
            set(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
            "impossible",
        );
        check(set(124, b"\xff\0\0\0\0\0\0\0\0\0\0\0"), "impossible");
        check(set(124, b"zzzzzzzzzzz\0"), "damaged");
        check(|bytes| bytes[3] ^= 1, "damaged");
        check(|bytes| bytes.truncate(700), "cut off");
        check(|bytes| bytes.truncate(100), "cut off");
        check(|bytes| bytes.truncate(1024), "cut off");
        check(|bytes| bytes.clear(), "cut off");
        check(
            |bytes| {
                bytes[156] = b'x';
                bytes[124..136].copy_from_slice(b"77777777777\0");
                resum(bytes);
            },
            "too long",
        );
    }
}
