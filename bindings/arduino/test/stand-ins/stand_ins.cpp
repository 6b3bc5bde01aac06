/*
 * What stands behind the headers beside this file: a program on a computer in place of a chip.
 *
 *   S3OTA_SIM_FLASH    the flash, a file
 *   S3OTA_SIM_RUNNING  where in it the running app's partition begins
 *   S3OTA_SIM_RESET    the ROM's number for the reset: 1 power on, 3 a restart by software, 12 a panic
 *   S3OTA_SIM_PORT     where connections to port 443 lead to, on this computer, whatever the host
 *   S3OTA_SIM_CA       a root in PEM that the library trusts besides those it is given
 *   S3OTA_SIM_SPEED    how much faster than real time runs: 4
 *   S3OTA_SIM_WIFI     `off`: no network
 *
 * The program ends with status 42 where the chip restarts, and 43 where its watchdog resets it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "Arduino.h"
#include "WiFi.h"
#include "esp_flash.h"
#include "esp_partition.h"
#include "esp_random.h"
#include "esp_rom_crc.h"
#include "esp_rom_sys.h"
#include "esp_timer.h"
#include "hal/wdt_hal.h"
#include "s3ota.h"
#include "soc/rtc.h"
#include "spi_flash_mmap.h"

namespace {

enum { RESTART = 42, WATCHDOG = 43 };

const char* setting(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value != nullptr && value[0] != 0 ? value : otherwise;
}

[[noreturn]] void stop(int status) {
  fflush(stdout);
  _exit(status);
}

[[noreturn]] void broken(const char* what) {
  fprintf(stderr, "stand-ins: %s\n", what);
  stop(44);
}

/* --- Time ------------------------------------------------------------------------------------------------------------- */

/* A pause of so many milliseconds or more is left out. */
const uint32_t LEFT_OUT_MS = 60 * 1000;

std::atomic<uint64_t> leftOutMs(0);

uint64_t speed() {
  static const uint64_t times = strtoull(setting("S3OTA_SIM_SPEED", "4"), nullptr, 10);
  return times;
}

uint64_t sinceBootUs() {
  static const auto boot = std::chrono::steady_clock::now();
  const auto passed = std::chrono::steady_clock::now() - boot;
  const uint64_t us = std::chrono::duration_cast<std::chrono::microseconds>(passed).count();
  return us * speed() + leftOutMs.load() * 1000;
}

std::chrono::microseconds realTime(uint32_t ms) { return std::chrono::microseconds(ms * UINT64_C(1000) / speed()); }

/* --- Flash ------------------------------------------------------------------------------------------------------------ */

struct File {
  uint8_t* bytes;
  uint32_t size;
};

const File& flash() {
  static const File file = [] {
    const int handle = open(setting("S3OTA_SIM_FLASH", ""), O_RDWR);
    struct stat facts;
    if (handle < 0 || fstat(handle, &facts) != 0) broken("S3OTA_SIM_FLASH is not a file");
    void* bytes = mmap(nullptr, facts.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    if (bytes == MAP_FAILED) broken("S3OTA_SIM_FLASH cannot be mapped");
    return File{static_cast<uint8_t*>(bytes), static_cast<uint32_t>(facts.st_size)};
  }();
  return file;
}

uint32_t running() {
  static const uint32_t at = strtoul(setting("S3OTA_SIM_RUNNING", "0x10000"), nullptr, 0);
  return at;
}

const uint32_t SLOT = 0x180000;

bool isOnFlash(uint32_t at, uint32_t length) { return at <= flash().size && length <= flash().size - at; }

void mayChange(uint32_t at, uint32_t length) {
  if (at < running() + SLOT && at + length > running()) broken("the running firmware was about to be overwritten");
  if (at < 0xe000) broken("the partition table, or what lies before it, was about to be overwritten");
}

}  // namespace

