//! Help that fits the terminal: whatever is to be pasted stays one command.

use clap::Command;

use crate::output::{terminal, wrap};

/// Prose is not wider, however wide the terminal is.
const WIDEST: usize = 100;

/// Below this, what an option does stands under its name: beside it there would be room for a word or two.
const NARROW: usize = 60;

/// The command line with its help as it is shown here. Values of the environment are not: they can be long, or secret.
///
/// Its usage is always the whole one. clap's own in an error names each option that the environment sets, as if it were required.
pub fn fitted(mut command: Command) -> Command {
    command.build();
    fit(command, terminal::width().unwrap_or(WIDEST))
}

fn fit(mut command: Command, width: usize) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| fit(sub, width));
    }
    let usage = command.render_usage().to_string();
    let usage = usage.trim().strip_prefix("Usage: ").unwrap_or(&usage);
    let usage = spread(usage, width);
    if let Some(after) = command.get_after_help() {
        let after = examples(&after.to_string(), width);
        command = command.after_help(after);
    }
    command
        .next_line_help(width < NARROW)
        .mut_args(|arg| arg.hide_env_values(true))
        .override_usage(usage)
        .term_width(width.min(WIDEST))
}

/// A usage over as many lines as it needs.
fn spread(usage: &str, width: usize) -> String {
    // What is in brackets stays together.
    let mut parts: Vec<String> = Vec::new();
    for word in usage.split(' ') {
        match parts.last_mut() {
            Some(last) if depth(last) > 0 => {
                last.push(wrap::NO_BREAK);
                last.push_str(word);
            }
            _ => parts.push(word.to_owned()),
        }
    }
    let first = width.saturating_sub("Usage: ".len());
    let lines = wrap::at_spaces(&parts.join(" "), first, width.saturating_sub(4));
    lines.join("\n    ")
}

fn depth(text: &str) -> usize {
    let count = |marks: [char; 2]| text.matches(marks).count();
    count(['[', '<']).saturating_sub(count([']', '>']))
}

/// Examples, each of which can be pasted: a line that is too long goes on in the next one after a backslash.
fn examples(text: &str, width: usize) -> String {
    let lines = text.split('\n').map(|line| match line.strip_prefix("  ") {
        Some(command) => continued(command, width),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn continued(command: &str, width: usize) -> String {
    let (first, rest) = (width.saturating_sub(2), width.saturating_sub(6));
    let lines = if wrap::width(command) <= first {
        vec![command.to_owned()]
    } else {
        // Each but the last ends with a backslash.
        let (first, rest) = (first.saturating_sub(2), rest.saturating_sub(2));
        wrap::at_spaces(&together(command, rest), first, rest)
    };
    let text = format!("  {}", lines.join(" \\\n      "));
    // clap does not break it again.
    text.replace(' ', &wrap::NO_BREAK.to_string())
}

/// A command in which quoted arguments do not break, nor options and their values where a line has room for both.
fn together(command: &str, room: usize) -> String {
    let mut is_quoted = false;
    let space = |c| match c {
        '\'' => {
            is_quoted = !is_quoted;
            c
        }
        ' ' if is_quoted => wrap::NO_BREAK,
        c => c,
    };
    let command: String = command.chars().map(space).collect();
    let mut words: Vec<String> = Vec::new();
    for word in command.split(' ') {
        match words.last_mut() {
            Some(option)
                if option.starts_with("--")
                    && !word.starts_with('-')
                    && wrap::width(option) + 1 + wrap::width(word) <= room =>
            {
                option.push(wrap::NO_BREAK);
                option.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_stays_one_command() {
        let text = "Examples:\n  s3ota yank s3://my-bucket/lamp 1.3.0 --reason 'loses its Wi-Fi'\n  s3ota list\n\nAnd a sentence.";
        let shown = examples(text, 40).replace(wrap::NO_BREAK, " ");
        assert_eq!(
            shown,
            "Examples:\n  s3ota yank s3://my-bucket/lamp 1.3.0 \\\n      --reason 'loses its Wi-Fi'\n  s3ota list\n\nAnd a sentence."
        );
        assert_eq!(examples(text, 100).replace(wrap::NO_BREAK, " "), text);
    }

    #[test]
    fn a_usage_goes_on_below() {
        let usage = "s3ota publish [OPTIONS] <FIRMWARE> <URL | s3://BUCKET/PREFIX>";
        assert_eq!(
            spread(usage, 40).replace(wrap::NO_BREAK, " "),
            "s3ota publish [OPTIONS]\n    <FIRMWARE>\n    <URL | s3://BUCKET/PREFIX>"
        );
    }
}
