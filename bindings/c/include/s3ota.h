/*
 * s3ota.h: an ESP32 updates itself over the air from nothing but an S3 bucket.
 *
 * This is the C API of the s3ota library: strict TLS 1.3, signed releases, resumed downloads, trial boots and rollback,
 * staged rollouts. Link libs3ota.a. README.md beside this file has a complete program.
 *
 *   1. `s3ota_boot_guard`, first of all at each boot.
 *   2. `s3ota_init`, in memory of your own.
 *   3. `s3ota_run` in a task, or `s3ota_poll` from your own loop. Or single calls: `s3ota_check`, `s3ota_update`…
 *   4. Restart where a result says so.
 *
 * The library allocates nothing, starts no task, never restarts the chip by itself, and does not wait for ever.
 *
 * Results
 * -------
 * Calls return an `int32_t`: 0 or more is how it went (S3OTA_OK, S3OTA_INSTALLED…), less than 0 an error (S3OTA_ERR_…).
 * `s3ota_error_name` has a name for each, `s3ota_error_text` a sentence about the last error.
 *
 * Tasks and callbacks
 * -------------------
 * A state is used by one call at a time. A call that comes while another task is inside a call on the same state, or that
 * comes from a callback of the port or the hooks, does nothing and returns S3OTA_ERR_BUSY at once. The exceptions are
 * `s3ota_check_now` and `s3ota_cancel`, which any task, any callback and any interrupt may call at any time; and the calls
 * without a state, `s3ota_error_name`, `s3ota_version`, `s3ota_size`, `s3ota_align`, `s3ota_pem`. Different states do not
 * know each other, but one device should have one: two would write to the same slot.
 *
 * Stack
 * -----
 * A task that fetches, installs or runs needs 12 KB for the library. `s3ota_roll_back` takes 8 KB, `s3ota_boot_guard` and
 * `s3ota_confirm` take 7, `s3ota_init` takes 4. README.md has the bytes.
 *
 * Growing
 * -------
 * Structs begin with their size. A program sets `x.size = sizeof x` and everything it does not know to 0. A newer library
 * takes what an older program leaves out as 0, an older one ignores what it does not know, unless it is not 0: then
 * `s3ota_init` answers S3OTA_ERR_ARGUMENT. Codes are never given a new meaning. Unknown codes below 0 are errors.
 *
 * What the archive needs
 * ----------------------
 * From the C library: memcpy, memmove, memset, memcmp, bcmp, strlen, abort. And from the compiler's own library (libgcc),
 * its arithmetic, and with RISC-V cores what saves registers (__riscv_save_0…). Nothing else. `abort` is called only if the library has a bug.
 */
#ifndef S3OTA_H
#define S3OTA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Version ---------------------------------------------------------------------------------------------------------- */

/* The version of this header. `s3ota_version` returns that of the library. Within a major version (before 1.0: a minor
 * version) they may differ. */
#define S3OTA_LIBRARY_VERSION "0.1.0"
#define S3OTA_LIBRARY_VERSION_MAJOR 0
#define S3OTA_LIBRARY_VERSION_MINOR 1
#define S3OTA_LIBRARY_VERSION_PATCH 0

/* The library's version, "0.1.0". Never NULL. */
const char *s3ota_version(void);

/* --- How it went ------------------------------------------------------------------------------------------------------ */

#define S3OTA_OK 0 /* done */

/* Of s3ota_check, s3ota_install, s3ota_install_from, s3ota_update, s3ota_poll, s3ota_run. */
#define S3OTA_INSTALLED 1      /* a new firmware is on flash and selected: RESTART NOW */
#define S3OTA_AVAILABLE 2      /* there is a release that s3ota_install would install */
#define S3OTA_UP_TO_DATE 3     /* the release offered is the one that runs */
#define S3OTA_NOT_MODIFIED 4   /* the manifest is the one that the last check saw */
#define S3OTA_NOT_IN_ROLLOUT 5 /* the release is rolled out in stages, and this device is not among the first */
#define S3OTA_FAILED_BEFORE 6  /* the release was tried on this device, and given up */
#define S3OTA_RESTING 7        /* the release failed lately and is tried again later */
#define S3OTA_VETOED 8         /* the hook may_start said no */

/* Of s3ota_boot_guard and s3ota_is_on_trial. */
#define S3OTA_CONFIRMED 10 /* the running firmware is confirmed, or was never on trial */
#define S3OTA_ON_TRIAL 11  /* it is on trial */
#define S3OTA_FELL_BACK 12 /* the bootloader refused the new image, and booted this one, which it was to replace */
#define S3OTA_GIVEN_UP 13  /* its trial failed and another firmware is selected: RESTART NOW */

/* Of s3ota_poll and s3ota_run. */
#define S3OTA_WORKING 20    /* there is more to do: call again soon */
#define S3OTA_WAITING 21    /* nothing to do until a time: s3ota_wait_ms says how long */
#define S3OTA_TRIAL_OVER 22 /* on trial, and the server was not reached in trial_time_ms: RESTART NOW, the next trial boot may */

/* --- Errors ----------------------------------------------------------------------------------------------------------- */

