/*
 * Ethernet, and updates from an S3 bucket.
 *
 * Built with sdkconfig.qemu this runs in Espressif's QEMU; README.md says how. For a board replace `new_mac` and `new_phy` by
 * its own: ESP-IDF's examples/ethernet/basic has them for the ESP32's MAC and for the W5500.
 */

#include "esp_eth.h"
#include "esp_eth_driver.h"
#include "esp_event.h"
#include "esp_idf_version.h"
#include "esp_log.h"
#include "esp_netif.h"
#include "s3ota_esp_idf.h"
#include "sdkconfig.h"

#if !CONFIG_ETH_USE_OPENETH
#error "This example is for the emulator: add sdkconfig.qemu to SDKCONFIG_DEFAULTS, or put in the MAC and PHY of your board"
#endif

static const char *TAG = "lamp";

static esp_eth_mac_t *new_mac(void)
{
    eth_mac_config_t config = ETH_MAC_DEFAULT_CONFIG();
    return esp_eth_mac_new_openeth(&config);
}

static esp_eth_phy_t *new_phy(void)
{
    eth_phy_config_t config = ETH_PHY_DEFAULT_CONFIG();
    config.autonego_timeout_ms = 100;
#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(6, 0, 0)
    /* Drivers of single PHYs have moved to the component registry. */
    return esp_eth_phy_new_generic(&config);
#else
    return esp_eth_phy_new_dp83848(&config);
#endif
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

static void start_ethernet(void)
{
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    ESP_ERROR_CHECK(esp_event_handler_register(IP_EVENT, IP_EVENT_ETH_GOT_IP, on_address, NULL));
    esp_netif_config_t interface = ESP_NETIF_DEFAULT_ETH();
    esp_netif_t *netif = esp_netif_new(&interface);
    esp_eth_config_t config = ETH_DEFAULT_CONFIG(new_mac(), new_phy());
    esp_eth_handle_t ethernet = NULL;
    ESP_ERROR_CHECK(esp_eth_driver_install(&config, &ethernet));
    ESP_ERROR_CHECK(esp_netif_attach(netif, esp_eth_new_netif_glue(ethernet)));
    ESP_ERROR_CHECK(esp_eth_start(ethernet));
}

void app_main(void)
{
    ESP_LOGI(TAG, "%s", s3ota_esp_idf_is_on_trial() ? "on trial" : "confirmed");
    start_ethernet();

    /* A mistake in the update path must not end the program: a confirmed firmware that panics restarts for ever. */
    esp_err_t updates = s3ota_esp_idf_start(NULL);
    if (updates != ESP_OK) {
        ESP_LOGE(TAG, "no updates: %s", esp_err_to_name(updates));
    }

    /* …and here your own program. */
}
