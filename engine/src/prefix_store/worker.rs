//! What the threads do that write and read.

use super::{Closing, Index, PrefixStoreOptions, Read, Write, chain::Link, page_file, space};
use crate::KvCache;
use slm_kernels::PAGE_POSITIONS;
use std::{
    fs::{self, DirBuilder, File},
    io,
    path::{Path, PathBuf},
    sync::mpsc::Receiver,
    time::{Duration, SystemTime},
};

pub(super) struct Worker {
    /// Of all models.
    dir: PathBuf,
    /// Of this one.
    folder: PathBuf,
    max_bytes: u64,
    index: Index,
    closing: Closing,
}

impl Worker {
    /// Makes the folder, or looks at what is in it.
    pub(super) fn open(
        folder: PathBuf,
        options: &PrefixStoreOptions,
        index: Index,
        closing: Closing,
    ) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        let files = fs::read_dir(&folder)?.flatten();
        index
            .links()
            .extend(files.filter_map(|file| page_file::link_of(&file.path())));
        Ok(Self {
            dir: options.dir.clone(),
            folder,
            max_bytes: options.max_bytes,
            index,
            closing,
        })
    }

    /// Writes until nobody orders any more.
    pub(super) fn write_all(&self, orders: &Receiver<Write>) {
        for write in orders {
            self.write(&write.state, &write.links);
        }
    }

    /// Reads until nobody orders any more.
    pub(super) fn read_all(&self, orders: &Receiver<Read>) {
        for read in orders {
            let state = self.read(&read);
            let _nobody_may_wait = read.reply.send(state);
        }
    }

    /// Writes the pages that are not there, from the beginning on: what is written is of use whenever it ends.
    fn write(&self, state: &KvCache, links: &[Link]) {
        if self.closing.is_over() {
            return;
        }
        let mut in_chain = 0;
        let fits = |page: &usize| {
            in_chain += page_file::size(state, *page);
            // else its own beginning would have to go
            in_chain <= self.max_bytes
        };
        let n_pages = (0..links.len()).take_while(fits).count();
        let links = &links[..n_pages];
        let index = self.index.links();
        let missing = (0..n_pages).filter(|page| !index.contains(&links[*page]));
        let missing: Vec<usize> = missing.collect();
        drop(index);
        // those of this chain that are there are of use
        touch(&self.folder, links);
        if missing.is_empty() {
            return;
        }
        let needed: u64 = missing.iter().map(|p| page_file::size(state, *p)).sum();
        space::shrink(&self.dir, self.max_bytes.saturating_sub(needed));
        self.forget_lost();
        for page in missing {
            if self.closing.is_over() {
                break;
            }
            let link = &links[page];
            if let Err(error) = page_file::write(&self.folder, link, state, page) {
                tracing::debug!(%error, "a prefix is not kept on disk");
                break;
            }
            self.index.links().insert(*link);
        }
        touch(&self.folder, links);
    }

    /// Forgets the pages whose files were removed to make room.
    fn forget_lost(&self) {
        // the engine thread looks things up: it is not to wait for the disk
        let known: Vec<Link> = self.index.links().iter().copied().collect();
        let is_lost = |link: &Link| !page_file::path_of(&self.folder, link).exists();
        let lost: Vec<Link> = known.into_iter().filter(is_lost).collect();
        let mut index = self.index.links();
        for link in lost {
            index.remove(&link);
        }
    }

    /// The state of as much of what was found as can be read; `None` where that is nothing, or wanted no longer.
    fn read(
        &self,
        Read {
            empty,
            found,
            wanted,
            ..
        }: &Read,
    ) -> Option<KvCache> {
        let is_wanted = || wanted.strong_count() > 0;
        let links = &found.links;
        let mut heads = Vec::with_capacity(links.len());
        for link in links {
            if !is_wanted() {
                return None;
            }
            match page_file::head(&self.folder, link, empty) {
                Ok(head) => heads.push(head),
                Err(error) => {
                    self.give_up(link, &error);
                    break;
                }
            }
        }
        let has = |layer: usize, page: usize| heads[page].has(layer);
        let mut most = heads.len();
        // each turn gives up a page at least
        while most > 0 && is_wanted() {
            let (n_pages, firsts) = empty.restorable(most, has).unwrap_or_default();
            self.forget_partial(&links[n_pages..most], &heads[n_pages..most]);
            if n_pages == 0 {
                break;
            }
            let mut state = empty.clone();
            for (kv, first) in state.stored_layers_mut().zip(firsts) {
                kv.skip_pages(first);
            }
            let pages = links[..n_pages].iter().enumerate();
            let failed = pages.take_while(|_| is_wanted()).find_map(|(page, link)| {
                let read = page_file::read(&self.folder, link, &mut state, page);
                read.err().map(|error| (page, error))
            });
            match failed {
                Some((page, error)) => {
                    self.give_up(&links[page], &error);
                    most = page;
                }
                None if is_wanted() => {
                    touch(&self.folder, &links[..n_pages]);
                    state.restored(&found.tokens[..n_pages * PAGE_POSITIONS], found.is_long);
                    return Some(state);
                }
                None => break,
            }
        }
        None
    }

    /// Forgets those of the pages that could not be gone on from for want of a layer's bytes: whoever computes the
    /// positions anew writes them whole.
    fn forget_partial(&self, links: &[Link], heads: &[page_file::Head]) {
        let mut index = self.index.links();
        for (link, head) in links.iter().zip(heads) {
            if !head.is_whole() {
                index.remove(link);
            }
        }
    }

    /// A file that is damaged, or gone.
    fn give_up(&self, link: &Link, error: &io::Error) {
        tracing::debug!(%error, "a prefix on disk cannot be used");
        self.index.links().remove(link);
        let _it_may_be_gone = fs::remove_file(page_file::path_of(&self.folder, link));
    }
}

/// Notes that these pages were of use, each a little less than the one before it: ends go before beginnings.
fn touch(folder: &Path, links: &[Link]) {
    let now = SystemTime::now();
    for (page, link) in links.iter().enumerate() {
        let used_at = now - Duration::from_micros(page as u64);
        let file = File::options()
            .append(true)
            .open(page_file::path_of(folder, link));
        let _it_may_be_gone = file.and_then(|file| file.set_modified(used_at));
    }
}
