//! Which bytes of an unfinished download are in its file: a file of records beside it, which only grows.
//!
//! ```text
//! header   `slmpart1` · bytes in all: u64 · length of the tag: u32 · tag · CRC-32 of all before
//! record   kind: u32 · length: u32 · start: u64 · CRC-32 of those bytes · CRC-32 of header's CRC and all before
//! ```
//!
//! Numbers are little-endian. A record is written after its bytes, so a killed process never claims what it has not
//! written. What a power failure takes away shows when the bytes are read again: they do not have the CRC that the
//! record says. Reading stops at the first record that is damaged or incomplete, and what follows is cut off.
use super::spans::Span;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"slmpart1";
const RECORD_BYTES: usize = 24;
/// No record covers more; so much is read into memory to check one.
pub(super) const MAX_RECORD_SPAN: u64 = 1 << 20;
/// A tag is an ETag or a digest.
const MAX_TAG_BYTES: usize = 4 << 10;
/// The journal of 3 TB.
const MAX_JOURNAL_BYTES: u64 = 72 << 20;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Those bytes are in the file and have that CRC-32.
    Written(Span, u32),
    /// Those bytes are not in the file after all.
    Lost(Span),
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// CRC of the header, which every record depends on: records of another download are no records of this one.
    seed: u32,
}

impl Journal {
    /// Opens the journal at `path`. Its records, if it is one of a download of `total` bytes with that `tag`; else
    /// `None`, and the journal is as new.
    pub(super) fn open(
        path: &Path,
        total: u64,
        tag: &[u8],
    ) -> io::Result<(Self, Option<Vec<Record>>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        let header = header(total, tag);
        let seed = seed_of(&header);
        let mut bytes = Vec::new();
        let n_bytes = file.metadata()?.len();
        if n_bytes <= MAX_JOURNAL_BYTES {
            (&mut file)
                .take(MAX_JOURNAL_BYTES)
                .read_to_end(&mut bytes)?;
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            seed,
        };
        let Some(rest) = bytes.strip_prefix(&header[..]) else {
            journal.reset(total, tag)?;
            return Ok((journal, None));
        };
        let records = parse(rest, total, seed);
        let end = header.len() + records.len() * RECORD_BYTES;
        journal.file.set_len(end as u64)?;
        journal.file.seek(SeekFrom::Start(end as u64))?;
        Ok((journal, Some(records)))
    }

    /// Makes it the empty journal of a download of `total` bytes with that `tag`.
    pub(super) fn reset(&mut self, total: u64, tag: &[u8]) -> io::Result<()> {
        let header = header(total, tag);
        self.seed = seed_of(&header);
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&header)
    }

    /// Adds a record. The bytes that it speaks of have been written.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.file.write_all(&print(record, self.seed))
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn header(total: u64, tag: &[u8]) -> Vec<u8> {
    let tag = &tag[..tag.len().min(MAX_TAG_BYTES)];
    let n_tag = u32::try_from(tag.len()).expect("it was cut to a few KiB");
    let mut header = [&MAGIC[..], &total.to_le_bytes(), &n_tag.to_le_bytes(), tag].concat();
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header
}

/// The CRC at the end of the header. (The CRC of the whole header would be the same for all.)
fn seed_of(header: &[u8]) -> u32 {
    let crc = header.last_chunk().copied().expect("it ends with its CRC");
    u32::from_le_bytes(crc)
}

fn print(record: &Record, seed: u32) -> [u8; RECORD_BYTES] {
    let (kind, span, crc) = match record {
        Record::Written(span, crc) => (0_u32, span, *crc),
        Record::Lost(span) => (1, span, 0),
    };
    let len = u32::try_from(span.end - span.start).expect("no record covers more than 1 MiB");
    let mut bytes = [0; RECORD_BYTES];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..16].copy_from_slice(&span.start.to_le_bytes());
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    let check = checksum(&bytes[..20], seed);
    bytes[20..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The records up to the first that is none.
fn parse(bytes: &[u8], total: u64, seed: u32) -> Vec<Record> {
    let mut records = Vec::new();
    for bytes in bytes.chunks_exact(RECORD_BYTES) {
        let u32_at = |at: usize| {
            let bytes = bytes[at..at + 4].try_into();
            u32::from_le_bytes(bytes.expect("four bytes"))
        };
        let start = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        let (kind, len, crc) = (u32_at(0), u64::from(u32_at(4)), u32_at(16));
        let end = start.checked_add(len).filter(|end| *end <= total);
        let is_good = u32_at(20) == checksum(&bytes[..20], seed);
        let (true, Some(end), 1..=MAX_RECORD_SPAN) = (is_good, end, len) else {
            break;
        };
        records.push(match kind {
            0 => Record::Written(start..end, crc),
            1 => Record::Lost(start..end),
            _ => break,
        });
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 10 << 20;

    fn some_records() -> Vec<Record> {
        let mut random = fastrand::Rng::with_seed(2);
        let span = |random: &mut fastrand::Rng| {
            let start = random.u64(..TOTAL - MAX_RECORD_SPAN);
            start..start + random.u64(1..=MAX_RECORD_SPAN)
        };
        let record = |idx: usize| match idx % 5 {
            0 => Record::Lost(span(&mut random)),
            _ => Record::Written(span(&mut random), random.u32(..)),
        };
        (1..40).map(record).collect()
    }

    /// A process may be killed, or the disk be full, after any byte of the journal.
    #[test]
    fn a_journal_that_ends_anywhere_gives_the_records_before_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let records = some_records();
        let (mut journal, found) = Journal::open(&path, TOTAL, b"tag").unwrap();
        assert_eq!(found, None);
        for record in &records {
            journal.append(record).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let n_header = whole.len() - records.len() * RECORD_BYTES;
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut journal, found) = Journal::open(&path, TOTAL, b"tag").unwrap();
            let n_expected = end.checked_sub(n_header).map(|n| n / RECORD_BYTES);
            let expected = n_expected.map(|n| records[..n].to_vec());
            assert_eq!(found, expected, "cut at {end}");
            journal.append(&records[0]).unwrap();
            let (_, found) = Journal::open(&path, TOTAL, b"tag").unwrap();
            let mut expected = expected.unwrap_or_default();
            expected.push(records[0].clone());
            assert_eq!(found, Some(expected), "cut at {end}, then one more");
        }
    }

    #[test]
    fn damage_ends_the_journal_and_another_download_has_no_part_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let records = some_records();
        let (mut journal, _) = Journal::open(&path, TOTAL, b"").unwrap();
        for record in &records {
            journal.append(record).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let n_header = whole.len() - records.len() * RECORD_BYTES;
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            let (_, found) = Journal::open(&path, TOTAL, b"").unwrap();
            let n_good = at.checked_sub(n_header).map(|n| n / RECORD_BYTES);
            assert_eq!(found, n_good.map(|n| records[..n].to_vec()), "bit of {at}");
        }
        for (total, tag) in [(TOTAL + 1, &b""[..]), (TOTAL, b"other")] {
            fs::write(&path, &whole).unwrap();
            let (_, found) = Journal::open(&path, total, tag).unwrap();
            assert_eq!(found, None);
        }
        // The records of another download behind this one's header.
        let (_, found) = Journal::open(&path, TOTAL, b"other").unwrap();
        assert_eq!(found, Some(Vec::new()));
        let mut mixed = fs::read(&path).unwrap();
        mixed.extend(&whole[n_header..]);
        fs::write(&path, &mixed).unwrap();
        let (_, found) = Journal::open(&path, TOTAL, b"other").unwrap();
        assert_eq!(found, Some(Vec::new()));
    }
}
