/*
 * What the component uses of ESP-IDF, as far as it uses it: for a check of its C on this machine, without ESP-IDF. Each header
 * beside this one has the name of one of ESP-IDF's and includes this. The functions are in the folder above.
 */
#ifndef CHIP_H
#define CHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- esp_err.h ---------------------------------------------------------------------------------------------------------- */

typedef int esp_err_t;
#define ESP_OK 0
#define ESP_FAIL (-1)
#define ESP_ERR_NO_MEM 0x101
#define ESP_ERR_INVALID_ARG 0x102
#define ESP_ERR_INVALID_STATE 0x103
#define ESP_ERR_NOT_FOUND 0x105
#define ESP_ERR_NOT_SUPPORTED 0x106
#define ESP_ERR_NOT_FINISHED 0x10c
const char *esp_err_to_name(esp_err_t code);
void check_failed(esp_err_t code, const char *what) __attribute__((noreturn));
#define ESP_ERROR_CHECK(x)                     \
    do {                                       \
        esp_err_t checked = (x);               \
        if (checked != ESP_OK) {               \
            check_failed(checked, #x);         \
        }                                      \
    } while (0)

/* --- esp_log.h ---------------------------------------------------------------------------------------------------------- */

void chip_log(char level, const char *tag, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define ESP_LOGE(tag, ...) chip_log('E', tag, __VA_ARGS__)
#define ESP_LOGW(tag, ...) chip_log('W', tag, __VA_ARGS__)
#define ESP_LOGI(tag, ...) chip_log('I', tag, __VA_ARGS__)
#define ESP_LOGD(tag, ...) ((void)(tag), (void)sizeof(printf_arguments(__VA_ARGS__)))
int printf_arguments(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- esp_flash.h, esp_partition.h, spi_flash_mmap.h, esp_flash_partitions.h, esp_rom_crc.h, esp_app_desc.h, esp_flash_encrypt.h ------------------ */

typedef struct esp_flash_t esp_flash_t;
esp_err_t esp_flash_get_size(esp_flash_t *chip, uint32_t *size);
esp_err_t esp_flash_read(esp_flash_t *chip, void *to, uint32_t address, uint32_t length);
esp_err_t esp_flash_write(esp_flash_t *chip, const void *from, uint32_t address, uint32_t length);
esp_err_t esp_flash_erase_region(esp_flash_t *chip, uint32_t address, uint32_t length);
bool esp_flash_encryption_enabled(void);

typedef enum { ESP_PARTITION_TYPE_APP = 0, ESP_PARTITION_TYPE_DATA = 1 } esp_partition_type_t;
typedef enum { ESP_PARTITION_SUBTYPE_DATA_OTA = 0, ESP_PARTITION_SUBTYPE_ANY = 0xff } esp_partition_subtype_t;
typedef struct {
    uint32_t address;
    uint32_t size;
} esp_partition_t;
typedef struct chip_iterator *esp_partition_iterator_t;
esp_partition_iterator_t esp_partition_find(esp_partition_type_t type, esp_partition_subtype_t subtype, const char *label);
const esp_partition_t *esp_partition_find_first(esp_partition_type_t type, esp_partition_subtype_t subtype, const char *label);
const esp_partition_t *esp_partition_get(esp_partition_iterator_t it);
esp_partition_iterator_t esp_partition_next(esp_partition_iterator_t it);

#define SPI_FLASH_CACHE2PHYS_FAIL UINT32_MAX
size_t spi_flash_cache2phys(const void *cached);

#define SPI_FLASH_SEC_SIZE 4096

typedef enum {
    ESP_OTA_IMG_PENDING_VERIFY = 1,
    ESP_OTA_IMG_VALID = 2,
    ESP_OTA_IMG_INVALID = 3,
    ESP_OTA_IMG_ABORTED = 4
} esp_ota_img_states_t;
typedef struct {
    uint32_t ota_seq;
    uint8_t seq_label[20];
    uint32_t ota_state;
    uint32_t crc;
} esp_ota_select_entry_t;
uint32_t esp_rom_crc32_le(uint32_t crc, const uint8_t *bytes, uint32_t length);

typedef struct {
    char version[32];
    char project_name[32];
} esp_app_desc_t;
const esp_app_desc_t *esp_app_get_description(void);

/* --- esp_idf_version.h ------------------------------------------------------------------------------------------------- */

#define ESP_IDF_VERSION_VAL(major, minor, patch) (((major) << 16) | ((minor) << 8) | (patch))
#ifndef ESP_IDF_VERSION
#define ESP_IDF_VERSION ESP_IDF_VERSION_VAL(5, 3, 0)
#endif

/* --- esp_system.h, esp_rom_sys.h, esp_random.h, esp_timer.h, esp_mac.h, esp_efuse.h, hal/efuse_*.h, esp_heap_caps.h ---- */

void esp_restart(void) __attribute__((noreturn));
int esp_rom_get_reset_reason(int cpu);
void esp_fill_random(void *to, size_t length);
void bootloader_random_enable(void);
void bootloader_random_disable(void);
int64_t esp_timer_get_time(void);
esp_err_t esp_efuse_mac_get_default(uint8_t *mac);
uint32_t esp_efuse_read_secure_version(void);
uint32_t efuse_hal_chip_revision(void);
uint32_t efuse_ll_get_blk_version_major(void);
uint32_t efuse_ll_get_blk_version_minor(void);
bool efuse_ll_get_disable_wafer_version_major(void);
bool efuse_ll_get_disable_blk_version_major(void);
#define MALLOC_CAP_8BIT 4
#define MALLOC_CAP_SPIRAM 1024
#define MALLOC_CAP_INTERNAL 2048
void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
void heap_caps_free(void *memory);
#define RTC_NOINIT_ATTR
#define SOC_RTC_MEM_SUPPORTED 1

/* --- hal/wdt_hal.h, soc/rtc.h ------------------------------------------------------------------------------------------- */

typedef struct {
    int instance;
} wdt_hal_context_t;
#define RWDT_HAL_CONTEXT_DEFAULT() {0}
enum { WDT_RWDT = 2 };
enum { WDT_STAGE0 = 0 };
enum { WDT_STAGE_ACTION_RESET_RTC = 4 };
void wdt_hal_init(wdt_hal_context_t *hal, int instance, uint32_t prescaler, bool enable_interrupt);
void wdt_hal_write_protect_disable(wdt_hal_context_t *hal);
void wdt_hal_write_protect_enable(wdt_hal_context_t *hal);
void wdt_hal_config_stage(wdt_hal_context_t *hal, int stage, uint32_t ticks, int action);
void wdt_hal_enable(wdt_hal_context_t *hal);
void wdt_hal_disable(wdt_hal_context_t *hal);
void wdt_hal_feed(wdt_hal_context_t *hal);
uint32_t rtc_clk_slow_freq_get_hz(void);

/* --- FreeRTOS ----------------------------------------------------------------------------------------------------------- */

typedef uint32_t TickType_t;
typedef int BaseType_t;
typedef unsigned UBaseType_t;
typedef struct chip_task *TaskHandle_t;
typedef struct chip_semaphore *SemaphoreHandle_t;
#define pdTRUE 1
#define pdPASS 1
#define portMAX_DELAY UINT32_MAX
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))
BaseType_t xTaskCreate(void (*run)(void *), const char *name, uint32_t stack, void *argument, UBaseType_t priority,
                       TaskHandle_t *task);
void vTaskDelete(TaskHandle_t task);
void vTaskDelay(TickType_t ticks);
TaskHandle_t xTaskGetCurrentTaskHandle(void);
BaseType_t xTaskNotifyGive(TaskHandle_t task);
uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks);
SemaphoreHandle_t xSemaphoreCreateMutex(void);
SemaphoreHandle_t xSemaphoreCreateBinary(void);
BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks);
BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore);

