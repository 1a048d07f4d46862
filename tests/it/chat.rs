//! A chat at a terminal, as a person has it: what answers look like, the commands, and what is kept.

use crate::cli::{BRIEF, answer, at_a_terminal, landmark, with_brief};
use serde_json::{Value, json};
use slm_tests::{Home, Running};

const SKY: &str = "Why is the sky blue?";

/// A model that begins with an answer in Markdown.
fn with_markdown(home: &Home) -> &'static str {
    let said =
        "# Sky\\n\\n**Blue** it is:\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n```sh\\nls\\n```";
    let said = said.replace("\\n", "\n");
    let text = format!(
        "FROM {BRIEF}\nMESSAGE user \"\"\"Which?\"\"\"\nMESSAGE assistant \"\"\"{said}\"\"\"\n"
    );
    let modelfile = home.write("marked.Modelfile", text).display().to_string();
    home.slm(&["create", "marked", "-f", &modelfile]).ok();
    "marked"
}

#[test]
fn markdown_is_rendered_at_a_terminal() {
    let (mut home, _daemon) = with_brief();
    let model = with_markdown(&home);
    let leave = json!([[">>> Which?", ""], ["ls", ""], [">>> ", "\u{4}"]]);
    let shown = at_a_terminal(&home, &["run", model], &leave).ok().stdout;
    for part in [
        "\u{1b}[1mBlue\u{1b}[0m it is:",
        "\u{1b}[1ma\u{1b}[0m\u{1b}[2m │ \u{1b}[0m",
        "──┼──",
        "\u{1b}[2m```sh\u{1b}[0m",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let plain = at_a_terminal(&home, &["run", "--plain", model], &leave);
    let plain = plain.ok().stdout;
    assert!(
        plain.contains("**Blue** it is:") && plain.contains("|---|---|"),
        "{plain}"
    );
    let plain = at_a_terminal(&home, &["run", "--no-color", model], &leave);
    assert!(plain.ok().stdout.contains("**Blue** it is:"));
    home.set("NO_COLOR", "1");
    let plain = at_a_terminal(&home, &["run", model], &leave).ok().stdout;
    assert!(plain.contains("**Blue** it is:"), "{plain}");
    assert!(
        !plain.contains("\u{1b}[1m") && !plain.contains("\u{1b}[90m"),
        "{plain}"
    );
}

#[test]
fn commands_in_a_chat() {
    let (mut home, daemon) = with_brief();
    home.set("EDITOR", "sed -i s/blue/red/");
    home.slm(&["cp", BRIEF, "other"]).ok();
    let blue = answer(&daemon, SKY);
    let red = answer(&daemon, "Why is the sky red?");
    let note = home.write("note.txt", "The sky is green.\n");
    let binary = home.write("binary", b"a\0b");
    let steps = json!([
        [">>> ", "/retry\r"],
        ["Nothing was said yet", ""],
        [">>> ", "/stats\r"],
        ["There is no complete answer yet", ""],
        [">>> ", "/copy\r"],
        ["There is no answer to copy yet", ""],
        [">>> ", format!("{SKY}\r")],
        [landmark(&blue), ""],
        [">>> ", "/stats\r"],
        ["eval rate:", ""],
        ["this session:         1 answer(s)", ""],
        [">>> ", "/retry\r"],
        [landmark(&blue), ""],
        [">>> ", "/copy\r"],
        ["\u{1b}]52;c;", ""],
        ["Copied", ""],
        [">>> ", "/copy code\r"],
        ["There is no code", ""],
        [">>> ", "/think\r"],
        ["without thoughts", ""],
        [">>> ", "/edit\r"],
        ["Why is the sky red?", ""],
        [landmark(&red), ""],
        [">>> ", format!("/attach {}\r", binary.display())],
        ["convert it to text first", ""],
        [">>> ", format!("/attach {}\r", note.display())],
        ["With the next message:", ""],
        [">>> ", "/attach clear\r"],
        ["Nothing is attached any more", ""],
        [">>> ", "/modle other\r"],
        ["Did you mean /model?", ""],
        [">>> ", "/model othr\r"],
        [
            "Couldn't find model 'othr'. Did you mean 'other:latest'?",
            ""
        ],
        [">>> ", "/model other\r"],
        ["Loading model 'other'", ""],
        [">>> ", "/set parameter temprature 1\r"],
        ["Did you mean 'temperature'?", ""],
        [">>> ", "/bye\r"],
    ]);
    at_a_terminal(&home, &["run", BRIEF], &steps).ok();
    let kept = kept(&home);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let id = kept[0]["id"].as_str().expect("an id");
    let chat = home.slm(&["chats", id, "--format", "json"]).ok().stdout;
    let chat: Value = serde_json::from_str(&chat).expect("JSON");
    let said: Vec<&str> = chat["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["content"].as_str().expect("a text"))
        .collect();
    // What was retried and edited is there once.
    assert_eq!(said, ["Why is the sky red?", red.as_str()]);
}

/// The chats that are kept in a home.
fn kept(home: &Home) -> Vec<Value> {
    let list = home.slm(&["chats", "--format", "json"]).ok().stdout;
    serde_json::from_str(&list).expect("JSON")
}

#[test]
fn chats_are_kept_and_gone_on_with() {
    let (mut home, daemon) = with_brief();
    let blue = answer(&daemon, SKY);
    let ask = json!([
        [">>> ", format!("{SKY}\r")],
        [landmark(&blue), ""],
        [">>> ", "\u{4}"],
    ]);
    let history = home.path().join("data/slm/history");
    at_a_terminal(&home, &["run", "--no-history", BRIEF], &ask).ok();
    assert_eq!(kept(&home), Vec::<Value>::new());
    assert!(!history.exists());
    at_a_terminal(&home, &["run", BRIEF], &ask).ok();
    assert!(history.exists());
    let first = kept(&home);
    assert_eq!(first.len(), 1);
    assert_eq!(
        (&first[0]["title"], &first[0]["n_messages"]),
        (&json!(SKY), &json!(2))
    );

    let more = json!([
        [SKY, ""],
        [landmark(&blue), ""],
        [">>> ", "/set nohistory\r"],
        ["Set 'nohistory' mode", ""],
        [">>> ", "And at night?\r"],
        ["\n", ""],
        [">>> ", "/set history\r"],
        ["Set 'history' mode", ""],
        [">>> ", "And at dawn?\r"],
        ["\n", ""],
        [">>> ", "\u{4}"],
    ]);
    at_a_terminal(&home, &["run", BRIEF, "--resume"], &more).ok();
    let second = kept(&home);
    assert_eq!(second.len(), 1, "the same chat");
    assert_eq!(
        (&second[0]["id"], &second[0]["n_messages"]),
        (&first[0]["id"], &json!(6))
    );
    home.slm(&["run", "other", "--resume"])
        .refused()
        .complains(&["no chat with 'other'", "slm chats"]);
    home.slm(&["run", BRIEF, "--resume"])
        .refused()
        .complains(&["nothing to go on with"]);
    let more = ["run", "--resume", BRIEF, "And at noon?"];
    assert!(!home.slm(&more).ok().stdout.trim().is_empty());
    assert_eq!(kept(&home)[0]["n_messages"], json!(8));

    let id = first[0]["id"].as_str().expect("an id");
    home.slm(&["chats", "--rm", id]).ok();
    assert_eq!(kept(&home), Vec::<Value>::new());
    home.set("SLM_NOHISTORY", "1");
    at_a_terminal(&home, &["run", BRIEF], &ask).ok();
    assert_eq!(kept(&home), Vec::<Value>::new());
}

#[test]
fn keys_complete_paste_and_open_the_editor() {
    let (mut home, daemon) = with_brief();
    home.write("look at me.txt", "x");
    home.set("VISUAL", "sed -i s/blue/red/");
    let lines = answer(&daemon, "Why is\nthe sky blue?");
    let red = answer(&daemon, "Why is the sky red?");
    let steps = json!([
        [">>> ", "/load bri\t"],
        ["/load brief:latest", "\r"],
        ["Loading model 'brief:latest'", ""],
        [">>> ", "/set para\ttemp\t"],
        ["/set parameter temperature", " 0\r"],
        ["Set parameter 'temperature' to '0'", ""],
        [">>> ", "/attach loo\t"],
        ["/attach \"look at me.txt\"", "\r"],
        ["With the next message: look at me.txt", ""],
        [">>> ", "/attach clear\r"],
        ["Nothing is attached", ""],
        [">>> ", "\u{1b}[200~Why is\nthe sky blue?\u{1b}[201~"],
        ["the sky blue?", "\r"],
        [landmark(&lines), ""],
        [">>> ", "/clear\r"],
        ["Cleared", ""],
        [">>> ", "Why is\nthe sky blue?"],
        ["the sky blue?", "\r"],
        [landmark(&lines), ""],
        [">>> ", "/clear\r"],
        ["Cleared", ""],
        [">>> ", format!("{SKY}\u{7}")],
        ["Why is the sky red?", ""],
        [landmark(&red), ""],
        [">>> ", "\u{4}"],
    ]);
    at_a_terminal(&home, &["run", BRIEF], &steps).ok();
    let run = Running::start(home.slm_command(&["chats"]), b"")
        .finish()
        .ok();
    assert_eq!(
        run.stdout.lines().count(),
        4,
        "a heading and three chats: {run:#?}"
    );
}
