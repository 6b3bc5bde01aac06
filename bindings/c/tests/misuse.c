/* Every call, used wrongly: it says so, and does nothing else. Exits with 0, or says which line did not hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3ota.h"

static int failures;

#define CHECK(condition) \
    ((condition) ? (void)0 : (void)(failures++, printf("line %d: %s\n", __LINE__, #condition)))

/* A port that does nothing: no call below may come so far. */
static int32_t flash_read(void *ctx, uint32_t offset, void *to, uint32_t len)
{
    (void)ctx, (void)offset;
    memset(to, 0xff, len);
    return 0;
}

static int32_t flash_write(void *ctx, uint32_t offset, const void *from, uint32_t len)
{
    (void)ctx, (void)offset, (void)from, (void)len;
    return -1;
}

static int32_t flash_erase(void *ctx, uint32_t offset, uint32_t len)
{
    (void)ctx, (void)offset, (void)len;
    return -1;
}

static int32_t resolve(void *ctx, const char *host, uint8_t family, s3ota_address *address, uint32_t wait_ms)
{
    (void)ctx, (void)host, (void)family, (void)address, (void)wait_ms;
    return S3OTA_PORT_NOT_FOUND;
}

static int32_t open_socket(void *ctx, const s3ota_address *address)
{
    (void)ctx, (void)address;
    return S3OTA_PORT_UNREACHABLE;
}

static int32_t connect_socket(void *ctx, int32_t socket, uint32_t wait_ms)
{
    (void)ctx, (void)socket, (void)wait_ms;
    return S3OTA_PORT_FAILED;
}

static int32_t receive(void *ctx, int32_t socket, void *to, uint32_t len, uint32_t wait_ms)
{
    (void)ctx, (void)socket, (void)to, (void)len, (void)wait_ms;
    return S3OTA_PORT_FAILED;
}

static int32_t send_bytes(void *ctx, int32_t socket, const void *from, uint32_t len, uint32_t wait_ms)
{
    (void)ctx, (void)socket, (void)from, (void)len, (void)wait_ms;
    return S3OTA_PORT_FAILED;
}

static void close_socket(void *ctx, int32_t socket)
{
    (void)ctx, (void)socket;
}

static uint64_t uptime_ms(void *ctx)
{
    static uint64_t now;
    (void)ctx;
    return now += 1;
}

static void sleep_ms(void *ctx, uint32_t ms)
{
    (void)ctx, (void)ms;
}

static void random_bytes(void *ctx, void *to, uint32_t len)
{
    (void)ctx;
    memset(to, 7, len);
}

static s3ota_port whole_port(void)
{
    s3ota_port port;
    memset(&port, 0, sizeof port);
    port.size = sizeof port;
    port.flash_size = 4 << 20;
    port.running = 0x10000;
    port.flash_read = flash_read;
    port.flash_write = flash_write;
    port.flash_erase = flash_erase;
    port.resolve = resolve;
    port.open = open_socket;
    port.connect = connect_socket;
    port.recv = receive;
    port.send = send_bytes;
    port.close = close_socket;
    port.uptime_ms = uptime_ms;
    port.sleep_ms = sleep_ms;
    port.random = random_bytes;
    return port;
}

static s3ota_config whole_config(void)
{
    s3ota_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.manifest_url = "https://localhost/lamp/stable.json";
    config.version = "1.0.0";
    config.chip = "esp32c3";
    config.device_id = "1";
    return config;
}

static uint8_t *memory;
static s3ota_state *state;

static int32_t init(const s3ota_config *config, const s3ota_port *port)
{
    state = (s3ota_state *)1;
    int32_t result = s3ota_init(memory, s3ota_size(), config, port, NULL, &state);
    CHECK((result == S3OTA_OK) == (state != NULL));
    return result;
}

static int32_t init_config(s3ota_config config)
{
    s3ota_port port = whole_port();
    return init(&config, &port);
}

