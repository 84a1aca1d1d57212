//! Links of documents to files of the checkout.

use std::path::Path;

use super::Breach;

/// The links of `document` that lead to no file.
pub(super) fn dead(root: &Path, document: &Path) -> Vec<Breach> {
    let text = std::fs::read_to_string(document).unwrap();
    let folder = document.parent().unwrap();
    links(&text)
        .into_iter()
        .filter(|(_, link)| {
            let from = if link.starts_with('/') { root } else { folder };
            !from.join(link.trim_start_matches('/')).exists()
        })
        .map(|(line, link)| Breach {
            file: document
                .strip_prefix(root)
                .unwrap_or(document)
                .display()
                .to_string(),
            line,
            what: format!("links to `{link}`, which is not there"),
            fix: "correct the path, or add the file".into(),
        })
        .collect()
}

/// The links to local files, outside of code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        // Every second part is inside of backticks. A link's text may hold some, so only the opening `](` must be
        // outside, which removing the code leaves as it is.
        let prose: String = line.split('`').step_by(2).collect();
        let targets = prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', ' ', '#']).next());
        let local = targets.filter(|link| !link.is_empty() && !link.contains(':'));
        found.extend(local.map(|link| (number + 1, link.replace("%20", " "))));
    }
    found
}

#[test]
fn dead_links_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let document = dir.path().join("a.md");
    std::fs::write(dir.path().join("there.md"), "").unwrap();
    std::fs::write(
        &document,
        "[x](there.md) [`y`](there.md#part) [z](https://example.org/a) [w](#here)\n`[code](gone.md)`\n\
         ```sh\n[code](gone.md)\n```\n[x](/there.md) [gone](gone.md \"title\")\n",
    )
    .unwrap();
    let found = dead(dir.path(), &document);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].line, found[0].file.as_str()), (6, "a.md"));
    assert!(found[0].what.contains("`gone.md`"));
}
