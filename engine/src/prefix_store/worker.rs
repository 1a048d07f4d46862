//! The thread that writes and reads.

use super::{Found, Index, Order, PrefixStoreOptions, chain::Link, page_file, space};
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
}

impl Worker {
    /// Makes the folder, or looks at what is in it.
    pub(super) fn open(
        folder: PathBuf,
        options: &PrefixStoreOptions,
        index: Index,
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
        })
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Until nobody orders any more.
    pub(super) fn run(self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Write(write) => self.write(&write.state, &write.links),
                Order::Read(read) => {
                    let state = self.read(&read.empty, &read.found);
                    let _nobody_may_wait = read.reply.send(state);
                }
            }
        }
    }

    fn write(&self, state: &KvCache, links: &[Link]) {
        let mut in_chain = 0;
        let mut total = None;
        for (page, link) in links.iter().enumerate() {
            let size = page_file::size(state, page);
            in_chain += size;
            if in_chain > self.max_bytes {
                // its own beginning would have to go
                break;
            }
            if self.index.links().contains(link) {
                continue;
            }
            let room = self.max_bytes - size;
            let taken = match total {
                Some(total) if total <= room => total,
                _ => {
                    // those of this chain that are there are of use
                    touch(&self.folder, &links[..page]);
                    let left = space::shrink(&self.dir, room);
                    self.forget_lost();
                    left
                }
            };
            if let Err(error) = page_file::write(&self.folder, link, state, page) {
                tracing::debug!(%error, "a prefix is not kept on disk");
                break;
            }
            total = Some(taken + size);
            self.index.links().insert(*link);
        }
        touch(&self.folder, links);
    }

    /// Forgets the pages whose files were removed to make room.
    fn forget_lost(&self) {
        let is_there = |link: &Link| page_file::path_of(&self.folder, link).exists();
        self.index.links().retain(is_there);
    }

    /// The state of as much of what was found as can be read, made of `empty`; `None` where that is nothing.
    fn read(&self, empty: &KvCache, found: &Found) -> Option<KvCache> {
        let links = &found.links;
        let mut heads = Vec::with_capacity(links.len());
        for link in links {
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
        while most > 0 {
            let (n_pages, firsts) = empty.restorable(most, has).unwrap_or_default();
            self.forget_partial(&links[n_pages..most], &heads[n_pages..most]);
            if n_pages == 0 {
                break;
            }
            let mut state = empty.clone();
            for (kv, first) in state.stored_layers_mut().zip(firsts) {
                kv.skip_pages(first);
            }
            let failed = links[..n_pages]
                .iter()
                .enumerate()
                .find_map(|(page, link)| {
                    let read = page_file::read(&self.folder, link, &mut state, page);
                    read.err().map(|error| (page, error))
                });
            match failed {
                Some((page, error)) => {
                    self.give_up(&links[page], &error);
                    most = page;
                }
                None => {
                    touch(&self.folder, &links[..n_pages]);
                    state.restored(&found.tokens[..n_pages * PAGE_POSITIONS], found.is_long);
                    return Some(state);
                }
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