extern "C" {

esp_err_t esp_flash_get_size(esp_flash_t*, uint32_t* size) {
  *size = flash().size;
  return ESP_OK;
}

esp_err_t esp_flash_read(esp_flash_t*, void* to, uint32_t at, uint32_t length) {
  if (!isOnFlash(at, length)) return ESP_ERR_INVALID_ARG;
  memcpy(to, flash().bytes + at, length);
  return ESP_OK;
}

esp_err_t esp_flash_write(esp_flash_t*, const void* from, uint32_t at, uint32_t length) {
  if (!isOnFlash(at, length)) return ESP_ERR_INVALID_ARG;
  mayChange(at, length);
  for (uint32_t i = 0; i < length; i++) flash().bytes[at + i] &= static_cast<const uint8_t*>(from)[i];
  return ESP_OK;
}

esp_err_t esp_flash_erase_region(esp_flash_t*, uint32_t at, uint32_t length) {
  if (!isOnFlash(at, length) || at % 4096 != 0 || length % 4096 != 0) return ESP_ERR_INVALID_ARG;
  mayChange(at, length);
  memset(flash().bytes + at, 0xff, length);
  return ESP_OK;
}

bool esp_flash_encryption_enabled(void) { return false; }

static const esp_partition_t* app(void) {
  static const esp_partition_t partition = {running(), SLOT};
  return &partition;
}

esp_partition_iterator_t esp_partition_find(esp_partition_type_t, esp_partition_subtype_t, const char*) {
  return reinterpret_cast<esp_partition_iterator_t>(const_cast<esp_partition_t*>(app()));
}
const esp_partition_t* esp_partition_get(esp_partition_iterator_t) { return app(); }
esp_partition_iterator_t esp_partition_next(esp_partition_iterator_t) { return nullptr; }
void esp_partition_iterator_release(esp_partition_iterator_t) {}
// These devices have a bootloader without app rollback: it needs to be told nothing.
const esp_partition_t* esp_partition_find_first(esp_partition_type_t, esp_partition_subtype_t, const char*) { return nullptr; }
uint32_t esp_rom_crc32_le(uint32_t, const uint8_t*, uint32_t) { return 0; }
size_t spi_flash_cache2phys(const void*) { return running() + 0x100; }

/* --- The chip --------------------------------------------------------------------------------------------------------- */

void esp_fill_random(void* to, size_t length) {
  if (getrandom(to, length, 0) != static_cast<ssize_t>(length)) broken("there is no randomness");
}

int esp_rom_get_reset_reason(int) { return atoi(setting("S3OTA_SIM_RESET", "1")); }

void esp_restart(void) {
  printf("(restart)\n");
  stop(RESTART);
}

int64_t esp_timer_get_time(void) { return static_cast<int64_t>(sinceBootUs()); }

/* The computer's uptime: it goes on through restarts. */
uint64_t esp_rtc_get_time_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + now.tv_nsec / 1000 + leftOutMs.load() * 1000;
}

uint32_t rtc_clk_slow_freq_get_hz(void) { return 1000; }

static std::atomic<uint32_t> watchdogMs(0);
static std::atomic<uint64_t> watchdogEndsUs(UINT64_MAX);

static void watch(void) {
  for (;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (sinceBootUs() < watchdogEndsUs.load()) continue;
    printf("(watchdog)\n");
    stop(WATCHDOG);
  }
}

void wdt_hal_init(wdt_hal_context_t*, int, uint32_t, bool) {}
void wdt_hal_config_stage(wdt_hal_context_t*, int, uint32_t ticks, int) { watchdogMs = ticks; }
void wdt_hal_write_protect_disable(wdt_hal_context_t*) {}
void wdt_hal_write_protect_enable(wdt_hal_context_t*) {}
void wdt_hal_enable(wdt_hal_context_t*) {
  static const bool watches = (std::thread(watch).detach(), true);
  (void)watches;
}
void wdt_hal_feed(wdt_hal_context_t*) { watchdogEndsUs = sinceBootUs() + watchdogMs.load() * UINT64_C(1000); }
void wdt_hal_disable(wdt_hal_context_t*) { watchdogEndsUs = UINT64_MAX; }

}  // extern "C"

/* --- Tasks ------------------------------------------------------------------------------------------------------------ */

struct StandInTask {
  std::mutex lock;
  std::condition_variable changed;
  TaskFunction_t function;
  void* argument;
  std::string name;
  uint32_t stack;
  uint32_t notified = 0;
  bool suspended = false;
};

