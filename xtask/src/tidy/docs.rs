//! Rules for the documentation: links lead somewhere, every crate has its paragraph.

use super::TextFile;
use serde_json::Value;
use std::path::Path;

/// Links in Markdown files whose target is not in the repository.
pub(super) fn check_links(root: &Path, files: &[TextFile]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root.join(&file.path);
        let folder = folder.parent().unwrap_or(root);
        for (line, target) in links(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !path.is_empty() && !folder.join(path).exists() {
                problems.push(format!(
                    "{}:{line}: the link to `{target}` leads nowhere",
                    file.path
                ));
            }
        }
    }
    problems
}

/// Inline link targets with their 1-based lines; code blocks are skipped.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            if let Some(end) = rest.find(')') {
                let target = rest[..end].split_whitespace().next().unwrap_or_default();
                found.push((index + 1, target));
            }
        }
    }
    found
}

/// Crates that ARCHITECTURE.md does not mention by their folder, as **folder** or `folder`.
pub(super) fn check_architecture(packages: &[Value], files: &[TextFile]) -> Vec<String> {
    let Some(architecture) = files.iter().find(|file| file.path == "ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md: missing".to_owned()];
    };
    packages
        .iter()
        .filter_map(|package| package["manifest_path"].as_str())
        .filter_map(|manifest| Path::new(manifest).parent()?.file_name()?.to_str())
        .filter(|folder| {
            let marked = [format!("**{folder}**"), format!("`{folder}`")];
            !marked.iter().any(|name| architecture.text.contains(name))
        })
        .map(|folder| format!("ARCHITECTURE.md: has no paragraph about the crate `{folder}`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn dead_links_are_found_with_their_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text =
            "[a](Cargo.toml) [b](https://x.y)\n[c](#here) [d](src/none.rs#x)\n```\n[e](no)\n```\n";
        let problems = check_links(root, &[file("README.md", text)]);
        assert_eq!(
            problems,
            ["README.md:2: the link to `src/none.rs#x` leads nowhere"]
        );
    }

    #[test]
    fn every_crate_is_mentioned() {
        let packages = [
            json!({ "manifest_path": "/x/gguf/Cargo.toml" }),
            json!({ "manifest_path": "/x/cli/Cargo.toml" }),
        ];
        let files = [file("ARCHITECTURE.md", "- **gguf**: the container.")];
        let problems = check_architecture(&packages, &files);
        assert_eq!(
            problems,
            ["ARCHITECTURE.md: has no paragraph about the crate `cli`"]
        );
    }
}