/* How this API was used. */
#define S3OTA_ERR_BUSY (-1)      /* another call, or an update, is under way on this state: see "Tasks and callbacks" */
#define S3OTA_ERR_ARGUMENT (-2)  /* a pointer is NULL, a size is wrong, or a value not allowed */
#define S3OTA_ERR_MEMORY (-3)    /* the memory is too small or not aligned: s3ota_size, s3ota_align */
#define S3OTA_ERR_STATE (-4)     /* not a state, or one that was ended */
#define S3OTA_ERR_CANCELLED (-5) /* s3ota_cancel was called */
#define S3OTA_ERR_CHIP (-6)      /* config.chip is no chip that this library knows */
#define S3OTA_ERR_ROOT (-7)      /* one of config.roots is not a certificate in DER, or they are too many */
#define S3OTA_ERR_KEY (-8)       /* one of config.release_keys is not a P-256 key, or they are too many */
#define S3OTA_ERR_HEADER (-9)    /* one of config.headers cannot be sent, or they are too many */
#define S3OTA_ERR_PEM (-10)      /* s3ota_pem: not PEM */
#define S3OTA_ERR_TEXT (-11)     /* a text of the config is missing, or is not UTF-8 */

/* Configuration and device. */
#define S3OTA_ERR_CONFIG_VERSION (-100)     /* config.version is not a version */
#define S3OTA_ERR_CONFIG_TRIAL_BOOTS (-101) /* this number of trial boots cannot be counted: 1 to 100 can */
#define S3OTA_ERR_FLASH_IO (-110)           /* flash cannot be read or written */
#define S3OTA_ERR_FLASH_LAYOUT (-111)       /* the partition table does not allow updates */
#define S3OTA_ERR_FLASH_READBACK (-112)     /* flash does not hold what was written: it is worn or failing */

/* The update as a whole. */
#define S3OTA_ERR_UPDATE_DEADLINE (-120) /* it took longer than deadline_ms */
#define S3OTA_ERR_UPDATE_TRIAL (-121)    /* the running firmware is on trial: confirm it first */
#define S3OTA_ERR_UPDATE_RESTS (-122)    /* the slot was erased too often lately */
#define S3OTA_ERR_UPDATE_ROLLBACK (-123) /* there is no other firmware to roll back to */
#define S3OTA_ERR_SOURCE_IO (-124)       /* the source of the image failed: s3ota_install_from */

/* The network. */
#define S3OTA_ERR_NET_DNS (-130)     /* the host's name has no address */
#define S3OTA_ERR_NET_CONNECT (-131) /* no connection to the server */
#define S3OTA_ERR_NET_CLOSED (-132)  /* the server closed the connection without an answer */
#define S3OTA_ERR_NET_IO (-133)      /* the connection failed, or was silent for idle_ms */

/* TLS. */
#define S3OTA_ERR_TLS_CERTIFICATE (-140) /* the server did not prove its identity */
#define S3OTA_ERR_TLS_HANDSHAKE (-141)   /* the handshake failed, or the server speaks no TLS 1.3 */
#define S3OTA_ERR_TLS_RECORD (-142)      /* data was modified in transit, or is no TLS */
#define S3OTA_ERR_TLS_TRUNCATED (-143)   /* the connection ended before its proper end */
#define S3OTA_ERR_TLS_CLOSED (-144)      /* the connection was closed already */
#define S3OTA_ERR_TLS_INTERRUPTED (-145) /* an earlier read or write was abandoned */

/* HTTP. */
#define S3OTA_ERR_HTTP_STATUS (-150)     /* the server answered with an error: 403, 404, 503… */
#define S3OTA_ERR_HTTP_REDIRECT (-151)   /* a redirect that a device does not follow, or too many */
#define S3OTA_ERR_HTTP_INCOMPLETE (-152) /* the connection ended before the body did */
#define S3OTA_ERR_HTTP_LENGTH (-153)     /* the body is longer than what fits */
#define S3OTA_ERR_HTTP_INVALID (-154)    /* not HTTP/1.1, or ambiguous */

/* The manifest. */
#define S3OTA_ERR_MANIFEST_INVALID (-160) /* it cannot be used */
#define S3OTA_ERR_MANIFEST_URL (-161)     /* a URL is not one that a device fetches: config.manifest_url, or in the manifest */

/* A release that is not for this device. */
#define S3OTA_ERR_RELEASE_DOWNGRADE (-170) /* older than the running firmware */
#define S3OTA_ERR_RELEASE_BOARD (-171)     /* for another board */
#define S3OTA_ERR_RELEASE_PROJECT (-172)   /* of another project */
#define S3OTA_ERR_RELEASE_EXPIRED (-173)   /* the manifest has expired */
#define S3OTA_ERR_RELEASE_SIGNATURE (-174) /* no release key that this firmware trusts has signed it */
#define S3OTA_ERR_RELEASE_CHANNEL (-175)   /* signed for another channel */
#define S3OTA_ERR_RELEASE_REPLAYED (-176)  /* older than a manifest that was seen before */
#define S3OTA_ERR_RELEASE_FLOOR (-177)     /* below the min_version of this device */

