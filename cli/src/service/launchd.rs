//! The property list of launchd.

use super::LABEL;

/// The text of the file: the daemon's `program`, variables, and the `log` that it writes to.
pub(crate) fn plist(program: &str, variables: &[(String, String)], log: &str) -> String {
    let mut environment = String::new();
    for (name, value) in variables {
        environment.push_str(&format!(
            "    <key>{}</key>\n    <string>{}</string>\n",
            escaped(name),
            escaped(value)
        ));
    }
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
    <string>{}</string>
    <string>serve</string>
  </array>
  <key>EnvironmentVariables</key>
  <dict>
{environment}  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>Umask</key>
  <integer>63</integer>
  <key>StandardErrorPath</key>
  <string>{}</string>
</dict>
</plist>
",
        escaped(program),
        escaped(log)
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_everything_escaped() {
        let variables = [("A".to_owned(), "<b> & c".to_owned())];
        let text = plist("/opt/a & b/slmd", &variables, "/l");
        assert!(
            text.contains("<string>/opt/a &amp; b/slmd</string>"),
            "{text}"
        );
        assert!(
            text.contains("<key>A</key>\n    <string>&lt;b&gt; &amp; c</string>"),
            "{text}"
        );
        for tag in ["dict", "array", "plist"] {
            let count = |mark: String| text.matches(&mark).count();
            assert_eq!(
                count(format!("<{tag}")),
                count(format!("</{tag}>")),
                "{tag}"
            );
        }
    }
}
