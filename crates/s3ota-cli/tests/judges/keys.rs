//! openssl understands the keys of `s3ota keygen`, and `s3ota pubkey` those of openssl.

use crate::keys_bench::Bench;

/// What openssl prints; it must succeed.
fn openssl(bench: &Bench, args: &[&str]) -> Vec<u8> {
    let output = bench.command("openssl", args).output().expect("openssl");
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn openssl_reads_our_keys_and_we_read_its_keys() {
    let bench = Bench::new();
    let made = bench.s3ota(&["keygen"], Some("phrase"));
    let public = openssl(
        &bench,
        &[
            "pkey",
            "-in",
            "release.key",
            "-passin",
            "pass:phrase",
            "-pubout",
        ],
    );
    assert_eq!(made["pem"], String::from_utf8(public).unwrap());
    let made = bench.s3ota(&["keygen", "open.key", "--no-passphrase"], None);
    let public = openssl(&bench, &["pkey", "-in", "open.key", "-pubout"]);
    assert_eq!(made["pem"], String::from_utf8(public).unwrap());

    openssl(
        &bench,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "plain.pem",
        ],
    );
    let public =
        String::from_utf8(openssl(&bench, &["pkey", "-in", "plain.pem", "-pubout"])).unwrap();
    assert_eq!(
        bench.s3ota(&["pubkey", "plain.pem"], None)["pem"],
        public.as_str()
    );
    for (name, more) in [
        ("pbkdf2.pem", &["-v2", "aes-256-cbc"][..]),
        ("scrypt.pem", &["-scrypt"]),
    ] {
        let mut args = vec![
            "pkcs8",
            "-topk8",
            "-in",
            "plain.pem",
            "-out",
            name,
            "-passout",
            "pass:phrase",
        ];
        args.extend(more);
        openssl(&bench, &args);
        assert_eq!(
            bench.s3ota(&["pubkey", name], Some("phrase"))["pem"],
            public.as_str(),
            "{name}"
        );
    }
    // What it makes that is of no use here has its way out in the hint.
    openssl(&bench, &["ec", "-in", "plain.pem", "-out", "sec1.pem"]);
    let old = bench.s3ota(&["pubkey", "sec1.pem"], None);
    assert_eq!(old["code"], "key.invalid");
    assert!(
        old["hint"]
            .as_str()
            .unwrap()
            .contains("openssl pkcs8 -topk8"),
        "{old}"
    );
    openssl(
        &bench,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
            "-out",
            "p384.pem",
        ],
    );
    assert_eq!(
        bench.s3ota(&["pubkey", "p384.pem"], None)["code"],
        "key.invalid"
    );
}