static void structs(void)
{
    s3ota_port port = whole_port();
    s3ota_config config = whole_config();
    CHECK(init(NULL, &port) == S3OTA_ERR_ARGUMENT);
    CHECK(init(&config, NULL) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_init(memory, s3ota_size(), &config, &port, NULL, NULL) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_init(NULL, s3ota_size(), &config, &port, NULL, &state) == S3OTA_ERR_MEMORY);
    CHECK(s3ota_init(memory, s3ota_size() - 1, &config, &port, NULL, &state) == S3OTA_ERR_MEMORY);
    CHECK(s3ota_init(memory + 1, s3ota_size(), &config, &port, NULL, &state) == S3OTA_ERR_MEMORY);

    /* A size of an unknown, older struct, and each function that is missing. */
    port.size -= 1;
    CHECK(init(&config, &port) == S3OTA_ERR_ARGUMENT);
    port.size = 0;
    CHECK(init(&config, &port) == S3OTA_ERR_ARGUMENT);
    size_t first = offsetof(s3ota_port, flash_read), count = (sizeof port - first) / sizeof(void *);
    for (size_t at = 0; at < count; at++) {
        s3ota_port torn = whole_port();
        memset((uint8_t *)&torn + first + at * sizeof(void *), 0, sizeof(void *));
        size_t offset = first + at * sizeof(void *);
        int may_be_null = offset == offsetof(s3ota_port, unix_time) || offset == offsetof(s3ota_port, since_power_on_ms);
        CHECK(init(&config, &torn) == (may_be_null ? S3OTA_OK : S3OTA_ERR_ARGUMENT));
    }

    /* A struct of a newer program: what this library does not know must be 0. */
    struct {
        s3ota_config config;
        uint32_t new_field[2];
    } newer = {whole_config(), {0, 0}};
    port = whole_port();
    newer.config.size = sizeof newer;
    CHECK(init(&newer.config, &port) == S3OTA_OK);
    newer.new_field[1] = 1;
    CHECK(init(&newer.config, &port) == S3OTA_ERR_ARGUMENT);
}

static void configurations(void)
{
    s3ota_config config = whole_config();
    config.chip = "esp8266";
    CHECK(init_config(config) == S3OTA_ERR_CHIP);
    config.chip = NULL;
    CHECK(init_config(config) == S3OTA_ERR_TEXT);
    config = whole_config();
    config.board = "\xff";
    CHECK(init_config(config) == S3OTA_ERR_TEXT);
    config = whole_config();
    config.confirm = 2;
    CHECK(init_config(config) == S3OTA_ERR_ARGUMENT);

    s3ota_bytes none[S3OTA_MAX_ROOTS + 6];
    for (size_t at = 0; at < sizeof none / sizeof *none; at++)
        none[at] = (s3ota_bytes){(const uint8_t *)"no certificate", 14};
    config = whole_config();
    config.roots = none;
    config.root_count = 1;
    CHECK(init_config(config) == S3OTA_ERR_ROOT);
    config.roots = NULL;
    CHECK(init_config(config) == S3OTA_ERR_ARGUMENT);
    config = whole_config();
    config.release_keys = none;
    config.release_key_count = 1;
    CHECK(init_config(config) == S3OTA_ERR_KEY);

    s3ota_header header = {"Host", "evil.example", NULL};
    s3ota_header good[S3OTA_MAX_HEADERS + 1];
    for (size_t at = 0; at < sizeof good / sizeof *good; at++)
        good[at] = (s3ota_header){"X-Token", "a", "cdn.example"};
    config = whole_config();
    config.headers = &header;
    config.header_count = 1;
    CHECK(init_config(config) == S3OTA_ERR_HEADER);
    config.headers = good;
    config.header_count = S3OTA_MAX_HEADERS + 1;
    CHECK(init_config(config) == S3OTA_ERR_HEADER);
    config.header_count = S3OTA_MAX_HEADERS;
    CHECK(init_config(config) == S3OTA_OK);
}

static int32_t read_card(void *ctx, void *to, uint32_t len, uint32_t wait_ms)
{
    (void)ctx, (void)to, (void)len, (void)wait_ms;
    return 0;
}

