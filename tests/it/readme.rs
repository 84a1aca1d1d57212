//! What a document tells people to type is typed here.
//!
//! Every fenced block of a document is executed or compiled, by its tag:
//!
//! - `sh`: a script for bash. The blocks of one document run in order, in one empty folder, as one shell would
//!   (variables and background jobs carry over), and each command must succeed. A server is started as people start
//!   it, with `annals serve … &`; what is still running at the end is ended.
//! - `console`: lines that begin with `$ ` are run like `sh`, and the lines below each must be what it prints;
//!   `…` stands for any text within a line.
//! - `rust`: compiled and run as a doctest of the crate that includes the document.
//! - `text`: not for typing: pictures, layouts, excerpts. It is the only tag that is not run.
//!
//! Any other tag, and none at all, is an error: nothing is left out by accident. In scripts the addresses given as
//! substitutions (the default one, for a free one) are replaced, and `annals` is on the PATH.

#![expect(clippy::unwrap_used, reason = "a test may panic, and says where")]

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use annals_tests::server::{Api, TestServer};

/// A fenced block: its line, its tag and what is in it.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    tag: String,
    text: String,
}

/// The fenced blocks of a document, in order.
fn blocks(document: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in document.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(tag)) => {
                let tag = tag.trim().to_owned();
                open = Some(Block {
                    line: number + 1,
                    tag,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    match open {
        Some(block) => Err(format!("line {}: the block is never closed", block.line)),
        None => Ok(blocks),
    }
}

/// The document as one script. What a `console` command prints is compared by the script itself.
fn script(blocks: &[Block]) -> Result<String, String> {
    let mut script = String::from("set -euo pipefail\n");
    for block in blocks {
        match block.tag.as_str() {
            "sh" => script.push_str(&format!("echo '--- line {}' >&2\n{}", block.line, block.text)),
            "console" => script.push_str(&console(block)?),
            "rust" | "text" => {}
            other => {
                return Err(format!(
                    "line {}: the tag `{other}` is not one of sh, console, rust, text: nothing would check the block",
                    block.line
                ));
            }
        }
    }
    Ok(script)
}

fn console(block: &Block) -> Result<String, String> {
    let mut script = String::new();
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, expected))) => expected.push_str(&format!("{line}\n")),
            (None, None) => return Err(format!("line {}: a console block begins with `$ `", block.line)),
        }
    }
    if commands.is_empty() {
        return Err(format!("line {}: the console block has no command", block.line));
    }
    for (command, expected) in commands {
        // A pattern of bash, quoted but for the wildcards.
        let quoted: Vec<String> = expected.trim_end().split('…').map(quote).collect();
        script.push_str(&format!(
            "echo '--- line {line}' >&2\nseen=$({command}\n)\nif [[ \"$seen\" != {pattern} ]]; then\n  \
             printf 'printed:\\n%s\\nexpected:\\n%s\\n' \"$seen\" {expected} >&2; exit 1\nfi\n",
            line = block.line,
            pattern = quoted.join("*"),
            expected = quote(expected.trim_end()),
        ));
    }
    Ok(script)
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Runs the scripts of a document in `folder`, with the programs of `bin` on the PATH and some variables set. `replace` is
/// put into effect on the whole script.
fn run(
    document: &str,
    folder: &Path,
    bin: &Path,
    variables: &[(&str, &str)],
    replace: &[(&str, &str)],
) -> Result<(), String> {
    let mut script = script(&blocks(document)?)?;
    for (from, to) in replace {
        if !script.contains(from) {
            return Err(format!("`{from}` is to be replaced and is not in the document"));
        }
        script = script.replace(from, to);
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    // To a file: a server in the background would hold a pipe open for ever.
    let log_folder = tempfile::tempdir().unwrap();
    let log_path = log_folder.path().join("log");
    let log = std::fs::File::create(&log_path).unwrap();
    let mut child = Command::new("bash")
        .arg("-s")
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    // In braces, so that all of it is read before anything runs: a command could read the rest otherwise.
    let whole = format!("{{ {script}\n}} < /dev/null\n");
    child.stdin.take().unwrap().write_all(whole.as_bytes()).unwrap();
    let status = child.wait().unwrap();
    // What is still running belongs to the group; there may be nothing.
    let group = format!("-{}", child.id());
    let _ = Command::new("kill")
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status();
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "{status}\n{}",
            std::fs::read_to_string(log_path).unwrap_or_default()
        ))
    }
}

/// The README, typed by a newcomer at the root of the repository. Only the port is another, so that it is free.
#[test]
fn the_readme_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let server = format!("http://{free}");
    let variables = [
        ("ANNALS_LISTEN", free.as_str()),
        ("ANNALS_SERVER", server.as_str()),
    ];
    let bin = annals_tests::artifacts::binary();
    let replace = [("127.0.0.1:7070", free.as_str())];
    if let Err(problem) = run(&readme, &root, bin.parent().unwrap(), &variables, &replace) {
        panic!("{problem}");
    }
}

/// The page on consumers, typed beside a server that has the account.
#[test]
fn the_page_on_consumers_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/consumers.md")).unwrap();
    let server = TestServer::start();
    server.upload(&annals_tests::artifacts::module("account")).ok();
    let address = server.address().to_string();
    let replace = [("127.0.0.1:7070", address.as_str())];
    if let Err(problem) = run(&page, &root, &root, &[], &replace) {
        panic!("{problem}");
    }
}

/// The two commands that the README begins with are the ones that CI runs.
#[test]
fn the_readmes_commands_are_cis() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(
        readme.contains("```text\ncargo xtask demo\ncargo xtask test\n```"),
        "they changed in the README"
    );
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(ci.contains("cargo xtask ci"), "CI runs other commands");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(document: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        run(document, folder.path(), Path::new("/nowhere"), &[], &[])
    }

    #[test]
    fn blocks_run_in_order_and_in_one_shell() {
        let document = "# x\n```sh\na=1\nsleep 600 &\n```\n```text\nfalse\n```\n```rust\nlet a = 1;\n```\n\
                        ```console\n$ echo \"$a it's 7 ms\"\n1 it's … ms\n$ printf 'b\\nc\\n'\nb\nc\n```\n";
        assert_eq!(ran(document), Ok(()));
    }

    #[test]
    fn what_fails_is_shown() {
        let failed = ran("```sh\necho before; false\n```\n").unwrap_err();
        assert!(failed.contains("--- line 1\nbefore"), "{failed}");
        let failed = ran("```console\n$ echo one\ntwo\n```\n").unwrap_err();
        assert!(failed.contains("printed:\none\nexpected:\ntwo"), "{failed}");
    }

    #[test]
    fn nothing_is_left_out_by_accident() {
        for (document, expected) in [
            ("```\nx\n```\n", "the tag ``"),
            ("```json\n{}\n```\n", "the tag `json`"),
            ("```sh no_run\nx\n```\n", "the tag `sh no_run`"),
            ("```sh\nx\n", "never closed"),
            ("```console\nx\n```\n", "begins with `$ `"),
        ] {
            let refused = ran(document).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn addresses_are_replaced_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let document = "```console\n$ echo 127.0.0.1:1\n127.0.0.1:2\n```\n";
        let replace = [("127.0.0.1:1", "127.0.0.1:2")];
        assert_eq!(
            run(document, folder.path(), Path::new("/nowhere"), &[], &replace),
            Ok(())
        );
        assert!(
            run(
                "```sh\ntrue\n```\n",
                folder.path(),
                Path::new("/nowhere"),
                &[],
                &replace
            )
            .is_err()
        );
    }
}
