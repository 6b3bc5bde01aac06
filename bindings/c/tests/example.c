#include <stdio.h>

#include "s3ota.h"

/* Yours: see "The port". */
extern const s3ota_port *my_port(void);
extern const char *my_manifest_url(void);
extern const char *my_version(void);
extern const s3ota_bytes *my_root(void); /* NULL for Amazon S3 */
extern void restart(void);

static union {
    uint8_t bytes[S3OTA_STATE_SIZE];
    uint64_t alignment;
} memory;

static void error(void *ctx, int32_t code, const char *text, uint32_t retry_ms)
{
    (void)ctx;
    (void)retry_ms;
    printf("%s: %s\n", s3ota_error_name(code), text);
}

int main(void)
{
    /* First of all: count the boot of a firmware on trial. */
    if (s3ota_boot_guard(my_port(), NULL) == S3OTA_GIVEN_UP)
        restart();

    /* Once the network is up: */
    s3ota_config config = {0};
    config.size = sizeof config;
    config.manifest_url = my_manifest_url();
    config.version = my_version();
    config.chip = "esp32c3";
    config.device_id = "0123456789ab";
    config.roots = my_root();
    config.root_count = config.roots != NULL ? 1 : 0;

    s3ota_hooks hooks = {0};
    hooks.size = sizeof hooks;
    hooks.error = error;

    s3ota_state *state;
    int32_t result = s3ota_init(memory.bytes, sizeof memory.bytes, &config, my_port(), &hooks, &state);
    if (result != S3OTA_OK) {
        printf("not started: %s\n", s3ota_error_name(result));
        return 1;
    }

    /* The program's own loop. */
    for (;;) {
        /* … everything else that the program does … */
        result = s3ota_poll(state, 5);
        if (result == S3OTA_INSTALLED || result == S3OTA_TRIAL_OVER) {
            printf("restarting\n");
            fflush(stdout);
            restart();
        }
    }
}