static void states(void)
{
    uint32_t words[S3OTA_WEAR_WORDS] = {0};
    char text[4] = "abc";
    CHECK(s3ota_check(NULL, NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_install(NULL) == S3OTA_ERR_STATE);
    s3ota_source source;
    memset(&source, 0, sizeof source);
    source.size = sizeof source;
    source.read = read_card;
    CHECK(s3ota_install_from(NULL, "{}", 2, &source) == S3OTA_ERR_STATE);
    CHECK(s3ota_update(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_prove(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_confirm(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_roll_back(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_is_on_trial(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_end_trial_boot(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_poll(NULL, 0) == S3OTA_ERR_STATE);
    CHECK(s3ota_run(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_deinit(NULL) == S3OTA_ERR_STATE);
    CHECK(s3ota_wear(NULL, words) == S3OTA_ERR_STATE);
    CHECK(s3ota_set_wear(NULL, words) == S3OTA_ERR_STATE);
    CHECK(s3ota_wait_ms(NULL) == 0);
    CHECK(s3ota_error_text(NULL, text, sizeof text) == 0 && text[0] == 0);
    s3ota_check_now(NULL);
    s3ota_cancel(NULL);

    CHECK(init_config(whole_config()) == S3OTA_OK);
    CHECK(s3ota_wear(state, NULL) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_set_wear(state, NULL) == S3OTA_ERR_ARGUMENT);
    words[0] = 5;
    CHECK(s3ota_set_wear(state, words) == S3OTA_OK);
    words[0] = 0;
    CHECK(s3ota_wear(state, words) == S3OTA_OK && words[0] == 5);
    CHECK(s3ota_install_from(state, "{}", 2, &source) == S3OTA_ERR_FLASH_LAYOUT);
    CHECK(s3ota_install_from(state, NULL, 2, &source) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_install_from(state, "{}", 2, NULL) == S3OTA_ERR_ARGUMENT);
    source.size = 4;
    CHECK(s3ota_install_from(state, "{}", 2, &source) == S3OTA_ERR_ARGUMENT);
    source.size = sizeof source;
    source.read = NULL;
    CHECK(s3ota_install_from(state, "{}", 2, &source) == S3OTA_ERR_ARGUMENT);
    s3ota_release release = {0, 0, {0}};
    CHECK(s3ota_check(state, &release) == S3OTA_ERR_ARGUMENT);
    /* Flash is blank: there is no partition table. The sentence, whole, cut, and not at all. */
    CHECK(s3ota_check(state, NULL) == S3OTA_ERR_FLASH_LAYOUT);
    char whole[400];
    size_t len = s3ota_error_text(state, whole, sizeof whole);
    CHECK(len > 20 && len == strlen(whole));
    memset(text, 'x', sizeof text);
    CHECK(s3ota_error_text(state, text, sizeof text) == len);
    CHECK(text[3] == 0 && memcmp(text, whole, 3) == 0);
    CHECK(s3ota_error_text(state, NULL, 0) == len);
    /* A wish to cancel is for the next call that works. */
    s3ota_cancel(state);
    CHECK(s3ota_deinit(state) == S3OTA_OK);
    CHECK(s3ota_deinit(state) == S3OTA_ERR_STATE);
    CHECK(s3ota_check(state, NULL) == S3OTA_ERR_STATE);
    s3ota_cancel(state);
    CHECK(init_config(whole_config()) == S3OTA_OK);
    CHECK(s3ota_deinit(state) == S3OTA_OK);
}

static void without_a_state(void)
{
    s3ota_port port = whole_port();
    s3ota_guard guard;
    memset(&guard, 0, sizeof guard);
    CHECK(s3ota_boot_guard(NULL, NULL) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_boot_guard(&port, &guard) == S3OTA_ERR_ARGUMENT);
    guard.size = sizeof guard;
    CHECK(s3ota_boot_guard(&port, &guard) == S3OTA_ERR_FLASH_LAYOUT);
    CHECK(s3ota_boot_guard(&port, NULL) == S3OTA_ERR_FLASH_LAYOUT);
    port.flash_erase = NULL;
    CHECK(s3ota_boot_guard(&port, NULL) == S3OTA_ERR_ARGUMENT);

    uint8_t der[64];
    const char *pem = "-----BEGIN CERTIFICATE-----\nAQ ID\n-----END CERTIFICATE-----\nrest";
    CHECK(s3ota_pem(NULL, der, sizeof der) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_pem(&pem, NULL, sizeof der) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_pem(&pem, der, 2) == S3OTA_ERR_MEMORY);
    CHECK(s3ota_pem(&pem, der, 3) == 3 && der[2] == 3 && strcmp(pem, "rest") == 0);
    CHECK(s3ota_pem(&pem, der, sizeof der) == 0);
    pem = "-----BEGIN CERTIFICATE-----\nA";
    CHECK(s3ota_pem(&pem, der, sizeof der) == S3OTA_ERR_PEM);

    s3ota_log log = {sizeof log, S3OTA_LOG_INFO, NULL, NULL};
    CHECK(s3ota_set_log(&log) == S3OTA_ERR_ARGUMENT);
    CHECK(s3ota_set_log(NULL) == S3OTA_OK);
    CHECK(strcmp(s3ota_version(), S3OTA_LIBRARY_VERSION) == 0);
    CHECK(strcmp(s3ota_error_name(S3OTA_ERR_TLS_CERTIFICATE), "tls.certificate") == 0);
    CHECK(strcmp(s3ota_error_name(12345), "unknown") == 0);
    CHECK(s3ota_size() <= S3OTA_STATE_SIZE && s3ota_align() <= 8);
}

int main(void)
{
    /* Whatever the memory held before. */
    memory = malloc(s3ota_size());
    memset(memory, 0x5a, s3ota_size());
    structs();
    configurations();
    states();
    without_a_state();
    free(memory);
    return failures != 0;
}
