//! Create, `show --modelfile`, create again: the same model to the last byte.

use serde_json::json;
use slm_tests::{Daemon, Home, data, golden_model};

/// What comes behind `FROM`; each is a model of its own.
const BODIES: &[&str] = &[
    "",
    "SYSTEM one line\n",
    "SYSTEM \"  blanks around \"\n",
    "SYSTEM \"\"\"two\nlines\"\"\"\n",
    "SYSTEM \"\"\"a \"quoted\" word, and \"\"\" amid a line\"\"\"\n",
    "SYSTEM \"\"\"ends with a quote\"\"\"\"\n",
    "SYSTEM \"\"\"\n\nblank lines\n\n\"\"\"\n",
    "SYSTEM It's # no comment: 'x' é 模型 \u{1F600}\n",
    "# a comment\n  # another\nsystem lower\n",
    "TEMPLATE {{ .Prompt }}\n",
    "TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n\"\"\"\n",
    "TEMPLATE \"\"\"{{ if eq .System \"x\" }}\"{{ .System }}\"{{ end }}{{ .Prompt }}\"\"\"\n",
    "TEMPLATE {% for m in messages %}{{ m['content'] }}{% endfor %}\n",
    "PARAMETER temperature 0.80\n",
    "PARAMETER temperature 1\nPARAMETER top_p 1e-3\nPARAMETER min_p .05\n",
    "PARAMETER seed -1\nPARAMETER num_ctx 4096\nPARAMETER num_predict -1\n",
    "PARAMETER stop a\nPARAMETER stop \" b \"\nPARAMETER stop \"\"\"c\nd\"\"\"\nPARAMETER stop a\n",
    "PARAMETER stop \"\"\"\"quoted\"\"\"\"\n",
    "parameter STOP <|im_end|>\nPARAMETER use_mmap T\nPARAMETER top_k 3\n",
    "PARAMETER top_k 3\nPARAMETER top_k 4\n",
    "LICENSE MIT\n",
    "LICENSE \"\"\"one\ntwo\"\"\"\nLICENSE \"second\"\nLICENSE \"\"\"third \"x\"\"\"\"\nLICENSE second\n",
    "MESSAGE user hi\nMESSAGE assistant \"\"\"say \"ho\"\nand go\"\"\"\nMESSAGE system \" x \"\nMESSAGE user hi\n",
    "REQUIRES v0.14.0\nRENDERER qwen3\nPARSER qwen3\n",
    "REQUIRES 1.0.0-rc1\n",
    "SYSTEM a\nSYSTEM b\nTEMPLATE {{ .System }}{{ .Prompt }}\nPARAMETER stop x\nLICENSE l\nMESSAGE user m\nREQUIRES 0.1.0\n",
    "LICENSE l\nMESSAGE user m\nPARAMETER stop x\nSYSTEM b\nTEMPLATE {{ .System }}{{ .Prompt }}\nREQUIRES 0.1.0\n",
    "PARAMETER mirostat 2\nSYSTEM retired parameters are skipped\n",
];

struct Place {
    home: Home,
    daemon: Daemon,
}

impl Place {
    fn new() -> Self {
        let mut home = Home::new();
        let daemon = Daemon::start(&mut home);
        Self { home, daemon }
    }

    /// Makes a model; its digest.
    #[track_caller]
    fn create(&self, name: &str, text: &str) -> String {
        let file = self.home.write("Modelfile", text).display().to_string();
        self.home.slm(&["create", name, "-f", &file]).ok();
        let tags = self.daemon.http().get("/api/tags").expect(200).json();
        let models = tags["models"].as_array().expect("a list");
        let full = format!("{name}:latest");
        let model = models.iter().find(|model| model["name"] == full);
        model.expect("it is there")["digest"]
            .as_str()
            .expect("a text")
            .to_owned()
    }

    fn modelfile(&self, name: &str) -> String {
        self.home.slm(&["show", "--modelfile", name]).ok().stdout
    }

    /// Goes round once, with other names for everything.
    #[track_caller]
    fn goes_round(&self, text: &str) {
        let first = self.create("first", text);
        let shown = self.modelfile("first");
        let again = self.create("again", &shown);
        assert_eq!(first, again, "from {text:?}\nby {shown}");
        let twice = self.modelfile("again").replace("again", "first");
        assert_eq!(shown, twice, "from {text:?}");
    }
}

#[test]
fn every_modelfile_goes_round() {
    let place = Place::new();
    let base = golden_model("llama").display().to_string();
    for body in BODIES {
        place.goes_round(&format!("FROM {base}\n{body}"));
    }
    let adapter = golden_model("lora-llama-r8").display().to_string();
    place.goes_round(&format!("ADAPTER {adapter}\nFROM \"{base}\"\nSYSTEM x\n"));
    place.goes_round(&format!("from file://{base}\nSYSTEM by address\n"));
}

/// What a model inherits goes round too, whatever the order in which it came together.
#[test]
fn models_of_models_go_round() {
    let place = Place::new();
    let base = golden_model("llama").display().to_string();
    place.create(
        "base",
        &format!(
            "FROM {base}\nLICENSE l\nTEMPLATE {{{{ .Prompt }}}}\nSYSTEM s\nPARAMETER top_k 3\nMESSAGE user m\nRENDERER r\n"
        ),
    );
    for body in BODIES {
        place.goes_round(&format!("FROM base\n{body}"));
    }
    // Sent by another client, in other words than ours.
    let request = json!({
        "model": "other", "from": "base", "stream": false,
        "parameters": {"temperature": 1, "seed": 42.0, "stop": "x", "bogus": 3},
        "messages": [{"role": "user", "content": "x"}],
    });
    place
        .daemon
        .http()
        .post("/api/create", &request)
        .expect(200);
    place.goes_round("FROM other\n");
}

/// The example itself, with files that there are.
#[test]
fn the_example_makes_a_model() {
    let place = Place::new();
    let example = data("../../Modelfile.example");
    let text = std::fs::read_to_string(example).unwrap();
    let base = golden_model("llama").display().to_string();
    let adapter = golden_model("lora-llama-r8").display().to_string();
    let mut text = text
        .replace("FROM smollm2:135m", &format!("FROM {base}"))
        .replace("./adapter.gguf", &adapter);
    let file = place.home.write("Modelfile", &text).display().to_string();
    let refused = place.home.slm(&["create", "x", "-f", &file]).refused();
    refused.complains(&["column 7", "DRAFT is not supported"]);
    text = text.replace("DRAFT ./draft.gguf", "");
    place.goes_round(&text);
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    let place = Place::new();
    for (text, words) in [
        (
            "FROM m\nFORM x\n",
            &["line 2, column 1", "one of \"from\""][..],
        ),
        (
            "FROM m\nPARAMETER tempratur 1\n",
            &["line 2, column 11", "temperature"],
        ),
        (
            "FROM m\n  PARAMETER top_k x\n",
            &["line 2, column 19", "whole number"],
        ),
        ("FROM ./no.gguf\n", &["line 1, column 6", "no file"]),
        ("FROM m\nSYSTEM \"\"\"x\n", &["line 2, column 8", "closing"]),
    ] {
        let file = place.home.write("Modelfile", text).display().to_string();
        let refused = place.home.slm(&["create", "x", "-f", &file]).refused();
        refused.complains(words);
    }
}
