/*
 * The task that keeps the device up to date.
 *
 * Whatever takes much stack is done by it, also what other tasks ask for: app_main has 3.5 KB by default, of which s3ota_init would take
 * 4, s3ota_confirm 6 and s3ota_roll_back 8. A task that asks holds the state meanwhile, and waits.
 */

#include "esp_efuse.h"
#include "esp_flash_encrypt.h"
#include "esp_heap_caps.h"
#include "esp_idf_version.h"
#include "esp_log.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#if CONFIG_S3OTA_SNTP
#include "esp_netif_sntp.h"
#endif

#include "internal.h"

/* The longest that the task keeps the state to itself: another one that wants to confirm waits for so long. */
#define TURN_MS 1000

/* The longest that it sleeps between two looks at the schedule: pdMS_TO_TICKS overflows at 71 minutes of 1,000 ticks. */
#define NAP_MS UINT32_C(60000)

/* How long a call from another task waits for the state. */
#define PATIENCE_MS (10 * TURN_MS)

/* How often the task looks whether it is asked for something by whoever holds the state. */
#define LOOK_MS 20

typedef int32_t (*call_t)(s3ota_state *state);

static struct {
    /* Held while the state is used. Made once, and kept. */
    SemaphoreHandle_t lock;
    /* Given when the task has answered. */
    SemaphoreHandle_t answered;
    /* Given when the task has ended. */
    SemaphoreHandle_t ended;
    TaskHandle_t task;
    void *memory;
    s3ota_state *state;
    s3ota_settings settings;
    volatile bool stopping;
    /* What the holder of `lock` asks for, until it is answered. */
    volatile call_t asked;
    volatile int32_t answer;
} agent;

/* --- The task --------------------------------------------------------------------------------------------------------- */

static void restart(int32_t why)
{
    ESP_LOGI(TAG, "restarting: %s", why == S3OTA_INSTALLED ? "a new firmware is installed" : "this trial boot is over");
    esp_restart();
}

static esp_err_t make_state(const s3ota_esp_idf_config_t *config);

static void answer(void)
{
    call_t asked = agent.asked;
    if (asked != NULL) {
        agent.asked = NULL;
        agent.answer = asked(agent.state);
        xSemaphoreGive(agent.answered);
    }
}

/* Waits for the state. False if the task is to end. */
static bool take_turn(void)
{
    while (!agent.stopping) {
        answer();
        if (xSemaphoreTake(agent.lock, pdMS_TO_TICKS(LOOK_MS) + 1) == pdTRUE) {
            return true;
        }
    }
    return false;
}

static void run(void *config)
{
    agent.answer = make_state(config);
    xSemaphoreGive(agent.answered);
    /* s3ota_esp_idf_start notes which task this is, or ends it. */
    (void)ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    while (take_turn()) {
        int32_t result = s3ota_poll(agent.state, TURN_MS);
        uint32_t wait_ms = result == S3OTA_WAITING ? s3ota_wait_ms(agent.state) : 0;
        if (result != S3OTA_WORKING) {
            s3ota_wear_save(agent.state);
        }
        xSemaphoreGive(agent.lock);
        if (result == S3OTA_INSTALLED || result == S3OTA_TRIAL_OVER) {
            restart(result);
        }
        /* At least one tick: others may be waiting for the state. */
        TickType_t ticks = pdMS_TO_TICKS(wait_ms < NAP_MS ? wait_ms : NAP_MS);
        (void)ulTaskNotifyTake(pdTRUE, ticks > 0 ? ticks : 1);
    }
    xSemaphoreGive(agent.ended);
    vTaskDelete(NULL);
}

/* --- Starting and stopping -------------------------------------------------------------------------------------------- */

/* Aligned by itself: malloc's memory is aligned to 4 bytes here. */
static void *allocate_state(void)
{
#if CONFIG_S3OTA_STATE_IN_PSRAM
    uint32_t where = MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT;
#else
    uint32_t where = MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT;
#endif
    return heap_caps_aligned_alloc(s3ota_align(), s3ota_size(), where);
}