struct StandInSemaphore {
  std::mutex lock;
  std::condition_variable changed;
  bool free;
};

namespace {

thread_local StandInTask* current = nullptr;

/* Tasks that constructors of global objects start run when the scheduler does. */
std::atomic<bool> schedulerRuns(false);

/* A task that another has suspended stops at its next call. */
void stopIfSuspended() {
  if (current == nullptr) return;
  std::unique_lock<std::mutex> held(current->lock);
  current->changed.wait(held, [] { return !current->suspended; });
}

void* runTask(void* task) {
  current = static_cast<StandInTask*>(task);
  while (!schedulerRuns.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  current->function(current->argument);
  broken("a task returned: it must end with vTaskDelete");
}

BaseType_t startTask(TaskFunction_t function, const char* name, uint32_t stack, void* argument, TaskHandle_t* handle) {
  // Tasks stay for ever: a handle may be used after its end.
  StandInTask* task = new StandInTask;
  task->function = function;
  task->argument = argument;
  task->name = name;
  task->stack = stack;
  if (handle != nullptr) __atomic_store_n(handle, task, __ATOMIC_RELEASE);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, runTask, task) != 0) return pdFAIL;
  pthread_detach(thread);
  return pdPASS;
}

}  // namespace

extern "C" {

BaseType_t xTaskCreate(TaskFunction_t function, const char* name, uint32_t stack, void* argument, UBaseType_t,
                       TaskHandle_t* handle) {
  return startTask(function, name, stack, argument, handle);
}

BaseType_t xTaskCreatePinnedToCore(TaskFunction_t function, const char* name, uint32_t stack, void* argument, UBaseType_t,
                                   TaskHandle_t* handle, BaseType_t) {
  return startTask(function, name, stack, argument, handle);
}

void vTaskDelete(TaskHandle_t task) {
  if (task == nullptr || task == current) pthread_exit(nullptr);
  vTaskSuspend(task);
}

void vTaskDelay(TickType_t ticks) {
  stopIfSuspended();
  const bool leftOut = ticks >= LEFT_OUT_MS;
  std::this_thread::sleep_for(realTime(leftOut ? 20 : ticks));
  if (leftOut) leftOutMs += ticks;
  stopIfSuspended();
}

void vTaskSuspend(TaskHandle_t task) {
  if (task == nullptr) task = current;
  std::lock_guard<std::mutex> held(task->lock);
  task->suspended = true;
}

void vTaskResume(TaskHandle_t task) {
  std::lock_guard<std::mutex> held(task->lock);
  task->suspended = false;
  task->changed.notify_all();
}

TaskHandle_t xTaskGetCurrentTaskHandle(void) { return current; }
UBaseType_t uxTaskGetNumberOfTasks(void) { return 1; }

/* As if the sketch had taken a kilobyte so far. */
UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t task) { return (task != nullptr ? task : current)->stack - 1024; }

BaseType_t xTaskNotifyGive(TaskHandle_t task) {
  std::lock_guard<std::mutex> held(task->lock);
  task->notified++;
  task->changed.notify_all();
  return pdPASS;
}

uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks) {
  stopIfSuspended();
  std::unique_lock<std::mutex> held(current->lock);
  const auto isNotified = [] { return current->notified > 0; };
  if (ticks == portMAX_DELAY) {
    current->changed.wait(held, isNotified);
  } else {
    const bool leftOut = ticks >= LEFT_OUT_MS;
    if (!current->changed.wait_for(held, realTime(leftOut ? 100 : ticks), isNotified) && leftOut) leftOutMs += ticks;
  }
  const uint32_t notified = current->notified;
  if (notified > 0) current->notified = clear ? 0 : notified - 1;
  return notified;
}

static SemaphoreHandle_t semaphore(bool free) {
  StandInSemaphore* made = new StandInSemaphore;
  made->free = free;
  return made;
}

SemaphoreHandle_t xSemaphoreCreateMutex(void) { return semaphore(true); }
SemaphoreHandle_t xSemaphoreCreateBinary(void) { return semaphore(false); }
void vSemaphoreDelete(SemaphoreHandle_t semaphore) { delete semaphore; }

BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks) {
  stopIfSuspended();
  {
    std::unique_lock<std::mutex> held(semaphore->lock);
    const auto isFree = [semaphore] { return semaphore->free; };
    if (ticks == portMAX_DELAY) {
      semaphore->changed.wait(held, isFree);
    } else if (!semaphore->changed.wait_for(held, realTime(ticks), isFree)) {
      return pdFALSE;
    }
    semaphore->free = false;
  }
  stopIfSuspended();
  return pdTRUE;
}

BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore) {
  std::lock_guard<std::mutex> held(semaphore->lock);
  semaphore->free = true;
  semaphore->changed.notify_all();
  return pdTRUE;
}

/* --- The heap --------------------------------------------------------------------------------------------------------- */

/* The linker leads the library's calls here: -Wl,--wrap. ESP-IDF's heap aligns to 4 only, on the chips with RISC-V cores. */
void* __real_malloc(size_t size);
void __real_free(void* memory);
void* __wrap_malloc(size_t size) {
  void* made = __real_malloc(size + 4);
  return made != nullptr ? static_cast<char*>(made) + 4 : nullptr;
}
void __wrap_free(void* memory) {
  if (memory != nullptr) __real_free(static_cast<char*>(memory) - 4);
}

/* --- The network ------------------------------------------------------------------------------------------------------ */

int __real_connect(int socket, const struct sockaddr* address, socklen_t length);
int __wrap_connect(int socket, const struct sockaddr* address, socklen_t length) {
  struct sockaddr_in local;
  const char* port = setting("S3OTA_SIM_PORT", nullptr);
  if (port == nullptr || address->sa_family != AF_INET) return __real_connect(socket, address, length);
  memcpy(&local, address, sizeof local);
  if (ntohs(local.sin_port) == 443) local.sin_port = htons(static_cast<uint16_t>(atoi(port)));
  return __real_connect(socket, reinterpret_cast<struct sockaddr*>(&local), sizeof local);
}

int __real_getaddrinfo(const char* host, const char* service, const struct addrinfo* hints, struct addrinfo** found);
int __wrap_getaddrinfo(const char* host, const char* service, const struct addrinfo* hints, struct addrinfo** found) {
  if (host == nullptr || WiFi.status() != WL_CONNECTED) return EAI_FAIL;
  return __real_getaddrinfo("127.0.0.1", service, hints, found);
}

/* The development server's CA, which no sketch knows. */
int32_t __real_s3ota_init(void* memory, size_t size, const s3ota_config* config, const s3ota_port* port,
                          const s3ota_hooks* hooks, s3ota_state** state);
int32_t __wrap_s3ota_init(void* memory, size_t size, const s3ota_config* config, const s3ota_port* port,
                          const s3ota_hooks* hooks, s3ota_state** state) {
  static std::vector<uint8_t> der;
  const char* path = setting("S3OTA_SIM_CA", nullptr);
  if (path == nullptr) return __real_s3ota_init(memory, size, config, port, hooks, state);
  if (der.empty()) {
    FILE* file = fopen(path, "r");
    if (file == nullptr) broken("S3OTA_SIM_CA is not a file");
    char pem[8192];
    pem[fread(pem, 1, sizeof pem - 1, file)] = 0;
    fclose(file);
    der.resize(sizeof pem);
    const char* next = pem;
    const int32_t length = s3ota_pem(&next, der.data(), der.size());
    if (length <= 0) broken("S3OTA_SIM_CA is not PEM");
    der.resize(length);
  }
  s3ota_bytes roots[S3OTA_MAX_ROOTS];
  s3ota_config with = *config;
  for (size_t i = 0; i < config->root_count; i++) roots[i] = config->roots[i];
  roots[with.root_count].data = der.data();
  roots[with.root_count].len = der.size();
  with.root_count++;
  with.roots = roots;
  return __real_s3ota_init(memory, size, &with, port, hooks, state);
}

/* --- Arduino ---------------------------------------------------------------------------------------------------------- */

