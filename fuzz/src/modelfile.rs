//! Modelfiles: what parses prints as text that parses back to the same value.
use slm_modelfile::{Modelfile, Parsed, Place};

/// The input is a Modelfile.
pub fn run(data: &[u8]) {
    let Parsed {
        modelfile,
        warnings,
        from_places,
        ..
    } = match Modelfile::parse_in_detail(data) {
        Ok(parsed) => parsed,
        Err(error) => {
            let n_lines = data.iter().filter(|&&byte| byte == b'\n').count();
            let is_inside =
                |place: Place| place.line <= n_lines + 1 && place.column <= data.len() + 1;
            assert!(error.place.is_none_or(is_inside), "{error}");
            return;
        }
    };
    assert_eq!(from_places.len(), modelfile.from.len());
    assert!(
        warnings
            .iter()
            .all(|warning| !warning.to_string().is_empty())
    );
    let n_set = modelfile.params_json().len();
    assert!(n_set <= modelfile.parameters.len());
    let printed = modelfile.to_string();
    let again = Modelfile::parse(printed.as_bytes());
    assert_eq!(again.as_ref(), Ok(&modelfile), "{printed:?}");
}
