/*
 * A virtual device: flash in a file, real sockets, and a firmware that does what its arguments say.
 *
 *   device flash=FILE running=OFFSET url=URL version=1.0.0 root=FILE [setting=value…] command…
 *
 * Settings are fields of the configuration, or what goes wrong (port.h). Commands are calls. Each prints a line with the name of
 * its result; hooks print lines, too. Exit code 0, or 2 where the program itself was used wrongly.
 */
#include "os.h"
#include "port.h"

/* --- Text, for there may be no C library ------------------------------------------------------------------------------- */

static uint32_t length(const char *text)
{
    uint32_t len = 0;
    while (text[len] != 0)
        len++;
    return len;
}

static int same(const char *a, const char *b)
{
    while (*a != 0 && *a == *b)
        a++, b++;
    return *a == *b;
}

/* What follows `name=`, or NULL. */
static const char *value_of(const char *argument, const char *name)
{
    while (*name != 0 && *name == *argument)
        name++, argument++;
    return *name == 0 && *argument == '=' ? argument + 1 : NULL;
}

static uint32_t number(const char *text)
{
    uint32_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

static void say(const char *text)
{
    os_print(text, length(text));
}

static void say_number(uint32_t value)
{
    char digits[11];
    uint32_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    os_print(digits + at, (uint32_t)sizeof digits - at);
}

static void say_result(const char *what, int32_t result)
{
    say(what);
    say(" ");
    say(s3ota_error_name(result));
    say("\n");
}

/* --- The device --------------------------------------------------------------------------------------------------------- */

static struct port port;
static s3ota_state *state;
static union {
    uint8_t bytes[S3OTA_STATE_SIZE];
    uint64_t alignment;
} memory;

static int vetoes, calls_back, cancels;
static uint32_t budget_ms;
static uint32_t progress_lines;

/* --- An image that the application has ---------------------------------------------------------------------------------- */

static struct {
    const uint8_t *manifest, *image;
    uint32_t manifest_len, len, at;
    uint32_t fails_at;  /* it fails when it is read from this byte on; 0 for never */
    uint32_t is_silent; /* it never has anything */
    uint32_t boasts;    /* it says that it gave more than it was asked for */
    uint32_t is_stream; /* it cannot seek */
    uint32_t seek_fails;
    uint32_t answered, read, sought;
} card;

/* What a UART has: little at a time, and every other time nothing yet. */
static int32_t card_read(void *ctx, void *to, uint32_t len, uint32_t wait_ms)
{
    (void)ctx;
    (void)wait_ms;
    if (card.is_silent || card.answered++ % 2 == 0)
        return S3OTA_PORT_AGAIN;
    if (card.fails_at != 0 && card.at >= card.fails_at)
        return S3OTA_PORT_FAILED;
    if (card.boasts)
        return (int32_t)len + 1;
    uint32_t count = card.len - card.at;
    if (count > len)
        count = len;
    if (count > 1000)
        count = 1000;
    uint8_t *bytes = to;
    for (uint32_t at = 0; at < count; at++)
        bytes[at] = card.image[card.at + at];
    card.at += count;
    card.read += count;
    return (int32_t)count;
}

static int32_t card_seek(void *ctx, uint32_t offset)
{
    (void)ctx;
    if (card.seek_fails || offset > card.len)
        return S3OTA_PORT_FAILED;
    card.at = offset;
    card.sought = offset;
    return 0;
}

static int32_t install_from(void)
{
    s3ota_source source = {0};
    source.size = sizeof source;
    source.read = card_read;
    source.seek = card.is_stream ? NULL : card_seek;
    card.at = card.read = card.sought = 0;
    int32_t result = s3ota_install_from(state, card.manifest, card.manifest_len, &source);
    say("card read ");
    say_number(card.read);
    say(" sought ");
    say_number(card.sought);
    say("\n");
    return result;
}

/* --- The hooks ---------------------------------------------------------------------------------------------------------- */

static int32_t may_start(void *ctx, const s3ota_release *release)
{
    (void)ctx;
    say("hook may_start ");
    say(release->version);
    say("\n");
    return !vetoes;
}

static void start(void *ctx, const s3ota_release *release)
{
    (void)ctx;
    say("hook start ");
    say(release->version);
    say(" ");
    say_number(release->image_size);
    say("\n");
}

static void progress(void *ctx, uint32_t written, uint32_t total)
{
    (void)ctx;
    if (progress_lines++ == 0) {
        say("hook progress ");
        say_number(written);
        say(" of ");
        say_number(total);
        say("\n");
        if (calls_back) {
            /* All of these must refuse: an update is under way. */
            uint32_t words[S3OTA_WEAR_WORDS];
            char text[8];
            say_result("nested check", s3ota_check(state, NULL));
            s3ota_source source = {0};
            source.size = sizeof source;
            source.read = card_read;
            say_result("nested install_from", s3ota_install_from(state, "{}", 2, &source));
            say_result("nested poll", s3ota_poll(state, 0));
            say_result("nested run", s3ota_run(state));
            say_result("nested confirm", s3ota_confirm(state));
            say_result("nested wear", s3ota_wear(state, words));
            say_result("nested deinit", s3ota_deinit(state));
            say("nested text ");
            say_number((uint32_t)s3ota_error_text(state, text, sizeof text));
            say("\n");
        }
        if (cancels)
            s3ota_cancel(state);
    }
}

static void no_update(void *ctx, int32_t result)
{
    (void)ctx;
    say_result("hook no_update", result);
}

static void error(void *ctx, int32_t code, const char *text, uint32_t retry_ms)
{
    (void)ctx;
    say("hook error ");
    say(s3ota_error_name(code));
    say(retry_ms == S3OTA_NONE ? " final: " : " again: ");
    say(text);
    say("\n");
}

static void stop(void *ctx)
{
    (void)ctx;
    say("hook stop\n");
}

static void complete(void *ctx, const s3ota_release *release)
{
    (void)ctx;
    say("hook complete ");
    say(release->version);
    say("\n");
}

static void confirmed(void *ctx)
{
    (void)ctx;
    say("hook confirmed\n");
}

static void before_restart(void *ctx, int32_t why)
{
    (void)ctx;
    say_result("hook before_restart", why);
}

static void log_line(void *ctx, int32_t level, const char *text)
{
    (void)ctx;
    say("log ");
    say_number((uint32_t)level);
    say(" ");
    say(text);
    say("\n");
}

/* --- The configuration -------------------------------------------------------------------------------------------------- */

static s3ota_config config;
static s3ota_bytes roots[S3OTA_MAX_ROOTS], keys[S3OTA_MAX_RELEASE_KEYS];
static s3ota_header header;
static uint32_t running;
static s3ota_guard guard;

/* All certificates or keys of a file, PEM in its own memory, or one in DER. */
static size_t read_bytes(const char *path, s3ota_bytes *to, size_t count, size_t most)
{
    uint32_t len;
    uint8_t *bytes = os_map(path, &len, 0);
    if (bytes == NULL) {
        say("no such file: ");
        say(path);
        say("\n");
        os_exit(2);
        return count;
    }
    if (bytes[0] == 0x30) {
        to[count++] = (s3ota_bytes){bytes, len};
        return count;
    }
    const char *text = (const char *)bytes;
    uint8_t *der = bytes;
    int32_t size;
    while (count < most && (size = s3ota_pem(&text, der, len)) > 0) {
        to[count++] = (s3ota_bytes){der, (size_t)size};
        der += size;
    }
    return count;
}

struct number_setting {
    const char *name;
    uint32_t *to;
};

struct text_setting {
    const char *name;
    const char **to;
};

static int set(const char *argument)
{
    const struct number_setting numbers[] = {
        {"idle_ms", &config.idle_ms},
        {"deadline_ms", &config.deadline_ms},
        {"first_pause_ms", &config.first_pause_ms},
        {"longest_pause_ms", &config.longest_pause_ms},
        {"first_ms", &config.first_ms},
        {"every_ms", &config.every_ms},
        {"trial_time_ms", &config.trial_time_ms},
        {"confirm", &config.confirm},
        {"partition_table", &config.partition_table},
        {"hardware_known", &config.hardware_known},
        {"secure_version", &config.hardware_secure_version},
        {"running", &running},
        {"dies_at_write", &port.dies_at_write},
        {"fails_at_write", &port.fails_at_write},
        {"lies_at_write", &port.lies_at_write},
        {"is_deaf", (uint32_t *)&port.is_deaf},
        {"is_mute", (uint32_t *)&port.is_mute},
        {"only_ipv6", (uint32_t *)&port.only_ipv6},
        {"has_no_date", (uint32_t *)&port.has_no_date},
        {"budget", &budget_ms},
        {"card_fails_at", &card.fails_at},
        {"card_is_silent", &card.is_silent},
        {"card_boasts", &card.boasts},
        {"card_is_stream", &card.is_stream},
        {"card_seek_fails", &card.seek_fails},
        {"vetoes", (uint32_t *)&vetoes},
        {"calls_back", (uint32_t *)&calls_back},
        {"cancels", (uint32_t *)&cancels},
    };
    const struct text_setting texts[] = {
        {"url", &config.manifest_url},
        {"version", &config.version},
        {"chip", &config.chip},
        {"device_id", &config.device_id},
        {"board", &config.board},
        {"channel", &config.channel},
        {"renamed_to", &config.renamed_to},
        {"header_name", &header.name},
        {"header_value", &header.value},
    };
    const char *value;
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++) {
        if ((value = value_of(argument, numbers[at].name)) != NULL)
            return *numbers[at].to = number(value), 1;
    }
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++) {
        if ((value = value_of(argument, texts[at].name)) != NULL)
            return *texts[at].to = value, 1;
    }
    if ((value = value_of(argument, "flash")) != NULL)
        return (port.flash = os_map(value, &port.flash_size, 1)) != NULL;
    if ((value = value_of(argument, "card_manifest")) != NULL)
        return (card.manifest = os_map(value, &card.manifest_len, 0)) != NULL;
    if ((value = value_of(argument, "card_image")) != NULL)
        return (card.image = os_map(value, &card.len, 0)) != NULL;
    if ((value = value_of(argument, "root")) != NULL)
        return config.root_count = read_bytes(value, roots, config.root_count, S3OTA_MAX_ROOTS), 1;
    if ((value = value_of(argument, "key")) != NULL)
        return config.release_key_count = read_bytes(value, keys, config.release_key_count, S3OTA_MAX_RELEASE_KEYS), 1;
    if ((value = value_of(argument, "id_key")) != NULL) {
        config.id_key.data = (const uint8_t *)value;
        while (value[config.id_key.len] != 0)
            config.id_key.len++;
        return 1;
    }
    if ((value = value_of(argument, "hide_device_id")) != NULL)
        return config.hide_device_id = (uint8_t)number(value), 1;
    if ((value = value_of(argument, "attempts")) != NULL)
        return config.attempts = (uint8_t)number(value), 1;
    if ((value = value_of(argument, "trial_boots")) != NULL)
        return guard.trial_boots = (uint8_t)number(value), 1;
    if ((value = value_of(argument, "reset")) != NULL)
        return guard.reset = (uint8_t)number(value), 1;
    if ((value = value_of(argument, "revision")) != NULL)
        return config.hardware_revision = (uint16_t)number(value), 1;
    if ((value = value_of(argument, "block_revision")) != NULL)
        return config.hardware_block_revision = (uint16_t)number(value), 1;
    if ((value = value_of(argument, "offline_ms")) != NULL)
        return port.offline_until = os_uptime_ms() + number(value), 1;
    return 0;
}