/* An image that is refused. */
#define S3OTA_ERR_IMAGE_CHIP (-180)        /* for another chip */
#define S3OTA_ERR_IMAGE_SIZE (-181)        /* too large for the slots, or not as long as it should be */
#define S3OTA_ERR_IMAGE_DIGEST (-182)      /* its SHA-256 is not the manifest's, or not its own */
#define S3OTA_ERR_IMAGE_VERSION (-183)     /* its version is not the manifest's */
#define S3OTA_ERR_IMAGE_PROJECT (-184)     /* of another project */
#define S3OTA_ERR_IMAGE_INVALID (-185)     /* broken, or without an app descriptor */
#define S3OTA_ERR_IMAGE_GUARD (-186)       /* without a boot guard, where the running one has one */
#define S3OTA_ERR_IMAGE_SECURE_BOOT (-187) /* not signed for Secure Boot, where the running one is */
#define S3OTA_ERR_IMAGE_REVISION (-188)    /* for another revision of the chip */
#define S3OTA_ERR_IMAGE_EFUSE (-189)       /* for another revision of the chip's eFuses */
#define S3OTA_ERR_IMAGE_ROLLBACK (-190)    /* its secure version is below the device's */
#define S3OTA_ERR_IMAGE_ARTEFACT (-191)    /* a delta or a compressed image that does not make it: not fetched by this library yet */

/* An error that has no code of its own in this version. */
#define S3OTA_ERR_OTHER (-999)

/* A short, stable name for a result: "tls.certificate", "busy", "installed". "unknown" for what it does not know. Never
 * NULL. From any task and any callback. */
const char *s3ota_error_name(int32_t result);

/* --- The port: what the device offers --------------------------------------------------------------------------------- */

/* What the port's network calls return besides 0 or a number of bytes. Any other number below 0 is a failure, too. */
#define S3OTA_PORT_AGAIN (-1)       /* nothing yet: ask again */
#define S3OTA_PORT_FAILED (-2)      /* a failure of any other kind */
#define S3OTA_PORT_REFUSED (-3)     /* the other side refused the connection */
#define S3OTA_PORT_RESET (-4)       /* the connection was reset or aborted */
#define S3OTA_PORT_UNREACHABLE (-5) /* no way to that host, or the network is down */
#define S3OTA_PORT_NOT_FOUND (-6)   /* the name has no address of this family */

#define S3OTA_IPV4 4
#define S3OTA_IPV6 6

/* An IP address. */
typedef struct s3ota_address {
    uint8_t family;    /* S3OTA_IPV4 or S3OTA_IPV6 */
    uint8_t bytes[16]; /* in network order: the first 4 of them for IPv4 */
    uint8_t reserved;  /* 0 */
    uint16_t port;     /* a number, in the machine's own order */
} s3ota_address;

/*
 * The device, as functions. All are called with `ctx`, only from inside calls on the state, and by the task that made them.
 * All must be there unless said otherwise. None may call back into the same state (S3OTA_ERR_BUSY).
 *
 * Waiting: a network call may wait for up to `wait_ms` and must not wait for longer. It returns as soon as it has
 * something; S3OTA_PORT_AGAIN if there was nothing, which is also right before the time is over. With `wait_ms` 0 it does
 * not wait at all. The library asks again as long as its limits allow, so that silence and deadline hold to the
 * millisecond over whatever a port does, and hands out no more than what is left of `s3ota_poll`'s budget.
 *
 * Sockets are numbers from 0 on, as the port likes. The library has at most one open, and closes each that `open` returned
 * exactly once.
 */
