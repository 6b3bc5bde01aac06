//! The project is the example: the same code, flags and versions.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::*;

fn project(chip: Chip) -> Project {
    let source = Source::Checkout("/s3ota".to_owned());
    Project::new("lamp".to_owned(), chip, FlashSize::Mb4, source, None).unwrap()
}

fn file(project: &Project, path: &str) -> String {
    let files: BTreeMap<_, _> = project.files().into_iter().collect();
    files[path].clone()
}

fn supported_chips() -> impl Iterator<Item = Chip> {
    supported().into_iter().map(|name| name.parse().unwrap())
}

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_template_is_the_example() {
    for (copy, text, of) in [
        ("main.rs", MAIN, "firmware/examples/simple/src/main.rs"),
        ("build.rs", BUILD, "firmware/examples/build.rs"),
        ("config.toml", CONFIG, "firmware/.cargo/config.toml"),
        ("cfg.example.toml", SETTINGS, "firmware/cfg.example.toml"),
        ("lock.toml", LOCK, "firmware/Cargo.lock"),
    ] {
        assert!(
            text == repository(of),
            "the copy is old: cp {of} crates/s3ota-cli/src/project/template/{copy}"
        );
    }
}

/// Features in any order, and the chip's apart.
fn dependency(value: &Value, chip: &str) -> (Option<String>, bool, Vec<String>) {
    let table = match value {
        Value::String(version) => return (Some(version.clone()), true, Vec::new()),
        other => other.as_table().unwrap(),
    };
    let version = table.get("version").and_then(Value::as_str);
    let default = table.get("default-features").and_then(Value::as_bool);
    let features = table.get("features").and_then(Value::as_array);
    let mut features: Vec<_> = features
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|feature| *feature != chip)
        .map(str::to_owned)
        .collect();
    features.sort_unstable();
    (
        version.map(str::to_owned),
        default.unwrap_or(true),
        features,
    )
}

#[test]
fn its_dependencies_and_profiles_are_the_examples() {
    let workspace: Table = repository("firmware/Cargo.toml").parse().unwrap();
    let example: Table = repository("firmware/examples/simple/Cargo.toml")
        .parse()
        .unwrap();
    for chip in supported_chips() {
        let ours: Table = file(&project(chip), "Cargo.toml").parse().unwrap();
        let chip = chip.name();
        for kind in ["dependencies", "build-dependencies"] {
            let (ours, theirs) = (
                ours[kind].as_table().unwrap(),
                example[kind].as_table().unwrap(),
            );
            let names = |table: &Table| table.keys().cloned().collect::<Vec<_>>();
            let (mut own, mut others) = (names(ours), names(theirs));
            own.sort_unstable();
            others.sort_unstable();
            assert_eq!(own, others);
            for (name, asked) in theirs {
                let (version, default, mut features) =
                    dependency(&workspace["workspace"]["dependencies"][name], chip);
                features.extend(dependency(asked, chip).2);
                features.sort_unstable();
                let own = dependency(&ours[name], chip);
                assert_eq!((own.1, &own.2), (default, &features), "{name}");
                // Ours come from the checkout here.
                let is_s3ota = ours[name].get("path").is_some();
                assert!(is_s3ota || own.0 == version, "{name}");
                // The chip is asked for where the example's feature for it asks.
                let wants = format!("{name}/{chip}");
                let of_chip = example["features"][chip].as_array().unwrap();
                let is_wanted = of_chip.iter().any(|it| it.as_str() == Some(&wants));
                let text = format!("{:?}", ours[name]);
                assert_eq!(
                    is_wanted,
                    text.contains(&format!("\"{chip}\"")),
                    "{name}: {text}"
                );
            }
        }
        let mut profile = workspace["profile"].clone();
        let packages = profile["release"]["package"].as_table_mut().unwrap();
        for other in ["simple", "advanced", "sleeper", "size-baseline"] {
            packages.remove(other);
        }
        packages.insert(
            "lamp".to_owned(),
            toml::from_str::<Table>("opt-level = 'z'").unwrap().into(),
        );
        assert_eq!(ours["profile"], profile);
        assert_eq!(
            ours["package"]["rust-version"],
            workspace["workspace"]["package"]["rust-version"]
        );
    }
}

