//! The name of a project: a package's, and the project name in its images.

use crate::error::CliError;

/// The project name's place in an image (`esp_app_desc_t`).
const LONGEST: usize = 32;

/// Names that no package can have, as cargo says: Rust's keywords, and crates that come with the compiler.
const RESERVED: [&str; 58] = [
    "Self",
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Folders of cargo's own in `target`, and files that Windows does not make.
const NO_FILES: [&str; 10] = [
    "aux",
    "build",
    "con",
    "deps",
    "examples",
    "incremental",
    "nul",
    "prn",
    "com1",
    "lpt1",
];

/// Whether a package may have this name, beside the packages in `lock`.
///
/// # Errors
///
/// `project.name`, with the reason.
pub fn check(name: &str, lock: &str) -> Result<(), CliError> {
    let wrong = |why: &str| {
        let message = format!("a firmware cannot be called `{name}`: {why}");
        Err(CliError::new("project.name", message)
            .hint("a name has letters a-z, digits, - and _, and begins with a letter: bedroom-lamp")
            .usage())
    };
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return wrong("it does not begin with a letter");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if let Some(c) = name.chars().find(|c| !is_part(*c)) {
        return wrong(&format!("`{}` is no part of a name", c.escape_default()));
    }
    if name.len() > LONGEST {
        return wrong("an image has room for 32 characters");
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&name) || NO_FILES.contains(&lower.as_str()) {
        return wrong("the name is reserved");
    }
    let is_same = |line: &str| {
        let package = line.strip_prefix("name = \"")?.strip_suffix('"')?;
        (package.replace('-', "_") == lower.replace('-', "_")).then_some(())
    };
    // The examples themselves are in the lock file, too.
    let is_example = ["simple", "advanced", "sleeper"].contains(&name);
    if !is_example && lock.lines().any(|line| is_same(line).is_some()) {
        return wrong("it uses a package of that name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"static_cell\"\n";

    #[test]
    fn a_name_is_what_cargo_and_an_image_can_hold() {
        for name in ["lamp", "bedroom-lamp", "Lamp_2", "a", &"x".repeat(32)] {
            assert_eq!(check(name, LOCK), Ok(()), "{name}");
        }
        for name in [
            "",
            "-lamp",
            "2lamp",
            "_",
            "my lamp",
            "lampé",
            "../lamp",
            "a/b",
            "a.b",
            "test",
            "fn",
            "gen",
            "CON",
            "deps",
            "core",
            "static-cell",
            "lamp\n",
            "\"",
            &"x".repeat(33),
        ] {
            let error = check(name, LOCK).unwrap_err();
            assert_eq!(
                (error.code, error.is_usage),
                ("project.name", true),
                "{name}"
            );
        }
    }
}
