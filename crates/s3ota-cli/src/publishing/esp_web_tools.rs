//! [ESP Web Tools](https://github.com/esphome/esp-web-tools) (ESPHome, Apache-2.0): the program behind the button of the installer
//! page. The hash of each of its files is listed here, and no other file is run or uploaded.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha384};

use crate::error::CliError;

/// The version with these hashes.
pub const VERSION: &str = "10.4.0";

/// The file that makes the button, and the file that the button opens: a page loads both at once, and the rest on demand.
pub const FIRST: [&str; 2] = ["install-dialog-im156JnI.js", "install-button.js"];

/// The files of the npm package in `dist/web`, each with its SHA-384 in base64, in the form for browsers
/// ([Subresource Integrity](https://www.w3.org/TR/sri-2/)). From `npm pack esp-web-tools@10.4.0`.
pub const FILES: [(&str, &str); 26] = [
    (
        "esp32-DNPRK0Ay.js",
        "1mT/sUZ9QQrZft8TM1YK7RfyIUggyewqL0w7GrOvQ0aHk1JPIsMsmZeUKcWGWX3G",
    ),
    (
        "esp32c2-CQ3ns5Nm.js",
        "AcOQBXWICST0TTlwGYbYA8cElKuXwrwW0L10NSF0YBe1PkndGs5RhsuDzTR/OZhi",
    ),
    (
        "esp32c3-2tchr35W.js",
        "JF+4Kgy21HYqVI0DI+S5SAUyxRrWHKN/yvQ2TzxFzvi3V4IzoyW0WXPscyrzIjwE",
    ),
    (
        "esp32c5-CeCSizBL.js",
        "LWYGviHcz1q8xMq+rBhgcOPSu9V6bB8VO5BMCIeTNIsIUtdzs2FCsTip6Tk37b1f",
    ),
    (
        "esp32c6-DolpfL0e.js",
        "IGupIjC1Vbm+EvBSu+rNvcYGQxssjhOw2APdj4cIGAdevBe86rTUYaO21v8RNywO",
    ),
    (
        "esp32c61-C8HktcOt.js",
        "ufZuP5/DSChHLVHLQ7MYes8HllWFxgbwL5y4C5gi9OXhaYHvdF6KEMOpv+iY/JeE",
    ),
    (
        "esp32h2-L0n5WuSo.js",
        "RU6vJZEaAJLviiv0938vlTobFJZHLEXoIG++VEHufT8z4evp3AeasaMzTemz2DMr",
    ),
    (
        "esp32p4-MR0ikcda.js",
        "xBu/wvVzwGAyBFMKgxeER3FJpFRbEy9ibHOmTdVa/k2B4khQPRq3pfmGZQYRCGpX",
    ),
    (
        "esp32s2-w9SUkb7o.js",
        "NNkQOYG+wsZHOXo+Yam3d6ks8/Bai0cN9MKjMU6U1PaxHjdOJC5ZqhDZcnQ2nL/N",
    ),
    (
        "esp32s3-DQt_R3ZE.js",
        "IcqNvrgnrdlIMX/N8Fb2+T/TGyZHbVAqp8iyoP9cH/E+VSlV6h3Uug3ykbyr1We6",
    ),
    (
        "index-Dt9w-IG1.js",
        "qDnmUz4Vrcy5l9ZV4nrPjsyYSeFTtX4OJNYJEEeZixp894cbdDwh+jeO/d//X/6I",
    ),
    (
        "install-button.js",
        "9XfyvAabgkISlB/Xb3OpshGKpZx0TOt5Mmu78SeiNU3so/p4o2s9m66vy6Utdnom",
    ),
    (
        "install-dialog-im156JnI.js",
        "wMJi9BXikLp2SPdWr7OYNwSRpoiEgrPRT3APdi1KY6iYiMRoYO8vD5vBrBScG5j+",
    ),
    (
        "stub_flasher_32-BLbsWvxO.js",
        "NwVOvN4wk0BwWgOx1vGDv+MQEVpiXoaexYjJg/MDYH4rXwzOFpTiPC4Ga+GHl1Z+",
    ),
    (
        "stub_flasher_32c2-wLQhZItC.js",
        "kWdvhLR37pGIIpanPvPbGanK2DxuRVrb0Dx4tOYWcL2SpD3OGuC04mKxDgKLF9nT",
    ),
    (
        "stub_flasher_32c3-DmSvHQKL.js",
        "CXQHSBDY3+uIPzPcDoj56lAdidofn2R9+kcq6RkXjgVSM/6ZizTnZY4/AJ0tUODp",
    ),
    (
        "stub_flasher_32c5-D1WK4DyB.js",
        "3RLmDq3JDolM+Vvwua7Kb5r99y3mw9ptmdAuGKoiXuiQWuSLfAqTtSDO0zryPZm2",
    ),
    (
        "stub_flasher_32c6-ZuxjUVr4.js",
        "195M9duTV1A72oX1BdPqPyF0KufvSvbkTOXlVLYg0eZSdx6DCcGwL38RSMxvsU3j",
    ),
    (
        "stub_flasher_32c61-DeKkw9vN.js",
        "ocwIY7vRGNYbB3pDHtXRXo9e1wPmTmJKEkN+xGCwIDSxrAcMxnqTeyzcfqYmC99I",
    ),
    (
        "stub_flasher_32h2-CZ4EIL3w.js",
        "Whdgv4c66UKEmSqtqwBnxgw56V2kaJd4NQ8gpghwzEuXDotvVxaDzcKQNyacCgNZ",
    ),
    (
        "stub_flasher_32p4-CpHBYEwI.js",
        "Ugb2U81Kg2CAS1mQ6avdnzyJ0c7ux8Qmyivx2E7RXmu1bFVZxk8JUENABFAX/YYU",
    ),
    (
        "stub_flasher_32p4rc1-DyGqUAeZ.js",
        "obLWbHzQko//5KcdaalAr28oxQcTdbFPIxFr56WrxPPhkCJiDF6mlwnYCtiYHNtz",
    ),
    (
        "stub_flasher_32s2-CrsP1231.js",
        "QKrtaJgMb+aG+s5+Kp6hO/mnIOYkYniXOuViJGg5flhCGHb4EEaeASBikr5hnhLp",
    ),
    (
        "stub_flasher_32s3-CiJyd6Fk.js",
        "RW8irjkoLiZ6a4u+YbIjMSDqrFlM01oByNK52WD4te9CvRiEh9+631+aOtT9w8uh",
    ),
    (
        "stub_flasher_8266-CQFcqJ_a.js",
        "xPe4ucyto336SN2lbHdv4M0V1RV8+oLpWoYiht75/O/r6N8sOYvIPbGne54oKxla",
    ),
    (
        "styles-sT2V1cOw.js",
        "77x+BOw+Zw9kRRNMOF4W5I/luoc5EGHclPXlMwdlEpdWjh2qItAMrOMlzLJzVO9y",
    ),
];