/* --- How much stack the library takes ----------------------------------------------------------------------------------- */

#define PAINT 0xa5
#define PAINTED (96 * 1024)

/* What is nearer than this is this function's own. */
#define OWN 512

/* The highest byte that is painted. A number, for it belongs to no object. */
static uintptr_t painted_from;

/* The byte of the stack so many below. */
static volatile uint8_t *painted(uint32_t below)
{
    return (volatile uint8_t *)(painted_from - below);
}

static __attribute__((noinline)) void paint(void)
{
    painted_from = (uintptr_t)__builtin_frame_address(0) - OWN;
    for (uint32_t at = 0; at < PAINTED; at++)
        *painted(at) = PAINT;
}

static void say_stack(void)
{
    uint32_t untouched = PAINTED;
    while (untouched > 0 && *painted(untouched - 1) == PAINT)
        untouched--;
    say("stack ");
    say_number(untouched + OWN);
    say("\n");
}

/* --- The commands ------------------------------------------------------------------------------------------------------- */

static void say_error(void)
{
    char text[400];
    size_t len = s3ota_error_text(state, text, sizeof text);
    say("text ");
    os_print(text, (uint32_t)(len < sizeof text ? len : sizeof text - 1));
    say("\n");
}

static int32_t init(void)
{
    s3ota_hooks hooks = {0};
    hooks.size = sizeof hooks;
    hooks.may_start = may_start;
    hooks.start = start;
    hooks.progress = progress;
    hooks.no_update = no_update;
    hooks.error = error;
    hooks.stop = stop;
    hooks.complete = complete;
    hooks.confirmed = confirmed;
    hooks.before_restart = before_restart;
    s3ota_port made = port_of(&port, running);
    config.size = sizeof config;
    config.roots = roots;
    config.release_keys = keys;
    if (header.name != NULL) {
        config.headers = &header;
        config.header_count = 1;
    }
    return s3ota_init(memory.bytes, sizeof memory.bytes, &config, &made, &hooks, &state);
}

