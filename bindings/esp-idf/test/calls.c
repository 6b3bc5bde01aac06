/* The component's calls, one by one: what each answers when it is called too early, twice, or with what cannot be used. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "s3ota_esp_idf.h"

static const char *TAG = "calls";

static void expect(const char *what, esp_err_t got, esp_err_t wanted)
{
    if (got != wanted) {
        fprintf(stderr, "FAILED: %s is %#x, not %#x\n", what, (unsigned)got, (unsigned)wanted);
        exit(1);
    }
}

static volatile int checks;
static volatile esp_err_t from_hook;

static void on_no_update(void *ctx, int32_t result)
{
    (void)ctx;
    ESP_LOGI(TAG, "%s", s3ota_error_name(result));
    from_hook = s3ota_esp_idf_confirm();
    checks++;
}

static void wait_for_checks(int count)
{
    for (int i = 0; i < 600 && checks < count; i++) {
        vTaskDelay(pdMS_TO_TICKS(100));
    }
    expect("the number of checks", checks, count);
}

/* A source that has nothing. */
static int32_t read_nothing(void *ctx, void *to, uint32_t len, uint32_t wait_ms)
{
    (void)ctx, (void)to, (void)len, (void)wait_ms;
    return 0;
}

void app_main(void)
{
    const char manifest[] = "{\"version\":\"9.0.0\",\"url\":\"https://example.com/lamp.bin\"}";
    s3ota_source source;
    memset(&source, 0, sizeof source);
    source.size = sizeof source;
    source.read = read_nothing;
    expect("install_from before start", s3ota_esp_idf_install_from(manifest, strlen(manifest), &source), S3OTA_ERR_STATE);
    expect("check_now before start", s3ota_esp_idf_check_now(), ESP_ERR_INVALID_STATE);
    expect("confirm before start", s3ota_esp_idf_confirm(), ESP_ERR_INVALID_STATE);
    expect("roll_back before start", s3ota_esp_idf_roll_back(), ESP_ERR_INVALID_STATE);
    expect("stop before start", s3ota_esp_idf_stop(), ESP_ERR_INVALID_STATE);

    s3ota_esp_idf_config_t config = S3OTA_ESP_IDF_CONFIG_DEFAULT();
    config.release_keys_pem = "no key";
    expect("start without a key in its text", s3ota_esp_idf_start(&config), ESP_ERR_INVALID_ARG);
    config.release_keys_pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    expect("start with a key that is none", s3ota_esp_idf_start(&config), ESP_ERR_INVALID_ARG);
    config.release_keys_pem = NULL;
    config.manifest_url = "";
    expect("start without a URL", s3ota_esp_idf_start(&config), ESP_ERR_INVALID_ARG);
    config.manifest_url = NULL;

    s3ota_hooks hooks;
    memset(&hooks, 0, sizeof hooks);
    hooks.size = sizeof hooks;
    hooks.no_update = on_no_update;
    config.hooks = &hooks;
    expect("start", s3ota_esp_idf_start(&config), ESP_OK);
    expect("start again", s3ota_esp_idf_start(&config), ESP_ERR_INVALID_STATE);
    expect("check_now", s3ota_esp_idf_check_now(), ESP_OK);
    wait_for_checks(1);
    expect("confirm from a hook", from_hook, ESP_ERR_INVALID_STATE);
    expect("check_now again", s3ota_esp_idf_check_now(), ESP_OK);
    wait_for_checks(2);
    expect("confirm what is confirmed", s3ota_esp_idf_confirm(), ESP_OK);
    int32_t installed;
    do {
        installed = s3ota_esp_idf_install_from(manifest, strlen(manifest), &source);
    } while (installed == S3OTA_ERR_BUSY);
    ESP_LOGI(TAG, "install_from: %s", s3ota_error_name(installed));
    expect("install_from without a signature", installed, S3OTA_ERR_RELEASE_SIGNATURE);
    expect("is_on_trial", s3ota_esp_idf_is_on_trial(), false);

    expect("stop", s3ota_esp_idf_stop(), ESP_OK);
    expect("stop again", s3ota_esp_idf_stop(), ESP_ERR_INVALID_STATE);
    expect("start after stop", s3ota_esp_idf_start(&config), ESP_OK);
    expect("check_now after stop", s3ota_esp_idf_check_now(), ESP_OK);
    wait_for_checks(3);

    ESP_LOGI(TAG, "all answered as they should");
    expect("roll_back", s3ota_esp_idf_roll_back(), ESP_OK);
    fprintf(stderr, "FAILED: roll_back has returned\n");
    exit(1);
}
