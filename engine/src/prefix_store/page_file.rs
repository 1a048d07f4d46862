//! The file of a page: for every layer with keys and values of its own, theirs of the page's positions.
//!
//! Little-endian: a mark, the page's name, how many layers there are, for each the length of its bytes (0 where a window
//! had let go of them) and their CRC-32, then the CRC-32 of all that, and the layers' bytes. A file that is not wholly as
//! expected counts as damaged.

use super::{chain::Link, chain::hex};
use crate::KvCache;
use slm_kernels::{KvLayer, PAGE_POSITIONS};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const MARK: &[u8; 8] = b"slm-kv\x01\n";
const ENDING: &str = "kv";
/// The ending of files that are being written.
pub(super) const UNFINISHED: &str = "new";

/// The name of a page's file.
pub(super) fn path_of(folder: &Path, link: &Link) -> PathBuf {
    folder.join(hex(link)).with_extension(ENDING)
}

/// The page that a file is of, by its name.
pub(super) fn link_of(path: &Path) -> Option<Link> {
    let is_page = path.extension().is_some_and(|ending| ending == ENDING);
    super::chain::parse(path.file_stem()?.to_str()?).filter(|_| is_page)
}

/// Bytes of the file of page `page` of `state`.
pub(super) fn size(state: &KvCache, page: usize) -> u64 {
    let layers = state.stored_layers().map(|layer| layer.kv);
    let bytes = layers.map(|kv| 8 + kv.page_bytes(page).map_or(0, <[u8]>::len) as u64);
    MARK.len() as u64 + 32 + 4 + 4 + bytes.sum::<u64>()
}

/// Writes page `page` of `state`, for nobody else to read, and gives it its name when it is whole.
pub(super) fn write(folder: &Path, link: &Link, state: &KvCache, page: usize) -> io::Result<()> {
    let path = path_of(folder, link);
    let unfinished = path.with_extension(UNFINISHED);
    let written = write_to(&unfinished, link, state, page);
    let written = written.and_then(|()| fs::rename(&unfinished, &path));
    if written.is_err() {
        let _it_may_not_be_there = fs::remove_file(&unfinished);
    }
    written
}

fn write_to(path: &Path, link: &Link, state: &KvCache, page: usize) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let layers = || {
        let layers = state.stored_layers();
        layers.map(|layer| layer.kv.page_bytes(page).unwrap_or_default())
    };
    let mut head = Vec::new();
    head.extend_from_slice(MARK);
    head.extend_from_slice(link);
    head.extend_from_slice(&(layers().count() as u32).to_le_bytes());
    for bytes in layers() {
        head.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        head.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    }
    let check = crc32fast::hash(&head);
    head.extend_from_slice(&check.to_le_bytes());
    file.write_all(&head)?;
    for bytes in layers() {
        file.write_all(bytes)?;
    }
    Ok(())
}

/// What the head of a page's file says.
pub(super) struct Head {
    /// Of each layer, whether its bytes are there, and their CRC-32.
    layers: Vec<Option<u32>>,
    size: u64,
}

impl Head {
    /// Whether the bytes of layer `index` are there.
    pub(super) fn has(&self, index: usize) -> bool {
        self.layers.get(index).is_some_and(Option::is_some)
    }

    /// Whether the bytes of all layers are there.
    pub(super) fn is_whole(&self) -> bool {
        self.layers.iter().all(Option::is_some)
    }
}

/// Reads the head of the page's file, and checks that it is of a state like `like` and that all of the file is there.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for a file that is damaged, others as the system has them.
pub(super) fn head(folder: &Path, link: &Link, like: &KvCache) -> io::Result<Head> {
    let mut file = File::open(path_of(folder, link))?;
    read_head(&mut file, link, like)
}