/// Its licence, which is uploaded with its files.
const LICENSE: (&str, &str) = (
    "LICENSE",
    "FpFtzV8m58dpDyvTpZ8htCgBPTjkNp1plYQuZckY7SU0rnDgCYZJgZrAs69bWKU+",
);

/// The folder on a CDN that serves the files of npm packages as they were published.
pub fn on_cdn() -> String {
    format!("https://unpkg.com/esp-web-tools@{VERSION}/dist/web/")
}

/// The name of the folder beside a page.
pub fn beside() -> String {
    format!("esp-web-tools-{VERSION}/")
}

/// The files of an unpacked npm package, each with its name, if they have these hashes.
pub fn read(package: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, CliError> {
    let wrong = |path: &Path, problem: &str| {
        CliError::new(
            "publish.installer",
            format!("{} {problem}", path.display()),
        )
        .hint(format!(
            "create the folder `package` with `npm pack esp-web-tools@{VERSION} && tar xzf esp-web-tools-{VERSION}.tgz`, and pass it with \
             --esp-web-tools"
        ))
    };
    let mut files = Vec::new();
    let wanted = FILES
        .iter()
        .map(|known| (known, package.join("dist/web")))
        .chain([(&LICENSE, PathBuf::from(package))]);
    for ((name, hash), folder) in wanted {
        let path = folder.join(name);
        let Ok(bytes) = fs::read(&path) else {
            return Err(wrong(&path, "cannot be read"));
        };
        if base64_simd::STANDARD.encode_to_string(Sha384::digest(&bytes)) != *hash {
            return Err(wrong(
                &path,
                &format!("is not the file of ESP Web Tools {VERSION}"),
            ));
        }
        files.push((*name, bytes));
    }
    Ok(files)
}