unsigned long millis(void) {
  stopIfSuspended();
  // 32 bits, as on the chip.
  return static_cast<uint32_t>(sinceBootUs() / 1000);
}
unsigned long micros(void) { return static_cast<uint32_t>(sinceBootUs()); }
void delay(uint32_t ms) { vTaskDelay(ms); }
void delayMicroseconds(uint32_t us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }
void yield(void) { stopIfSuspended(); }

static std::atomic<uint8_t> pins[64];

void pinMode(uint8_t pin, uint8_t mode) { pins[pin % 64] = mode == INPUT_PULLUP ? HIGH : LOW; }
void digitalWrite(uint8_t pin, uint8_t value) { pins[pin % 64] = value; }
/* The button of pin 0 is pressed from S3OTA_SIM_BUTTON milliseconds after boot on, for half a second. */
int digitalRead(uint8_t pin) {
  const uint64_t from = strtoull(setting("S3OTA_SIM_BUTTON", "0"), nullptr, 10), now = sinceBootUs() / 1000;
  if (pin == 0 && from > 0 && now >= from && now < from + 500) return LOW;
  return pins[pin % 64];
}
void configTime(long, int, const char*, const char*, const char*) {}

}  // extern "C"

long random(long end) { return random(0, end); }
long random(long begin, long end) { return end > begin ? begin + rand() % (end - begin) : begin; }

HardwareSerial Serial;
EspClass ESP;
WiFiClass WiFi;

void EspClass::restart() { esp_restart(); }
uint64_t EspClass::getEfuseMac() { return UINT64_C(0xffeeddccbbaa); }

wl_status_t WiFiClass::begin(const char*, const char*) {
  _since = millis();
  _begun = true;
  return WL_DISCONNECTED;
}
wl_status_t WiFiClass::status() {
  if (!_begun || strcmp(setting("S3OTA_SIM_WIFI", "on"), "off") == 0) return WL_DISCONNECTED;
  return static_cast<uint32_t>(millis() - _since) >= 1000 ? WL_CONNECTED : WL_DISCONNECTED;
}
bool WiFiClass::disconnect(bool) {
  _begun = false;
  return true;
}

size_t HardwareSerial::write(uint8_t byte) { return write(&byte, 1); }
size_t HardwareSerial::write(const uint8_t* bytes, size_t length) {
  stopIfSuspended();
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] != '\r') putchar(bytes[i]);
  }
  fflush(stdout);
  return length;
}

size_t Print::write(const uint8_t* bytes, size_t length) {
  for (size_t i = 0; i < length; i++) write(bytes[i]);
  return length;
}
size_t Print::print(const char* text) { return write(reinterpret_cast<const uint8_t*>(text), strlen(text)); }
size_t Print::print(char character) { return write(static_cast<uint8_t>(character)); }
size_t Print::print(int number) { return print(String(number)); }
size_t Print::print(unsigned int number) { return print(String(number)); }
size_t Print::print(long number) { return print(String(number)); }
size_t Print::print(unsigned long number) { return print(String(number)); }
size_t Print::print(double number, int digits) { return this->printf("%.*f", digits, number); }
size_t Print::print(const IPAddress& address) { return print(address.toString()); }
size_t Print::printf(const char* format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  const int length = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (length < 0) return 0;
  const size_t most = sizeof text - 1;
  return write(reinterpret_cast<const uint8_t*>(text), static_cast<size_t>(length) < most ? length : most);
}

__attribute__((weak)) size_t getArduinoLoopTaskStackSize() { return 8192; }

/* What the core does before setup(): a firmware whose confirmation it takes upon itself has no trial. */
extern "C" __attribute__((weak)) bool verifyRollbackLater() { return false; }

static void loopTask(void*) {
  if (!verifyRollbackLater()) broken("the core would have confirmed this firmware before setup()");
  setup();
  for (;;) {
    loop();
    stopIfSuspended();
  }
}

int main() {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  schedulerRuns = true;
  startTask(loopTask, "loopTask", static_cast<uint32_t>(getArduinoLoopTaskStackSize()), nullptr, nullptr);
  pause();
  return 0;
}
