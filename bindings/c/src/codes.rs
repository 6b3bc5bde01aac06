//! The results of `s3ota.h`: a number and a name each.

use core::ffi::CStr;

use s3ota::{Error, NoUpdate};

/// A result, its number in C and its name.
macro_rules! codes {
    ($($constant:ident = $number:literal, $name:literal;)+) => {
        $(
            #[allow(dead_code, reason = "some come from the library by their names only")]
            pub const $constant: i32 = $number;
        )+

        /// Their names in C, for the test of the header.
        #[cfg(test)]
        pub const CONSTANTS: &[(&str, i32)] = &[$((stringify!($constant), $number)),+];

        /// The number of a library error's code, or [`OTHER`].
        pub fn number(code: &str) -> i32 {
            let found = NAMES.iter().find(|(number, name)| *number < 0 && name.to_bytes() == code.as_bytes());
            found.map_or(OTHER, |(number, _)| *number)
        }

        /// Each result.
        static NAMES: &[(i32, &CStr)] = &[$(($number, $name)),+];
    };
}

codes! {
    OK = 0, c"ok";
    INSTALLED = 1, c"installed";
    AVAILABLE = 2, c"available";
    UP_TO_DATE = 3, c"up_to_date";
    NOT_MODIFIED = 4, c"not_modified";
    NOT_IN_ROLLOUT = 5, c"not_in_rollout";
    FAILED_BEFORE = 6, c"failed_before";
    RESTING = 7, c"resting";
    VETOED = 8, c"vetoed";
    CONFIRMED = 10, c"confirmed";
    ON_TRIAL = 11, c"on_trial";
    FELL_BACK = 12, c"fell_back";
    GIVEN_UP = 13, c"given_up";
    WORKING = 20, c"working";
    WAITING = 21, c"waiting";
    TRIAL_OVER = 22, c"trial_over";
    BUSY = -1, c"busy";
    ARGUMENT = -2, c"argument";
    MEMORY = -3, c"memory";
    STATE = -4, c"state";
    CANCELLED = -5, c"cancelled";
    CHIP = -6, c"config.chip";
    ROOT = -7, c"config.root";
    KEY = -8, c"config.key";
    HEADER = -9, c"config.header";
    PEM = -10, c"pem";
    TEXT = -11, c"config.text";
    CONFIG_VERSION = -100, c"config.version";
    CONFIG_TRIAL_BOOTS = -101, c"config.trial_boots";
    FLASH_IO = -110, c"flash.io";
    FLASH_LAYOUT = -111, c"flash.layout";
    FLASH_READBACK = -112, c"flash.readback";
    UPDATE_DEADLINE = -120, c"update.deadline";
    UPDATE_TRIAL = -121, c"update.trial";
    UPDATE_RESTS = -122, c"update.rests";
    UPDATE_ROLLBACK = -123, c"update.rollback";
    SOURCE_IO = -124, c"source.io";
    NET_DNS = -130, c"net.dns";
    NET_CONNECT = -131, c"net.connect";
    NET_CLOSED = -132, c"net.closed";
    NET_IO = -133, c"net.io";
    TLS_CERTIFICATE = -140, c"tls.certificate";
    TLS_HANDSHAKE = -141, c"tls.handshake";
    TLS_RECORD = -142, c"tls.record";
    TLS_TRUNCATED = -143, c"tls.truncated";
    TLS_CLOSED = -144, c"tls.closed";
    TLS_INTERRUPTED = -145, c"tls.interrupted";
    HTTP_STATUS = -150, c"http.status";
    HTTP_REDIRECT = -151, c"http.redirect";
    HTTP_INCOMPLETE = -152, c"http.incomplete";
    HTTP_LENGTH = -153, c"http.length";
    HTTP_INVALID = -154, c"http.invalid";
    MANIFEST_INVALID = -160, c"manifest.invalid";
    MANIFEST_URL = -161, c"manifest.url";
    RELEASE_DOWNGRADE = -170, c"release.downgrade";
    RELEASE_BOARD = -171, c"release.board";
    RELEASE_PROJECT = -172, c"release.project";
    RELEASE_EXPIRED = -173, c"release.expired";
    RELEASE_SIGNATURE = -174, c"release.signature";
    RELEASE_CHANNEL = -175, c"release.channel";
    RELEASE_REPLAYED = -176, c"release.replayed";
    RELEASE_FLOOR = -177, c"release.floor";
    IMAGE_CHIP = -180, c"image.chip";
    IMAGE_SIZE = -181, c"image.size";
    IMAGE_DIGEST = -182, c"image.digest";
    IMAGE_VERSION = -183, c"image.version";
    IMAGE_PROJECT = -184, c"image.project";
    IMAGE_INVALID = -185, c"image.invalid";
    IMAGE_GUARD = -186, c"image.guard";
    IMAGE_SECURE_BOOT = -187, c"image.secure_boot";
    IMAGE_REVISION = -188, c"image.revision";
    IMAGE_EFUSE = -189, c"image.efuse";
    IMAGE_ROLLBACK = -190, c"image.rollback";
    IMAGE_ARTEFACT = -191, c"image.artefact";
    OTHER = -999, c"other";
}

/// The name of a result.
pub fn name(result: i32) -> &'static CStr {
    let found = NAMES.iter().find(|(number, _)| *number == result);
    found.map_or(c"unknown", |(_, name)| name)
}

/// The number of an error.
pub fn of_error(error: &Error) -> i32 {
    number(error.code())
}

/// The number of a reason to do nothing.
pub const fn of_no_update(reason: NoUpdate) -> i32 {
    match reason {
        NoUpdate::UpToDate => UP_TO_DATE,
        NoUpdate::NotModified => NOT_MODIFIED,
        NoUpdate::NotInRollout => NOT_IN_ROLLOUT,
        NoUpdate::FailedBefore => FAILED_BEFORE,
        NoUpdate::Vetoed => VETOED,
        // The enum may grow: a reason that is not known here is one to check again later.
        _ => RESTING,
    }
}
