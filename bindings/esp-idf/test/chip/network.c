/* The drivers that the examples start: they have nothing to do, the sockets are this machine's. */

#include <pthread.h>
#include <unistd.h>

#include "board.h"

esp_event_base_t const IP_EVENT = "IP_EVENT";
esp_event_base_t const WIFI_EVENT = "WIFI_EVENT";

static esp_event_handler_t on_address;

/* The network takes a moment. */
static void *come_up(void *unused)
{
    usleep(200000);
    if (on_address != NULL) {
        on_address(NULL, IP_EVENT, IP_EVENT_ETH_GOT_IP, NULL);
    }
    return unused;
}

esp_err_t esp_event_loop_create_default(void)
{
    return ESP_OK;
}

esp_err_t esp_event_handler_register(esp_event_base_t base, int32_t id, esp_event_handler_t handler, void *arg)
{
    (void)id;
    (void)arg;
    if (base == IP_EVENT) {
        on_address = handler;
    }
    return ESP_OK;
}

esp_err_t esp_netif_init(void)
{
    return ESP_OK;
}

esp_netif_t *esp_netif_new(const esp_netif_config_t *config)
{
    (void)config;
    return NULL;
}

esp_err_t esp_netif_attach(esp_netif_t *netif, void *driver)
{
    (void)netif;
    (void)driver;
    return ESP_OK;
}

esp_err_t esp_netif_sntp_init(const esp_sntp_config_t *config)
{
    return config->wait_for_sync || config->server == NULL ? ESP_ERR_INVALID_ARG : ESP_OK;
}

esp_eth_mac_t *esp_eth_mac_new_openeth(const eth_mac_config_t *config)
{
    (void)config;
    return NULL;
}

esp_eth_phy_t *esp_eth_phy_new_dp83848(const eth_phy_config_t *config)
{
    (void)config;
    return NULL;
}

esp_err_t esp_eth_driver_install(const esp_eth_config_t *config, esp_eth_handle_t *handle)
{
    (void)config;
    *handle = NULL;
    return ESP_OK;
}

void *esp_eth_new_netif_glue(esp_eth_handle_t handle)
{
    return handle;
}

esp_err_t esp_eth_start(esp_eth_handle_t handle)
{
    (void)handle;
    pthread_t thread;
    pthread_create(&thread, NULL, come_up, NULL);
    pthread_detach(thread);
    return ESP_OK;
}