/* The agent, as a program without tasks has it: a turn, and something else. The longest turn. */
static int32_t poll(uint32_t budget, uint32_t turns)
{
    int32_t result = S3OTA_WORKING;
    uint64_t longest = 0;
    uint32_t count = 0;
    while (count < turns && (result == S3OTA_WORKING || result == S3OTA_WAITING)) {
        uint64_t before = os_uptime_ms();
        result = s3ota_poll(state, budget);
        uint64_t took = os_uptime_ms() - before;
        longest = took > longest ? took : longest;
        count++;
        if (result == S3OTA_WAITING)
            os_wait(-1, 0, 1);
    }
    say("turns ");
    say_number(count);
    say(" longest ");
    say_number((uint32_t)longest);
    say(" idle ");
    say_number(s3ota_wait_ms(state));
    say("\n");
    return result;
}

static int command(const char *name)
{
    const char *value;
    if (same(name, "guard")) {
        s3ota_port made = port_of(&port, running);
        guard.size = sizeof guard;
        guard.partition_table = config.partition_table;
        int32_t result = s3ota_boot_guard(&made, &guard);
        say("guard ");
        say(s3ota_error_name(result));
        say(" ");
        say_number(guard.boot);
        say("/");
        say_number(guard.of);
        say("\n");
    } else if (same(name, "init")) {
        say_result("init", init());
    } else if (same(name, "check")) {
        s3ota_release release = {0};
        release.size = sizeof release;
        say_result("check", s3ota_check(state, &release));
        if (release.version[0] != 0) {
            say("available ");
            say(release.version);
            say("\n");
        }
    } else if (same(name, "install")) {
        say_result("install", s3ota_install(state));
    } else if (same(name, "install_from")) {
        say_result("install_from", install_from());
    } else if (same(name, "update")) {
        say_result("update", s3ota_update(state));
    } else if (same(name, "prove")) {
        say_result("prove", s3ota_prove(state));
    } else if (same(name, "confirm")) {
        say_result("confirm", s3ota_confirm(state));
    } else if (same(name, "roll_back")) {
        say_result("roll_back", s3ota_roll_back(state));
    } else if (same(name, "is_on_trial")) {
        say_result("is_on_trial", s3ota_is_on_trial(state));
    } else if (same(name, "end_trial_boot")) {
        say_result("end_trial_boot", s3ota_end_trial_boot(state));
    } else if (same(name, "run")) {
        say_result("run", s3ota_run(state));
    } else if ((value = value_of(name, "poll")) != NULL) {
        say_result("poll", poll(number(value), 1000000));
    } else if ((value = value_of(name, "turns")) != NULL) {
        say_result("poll", poll(budget_ms, number(value)));
    } else if (same(name, "check_now")) {
        s3ota_check_now(state);
    } else if (same(name, "cancel")) {
        s3ota_cancel(state);
    } else if (same(name, "deinit")) {
        say_result("deinit", s3ota_deinit(state));
    } else if (same(name, "wear")) {
        uint32_t words[S3OTA_WEAR_WORDS];
        int32_t result = s3ota_wear(state, words);
        say_result("wear", result == S3OTA_OK ? s3ota_set_wear(state, words) : result);
    } else if (same(name, "text")) {
        say_error();
    } else if (same(name, "log")) {
        static const s3ota_log to = {sizeof to, S3OTA_LOG_INFO, NULL, log_line};
        say_result("log", s3ota_set_log(&to));
    } else if (same(name, "paint")) {
        paint();
    } else if (same(name, "stack")) {
        say_stack();
    } else if (same(name, "size")) {
        say("size ");
        say_number((uint32_t)s3ota_size());
        say("\n");
    } else if (same(name, "tally")) {
        say("writes ");
        say_number(port.writes);
        say(" erased ");
        say_number(port.erased);
        say(" sockets ");
        say_number(port.sockets);
        say(" open ");
        say_number(port.open);
        say(" calls ");
        say_number(port.calls);
        say("\n");
    } else if (same(name, "took")) {
        /* The time of the next command is printed. */
        return 2;
    } else {
        return 0;
    }
    return 1;
}

int device(int argc, char **argv)
{
    int is_timed = 0;
    config.device_id = "device-1";
    config.chip = "esp32c3";
    for (int at = 1; at < argc; at++) {
        uint64_t before = os_uptime_ms();
        int done = command(argv[at]);
        if (done == 1 && is_timed) {
            say("ms ");
            say_number((uint32_t)(os_uptime_ms() - before));
            say("\n");
        }
        is_timed = done == 2;
        if (done == 0 && !set(argv[at])) {
            say("not understood: ");
            say(argv[at]);
            say("\n");
            return 2;
        }
    }
    return 0;
}