typedef struct s3ota_port {
    uint32_t size; /* sizeof(s3ota_port) */

    /* Bytes of the whole flash chip. Offset 0 below is the chip's offset 0. */
    uint32_t flash_size;
    /* The flash offset of the partition that the running firmware lies in, from the hardware and not from otadata: in
     * ESP-IDF `esp_ota_get_running_partition()->address`. The library never writes there. 0xffffffff if unknown, which
     * only the boot guard takes. */
    uint32_t running;
    uint32_t reserved; /* 0 */

    void *ctx; /* handed to each of these */

    /* Flash, the whole chip. 0, or less than 0 for a failure. `to` is in bytes and need not be aligned; offset and length
     * of a read may be anything. `write` clears bits, as NOR flash does; offset and length are multiples of 4, `from` is
     * aligned to 4. `erase` sets sectors of 4096 bytes to 0xff; offset and length are multiples of that, up to 65536 in
     * one call. Each is over when it returns. The library reads the partition table, and writes only otadata and the slot
     * that it installs to. With flash encryption the calls are those that encrypt and decrypt. */
    int32_t (*flash_read)(void *ctx, uint32_t offset, void *to, uint32_t len);
    int32_t (*flash_write)(void *ctx, uint32_t offset, const void *from, uint32_t len);
    int32_t (*flash_erase)(void *ctx, uint32_t offset, uint32_t len);

    /* Finds an address of a family (S3OTA_IPV4 or S3OTA_IPV6) for a name, and writes family and bytes of `address`. 0;
     * S3OTA_PORT_AGAIN while it looks: it is then asked again for the same name and family; S3OTA_PORT_NOT_FOUND, or
     * another failure. The library asks for IPv4 first. A port that has only a resolver that blocks calls that, and
     * `s3ota_poll` takes that much longer. */
    int32_t (*resolve)(void *ctx, const char *host, uint8_t family, s3ota_address *address, uint32_t wait_ms);
    /* Makes a socket and begins to connect it, without waiting. The socket, or a failure below 0. */
    int32_t (*open)(void *ctx, const s3ota_address *address);
    /* Whether the connection is made: 0, S3OTA_PORT_AGAIN while it is not, or a failure. Asked until it is one of the
     * others, then never again for that socket. */
    int32_t (*connect)(void *ctx, int32_t socket, uint32_t wait_ms);
    /* Receives: the number of bytes, 1 to `len`; 0 where the other side has closed; S3OTA_PORT_AGAIN; or a failure. */
    int32_t (*recv)(void *ctx, int32_t socket, void *to, uint32_t len, uint32_t wait_ms);
    /* Sends: the number of bytes taken, 1 to `len`; S3OTA_PORT_AGAIN; or a failure. */
    int32_t (*send)(void *ctx, int32_t socket, const void *from, uint32_t len, uint32_t wait_ms);
    /* Closes, without waiting. */
    void (*close)(void *ctx, int32_t socket);

    /* Milliseconds since any fixed moment, never going back. */
    uint64_t (*uptime_ms)(void *ctx);
    /* Seconds since 1970, or less than 0 while the date is not known: certificates are then checked against
     * config.built_at. May be NULL: never known. */
    int64_t (*unix_time)(void *ctx);
    /* Milliseconds since the power came on, counted through restarts and deep sleep where the device can. The wear of
     * flash is limited by it. May be NULL: uptime_ms is taken. */
    uint64_t (*since_power_on_ms)(void *ctx);
    /* Lets other tasks run for so long. Only called by calls that block (not by s3ota_poll), and with at most 100 ms. */
    void (*sleep_ms)(void *ctx, uint32_t ms);
    /* Fills memory with randomness fit for cryptography. TLS is worth nothing without it. It must not come back before it
     * has it. */
    void (*random)(void *ctx, void *to, uint32_t len);
} s3ota_port;

/* --- Logs ------------------------------------------------------------------------------------------------------------- */

#define S3OTA_LOG_ERROR 1
#define S3OTA_LOG_WARN 2
#define S3OTA_LOG_INFO 3
#define S3OTA_LOG_DEBUG 4

/* Where log lines go. */
typedef struct s3ota_log {
    uint32_t size;      /* sizeof(s3ota_log) */
    int32_t most;       /* lines above this level are dropped: S3OTA_LOG_INFO, for instance */
    void *ctx;
    /* One line, without a line break, at most 255 bytes. It may come from any task that is inside a call of the library. */
    void (*line)(void *ctx, int32_t level, const char *text);
} s3ota_log;

/* Sets where log lines go, for the whole program: `log` must stay as it is from now on. NULL for nowhere, as at first. A
 * second call replaces the first. From any task, not from `line`. An archive that was built without log lines has none:
 * errors and events come by the hooks all the same.
 * S3OTA_OK, or S3OTA_ERR_ARGUMENT. */
int32_t s3ota_set_log(const s3ota_log *log);

/* --- The boot guard --------------------------------------------------------------------------------------------------- */

#define S3OTA_RESET_CRASH 0    /* a watchdog, a panic, a restart by software, or not known: counts as a trial boot */
#define S3OTA_RESET_POWER_ON 1 /* power came on, or the reset button was pressed: does not count */
#define S3OTA_RESET_WAKE 2     /* the chip woke from deep sleep: does not count */

#define S3OTA_BOOTLOADER_UNKNOWN 0      /* no trial has shown it yet */
#define S3OTA_BOOTLOADER_PLAIN 1        /* it does no app rollback */
#define S3OTA_BOOTLOADER_APP_ROLLBACK 2 /* it gives up an image at its second boot without confirmation */

#define S3OTA_DEFAULT_TRIAL_BOOTS 3

/* What the boot guard is told, and what it finds. */
typedef struct s3ota_guard {
    uint32_t size;            /* sizeof(s3ota_guard) */
    uint32_t partition_table; /* where the partition table is; 0 for 0x8000 */
    uint8_t reset;            /* why the chip started: S3OTA_RESET_… */
    uint8_t trial_boots;      /* how many boots a firmware on trial has, 1 to 100; 0 for S3OTA_DEFAULT_TRIAL_BOOTS */
    uint8_t of;               /* set, with S3OTA_ON_TRIAL: after how many boots it is given up */
    uint8_t bootloader;       /* set: S3OTA_BOOTLOADER_… */
    uint32_t boot;            /* set, with S3OTA_ON_TRIAL: which boot this is, from 1 */
} s3ota_guard;

