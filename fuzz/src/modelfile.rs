//! Modelfiles: what parses prints as text that parses back to the same value.
use slm_modelfile::Modelfile;

/// The input is a Modelfile.
pub fn run(data: &[u8]) {
    let (modelfile, warnings) = match Modelfile::parse_with_warnings(data) {
        Ok(parsed) => parsed,
        Err(error) => {
            let n_lines = data.iter().filter(|&&byte| byte == b'\n').count();
            assert!(error.line <= n_lines + 1, "{error}");
            return;
        }
    };
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
