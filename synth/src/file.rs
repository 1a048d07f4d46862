//! Metadata and tensors of a shape, written one after the other, so that no more than a pool of rows is in memory.

use crate::{
    mix::Mix,
    rows::Rows,
    shapes::{Shape, Tensor},
    vocabulary,
};
use anyhow::{Context, Result};
use slm_gguf::{TensorType, Writer};
use std::io::Write;

/// The alignment of tensors where a file does not say another.
const ALIGNMENT: usize = 32;

/// Writes the whole file; returns the bytes of its tensors.
pub(crate) fn write(shape: &Shape, mix: Mix, arch: &str, out: &mut impl Write) -> Result<usize> {
    let tensors = shape.tensors();
    let mut writer = Writer::new();
    put_metadata(&mut writer, shape, mix, arch);
    vocabulary::put(&mut writer, shape.vocabulary, shape.vocab);
    for tensor in &tensors {
        match tensor {
            Tensor::Matrix {
                name,
                n_rows,
                n_cols,
                role,
                layer,
            } => {
                let tensor_type = mix.type_of(shape, *role, *layer, *n_cols);
                writer.tensor_later(name, tensor_type, &[*n_cols as u64, *n_rows as u64]);
            }
            Tensor::Vector { name, len, .. } => {
                writer.tensor_later(name, TensorType::F32, &[*len as u64]);
            }
        }
    }
    out.write_all(&writer.head()?)?;
    let mut rows = Rows::new();
    let mut n_bytes = 0;
    for tensor in &tensors {
        let size = write_tensor(shape, mix, tensor, &mut rows, out)?;
        let padding = size.next_multiple_of(ALIGNMENT) - size;
        out.write_all(&[0; ALIGNMENT][..padding])?;
        n_bytes += size;
    }
    Ok(n_bytes)
}

fn write_tensor(
    shape: &Shape,
    mix: Mix,
    tensor: &Tensor,
    rows: &mut Rows,
    out: &mut impl Write,
) -> Result<usize> {
    match tensor {
        Tensor::Matrix {
            n_rows,
            n_cols,
            role,
            layer,
            ..
        } => {
            let tensor_type = mix.type_of(shape, *role, *layer, *n_cols);
            let mut size = 0;
            for _ in 0..*n_rows {
                let row = rows
                    .row(tensor_type, *n_cols)
                    .with_context(|| format!("{} cannot be made", tensor_type.name()))?;
                out.write_all(row)?;
                size += row.len();
            }
            Ok(size)
        }
        Tensor::Vector { len, from, to, .. } => {
            let step = (to - from) / (len - 1).max(1) as f32;
            for index in 0..*len {
                out.write_all(&(from + step * index as f32).to_le_bytes())?;
            }
            Ok(4 * len)
        }
    }
}

fn put_metadata(writer: &mut Writer<'_>, shape: &Shape, mix: Mix, arch: &str) {
    let key = |name: &str| format!("{arch}.{name}");
    let n_rot = shape.n_rot.unwrap_or(shape.head_dim);
    writer
        .put("general.architecture", arch)
        .put("general.name", format!("synthetic {}", shape.name))
        .put(
            "general.description",
            "random weights with the geometry of the named model, for speed measurements only",
        )
        .put("general.file_type", mix.file_type)
        .put("general.quantization_version", 2u32)
        .put(&key("context_length"), shape.context)
        .put(&key("embedding_length"), shape.hidden as u32)
        .put(&key("block_count"), shape.n_layers as u32)
        .put(&key("feed_forward_length"), shape.ffn as u32)
        .put(&key("attention.head_count"), shape.n_heads as u32)
        .put(&key("attention.head_count_kv"), shape.n_kv_heads as u32)
        .put(&key("attention.layer_norm_rms_epsilon"), shape.eps)
        .put(&key("rope.freq_base"), shape.theta)
        .put(&key("rope.dimension_count"), n_rot as u32)
        .put(&key("vocab_size"), shape.vocab as u32);
    if ["qwen3", "gemma3"].contains(&shape.arch) {
        writer
            .put(&key("attention.key_length"), shape.head_dim as u32)
            .put(&key("attention.value_length"), shape.head_dim as u32);
    }
    if let Some(window) = shape.window {
        writer.put(&key("attention.sliding_window"), window);
    }
    if shape.arch == "gemma3" {
        writer.put(&key("rope.freq_base_swa"), 1e4f32);
    }
    if shape.arch == "phi3" {
        // LongRoPE: trained at 4096 positions, stretched to the context
        let (trained, context) = (4096.0f64, f64::from(shape.context));
        let factor = (1.0 + (context / trained).ln() / trained.ln()).sqrt();
        writer
            .put(&key("rope.scaling.original_context_length"), 4096u32)
            .put(&key("rope.scaling.attn_factor"), factor as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::SHAPES;
    use slm_gguf::Gguf;

    /// The shapes with fewer and smaller parts, so that the files are small.
    fn small(shape: &Shape) -> Shape {
        Shape {
            n_layers: 2,
            hidden: 512,
            ffn: 256,
            ..*shape
        }
    }

    #[test]
    fn files_are_whole_and_say_what_they_are() {
        for shape in SHAPES {
            let shape = small(shape);
            let mix: Mix = "q4_0".parse().unwrap();
            let mut bytes = Vec::new();
            let n_bytes = write(&shape, mix, shape.arch, &mut bytes).unwrap();
            let gguf = Gguf::parse(&bytes).unwrap();
            assert_eq!(gguf.tensors().len(), shape.tensors().len());
            let sizes: usize = gguf.tensors().iter().map(|t| t.size_bytes).sum();
            assert_eq!(sizes, n_bytes, "{}", shape.name);
            let metadata = gguf.metadata();
            assert_eq!(metadata.string("general.architecture").unwrap(), shape.arch);
            let norm = gguf.tensor("output_norm.weight").unwrap();
            assert_eq!(gguf.tensor_data(norm)[..4], 1.0f32.to_le_bytes());
        }
    }
}
