/* Between the library and the application's hooks: log lines, and the end of the trial. */

#include <inttypes.h>
#include <string.h>

#include "esp_log.h"

#include "internal.h"

/* How many bytes of an image lie between two lines about them. */
#define PROGRESS_STEP (128u * 1024)

static s3ota_hooks application;

/* Bytes of the image that the last line told; UINT32_MAX before the first. */
static uint32_t told;

static int32_t may_start(void *ctx, const s3ota_release *release)
{
    told = UINT32_MAX;
    return application.may_start != NULL ? application.may_start(ctx, release) : 1;
}

static void start(void *ctx, const s3ota_release *release)
{
    ESP_LOGI(TAG, "installing %s, running is %s", release->version, s3ota_running_version());
    if (application.start != NULL) {
        application.start(ctx, release);
    }
}

static void progress(void *ctx, uint32_t written, uint32_t total)
{
    if (told == UINT32_MAX || written - told >= PROGRESS_STEP || written == total) {
        told = written;
        if (total != 0) {
            ESP_LOGI(TAG, "%" PRIu32 " of %" PRIu32 " bytes are on flash", written, total);
        } else {
            ESP_LOGI(TAG, "%" PRIu32 " bytes are on flash", written);
        }
    }
    if (application.progress != NULL) {
        application.progress(ctx, written, total);
    }
}

static void no_update(void *ctx, int32_t result)
{
    ESP_LOGI(TAG, "no update: %s", s3ota_error_name(result));
    if (application.no_update != NULL) {
        application.no_update(ctx, result);
    }
}

static void error(void *ctx, int32_t code, const char *text, uint32_t retry_ms)
{
    if (retry_ms != S3OTA_NONE) {
        ESP_LOGW(TAG, "%s: %s; again in %" PRIu32 " s", s3ota_error_name(code), text, retry_ms / 1000);
    } else {
        ESP_LOGE(TAG, "%s: %s", s3ota_error_name(code), text);
    }
    if (application.error != NULL) {
        application.error(ctx, code, text, retry_ms);
    }
}

static void complete(void *ctx, const s3ota_release *release)
{
    ESP_LOGI(TAG, "%s is on flash, and boots next", release->version);
    if (application.complete != NULL) {
        application.complete(ctx, release);
    }
}

static void confirmed(void *ctx)
{
    s3ota_trial_is_over();
    ESP_LOGI(TAG, "confirmed: the next release can be fetched");
    if (application.confirmed != NULL) {
        application.confirmed(ctx);
    }
}

void s3ota_hooks_make(s3ota_hooks *hooks, const s3ota_hooks *of_application)
{
    memset(&application, 0, sizeof application);
    if (of_application != NULL) {
        application = *of_application;
    }
    /* `stop`, `before_restart` and `ctx` are the application's. */
    *hooks = application;
    hooks->size = sizeof *hooks;
    hooks->may_start = may_start;
    hooks->start = start;
    hooks->progress = progress;
    hooks->no_update = no_update;
    hooks->error = error;
    hooks->complete = complete;
    hooks->confirmed = confirmed;
}