/*
 * Looks after trials. Call it once at each boot, before anything that may hang or crash. It needs only the flash of the
 * port: the other functions may still be NULL. No state is needed. `guard` may be NULL for a start that counts, three trial
 * boots, and a partition table at 0x8000.
 *
 * S3OTA_CONFIRMED, S3OTA_FELL_BACK: go on. S3OTA_ON_TRIAL: go on, and see to it that the chip restarts if this firmware
 * hangs: arm a watchdog. S3OTA_GIVEN_UP: restart now.
 * An error (S3OTA_ERR_FLASH_IO, S3OTA_ERR_FLASH_LAYOUT, S3OTA_ERR_CONFIG_TRIAL_BOOTS, S3OTA_ERR_ARGUMENT) means that no
 * trial is in force, or that flash can neither be read nor written: a trial whose boot cannot be counted is given up. Go on.
 *
 * Called twice in one boot it counts two boots. Not from two tasks at once, nor while a call on a state is under way.
 */
int32_t s3ota_boot_guard(const s3ota_port *port, s3ota_guard *guard);

/* --- The configuration ------------------------------------------------------------------------------------------------ */

/* Bytes, not copied. */
typedef struct s3ota_bytes {
    const uint8_t *data;
    size_t len;
} s3ota_bytes;

/* A header field that is sent to the server of the manifest, and to no other host but `also_to`. */
typedef struct s3ota_header {
    const char *name;
    const char *value;
    const char *also_to; /* one more host that is given it, or NULL */
} s3ota_header;

#define S3OTA_MAX_RELEASE_KEYS 4
#define S3OTA_MAX_HEADERS 4
#define S3OTA_MAX_ROOTS 11 /* besides the five that are built in; 16 with no_built_in_roots */

#define S3OTA_CONFIRM_WHEN_SERVER_REACHED 0
#define S3OTA_CONFIRM_BY_APPLICATION 1

/* Which fields of `hardware_…` below are known. */
#define S3OTA_HARDWARE_REVISION 1
#define S3OTA_HARDWARE_BLOCK_REVISION 2
#define S3OTA_HARDWARE_SECURE_VERSION 4
#define S3OTA_HARDWARE_ANY_MAX_REVISION 8        /* the eFuse DISABLE_WAFER_VERSION_MAJOR is burnt */
#define S3OTA_HARDWARE_ANY_MAX_BLOCK_REVISION 16 /* the eFuse DISABLE_BLK_VERSION_MAJOR is burnt */

/* For a time that is to be none at all, where 0 is the default. */
#define S3OTA_NONE 0xffffffffu

/*
 * What an updater works by. Set it all to 0, then `size` and the first four texts; 0 and NULL are defaults everywhere.
 *
 * The struct is copied. What it points to is not: texts, certificates and keys must stay as they are until `s3ota_deinit`.
 * (The arrays `roots`, `release_keys` and `headers` themselves are copied.) Texts are UTF-8 and end with a 0.
 */
typedef struct s3ota_config {
    uint32_t size; /* sizeof(s3ota_config) */

    /* What makes a firmware on trial the confirmed one. S3OTA_CONFIRM_WHEN_SERVER_REACHED: s3ota_poll, s3ota_run and
     * s3ota_update confirm it once they have seen that it could be updated. S3OTA_CONFIRM_BY_APPLICATION: s3ota_confirm
     * is called, after the application's own tests; nothing is installed before. */
    uint32_t confirm;

    const char *manifest_url; /* the https URL of the manifest, at most 2,048 bytes; a pre-signed one is fine */
    const char *version;      /* the version of the running firmware: "1.2.0" */
    const char *chip;         /* "esp32", "esp32s2", "esp32s3", "esp32c2", "esp32c3", "esp32c5", "esp32c6"…: CONFIG_IDF_TARGET */
    const char *device_id;    /* tells devices of a kind apart, for staged rollouts: a MAC address, a serial number */

    const char *board;      /* the product's name of its hardware; releases for another are refused */
    const char *channel;    /* the channel; by default that of the URL, if it ends in <channel>.json */
    const char *renamed_to; /* the name that the project has from some release on */

    /* The keys that may sign releases, the newest first: SubjectPublicKeyInfo in DER (`s3ota_pem` makes it of a PUBLIC KEY
     * file), or the point's 65 bytes. With one or more, nothing else is installed. */
    const s3ota_bytes *release_keys;
    size_t release_key_count; /* at most S3OTA_MAX_RELEASE_KEYS */

    /* Roots to trust besides those built in (Amazon's, where S3's chains end), as certificates in DER. For PEM see
     * `s3ota_pem`. */
    const s3ota_bytes *roots;
    size_t root_count; /* at most S3OTA_MAX_ROOTS */

    const s3ota_header *headers;
    size_t header_count; /* at most S3OTA_MAX_HEADERS */

    uint64_t built_at; /* when this firmware was built, in seconds since 1970: the date cannot be earlier */

    uint8_t no_built_in_roots; /* 1: only `roots` are trusted */
    uint8_t hide_device_id;    /* 1: device_id is not sent in the User-Agent; see id_key */
    uint8_t jitter_percent;    /* up to so many percent of every_ms are added at random; 0 for 10 */
    uint8_t attempts;          /* how many attempts an update gets where a failure may pass; 0 for 5 */

    /* How long to wait for what, in milliseconds. 0 for the default; S3OTA_NONE for no time at all. */
    uint32_t idle_ms;          /* the longest silence on a connection: 20 seconds */
    uint32_t deadline_ms;      /* the longest that a whole update may take, whatever a server does: 30 minutes */
    uint32_t first_pause_ms;   /* the longest pause before the second attempt; it doubles: 30 seconds */
    uint32_t longest_pause_ms; /* the longest pause of all: 2 minutes */

    /* When s3ota_poll and s3ota_run check, in milliseconds. */
    uint32_t first_ms;      /* from the first call to the first check, and up to as much again at random: 10 seconds */
    uint32_t every_ms;      /* between checks: one hour */
    uint32_t trial_time_ms; /* how long a boot of a firmware on trial may try to reach its server: 14 minutes. Let it be
                             * less than your watchdog gives it. */

    uint32_t partition_table; /* where the partition table is: 0x8000 */

    /* What is known of the chip besides its kind: an image that the bootloader would refuse on it is refused before
     * anything is erased. */
    uint32_t hardware_known;          /* S3OTA_HARDWARE_…, or'ed */
    uint16_t hardware_revision;       /* major * 100 + minor */
    uint16_t hardware_block_revision; /* major * 100 + minor */
    uint32_t hardware_secure_version; /* the eFuse SECURE_VERSION, where the bootloader does anti-rollback */

    /* With a key, a hash of device_id is sent in the User-Agent, and not the id: HMAC-SHA-256 with these bytes. The command
     * `s3ota device hash` computes the same. NULL and 0 for none. */
    s3ota_bytes id_key;
} s3ota_config;

