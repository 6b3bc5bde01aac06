/*
 * Wi-Fi, and updates from an S3 bucket.
 *
 * Network, password and the manifest's URL are in menuconfig, under "Wi-Fi" and "s3ota".
 */

#include <string.h>

#include "esp_event.h"
#include "esp_log.h"
#include "esp_netif.h"
#include "esp_wifi.h"
#include "nvs_flash.h"
#include "s3ota_esp_idf.h"
#include "sdkconfig.h"

static const char *TAG = "lamp";

/* Joins, and joins again: a network that is away for a while is no reason to stop. */
static void on_wifi(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg;
    (void)base;
    (void)data;
    if (id == WIFI_EVENT_STA_START || id == WIFI_EVENT_STA_DISCONNECTED) {
        (void)esp_wifi_connect();
    }
}

/* An update need not wait for the next hour when the network comes back. */
static void on_address(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg;
    (void)base;
    (void)id;
    (void)data;
    ESP_LOGI(TAG, "the network is up");
    (void)s3ota_esp_idf_check_now();
}

static void join_wifi(void)
{
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    (void)esp_netif_create_default_wifi_sta();
    wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    ESP_ERROR_CHECK(esp_wifi_init(&init));
    ESP_ERROR_CHECK(esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_wifi, NULL));
    ESP_ERROR_CHECK(esp_event_handler_register(IP_EVENT, IP_EVENT_STA_GOT_IP, on_address, NULL));
    wifi_config_t station;
    memset(&station, 0, sizeof station);
    strncpy((char *)station.sta.ssid, CONFIG_LAMP_WIFI_SSID, sizeof station.sta.ssid);
    strncpy((char *)station.sta.password, CONFIG_LAMP_WIFI_PASSWORD, sizeof station.sta.password);
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_STA, &station));
    ESP_ERROR_CHECK(esp_wifi_start());
}

void app_main(void)
{
    /* Wi-Fi keeps its calibration there. */
    esp_err_t nvs = nvs_flash_init();
    if (nvs == ESP_ERR_NVS_NO_FREE_PAGES || nvs == ESP_ERR_NVS_NEW_VERSION_FOUND) {
        ESP_ERROR_CHECK(nvs_flash_erase());
        ESP_ERROR_CHECK(nvs_flash_init());
    }
    join_wifi();

    /* A mistake in the update path must not end the program: a confirmed firmware that panics restarts for ever. */
    esp_err_t updates = s3ota_esp_idf_start(NULL);
    if (updates != ESP_OK) {
        ESP_LOGE(TAG, "no updates: %s", esp_err_to_name(updates));
    }

    /* …and here your own program. */
}