/* What an error of the library's is for a caller who knows ESP-IDF's. */
static esp_err_t as_esp_err(int32_t result)
{
    switch (result) {
    case S3OTA_ERR_BUSY:
    case S3OTA_ERR_CANCELLED:
        return ESP_ERR_NOT_FINISHED;
    case S3OTA_ERR_STATE:
        return ESP_ERR_INVALID_STATE;
    case S3OTA_ERR_MEMORY:
        return ESP_ERR_NO_MEM;
    case S3OTA_ERR_FLASH_LAYOUT:
    case S3OTA_ERR_UPDATE_ROLLBACK:
        return ESP_ERR_NOT_FOUND;
    case S3OTA_ERR_ARGUMENT:
    case S3OTA_ERR_CHIP:
    case S3OTA_ERR_ROOT:
    case S3OTA_ERR_KEY:
    case S3OTA_ERR_HEADER:
    case S3OTA_ERR_TEXT:
        return ESP_ERR_INVALID_ARG;
    default:
        return result >= 0 ? ESP_OK : ESP_FAIL;
    }
}

static void free_all(void)
{
    heap_caps_free(agent.memory);
    agent.memory = NULL;
    agent.state = NULL;
    s3ota_settings_free(&agent.settings);
}

static esp_err_t make_state(const s3ota_esp_idf_config_t *config)
{
    s3ota_port port;
    if (!s3ota_port_make(&port)) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    s3ota_config library;
    esp_err_t made = s3ota_settings_make(&agent.settings, &library, config);
    if (made != ESP_OK) {
        return made;
    }
    s3ota_hooks hooks;
    s3ota_hooks_make(&hooks, config->hooks);
    agent.memory = allocate_state();
    if (agent.memory == NULL) {
        ESP_LOGE(TAG, "no memory for updates: %u bytes in one piece are needed", (unsigned)s3ota_size());
        return ESP_ERR_NO_MEM;
    }
    int32_t result = s3ota_init(agent.memory, s3ota_size(), &library, &port, &hooks, &agent.state);
    if (result != S3OTA_OK) {
        ESP_LOGE(TAG, "the settings cannot be used (%s)", s3ota_error_name(result));
        return as_esp_err(result);
    }
    s3ota_wear_load(agent.state);
    return ESP_OK;
}

static void keep_time(void)
{
#if CONFIG_S3OTA_SNTP
    esp_sntp_config_t sntp = ESP_NETIF_SNTP_DEFAULT_CONFIG(CONFIG_S3OTA_SNTP_SERVER);
    sntp.wait_for_sync = false;
    esp_err_t started = esp_netif_sntp_init(&sntp);
    /* ESP_ERR_INVALID_STATE: the application keeps the time itself. */
    if (started != ESP_OK && started != ESP_ERR_INVALID_STATE) {
        ESP_LOGW(TAG, "SNTP does not start (%s): certificates are judged by the date of the build", esp_err_to_name(started));
    }
#endif
}

static bool is_encrypted(void)
{
#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(6, 0, 0)
    return esp_efuse_is_flash_encryption_enabled();
#else
    return esp_flash_encryption_enabled();
#endif
}

static esp_err_t check_device(void)
{
    if (is_encrypted()) {
        ESP_LOGE(TAG, "flash encryption is not supported: this device is not updated");
        return ESP_ERR_NOT_SUPPORTED;
    }
    /* On chips with Xtensa cores the guard is a task: app_main may run beside it, on the other core. */
    while (s3ota_esp_idf_boot()->result == S3OTA_OK) {
        vTaskDelay(1);
    }
    int32_t guarded = s3ota_esp_idf_boot()->result;
    if (guarded < 0) {
        ESP_LOGE(TAG, "no updates: the boot guard found %s", s3ota_error_name(guarded));
        return guarded == S3OTA_ERR_FLASH_LAYOUT ? ESP_ERR_NOT_FOUND : ESP_ERR_NOT_SUPPORTED;
    }
    return ESP_OK;
}

/* Each once, and kept. */
static bool make_semaphores(void)
{
    agent.lock = agent.lock != NULL ? agent.lock : xSemaphoreCreateMutex();
    agent.answered = agent.answered != NULL ? agent.answered : xSemaphoreCreateBinary();
    agent.ended = agent.ended != NULL ? agent.ended : xSemaphoreCreateBinary();
    return agent.lock != NULL && agent.answered != NULL && agent.ended != NULL;
}

/* Ends the task, and forgets all it had. */
static void end(TaskHandle_t task)
{
    agent.stopping = true;
    xTaskNotifyGive(task);
    xSemaphoreTake(agent.ended, portMAX_DELAY);
    if (agent.state != NULL) {
        (void)s3ota_deinit(agent.state);
    }
    free_all();
}