/*
 * Takes the next certificate or public key out of PEM text: "-----BEGIN CERTIFICATE-----" or "-----BEGIN PUBLIC KEY-----".
 *
 * `*pem` ends with a 0; what is before the first BEGIN is skipped. Writes the DER bytes to `der`, which may be the memory
 * of `*pem` itself (they are fewer), and sets `*pem` behind the END line, for the next call.
 *
 * The number of bytes; 0 where there is no further one; S3OTA_ERR_PEM where it is broken; S3OTA_ERR_MEMORY where it has
 * more than `room` bytes; S3OTA_ERR_ARGUMENT. From any task and any callback.
 */
int32_t s3ota_pem(const char **pem, uint8_t *der, size_t room);

/* --- The hooks: where the application has its say --------------------------------------------------------------------- */

/* A release. */
typedef struct s3ota_release {
    uint32_t size;       /* sizeof(s3ota_release) */
    uint32_t image_size; /* bytes of the image; 0 where the manifest does not say */
    char version[48];    /* ends with a 0, cut where it is longer */
} s3ota_release;

/*
 * Questions and events. Any of them may be NULL. They are called with `ctx`, from inside calls on the state, by the task
 * that made them, and hold the update up while they run: keep them short. Of the library they may call s3ota_check_now,
 * s3ota_cancel and what needs no state; everything else answers S3OTA_ERR_BUSY. Pointers are valid until they return.
 */
typedef struct s3ota_hooks {
    uint32_t size;     /* sizeof(s3ota_hooks) */
    uint32_t reserved; /* 0 */
    void *ctx;

    /* There is a release, and it fits. 0 leaves it for the next check: low battery, a print running. */
    int32_t (*may_start)(void *ctx, const s3ota_release *release);
    /* The download begins: pause work that competes for the flash, the network or the power. */
    void (*start)(void *ctx, const s3ota_release *release);
    /* So many bytes of the image are on flash. `total` is 0 while it is not known. */
    void (*progress)(void *ctx, uint32_t written, uint32_t total);
    /* A check found nothing to do: S3OTA_UP_TO_DATE … S3OTA_VETOED. */
    void (*no_update)(void *ctx, int32_t result);
    /* An attempt failed: the code, and a sentence. Another attempt follows after `retry_ms`; with S3OTA_NONE, none. */
    void (*error)(void *ctx, int32_t code, const char *text, uint32_t retry_ms);
    /* What `start` began ended without a new firmware: go on with what was paused. Also after s3ota_cancel. */
    void (*stop)(void *ctx);
    /* A new firmware is checked, on flash and selected. */
    void (*complete)(void *ctx, const s3ota_release *release);
    /* s3ota_poll, s3ota_run or s3ota_update have confirmed the running firmware: a watchdog of the trial may go. */
    void (*confirmed)(void *ctx);
    /* s3ota_poll or s3ota_run are about to return `why`, S3OTA_INSTALLED or S3OTA_TRIAL_OVER, for the first time: save
     * what must be saved. */
    void (*before_restart)(void *ctx, int32_t why);
} s3ota_hooks;

/* --- The state -------------------------------------------------------------------------------------------------------- */

/* What an updater has. It lies in memory of the caller. */
typedef struct s3ota_state s3ota_state;

/* Bytes that a state takes at most in this version, for a static. s3ota_size has the exact number. */
#define S3OTA_STATE_SIZE (sizeof(void *) > 4 ? 36864 : 34816)

