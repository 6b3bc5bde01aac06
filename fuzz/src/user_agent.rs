//! The `User-Agent` of devices.
//!
//! The input is parsed as a `User-Agent`. It is also cut at its zero bytes into the texts of one that is written.

use s3ota_manifest::user_agent::{
    Bootloader, Boots, Fetched, Last, MAX_USER_AGENT, MAX_VALUE, State, UserAgent,
};

/// Parses the input, and writes texts of it.
pub fn target(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        parse(text);
        write(text);
    }
}

/// What was parsed is written and parsed again as the same, if it fits.
fn parse(text: &str) {
    let Some(agent) = UserAgent::parse(text) else {
        return assert!(!text.starts_with("s3ota/"));
    };
    for value in values(&agent) {
        assert!(text.contains(value) && value.len() <= MAX_VALUE);
        assert!(value.bytes().all(fits), "{value:?}");
    }
    let line = line(&agent);
    let again = UserAgent::parse(&line).expect("what was written");
    // The longest fields that are ours: names, numbers, and what is not a value.
    if values(&agent).map(str::len).sum::<usize>() + 100 <= MAX_USER_AGENT {
        assert_eq!(again, agent, "{line}");
    }
}

/// Whatever is written is one line that a log can keep, and what was left out is left out whole.
fn write(text: &str) {
    let mut texts = text.split('\0');
    let mut next = || texts.next().filter(|text| !text.is_empty());
    let [library, device, firmware, chip, state, code, version] = [(); 7].map(|()| next());
    let [kind, boot, of, ..] = text.as_bytes() else {
        return;
    };
    let (boot, of) = (*boot, *of);
    let agent = UserAgent {
        library: library.unwrap_or("0.1.0"),
        device,
        firmware,
        chip,
        state: match (kind % 5, state) {
            (0, _) => Some(State::Valid),
            (1, _) => Some(State::Trial(Some(Boots { boot, of }))),
            (2, Some(version)) => Some(State::Back(version)),
            (3, Some(code)) => Some(State::Stuck(code)),
            _ => None,
        },
        bootloader: [None, Some(Bootloader::Plain), Some(Bootloader::Rollback)]
            [usize::from(boot % 3)],
        last: match (code, version) {
            (None, None) => None,
            (None, Some(version)) => Some(Last::Ok { version }),
            (Some(code), version) => Some(Last::Error { code, version }),
        },
        image: [
            None,
            Some(Fetched::Whole),
            Some(Fetched::Delta),
            Some(Fetched::Compressed),
        ][usize::from(of % 4)],
    };
    let line = line(&agent);
    assert!(line.len() <= MAX_USER_AGENT && line.starts_with("s3ota/"));
    assert!(
        line.bytes().all(|byte| byte == b' ' || fits(byte)),
        "{line:?}"
    );
    let read = UserAgent::parse(&line).expect("what was written");
    for (written, read) in [
        (device, read.device),
        (firmware, read.firmware),
        (chip, read.chip),
    ] {
        let clean = |text: &str| -> String {
            let clean = |c: char| {
                if u8::try_from(c).is_ok_and(fits) {
                    c
                } else {
                    '_'
                }
            };
            text.chars().take(MAX_VALUE).map(clean).collect()
        };
        if let Some(read) = read {
            assert_eq!(Some(read), written.map(clean).as_deref());
        }
    }
}

fn line(agent: &UserAgent<'_>) -> String {
    let mut line = String::new();
    agent.write(&mut line).expect("a string takes all");
    line
}

fn values<'a>(agent: &UserAgent<'a>) -> impl Iterator<Item = &'a str> {
    let (state, last) = (agent.state, agent.last);
    let of_state = match state {
        Some(State::Back(text) | State::Stuck(text)) => Some(text),
        _ => None,
    };
    let (code, version) = match last {
        Some(Last::Ok { version }) => (None, Some(version)),
        Some(Last::Error { code, version }) => (Some(code), version),
        None => (None, None),
    };
    let library = Some(agent.library);
    [
        library,
        agent.device,
        agent.firmware,
        agent.chip,
        of_state,
        code,
        version,
    ]
    .into_iter()
    .flatten()
}

const fn fits(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// Lines of devices, and texts to write.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "s3ota/0.1.0 dev=a0b1c2d3e4f5 fw=1.2.0 chip=esp32c3 state=valid boot=rollback last=ok@1.2.0 image=delta",
        "s3ota/0.1.0 dev=~d1aa8e1ca14530bf2ccb6ea48d334f44 fw=1.2.0-rc.1+b chip=esp32 state=trial:1/3 boot=plain",
        "s3ota/0.1.0 fw=1.1.0 state=back:1.2.0 last=image.secure_boot@1.3.0 image=compressed",
        "s3ota/0.1.0 fw=1.1.0 state=stuck:net.dns last=net.dns image=whole",
        "s3ota/0.1.0 fw=1.1.0 fw=2.0.0 state=trial",
        "s3ota/0.1.0\0id\r\nHost: evil\01.0.0\0esp32\01.2.0\0net.dns\01.3.0",
        "2\u{1}\u{2}\0\0\0\01.2.0\0\01.3.0",
        "Mozilla/5.0 (X11; Linux x86_64)",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Tokens of such lines.
pub const TOKENS: &[&[u8]] = &[
    b"s3ota/",
    b" dev=",
    b" fw=",
    b" chip=",
    b" state=",
    b" boot=",
    b" last=",
    b" image=",
    b"valid",
    b"trial:",
    b"back:",
    b"stuck:",
    b"ok@",
    b"@",
    b"/3",
    b"plain",
    b"rollback",
    b"whole",
    b"delta",
    b"compressed",
    b"=",
    b" ",
    b"\0",
    b"\"",
    b"\\",
    b"\r\n",
    b"\x1b[",
    b"\xc3\xa9",
];
