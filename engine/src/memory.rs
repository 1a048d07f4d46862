//! Refusing what cannot fit into the memory that is left.

use crate::LoadError;
pub use slm_machine::memory::available_bytes;

/// Refuses weights that cannot fit, before anything is allocated for them.
///
/// # Errors
/// [`LoadError::OutOfMemory`] with both numbers.
pub(crate) fn check(needed_bytes: u64) -> Result<(), LoadError> {
    match available_bytes() {
        Some(available_bytes) if needed_bytes > available_bytes => Err(LoadError::OutOfMemory {
            needed_bytes,
            available_bytes,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_machine_has_is_refused_with_both_numbers() {
        if available_bytes().is_some() {
            assert!(matches!(
                check(u64::MAX),
                Err(LoadError::OutOfMemory {
                    needed_bytes: u64::MAX,
                    ..
                })
            ));
        }
        assert!(check(0).is_ok());
    }
}
