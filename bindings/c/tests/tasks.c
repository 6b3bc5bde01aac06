/* Two tasks and one state: the second is refused, and its wishes are heard. Exits with 0, or says which line did not hold. */
#include <pthread.h>
#include <stdio.h>

#include "os.h"
#include "port.h"

static int failures;

#define CHECK(condition) \
    ((condition) ? (void)0 : (void)(failures++, printf("line %d: %s\n", __LINE__, #condition)))

static struct port port;
/* Blank: there is no partition table on it. */
static uint8_t flash[65536];
static s3ota_state *state;
static union {
    uint8_t bytes[S3OTA_STATE_SIZE];
    uint64_t alignment;
} memory;
static uint32_t checks;

static void error(void *ctx, int32_t code, const char *text, uint32_t retry_ms)
{
    (void)ctx, (void)text, (void)retry_ms;
    CHECK(code == S3OTA_ERR_FLASH_LAYOUT);
    __atomic_fetch_add(&checks, 1, __ATOMIC_SEQ_CST);
}

static void *agent(void *ctx)
{
    (void)ctx;
    static int32_t result;
    result = s3ota_run(state);
    return &result;
}

static void until(uint32_t count)
{
    for (int at = 0; at < 500 && __atomic_load_n(&checks, __ATOMIC_SEQ_CST) < count; at++)
        os_wait(-1, 0, 10);
    CHECK(__atomic_load_n(&checks, __ATOMIC_SEQ_CST) == count);
}

int main(void)
{
    port.flash = flash;
    port.flash_size = sizeof flash;
    s3ota_port made = port_of(&port, 0x10000);
    s3ota_config config = {0};
    config.size = sizeof config;
    config.manifest_url = "https://localhost/lamp/stable.json";
    config.version = "1.0.0";
    config.chip = "esp32c3";
    config.device_id = "1";
    config.first_ms = S3OTA_NONE;
    s3ota_hooks hooks = {0};
    hooks.size = sizeof hooks;
    hooks.error = error;
    CHECK(s3ota_init(memory.bytes, sizeof memory.bytes, &config, &made, &hooks, &state) == S3OTA_OK);

    pthread_t task;
    CHECK(pthread_create(&task, NULL, agent, NULL) == 0);
    /* It checks, finds no partition table, and waits for an hour: inside the call. */
    until(1);
    char text[4];
    uint32_t words[S3OTA_WEAR_WORDS];
    for (int at = 0; at < 100; at++) {
        CHECK(s3ota_check(state, NULL) == S3OTA_ERR_BUSY);
        CHECK(s3ota_poll(state, 10) == S3OTA_ERR_BUSY);
        CHECK(s3ota_deinit(state) == S3OTA_ERR_BUSY);
        CHECK(s3ota_wear(state, words) == S3OTA_ERR_BUSY);
        CHECK(s3ota_error_text(state, text, sizeof text) == 0);
        CHECK(s3ota_wait_ms(state) == 0);
    }
    s3ota_check_now(state);
    until(2);
    s3ota_cancel(state);
    void *result;
    CHECK(pthread_join(task, &result) == 0);
    CHECK(*(int32_t *)result == S3OTA_ERR_CANCELLED);
    CHECK(s3ota_is_on_trial(state) == S3OTA_ERR_FLASH_LAYOUT);
    CHECK(s3ota_deinit(state) == S3OTA_OK);
    return failures != 0;
}
