use super::*;
use serde_json::json;

#[track_caller]
fn parse(text: &str) -> Modelfile {
    Modelfile::parse(text.as_bytes()).unwrap()
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = Modelfile::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text:?}");
}

#[test]
fn every_instruction_has_its_place() {
    let text = "# a comment\n  # another\nfrom ./m.gguf\r\nFROM \"./mm proj.gguf\"\nPARAMETER temperature 0.8\n\
        PARAMETER stop <|a|>\nparameter STOP \" b \"\nTEMPLATE \"\"\"{{ .Prompt }}\n# no comment\n\"\"\"\n\
        SYSTEM You're # here.\nADAPTER lora.gguf\nLICENSE one\nLICENSE \"two\nlines\"\nMESSAGE user hi\n\
        MESSAGE assistant \"\"\"say \"ho\"\"\"\"\nRENDERER r\nPARSER p\nREQUIRES v0.14.0\nDRAFT d.gguf";
    let expected = Modelfile {
        from: vec!["./m.gguf".into(), "./mm proj.gguf".into()],
        parameters: vec![
            ("temperature".into(), "0.8".into()),
            ("stop".into(), "<|a|>".into()),
            ("stop".into(), " b ".into()),
        ],
        template: Some("{{ .Prompt }}\n# no comment\n".into()),
        system: Some("You're # here.".into()),
        adapter: Some("lora.gguf".into()),
        licenses: vec!["one".into(), "two\nlines".into()],
        messages: vec![
            ("user".into(), "hi".into()),
            ("assistant".into(), "say \"ho\"".into()),
        ],
        renderer: Some("r".into()),
        parser: Some("p".into()),
        requires: Some("v0.14.0".into()),
        draft: Some("d.gguf".into()),
    };
    assert_eq!(parse(text), expected);
}

#[test]
fn the_last_of_single_instructions_wins() {
    let modelfile = parse("SYSTEM a\nFROM m\nSYSTEM b\nSYSTEM \"\"");
    assert_eq!(modelfile.system.as_deref(), Some(""));
}

#[test]
fn parameters_are_typed() {
    let text = "FROM m\nPARAMETER seed -1\nPARAMETER temperature 0.80\nPARAMETER temperature 1\n\
        PARAMETER use_mmap T\nPARAMETER stop a\nPARAMETER num_ctx 4096\nPARAMETER stop \"b\nc\"\nPARAMETER min_p .05\n\
        PARAMETER draft_num_predict 4\nPARAMETER kv_cache_type q8_0\nPARAMETER draft_model m";
    let expected = json!({
        "seed": -1, "temperature": 1.0, "use_mmap": true, "stop": ["a", "b\nc"], "num_ctx": 4096, "min_p": 0.05,
        "draft_num_predict": 4, "kv_cache_type": "q8_0", "draft_model": "m",
    });
    assert_eq!(
        serde_json::Value::Object(parse(text).params_json()),
        expected
    );
}

#[test]
fn retired_parameters_are_skipped_with_a_warning() {
    let text = "FROM m\nPARAMETER mirostat 2\nPARAMETER top_k 1\n";
    let Parsed {
        modelfile,
        warnings,
        ..
    } = Modelfile::parse_in_detail(text.as_bytes()).unwrap();
    assert_eq!(modelfile.parameters, [("top_k".into(), "1".into())]);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .to_string()
            .starts_with("(line 2, column 1): parameter 'mirostat'")
    );
}

