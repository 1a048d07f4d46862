//! The file of stored predictions, in llama-perplexity's form (`--save-all-logits`): little-endian numbers.
//!
//! `_logits_`, `n_ctx` u32, `n_vocab` i32, `n_chunk` i32, the tokens `[n_chunk, n_ctx]` i32, then for each prediction that
//! counts: scale f32, least f32, `n_vocab` codes u16, and one more where that number is odd.

use anyhow::{Context, bail, ensure};
use slm_engine::{
    TokenId,
    eval::{Distribution, Eval},
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"_logits_";

/// Reads predictions one after the other.
pub(super) struct BaseReader {
    path: PathBuf,
    file: BufReader<File>,
    n_ctx: usize,
    n_vocab: usize,
    tokens: Vec<TokenId>,
}

impl BaseReader {
    /// Reads what comes before the predictions.
    ///
    /// # Errors
    /// A file that is no such file, is cut short, or is of another vocabulary than of `n_vocab` tokens.
    pub(super) fn open(path: &Path, n_vocab: usize) -> anyhow::Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot open `{name}`"))?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut head = [[0; 4]; 5];
        for four in &mut head {
            file.read_exact(four)
                .with_context(|| format!("`{name}` holds no stored predictions"))?;
        }
        let [a, b, n_ctx, stored_vocab, n_chunks] = head;
        ensure!(
            MAGIC.starts_with(&a) && MAGIC.ends_with(&b),
            "`{name}` holds no stored predictions: it does not begin with `_logits_`"
        );
        let [n_ctx, stored_vocab, n_chunks] =
            [n_ctx, stored_vocab, n_chunks].map(|bytes| u32::from_le_bytes(bytes) as usize);
        ensure!(
            stored_vocab == n_vocab,
            "`{name}` is of a vocabulary of {stored_vocab} tokens, the model's has {n_vocab}"
        );
        let n_tokens = n_ctx.saturating_mul(n_chunks);
        ensure!(
            n_ctx >= super::MIN_CONTEXT && n_tokens as u64 <= size / 4,
            "`{name}` is damaged: it cannot hold {n_chunks} chunks of {n_ctx} tokens"
        );
        let mut bytes = vec![0; 4 * n_tokens];
        file.read_exact(&mut bytes)
            .with_context(|| format!("`{name}` is cut short"))?;
        let tokens: Vec<TokenId> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|four| u32::from_le_bytes(*four))
            .collect();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= n_vocab) {
            bail!("`{name}` is damaged: token {token} is outside the vocabulary");
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            n_ctx,
            n_vocab,
            tokens,
        })
    }

    /// Tokens of a chunk.
    pub(super) fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// All chunks, one after the other.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The next prediction.
    ///
    /// # Errors
    /// The file ends.
    pub(super) fn next(&mut self) -> anyhow::Result<Distribution> {
        let mut bytes = vec![0; 8 + 2 * self.n_vocab.next_multiple_of(2)];
        self.file
            .read_exact(&mut bytes)
            .with_context(|| format!("`{}` is cut short", self.path.display()))?;
        let (head, codes) = bytes.split_at(8);
        let float =
            |at: usize| f32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let codes = codes
            .as_chunks()
            .0
            .iter()
            .map(|two| u16::from_le_bytes(*two));
        Ok(Distribution {
            scale: float(0),
            least: float(4),
            codes: codes.take(self.n_vocab).collect(),
        })
    }
}

/// Writes predictions one after the other, beside the file's place until it is whole.
pub(super) struct BaseWriter {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
    left: usize,
}

impl BaseWriter {
    /// Writes what comes before the predictions.
    ///
    /// # Errors
    /// A folder that cannot be written to, or a disk without room for all of it.
    pub(super) fn create(
        path: &Path,
        n_ctx: usize,
        n_vocab: usize,
        tokens: &[TokenId],
    ) -> anyhow::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("cannot write in `{}`", folder.display()))?;
        let n_chunks = tokens.len() / n_ctx;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            left: n_chunks * Eval::predictions(n_ctx),
        };
        writer.put(MAGIC)?;
        for number in [n_ctx, n_vocab, n_chunks] {
            writer.put(&(number as u32).to_le_bytes())?;
        }
        for token in tokens {
            writer.put(&token.to_le_bytes())?;
        }
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file
            .write_all(bytes)
            .with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// One more prediction.
    ///
    /// # Errors
    /// No room on the disk.
    pub(super) fn write(&mut self, distribution: &Distribution) -> anyhow::Result<()> {
        self.put(&distribution.scale.to_le_bytes())?;
        self.put(&distribution.least.to_le_bytes())?;
        let mut codes: Vec<u8> = Vec::with_capacity(2 * distribution.codes.len() + 2);
        for code in &distribution.codes {
            codes.extend(code.to_le_bytes());
        }
        codes.resize(codes.len().next_multiple_of(4), 0);
        self.left = self.left.saturating_sub(1);
        self.put(&codes)
    }

    /// Puts the file into its place.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn finish(self) -> anyhow::Result<()> {
        debug_assert_eq!(self.left, 0, "all predictions are there");
        let context = || format!("cannot write `{}`", self.path.display());
        let file = self.file.into_inner().map_err(|e| e.into_error());
        let file = file.with_context(context)?;
        file.as_file().sync_all().with_context(context)?;
        file.persist(&self.path).with_context(context)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base");
        let tokens: Vec<TokenId> = (0..8).map(|i| i % 3).collect();
        let of = |i: u16| Distribution {
            scale: 0.5,
            least: -7.0,
            codes: vec![i, 2, 40_000],
        };
        let mut writer = BaseWriter::create(&path, 4, 3, &tokens).unwrap();
        (0..2).for_each(|i| writer.write(&of(i)).unwrap());
        writer.finish().unwrap();
        // the head, eight tokens, two predictions of three codes and one to make them even
        assert_eq!(path.metadata().unwrap().len(), 20 + 32 + 2 * 16);

        let mut reader = BaseReader::open(&path, 3).unwrap();
        assert_eq!((reader.n_ctx(), reader.tokens()), (4, &tokens[..]));
        (0..2).for_each(|i| assert_eq!(reader.next().unwrap(), of(i)));
        assert!(reader.next().unwrap_err().to_string().contains("cut short"));

        let other = BaseReader::open(&path, 5).err().unwrap().to_string();
        assert!(other.contains("vocabulary of 3"), "{other}");
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base");
        let numbers = |n: [u32; 3]| n.map(u32::to_le_bytes).concat();
        for (bytes, why) in [
            (vec![], "no stored predictions"),
            (b"_logits_".to_vec(), "no stored predictions"),
            (
                [b"_logitz_".to_vec(), numbers([4, 3, 1])].concat(),
                "does not begin",
            ),
            (
                [MAGIC.to_vec(), numbers([4, 3, u32::MAX])].concat(),
                "cannot hold",
            ),
            (
                [MAGIC.to_vec(), numbers([4, 3, 1]), vec![9; 16]].concat(),
                "outside the vocabulary",
            ),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = BaseReader::open(&path, 3).err().unwrap().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