/* Bytes that a state takes, and the alignment of its memory: a power of two, at most 8. ESP-IDF's malloc aligns to 4 only on the
 * chips with RISC-V cores: take a static, or heap_caps_aligned_alloc. */
size_t s3ota_size(void);
size_t s3ota_align(void);

/*
 * Makes a state in `memory`, which has `size` bytes, s3ota_size() at least. Nothing is read from flash, or sent. `config`, `port`
 * and `hooks` are copied, and may go; see each for what must stay. `hooks` may be NULL.
 *
 * The state is at the address `memory`, and must not be moved or copied. It has no memory beside it. To make another in
 * the same memory call s3ota_deinit first; memory that never held one needs no preparation. Not from two tasks at once.
 *
 * S3OTA_OK and `*state`; S3OTA_ERR_ARGUMENT, S3OTA_ERR_MEMORY, S3OTA_ERR_TEXT, S3OTA_ERR_CHIP, S3OTA_ERR_ROOT,
 * S3OTA_ERR_KEY, S3OTA_ERR_HEADER. On an error `*state` is NULL. A manifest_url or version that is not valid is told by the
 * first check.
 */
int32_t s3ota_init(void *memory, size_t size, const s3ota_config *config, const s3ota_port *port,
                   const s3ota_hooks *hooks, s3ota_state **state);

/* Ends a state: closes its socket. Its memory is the caller's again. S3OTA_OK; S3OTA_ERR_BUSY while a call is under way,
 * which changes nothing; called twice S3OTA_ERR_STATE. */
int32_t s3ota_deinit(s3ota_state *state);

/* --- Keeping the device up to date ------------------------------------------------------------------------------------ */

/*
 * One turn of the agent, which checks after boot, every hour, and when asked, installs what there is, and confirms a
 * firmware on trial: see config. Call it again and again, from `loop()` or a task.
 *
 * It takes `budget_ms` at most, and the time of one operation: an erasure of 64 KiB of flash or the arithmetic of a TLS
 * handshake, some hundred milliseconds each on a chip; and a resolver that blocks. Within the budget it waits for the
 * network; with 0 it does one operation and waits for nothing. When there is nothing to do but wait for a time it returns
 * at once, it does not sleep.
 *
 * S3OTA_WORKING: call again soon. S3OTA_WAITING: s3ota_wait_ms says for how long. S3OTA_INSTALLED, S3OTA_TRIAL_OVER:
 * restart; it returns the same, and does nothing else, until the device does. S3OTA_ERR_CANCELLED once after s3ota_cancel.
 * S3OTA_ERR_BUSY, S3OTA_ERR_STATE. A failed update is no error here: the hook `error` tells, and the next check comes
 * at its time.
 */
int32_t s3ota_poll(s3ota_state *state, uint32_t budget_ms);

/* How long s3ota_poll has nothing to do, in milliseconds: for a device that sleeps. 0 while there is something to do, or
 * another call is under way. */
uint32_t s3ota_wait_ms(s3ota_state *state);

/*
 * The agent, blocking: s3ota_poll until the device must restart. For a task of its own. Between checks it sleeps by
 * the port's sleep_ms.
 *
 * S3OTA_INSTALLED or S3OTA_TRIAL_OVER: restart. S3OTA_ERR_CANCELLED after s3ota_cancel; called again it goes on where the
 * schedule was. S3OTA_ERR_BUSY, S3OTA_ERR_STATE.
 */
int32_t s3ota_run(s3ota_state *state);

/* Lets the agent check at its next turn, whatever the schedule says: a button, a message. Of several calls before that turn
 * one counts; while an update is under way it counts for after that. From any task, any callback, any interrupt. */
void s3ota_check_now(s3ota_state *state);

/* Ends what is under way on the state, at its next turn: that call returns S3OTA_ERR_CANCELLED. What was fetched stays on
 * flash, and the next update goes on there. If nothing is under way, the next call that would work is cancelled. From any
 * task, any callback, any interrupt. A new firmware that is selected already stays so. */
void s3ota_cancel(s3ota_state *state);

/* --- Single calls ----------------------------------------------------------------------------------------------------- */

/*
 * These block until they are done, and sleep by the port's sleep_ms meanwhile. They can be mixed with s3ota_poll: while the
 * agent waits for its next check they work, and the schedule goes on as it was; while it is in the middle of a check or an
 * update they return S3OTA_ERR_BUSY. Called twice they do their work twice. All of them may return S3OTA_ERR_BUSY,
 * S3OTA_ERR_STATE, S3OTA_ERR_CANCELLED.
 */

/* Whether there is a release to install. Writes nothing. One attempt. `release` may be NULL; it is set with
 * S3OTA_AVAILABLE, and its `size` must be.
 * S3OTA_AVAILABLE, S3OTA_UP_TO_DATE …, or the error. The hooks are not called. */
int32_t s3ota_check(s3ota_state *state, s3ota_release *release);

/* Checks for a release and installs it, with retries. It confirms nothing: on trial it is S3OTA_ERR_UPDATE_TRIAL.
 * S3OTA_INSTALLED: restart. S3OTA_UP_TO_DATE …, or the error of the last attempt. */
