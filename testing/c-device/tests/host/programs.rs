//! C programs of their own: misuse of every call, two tasks, C++, and the example of the README.

use std::fs;
use std::process::Command;

use c_device::{Device, Program, Serving, archive, firmware, in_repository, tool};

const SANITIZED: &str = "-fsanitize=address,undefined";

/// Runs a program that checks by itself.
fn passes(program: &Program) {
    let output = program.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{text}{errors}"
    );
}

#[test]
fn every_call_used_wrongly() {
    passes(&Program::on_host(
        "misuse",
        &["tests/misuse.c"],
        &[SANITIZED],
    ));
}

#[test]
fn two_tasks() {
    let sources = ["tests/tasks.c", "tests/port.c", "tests/os_posix.c"];
    passes(&Program::on_host(
        "tasks",
        &sources,
        &["-DNO_MAIN", SANITIZED],
    ));
}

#[test]
fn the_header_is_c99_and_cpp11() {
    let header = archive("host").with_file_name("s3ota.h");
    for (compiler, language, standards) in [
        ("gcc", "c", ["c99", "c17"]),
        ("g++", "c++", ["c++11", "c++20"]),
    ] {
        for standard in standards {
            let status = Command::new(tool(compiler, compiler))
                .args([
                    "-Wall",
                    "-Wextra",
                    "-Wpedantic",
                    "-Werror",
                    "-fsyntax-only",
                    "-x",
                    language,
                ])
                .arg(format!("-std={standard}"))
                .arg(&header)
                .status();
            assert!(status.unwrap().success(), "{standard}");
        }
    }
}

/// The program in the README is the file `tests/example.c`, and it updates a device.
#[test]
fn the_example_in_the_readme() {
    let example = fs::read_to_string(in_repository("bindings/c/tests/example.c")).unwrap();
    let readme = fs::read_to_string(in_repository("bindings/c/README.md")).unwrap();
    assert!(
        readme.contains(&format!("```c\n{example}```")),
        "README.md has another program"
    );
    let sources = [
        "tests/example.c",
        "tests/example_port.c",
        "tests/port.c",
        "tests/os_posix.c",
    ];
    let program = Program::on_host("example", &sources, &["-DNO_MAIN", SANITIZED]);
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = Device::new(&program, "1.0.0")
        .with_file("root", &server.ca())
        .set(&format!("url={}", server.manifest_url()));
    let (_, said) = lamp.boot(&[]);
    assert!(said.has("restarting"), "{said:#?}");
    assert_eq!(lamp.version(), "1.1.0");
}