esp_err_t s3ota_esp_idf_start(const s3ota_esp_idf_config_t *config)
{
    if (agent.task != NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    esp_err_t started = check_device();
    if (started != ESP_OK) {
        return started;
    }
    if (!make_semaphores()) {
        return ESP_ERR_NO_MEM;
    }
    s3ota_esp_idf_config_t settings = S3OTA_ESP_IDF_CONFIG_DEFAULT();
    if (config != NULL) {
        settings = *config;
    }
    agent.stopping = false;
    TaskHandle_t task = NULL;
    if (xTaskCreate(run, "s3ota", CONFIG_S3OTA_TASK_STACK_SIZE, &settings, CONFIG_S3OTA_TASK_PRIORITY, &task) != pdPASS) {
        ESP_LOGE(TAG, "no memory for a stack of %d bytes", CONFIG_S3OTA_TASK_STACK_SIZE);
        return ESP_ERR_NO_MEM;
    }
    xSemaphoreTake(agent.answered, portMAX_DELAY);
    started = agent.answer;
    if (started != ESP_OK) {
        end(task);
        return started;
    }
    keep_time();
    agent.task = task;
    xTaskNotifyGive(task);
    return ESP_OK;
}

/* Whether the task runs, and another one asks. */
static bool can_be_asked(void)
{
    return agent.task != NULL && xTaskGetCurrentTaskHandle() != agent.task;
}

esp_err_t s3ota_esp_idf_stop(void)
{
    if (!can_be_asked()) {
        return ESP_ERR_INVALID_STATE;
    }
    TaskHandle_t task = agent.task;
    s3ota_cancel(agent.state);
    /* Whoever has the state is waited for, and whoever comes later finds no task. */
    xSemaphoreTake(agent.lock, portMAX_DELAY);
    agent.task = NULL;
    end(task);
    xSemaphoreGive(agent.lock);
    return ESP_OK;
}

/* --- While it runs ---------------------------------------------------------------------------------------------------- */

esp_err_t s3ota_esp_idf_check_now(void)
{
    if (agent.task == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    s3ota_check_now(agent.state);
    xTaskNotifyGive(agent.task);
    return ESP_OK;
}

/* Takes the state for a call from another task: ESP_OK, ESP_ERR_INVALID_STATE, ESP_ERR_NOT_FINISHED. */
static esp_err_t take_state(void)
{
    if (!can_be_asked()) {
        return ESP_ERR_INVALID_STATE;
    }
    if (xSemaphoreTake(agent.lock, pdMS_TO_TICKS(PATIENCE_MS)) != pdTRUE) {
        return ESP_ERR_NOT_FINISHED;
    }
    if (agent.task == NULL) {
        xSemaphoreGive(agent.lock);
        return ESP_ERR_INVALID_STATE;
    }
    return ESP_OK;
}

/* A call on the state for another task. */
static esp_err_t ask(call_t call)
{
    esp_err_t taken = take_state();
    if (taken != ESP_OK) {
        return taken;
    }
    agent.asked = call;
    xTaskNotifyGive(agent.task);
    xSemaphoreTake(agent.answered, portMAX_DELAY);
    int32_t result = agent.answer;
    xSemaphoreGive(agent.lock);
    if (result < 0) {
        ESP_LOGE(TAG, "%s", s3ota_error_name(result));
    }
    return as_esp_err(result);
}

int32_t s3ota_esp_idf_install_from(const void *manifest, size_t manifest_len, const s3ota_source *source)
{
    esp_err_t taken = take_state();
    if (taken != ESP_OK) {
        return taken == ESP_ERR_INVALID_STATE ? S3OTA_ERR_STATE : S3OTA_ERR_BUSY;
    }
    int32_t result = s3ota_install_from(agent.state, manifest, manifest_len, source);
    s3ota_wear_save(agent.state);
    xSemaphoreGive(agent.lock);
    return result;
}

esp_err_t s3ota_esp_idf_confirm(void)
{
    esp_err_t done = ask(s3ota_confirm);
    if (done == ESP_OK) {
        s3ota_trial_is_over();
    }
    return done;
}

esp_err_t s3ota_esp_idf_roll_back(void)
{
    esp_err_t done = ask(s3ota_roll_back);
    if (done == ESP_OK) {
        ESP_LOGI(TAG, "restarting: rolled back");
        esp_restart();
    }
    return done;
}