/* --- Network, Ethernet, Wi-Fi, NVS: what the examples use ---------------------------------------------------------------- */

typedef struct {
    bool wait_for_sync;
    const char *server;
} esp_sntp_config_t;
#define ESP_NETIF_SNTP_DEFAULT_CONFIG(name) {.wait_for_sync = true, .server = (name)}
esp_err_t esp_netif_sntp_init(const esp_sntp_config_t *config);

typedef const char *esp_event_base_t;
typedef void (*esp_event_handler_t)(void *arg, esp_event_base_t base, int32_t id, void *data);
extern esp_event_base_t const IP_EVENT, WIFI_EVENT;
enum { ESP_EVENT_ANY_ID = -1, IP_EVENT_STA_GOT_IP = 0, IP_EVENT_ETH_GOT_IP = 4 };
esp_err_t esp_event_loop_create_default(void);
esp_err_t esp_event_handler_register(esp_event_base_t base, int32_t id, esp_event_handler_t handler, void *arg);

typedef struct esp_netif_obj esp_netif_t;
typedef struct {
    int unused;
} esp_netif_config_t;
#define ESP_NETIF_DEFAULT_ETH() {0}
esp_err_t esp_netif_init(void);
esp_netif_t *esp_netif_new(const esp_netif_config_t *config);
esp_err_t esp_netif_attach(esp_netif_t *netif, void *driver);

typedef struct esp_eth_mac_s esp_eth_mac_t;
typedef struct esp_eth_phy_s esp_eth_phy_t;
typedef void *esp_eth_handle_t;
typedef struct {
    int unused;
} eth_mac_config_t;
typedef struct {
    uint32_t autonego_timeout_ms;
} eth_phy_config_t;
typedef struct {
    esp_eth_mac_t *mac;
    esp_eth_phy_t *phy;
} esp_eth_config_t;
#define ETH_MAC_DEFAULT_CONFIG() {0}
#define ETH_PHY_DEFAULT_CONFIG() {0}
#define ETH_DEFAULT_CONFIG(m, p) {.mac = (m), .phy = (p)}
esp_eth_mac_t *esp_eth_mac_new_openeth(const eth_mac_config_t *config);
esp_eth_phy_t *esp_eth_phy_new_dp83848(const eth_phy_config_t *config);
esp_err_t esp_eth_driver_install(const esp_eth_config_t *config, esp_eth_handle_t *handle);
void *esp_eth_new_netif_glue(esp_eth_handle_t handle);
esp_err_t esp_eth_start(esp_eth_handle_t handle);

typedef struct {
    int unused;
} wifi_init_config_t;
typedef union {
    struct {
        uint8_t ssid[32];
        uint8_t password[64];
    } sta;
} wifi_config_t;
#define WIFI_INIT_CONFIG_DEFAULT() {0}
enum { WIFI_MODE_STA = 1, WIFI_IF_STA = 0, WIFI_EVENT_STA_START = 2, WIFI_EVENT_STA_DISCONNECTED = 5 };
esp_netif_t *esp_netif_create_default_wifi_sta(void);
esp_err_t esp_wifi_init(const wifi_init_config_t *config);
esp_err_t esp_wifi_set_mode(int mode);
esp_err_t esp_wifi_set_config(int interface, wifi_config_t *config);
esp_err_t esp_wifi_start(void);
esp_err_t esp_wifi_connect(void);

#define ESP_ERR_NVS_NO_FREE_PAGES 0x110d
#define ESP_ERR_NVS_NEW_VERSION_FOUND 0x1110
esp_err_t nvs_flash_init(void);
esp_err_t nvs_flash_erase(void);

#endif /* CHIP_H */
