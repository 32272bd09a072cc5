//! Remedies for people, and the parts of them that other programs take as they are.

use std::fmt::Write as _;

use super::{Problem, Remedies, Remedy, Step};
use crate::{
    Result,
    base::{manifest, redact::clean_text, text::one_line},
};

/// The most cases that one line names.
const MOST_CASES: usize = 8;

/// What a run or a cluster has that lacks nothing.
const NOTHING: &str = "nothing is unmet, and nothing failed\n";

/// The user of workspaces, to whom an image returns.
const USER: u32 = 1000;

/// All of it, with the files and commands flush left: they can be copied.
///
/// # Errors
///
/// None in practice: manifests are written as YAML.
pub fn text(remedies: &Remedies) -> Result<String> {
    if remedies.is_empty() {
        return Ok(NOTHING.to_owned());
    }
    let mut text =
        String::from("nestcheck applied nothing; read what each remedy costs before you do\n");
    for (number, remedy) in remedies.remedies.iter().enumerate() {
        // Writing to a string can't fail.
        let _ =
            write!(text, "\n{}. {} ({})\n", number + 1, line(&remedy.title), remedy.place.name());
        for (name, value) in about(remedy) {
            let _ = writeln!(text, "   {name:8} {value}");
        }
        for step in &remedy.steps {
            text.push_str(&step_text(step)?);
        }
    }
    if !remedies.without.is_empty() {
        text.push_str("\nwithout a remedy that could be printed\n");
    }
    for problem in &remedies.without {
        let _ = writeln!(text, "   {}", sentence(problem));
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "   hint: {}", line(hint));
        }
    }
    Ok(text)
}

fn line(text: &str) -> String {
    one_line(&clean_text(text))
}

/// What is said about a remedy: name and value, each on one line.
fn about(remedy: &Remedy) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = remedy.fixes.iter().map(|it| ("fixes", sentence(it))).collect();
    all.extend(remedy.costs.iter().map(|cost| ("cost", cost.to_string())));
    all.extend(remedy.note.iter().map(|note| ("note", line(note))));
    all
}

/// What is wrong, with the cases that say so and where that was read.
fn sentence(problem: &Problem) -> String {
    let cause = problem.cause.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
    let shown = &problem.cases[..problem.cases.len().min(MOST_CASES)];
    let more = match problem.cases.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let cases =
        if shown.is_empty() { String::new() } else { format!(" ({}{more})", shown.join(", ")) };
    line(&format!("{cause}{}{cases} [{}]", problem.wrong, problem.source))
}

fn step_text(step: &Step) -> Result<String> {
    let (head, content) = match step {
        Step::Manifest { object } => {
            ("apply with `kubectl apply -f -`".to_owned(), manifest::print(object)?)
        }
        Step::Containerfile { lines } => {
            ("add to the Containerfile of the image".to_owned(), image_lines([lines]))
        }
        Step::File { machine, path, is_addition, content } => {
            let what = if *is_addition { "add to the file" } else { "write the file" };
            (format!("{what} `{path}` on {machine}"), content.clone())
        }
        Step::Command { machine, line } => (format!("run on {machine}"), format!("{line}\n")),
    };
    Ok(format!("   {head}:\n{content}"))
}

fn image_lines<'a>(parts: impl IntoIterator<Item = &'a Vec<String>>) -> String {
    let lines: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("USER root\n{}\nUSER {USER}\n", lines.join("\n"))
}

/// All manifests, for `kubectl apply -f -`, each with what it fixes and what it costs. What is not a
/// manifest is named in a comment.
///
/// # Errors
///
/// None in practice: manifests are written as YAML.
pub fn manifests(remedies: &Remedies) -> Result<String> {
    let mut documents = Vec::new();
    let mut others = 0;
    for remedy in &remedies.remedies {
        let mut head = format!("# {}\n", line(&remedy.title));
        for (name, value) in about(remedy) {
            let _ = writeln!(head, "# {name}: {value}");
        }
        for step in &remedy.steps {
            match step {
                Step::Manifest { object } => {
                    documents.push(std::mem::take(&mut head) + &manifest::print(object)?);
                }
                _ => others += 1,
            }
        }
    }
    let mut text = documents.join("---\n");
    if others + remedies.without.len() > 0 {
        text.push_str(
            "# Other parts of the remedies are not manifests: see `nestcheck remedy -o text`.\n",
        );
    }
    Ok(text)
}

/// The lines for the Containerfile of the image, each part with what it fixes.
#[must_use]
pub fn containerfile(remedies: &Remedies) -> String {
    let mut parts = Vec::new();
    for remedy in &remedies.remedies {
        let steps = remedy.steps.iter().filter_map(|step| match step {
            Step::Containerfile { lines } => Some(lines),
            _ => None,
        });
        for lines in steps {
            parts.push(vec![format!("# {}", line(&remedy.title))]);
            parts.push(lines.clone());
        }
    }
    image_lines(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_report_ends_no_line_of_yaml() {
        // YAML 1.1 ends lines, and so comments, at these too.
        for end in ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'] {
            let shown = line(&format!("A{end}kind: ClusterRoleBinding"));
            assert!(!shown.contains(end), "{end:?}: {shown:?}");
        }
    }
}