#[test]
fn errors_name_the_place_and_what_would_be_right() {
    let commands = "command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", \"draft\", \
        \"renderer\", \"parser\", \"parameter\", \"message\", or \"requires\"";
    let parameters: Vec<&str> = parameter::names().collect();
    let parameters = parameters.join(", ");
    check_error(
        "FROM m\n\nFORM x",
        &format!("(line 3, column 1): {commands}"),
    );
    check_error(
        "FROM m\nSYSTEM \"\"\"a\nb\n\"\"\"\nhello \"",
        &format!("(line 5, column 1): {commands}"),
    );
    check_error("", "no FROM line");
    check_error("# FROM m\nSYSTEM x", "no FROM line");
    check_error(
        "FROM",
        "(line 1, column 5): FROM needs a value on the same line",
    );
    check_error(
        "FROM  \nm",
        "(line 1, column 7): FROM needs a value on the same line",
    );
    check_error(
        "FROM \"\"",
        "(line 1, column 6): FROM needs a path or a model name",
    );
    check_error(
        "FROM m\nPARAMETER seed",
        "(line 2, column 15): PARAMETER needs a name and a value on the same line",
    );
    check_error(
        "FROM m\nPARAMETER numa 1",
        &format!("(line 2, column 11): unknown parameter 'numa'; there is {parameters}"),
    );
    check_error(
        "FROM m\nPARAMETER tfs_z 1",
        &format!("(line 2, column 11): unknown parameter 'tfs_z'; there is {parameters}"),
    );
    check_error(
        "FROM m\nPARAMETER seed x",
        "(line 2, column 16): invalid int value [x] for parameter 'seed'; expected a whole number",
    );
    check_error(
        "FROM m\nPARAMETER top_p NaN",
        "(line 2, column 17): invalid float value [NaN] for parameter 'top_p'; expected a number such as 0.7",
    );
    check_error(
        "FROM m\nPARAMETER top_p 1e39",
        "(line 2, column 17): invalid float value [1e39] for parameter 'top_p'; expected a number such as 0.7",
    );
    check_error(
        "FROM m\nPARAMETER use_mmap yes",
        "(line 2, column 20): invalid bool value [yes] for parameter 'use_mmap'; expected true or false",
    );
    check_error(
        "FROM m\nMESSAGE tool x",
        "(line 2, column 9): message role must be one of \"system\", \"user\", or \"assistant\"",
    );
    check_error(
        "FROM m\nREQUIRES new",
        "(line 2, column 10): requires must be a version such as 0.14.0, not 'new'",
    );
    check_error(
        "FROM m\nDRAFT a\nDRAFT b",
        "(line 3, column 1): DRAFT may stand only once",
    );
    check_error(
        "FROM m\nSYSTEM \"abc\n",
        "(line 2, column 8): unexpected EOF: the text after \" has no closing \"",
    );
    check_error(
        "FROM m\nSYSTEM \"\"\"abc\"\n",
        "(line 2, column 8): unexpected EOF: the text after \"\"\" has no closing \"\"\"",
    );
    check_error(
        "FROM m\nSYSTEM \"a\" b",
        "(line 2, column 12): text after the closing quote: put text that contains \" between \"\"\" and \"\"\"",
    );
}

#[test]
fn a_column_counts_characters_and_a_value_has_its_place() {
    check_error(
        "FROM m\n  MESSAGE  füchse x",
        "(line 2, column 12): message role must be one of \"system\", \"user\", or \"assistant\"",
    );
    let text = "from \"é\"\nSYSTEM \"\"\"a\nb\"\"\"\n  FROM   x\nADAPTER a\nADAPTER\tb\nDRAFT d\n";
    let parsed = Modelfile::parse_in_detail(text.as_bytes()).unwrap();
    let at = |line, column| Place { line, column };
    assert_eq!(parsed.from_places, [at(1, 6), at(4, 10)]);
    assert_eq!(parsed.adapter_place, Some(at(6, 9)));
    assert_eq!(parsed.draft_place, Some(at(7, 7)));
}

#[test]
fn other_encodings() {
    let text = "FROM m\r\nSYSTEM é😀\r\n";
    let expected = parse(text);
    let units: Vec<u16> = "\u{feff}"
        .encode_utf16()
        .chain(text.encode_utf16())
        .collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    for bytes in [&little, &big, &format!("\u{feff}{text}").into_bytes()] {
        assert_eq!(Modelfile::parse(bytes).unwrap(), expected);
    }
    let place = |bytes: &[u8]| {
        let place = Modelfile::parse(bytes).unwrap_err().place.unwrap();
        (place.line, place.column)
    };
    assert_eq!(place(&little[..little.len() - 1]), (2, 11));
    assert_eq!(
        place(
            "FROM m\n\nSYSTEM é"
                .as_bytes()
                .strip_suffix(b"\xa9")
                .unwrap()
        ),
        (3, 8)
    );
    assert_eq!(place(&[0xff, 0xfe, 0x00, 0xd8, b'a', 0]), (1, 1));
}

