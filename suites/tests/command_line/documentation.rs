//! What the pages for users quote is what nestcheck says, and what they run is what it understands.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::nestcheck;

/// The pages that show commands.
const PAGES: [&str; 4] = ["README.md", "SECURITY.md", "docs", "docs/how-to"];

/// A file of the repository.
fn of_repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// The code of the harness and the command, with texts that span lines joined.
fn code() -> String {
    let mut code = String::new();
    for directory in ["harness/src", "suites/src"] {
        append(&of_repository(directory), &mut code);
    }
    // `\` at the end of a line leaves out the line break and the indentation of the next line.
    let lines = code.split("\\\n").enumerate();
    lines.map(|(number, part)| if number == 0 { part } else { part.trim_start() }).collect()
}

fn append(directory: &Path, code: &mut String) {
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            append(&path, code);
        } else if path.extension().is_some_and(|end| end == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("the file can be read"));
        }
    }
}

/// The messages that a page explains: the first cell of each row of its tables.
fn messages(page: &str) -> Vec<&str> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(message, _)| message).collect()
}

#[test]
fn the_messages_of_the_troubleshooting_page_are_those_of_the_code() {
    let page = include_str!("../../../docs/how-to/troubleshoot.md");
    let (messages, code) = (messages(page), code());
    assert!(messages.len() >= 10, "{messages:?}");
    // The API server says this.
    let of_others = ["Unauthorized"];
    for message in messages.iter().filter(|message| !of_others.contains(message)) {
        for part in message.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            assert!(code.contains(part), "`{part}` of `{message}` is not in the code");
        }
    }
}

/// The Markdown files of a directory, or the file itself.
fn pages(path: &str) -> Vec<PathBuf> {
    let path = of_repository(path);
    if path.is_file() {
        return vec![path];
    }
    let entries = fs::read_dir(path).expect("the directory can be read");
    let pages = entries.map(|entry| entry.expect("the directory can be read").path());
    pages.filter(|page| page.extension().is_some_and(|end| end == "md")).collect()
}

/// The commands in the blocks of a page: what a reader copies, up to a comment or a pipe.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut is_fenced = false;
    for line in page.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            let mut words = line.split_whitespace();
            if words.next() == Some("nestcheck") {
                let ends = |word: &&str| !["#", "|", ">", "&&"].contains(word);
                let words = words.take_while(ends).map(|word| word.trim_matches('\''));
                // It stands for an image, which is checked.
                let words =
                    words.map(|word| if word == "REF" { "localhost/workspace:1" } else { word });
                commands.push(words.map(str::to_owned).collect());
            }
        }
    }
    commands
}

/// `--help` at the end: the arguments before it are read, and nothing is done.
#[test]
fn the_commands_of_all_pages_are_understood() {
    let pages: Vec<_> = PAGES.iter().flat_map(|path| pages(path)).collect();
    let texts = pages.iter().map(|page| fs::read_to_string(page).expect("the page can be read"));
    let commands: Vec<_> = texts.flat_map(|text| commands(&text)).collect();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        let words: Vec<_> = command.iter().map(String::as_str).chain(["--help"]).collect();
        nestcheck(&words).exits(0);
    }
}