int32_t s3ota_install(s3ota_state *state);

/*
 * An image that the application has, or gets by a way of its own: from an SD card, over Bluetooth or a UART, by a modem's HTTP
 * client, from a server in the local network. Its functions are called with `ctx`, as the port's are: from inside the call, by the
 * task that made it. They may not call back into the same state (S3OTA_ERR_BUSY).
 */
typedef struct s3ota_source {
    uint32_t size;     /* sizeof(s3ota_source) */
    uint32_t reserved; /* 0 */
    void *ctx;

    /* Gives the next bytes of the image: their number, 1 to `len`; 0 at its end; S3OTA_PORT_AGAIN if there is nothing yet; or
     * S3OTA_PORT_FAILED. It may wait for up to `wait_ms`, as the port's `recv`. */
    int32_t (*read)(void *ctx, void *to, uint32_t len, uint32_t wait_ms);
    /* Goes to a byte of the image: the next read begins there. Asked at most once, before the first read, where a part of the image
     * is on flash already. 0, or less than 0 for a failure. May be NULL: all of the image is read again. */
    int32_t (*seek)(void *ctx, uint32_t offset);
} s3ota_source;

/*
 * Installs an image that the application has, without the network. `manifest` is the manifest document, of `manifest_len` bytes,
 * which may have come by the same way. It is judged as one from the network is: the signature, where there are release keys, the
 * project, the chip, the version and so on. So is the image. The hooks are called as for s3ota_install, and the limits of the
 * config on silence and on the whole time hold. One attempt: call it again to retry. What is on flash already is not read again,
 * if the manifest has a sha256.
 *
 * S3OTA_INSTALLED: restart. S3OTA_UP_TO_DATE …; S3OTA_ERR_SOURCE_IO where the source fails, is silent, or gives more than it was
 * asked for; S3OTA_ERR_HTTP_LENGTH where the manifest is too long; or another error. S3OTA_ERR_ARGUMENT where `read` is missing.
 */
int32_t s3ota_install_from(s3ota_state *state, const void *manifest, size_t manifest_len, const s3ota_source *source);

/* What the agent does at each check, once: confirms a firmware on trial that has shown what it must, and installs a new
 * release. For a device that sleeps between checks.
 * S3OTA_INSTALLED: restart. S3OTA_UP_TO_DATE …; S3OTA_ON_TRIAL where that goes on; or the error. */
int32_t s3ota_update(s3ota_state *state);

/* Shows that this firmware could be replaced by its successor, as the agent does before it confirms: reaches the manifest,
 * and the image that it names. Writes nothing. S3OTA_OK or the error. */
int32_t s3ota_prove(s3ota_state *state);

/* Ends the running firmware's trial: it stays. S3OTA_OK; S3OTA_CONFIRMED if it was not on trial; S3OTA_ERR_FLASH_… and
 * then the trial goes on. Needs no network. */
int32_t s3ota_confirm(s3ota_state *state);

/* Gives the running firmware up, on trial or not, and selects the one that it replaced; on trial, unless its version is
 * known to be earlier. The release is not installed again. S3OTA_OK: restart. S3OTA_ERR_UPDATE_ROLLBACK where there is none. Needs no network. */
int32_t s3ota_roll_back(s3ota_state *state);

/* Whether the running firmware is on trial: S3OTA_ON_TRIAL or S3OTA_CONFIRMED. Counts nothing, needs no network. */
int32_t s3ota_is_on_trial(s3ota_state *state);

/* Notes that this trial boot ends in order: the firmware runs well, and only did not reach its server. Restart afterwards.
 * The agent does this itself before S3OTA_TRIAL_OVER. S3OTA_OK or an error of flash. */
int32_t s3ota_end_trial_boot(s3ota_state *state);

/* --- Details ---------------------------------------------------------------------------------------------------------- */

/*
 * Writes a sentence about the last error of a call on the state to `buffer`, cut to `room` bytes, which include the 0 at its
 * end: what happened, to what, what to do next. Its wording may change, the codes do not. Empty if there was none.
 *
 * The length of the whole sentence without the 0, so that `>= room` means that it was cut; 0 while another call is under
 * way. The hook `error` is given its sentence.
 */
size_t s3ota_error_text(s3ota_state *state, char *buffer, size_t room);

/* Words that hold what updates have cost the flash, and the error that they end in. */
#define S3OTA_WEAR_WORDS 18

/* The wear so far, for a device that sleeps between two checks: keep the words where deep sleep leaves them alone, and set
 * them after s3ota_init. Any words will do; nonsense makes a device rest, for a day at most. S3OTA_OK, S3OTA_ERR_BUSY,
 * S3OTA_ERR_STATE, S3OTA_ERR_ARGUMENT. */
int32_t s3ota_wear(s3ota_state *state, uint32_t words[S3OTA_WEAR_WORDS]);
int32_t s3ota_set_wear(s3ota_state *state, const uint32_t words[S3OTA_WEAR_WORDS]);

#ifdef __cplusplus
}
#endif

#endif /* S3OTA_H */