/// Print ∘ parse is the identity on values, over random awkward ones.
#[test]
fn printing_parses_back() {
    let mut random = fastrand::Rng::with_seed(11);
    let pieces = [
        "\"", "\"\"", "a", " ", "\n", "\t", "#", "é", "'", "\r", "{{ .X }}", "FROM x", "\u{a0}",
    ];
    for _ in 0..20_000 {
        let text = |random: &mut fastrand::Rng| {
            let text: String = (0..random.usize(..8))
                .map(|_| pieces[random.usize(..pieces.len())])
                .collect();
            // What no Modelfile can say: a triple quote at the end of an inner line.
            let lines: Vec<&str> = text.split('\n').collect();
            let inner = &lines[..lines.len() - 1];
            if inner.iter().any(|line| line.trim_end().ends_with("\"\"\"")) {
                String::from("x")
            } else {
                text
            }
        };
        let modelfile = Modelfile {
            from: vec!["m".into(), format!("x{}", text(&mut random))],
            parameters: vec![
                ("stop".into(), text(&mut random)),
                ("top_k".into(), "3".into()),
            ],
            template: random.bool().then(|| text(&mut random)),
            system: random.bool().then(|| text(&mut random)),
            licenses: vec![text(&mut random)],
            messages: vec![
                ("user".into(), text(&mut random)),
                ("assistant".into(), text(&mut random)),
            ],
            requires: Some("1.2.3-rc1".into()),
            draft: Some("d".into()),
            ..Modelfile::default()
        };
        let printed = modelfile.to_string();
        assert_eq!(
            Modelfile::parse(printed.as_bytes()).as_ref(),
            Ok(&modelfile),
            "{printed}"
        );
    }
}

/// Any bytes give a value or an error, and what parses prints and parses to the same.
#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let mut random = fastrand::Rng::with_seed(12);
    let words = [
        "FROM ",
        "m",
        "\"",
        "\"\"\"",
        "\n",
        " ",
        "PARAMETER ",
        "stop ",
        "SYSTEM ",
        "#",
        "\u{feff}",
        "\r",
        "MESSAGE user ",
    ];
    let mut n_valid = 0;
    for _ in 0..50_000 {
        let text: String = (0..random.usize(..10))
            .map(|_| words[random.usize(..words.len())])
            .collect();
        if let Ok(modelfile) = Modelfile::parse(format!("FROM m\n{text}").as_bytes()) {
            n_valid += 1;
            assert_eq!(parse(&modelfile.to_string()), modelfile, "{text:?}");
        }
        let bytes: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
        let _ = Modelfile::parse(&bytes);
    }
    assert!(n_valid > 1000, "{n_valid}");
}

#[test]
fn the_example_uses_every_instruction() {
    let text = include_str!("../../Modelfile.example");
    let Parsed {
        modelfile,
        warnings,
        ..
    } = Modelfile::parse_in_detail(text.as_bytes()).unwrap();
    assert_eq!(warnings, []);
    let Modelfile {
        from,
        parameters,
        template,
        system,
        adapter,
        licenses,
        messages,
        renderer,
        parser,
        requires,
        draft,
    } = &modelfile;
    assert!(!from.is_empty() && !licenses.is_empty() && messages.len() >= 2);
    for single in [template, system, adapter, renderer, parser, requires, draft] {
        assert!(
            single.as_ref().is_some_and(|text| !text.is_empty()),
            "{modelfile}"
        );
    }
    let used = modelfile.params_json();
    for (name, _) in parameters {
        assert!(used.contains_key(name));
    }
    for name in parameter::names() {
        assert!(
            used.contains_key(name),
            "the example shows every parameter, so also {name}"
        );
    }
    assert_eq!(parse(&modelfile.to_string()), modelfile);
}
