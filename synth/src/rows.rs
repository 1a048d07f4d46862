//! Random rows. A pool of each length and type is drawn and quantised once; tensors pick rows from it, so that
//! writing gigabytes takes seconds. The speed of an engine does not depend on the values.

use slm_gguf::TensorType;
use slm_kernels::format::{F16, QuantType, quantize};
use std::collections::HashMap;

/// Standard deviation of the weights.
const DEVIATION: f32 = 0.02;
/// Values of a pool, about, and its least number of rows.
const POOL_VALUES: usize = 1 << 20;
const MIN_POOL_ROWS: usize = 64;

/// Where rows come from. The same seed gives the same file.
pub(crate) struct Rows {
    random: fastrand::Rng,
    pools: HashMap<(usize, u32), Vec<u8>>,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self {
            random: fastrand::Rng::with_seed(0x510),
            pools: HashMap::new(),
        }
    }

    /// A row of `n_cols` values, which the type's blocks divide; `None` for a type that cannot be made.
    pub(crate) fn row(&mut self, tensor_type: TensorType, n_cols: usize) -> Option<&[u8]> {
        let row_bytes =
            n_cols / tensor_type.block_len() as usize * tensor_type.block_bytes() as usize;
        let key = (n_cols, tensor_type.id());
        if !self.pools.contains_key(&key) {
            let n_rows = (POOL_VALUES / n_cols).max(MIN_POOL_ROWS);
            let mut pool = vec![0; n_rows * row_bytes];
            for row in pool.chunks_exact_mut(row_bytes) {
                self.draw(tensor_type, n_cols, row)?;
            }
            self.pools.insert(key, pool);
        }
        let pool = &self.pools[&key];
        let row = self.random.usize(..pool.len() / row_bytes);
        Some(&pool[row * row_bytes..][..row_bytes])
    }

    fn draw(&mut self, tensor_type: TensorType, n_cols: usize, row: &mut [u8]) -> Option<()> {
        if tensor_type == TensorType::TQ2_0 {
            self.draw_ternary(row);
            return Some(());
        }
        let quant_type = QuantType::from_id(tensor_type.id())?;
        let values: Vec<f32> = (0..n_cols).map(|_| DEVIATION * self.normal()).collect();
        quantize(quant_type, &values, row);
        Some(())
    }

    /// Blocks of 64 bytes with four codes of -1, 0 and 1 each, and the scale behind.
    fn draw_ternary(&mut self, row: &mut [u8]) {
        for block in row.chunks_exact_mut(66) {
            let (codes, scale) = block.split_at_mut(64);
            for byte in codes {
                *byte = (0..4).fold(0, |byte, _| byte << 2 | self.random.u8(..3));
            }
            scale.copy_from_slice(&F16::from_f32(DEVIATION).0);
        }
    }

    /// Of mean 0 and deviation 1, by the method of Box and Muller.
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.random.f32()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.random.f32()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_kernels::format::dequantize;

    #[test]
    fn rows_have_the_length_and_the_spread() {
        let mut rows = Rows::new();
        let mut values = vec![0.0f32; 1024];
        for tensor_type in [TensorType::Q4_0, TensorType::Q6_K, TensorType::BF16] {
            let quant_type = QuantType::from_id(tensor_type.id()).unwrap();
            let row = rows.row(tensor_type, 1024).unwrap();
            dequantize(quant_type, row, &mut values);
            let mean_square = values.iter().map(|x| x * x).sum::<f32>() / 1024.0;
            assert!((0.015..0.025).contains(&mean_square.sqrt()));
        }
        assert_eq!(rows.row(TensorType::TQ2_0, 512).unwrap().len(), 2 * 66);
        assert!(rows.row(TensorType::IQ1_S, 256).is_none());
    }

    #[test]
    fn ternary_codes_are_three() {
        let mut rows = Rows::new();
        let row = rows.row(TensorType::TQ2_0, 256).unwrap();
        for byte in &row[..64] {
            assert!((0..4).all(|i| byte >> (2 * i) & 3 < 3), "{byte:b}");
        }
    }
}