#[test]
fn its_flags_are_the_examples_and_its_runner_erases_otadata() {
    let theirs: Table = repository("firmware/.cargo/config.toml").parse().unwrap();
    for chip in supported_chips() {
        let project = project(chip);
        let ours: Table = file(&project, ".cargo/config.toml").parse().unwrap();
        let arch = if project.is_xtensa() {
            "xtensa"
        } else {
            "riscv32"
        };
        let key = format!("cfg(target_arch = \"{arch}\")");
        let targets = ours["target"].as_table().unwrap();
        let with_arch: Vec<_> = targets
            .keys()
            .filter(|key| key.contains("target_arch"))
            .collect();
        assert_eq!(with_arch, [&key]);
        assert_eq!(
            targets[&key]["rustflags"],
            theirs["target"][&key]["rustflags"]
        );
        assert_eq!(ours.get("env"), theirs.get("env"));
        let runner = targets[&key]["runner"].as_str().unwrap();
        for part in [
            "--erase-parts otadata",
            "--partition-table partitions.csv",
            "--flash-size 4mb",
        ] {
            assert!(runner.contains(part), "{runner}");
        }
        assert_eq!(ours["build"]["target"].as_str(), Some(project.target()));
        assert_eq!(ours.contains_key("unstable"), project.is_xtensa());
    }
}

#[test]
fn its_partition_tables_are_the_repositorys() {
    for flash in [
        FlashSize::Mb2,
        FlashSize::Mb4,
        FlashSize::Mb8,
        FlashSize::Mb16,
    ] {
        let table = flash.partitions();
        let parsed = s3ota_image::partition::TableBuilder::from_csv(&table).unwrap();
        let end = parsed.partitions().iter().filter_map(|it| it.end()).max();
        assert!(end.unwrap() <= flash.megabytes() << 20);
        let file = format!("firmware/partitions/{}mb.csv", flash.megabytes());
        let is_there = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(&file)
            .exists();
        if is_there || flash != FlashSize::Mb2 {
            assert_eq!(table, repository(&file));
        }
    }
}

#[test]
fn its_main_has_its_name_and_nothing_of_the_emulator() {
    for chip in supported_chips() {
        let main = file(&project(chip), "src/main.rs");
        assert!(main.contains("\"lamp {VERSION}"), "{main}");
        assert!(!main.contains("qemu") && !main.contains("cfg("), "{main}");
        assert!(main.contains("let network = {\n"), "{main}");
    }
    for (path, text) in project(Chip::Esp32S3).files() {
        assert!(!text.contains("{{"), "{path}");
    }
}

#[test]
fn where_the_crates_come_from_is_written_so_that_cargo_reads_it() {
    let path = |source: Source| {
        let project = Project::new("lamp".into(), Chip::Esp32C3, FlashSize::Mb4, source, None);
        let manifest: Table = file(&project.unwrap(), "Cargo.toml").parse().unwrap();
        manifest["dependencies"]["s3ota-esp"].clone()
    };
    let windows = path(Source::Checkout(r"C:\Users\me\s3ota".to_owned()));
    assert_eq!(
        windows["path"].as_str(),
        Some(r"C:\Users\me\s3ota/firmware/s3ota-esp")
    );
    let git = path(Source::git("https://example.com/s3ota".into(), Some("abc".into())).unwrap());
    assert_eq!(
        (git["git"].as_str(), git["rev"].as_str()),
        (Some("https://example.com/s3ota"), Some("abc"))
    );
    let version = path(Source::CratesIo);
    assert_eq!(version["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(
        Source::git("a\"b".into(), None).unwrap_err().code,
        "project.source"
    );
}

#[test]
fn nothing_stays_of_a_project_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("deep/lamp");
    let mut written = Written::default();
    written
        .file(&place.join("src/main.rs"), "fn main() {}")
        .unwrap();
    // The same file again: somebody else was faster.
    written.file(&place.join("src/main.rs"), "").unwrap_err();
    drop(written);
    assert!(!dir.path().join("deep").exists());
}
