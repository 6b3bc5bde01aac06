//! `s3ota completions` and `s3ota man`, generated from the definition of the command line.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::commands::Cli;
use crate::error::CliError;
use crate::output::terminal;

/// Print a shell's completions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota completions bash > ~/.local/share/bash-completion/completions/s3ota
  s3ota completions zsh > ~/.zfunc/_s3ota
  s3ota completions fish > ~/.config/fish/completions/s3ota.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Print the manual page, or write one for each subcommand
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota man | man -l -
  s3ota man --dir ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write a page for each subcommand into this directory
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Prints completions.
pub fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "s3ota", &mut script);
    terminal::write(&script);
    Ok(())
}

/// Prints or writes manual pages.
pub fn man(args: &ManArgs) -> Result<(), CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|error| CliError::new("file.io", error.to_string()))?;
        terminal::write(&page);
        return Ok(());
    };
    fs::create_dir_all(dir).map_err(|error| CliError::file(dir, &error))?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(|error| CliError::file(dir, &error))
}