fn read_head(file: &mut File, link: &Link, like: &KvCache) -> io::Result<Head> {
    let page_sizes: Vec<usize> = like.stored_layers().map(|l| l.kv.page_size()).collect();
    let mut bytes = vec![0; MARK.len() + link.len() + 4 + 8 * page_sizes.len() + 4];
    file.read_exact(&mut bytes)?;
    let (said, check) = bytes.split_at(bytes.len() - 4);
    let (mark, said_rest) = said.split_at(MARK.len());
    let (name, said_rest) = said_rest.split_at(link.len());
    let (n_layers, of_layers) = said_rest.split_at(4);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
    let is_ours = mark == MARK
        && name == link
        && number(n_layers) as usize == page_sizes.len()
        && number(check) == crc32fast::hash(said);
    let mut size = bytes.len() as u64;
    let mut layers = Vec::with_capacity(page_sizes.len());
    for (of_layer, page_size) in of_layers.chunks_exact(8).zip(page_sizes) {
        let (len, crc) = of_layer.split_at(4);
        let len = number(len) as usize;
        if len != 0 && len != page_size {
            return Err(damaged());
        }
        size += len as u64;
        layers.push((len > 0).then(|| number(crc)));
    }
    if !is_ours || file.metadata()?.len() != size {
        return Err(damaged());
    }
    Ok(Head { layers, size })
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is damaged")
}

/// Adds the positions of page `page` to the layers of `state` that are to have them: those that end where it begins. A
/// file without the bytes of one of them counts as damaged. What was added before a failure has to be taken back.
///
/// # Errors
/// As [`head`].
pub(super) fn read(folder: &Path, link: &Link, state: &mut KvCache, page: usize) -> io::Result<()> {
    let mut file = File::open(path_of(folder, link))?;
    let head = read_head(&mut file, link, state)?;
    for (kv, crc) in state.stored_layers_mut().zip(&head.layers) {
        let is_wanted = kv.len() == page * PAGE_POSITIONS;
        match crc {
            Some(crc) if is_wanted => read_layer(&mut file, *crc, kv)?,
            Some(_) => {
                file.seek(SeekFrom::Current(kv.page_size() as i64))?;
            }
            // another file than the one whose head was read before
            None if is_wanted => return Err(damaged()),
            None => {}
        }
    }
    debug_assert!(
        head.size >= file.stream_position().unwrap_or(0),
        "as long as its head says"
    );
    Ok(())
}

fn read_layer(file: &mut File, crc: u32, kv: &mut KvLayer) -> io::Result<()> {
    kv.push_page(|bytes| {
        file.read_exact(bytes)?;
        match crc32fast::hash(bytes) == crc {
            true => Ok(()),
            false => Err(damaged()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadOptions, Model};

    /// Another process may replace a page by one with less between the reading of its head and that of its bytes.
    #[test]
    fn a_page_without_the_bytes_of_a_layer_does_not_pass_for_read() {
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/data/golden/gemma3.gguf"
        );
        let model = Model::load(Path::new(golden), &LoadOptions::default()).unwrap();
        let empty = model.decoder().new_cache();
        let filled = |n_without: usize| {
            let mut state = empty.clone();
            for (layer, kv) in state.stored_layers_mut().enumerate() {
                if layer < n_without {
                    kv.skip_pages(1);
                    continue;
                }
                let pushed = kv.push_page(|bytes| {
                    bytes.fill(1);
                    io::Result::Ok(())
                });
                pushed.unwrap();
            }
            state
        };
        let folder = tempfile::tempdir().unwrap();
        let link = Link::default();
        write(folder.path(), &link, &filled(0), 0).unwrap();
        let whole = head(folder.path(), &link, &empty).unwrap();
        assert!(whole.is_whole());
        read(folder.path(), &link, &mut empty.clone(), 0).unwrap();
        write(folder.path(), &link, &filled(1), 0).unwrap();
        let partial = head(folder.path(), &link, &empty).unwrap();
        assert!(!partial.is_whole());
        let error = read(folder.path(), &link, &mut empty.clone(), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // who does not want that layer's has all it wants
        let mut without = empty.clone();
        for kv in without.stored_layers_mut().take(1) {
            kv.skip_pages(1);
        }
        read(folder.path(), &link, &mut without, 0).unwrap();
    }
}
