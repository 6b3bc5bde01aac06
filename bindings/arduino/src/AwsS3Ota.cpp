#define S3OTA_LIBRARY_ITSELF
#include "AwsS3Ota.h"

#include <stdarg.h>

extern "C" {
#include "port/internal.h"
}

namespace {

/* No rest is longer: pdMS_TO_TICKS overflows at 71 minutes where a tick is a millisecond. */
const uint32_t LONGEST_REST_MS = 10 * 60 * 1000;
const uint32_t OFFLINE_REST_MS = 1000;
const uint32_t TRIAL_REST_MS = 30 * 1000;
/* Nobody waits longer for the end of a check: the deadline of an update, and the callbacks. */
const uint32_t LONGEST_CHECK_MS = 60 * 60 * 1000;
/* How long a firmware on trial may look for its server, where no watchdog says otherwise. */
const uint32_t TRIAL_MS = 14 * 60 * 1000;

bool isOnline() { return WiFi.status() == WL_CONNECTED; }

}  // namespace

AwsOta::AwsOta()
    : _marker(nullptr),
      _debug(true),
      _autoTaskSuspend(true),
      _maxRetries(3),
      _httpTimeout(120),
      _startupDelayMs(10000),
      _lock(nullptr),
      _answered(nullptr),
      _task(nullptr),
      _bootPending(false),
      _asked(false),
      _working(false),
      _ending(false),
      _beginning(false),
      _result(false),
      _bootDelayMs(0),
      _intervalMs(0),
      _wasOnline(false),
      _onlineSince(0),
      _lastCheck(0),
      _tens(-1) {
  // Sketches wait in setup() for the network before they call begin(). A trial's boot that ends in that wait is no crash: see onTrial.
  if (S3Ota::bootResult() != S3OTA_OK) {
    wakeOnTrial();
    return;
  }
  // On chips with Xtensa cores the boot guard runs after the constructors of global objects, when tasks do.
  _beginning = true;
  if (xTaskCreatePinnedToCore(begun, "OTA_Begin", 3072, this, 1, nullptr, 0) != pdPASS) _beginning = false;
}

/* Waits for the boot guard, which is at work or about to be. */
void AwsOta::begun(void* self) {
  while (S3Ota::bootResult() == S3OTA_OK) vTaskDelay(1);
  static_cast<AwsOta*>(self)->wakeOnTrial();
  static_cast<AwsOta*>(self)->_beginning = false;
  vTaskDelete(nullptr);
}

void AwsOta::wakeOnTrial() {
  if (S3Ota::isOnTrial()) wake("OTA_Trial", S3Ota::STACK, 1);
}

AwsOta::~AwsOta() {
  // Its tasks have `this`: they must not outlive it.
  _ending = true;
  while (_beginning) delay(10);
  if (_lock != nullptr) {
    xSemaphoreTake(_lock, portMAX_DELAY);
    while (_task != nullptr) {
      _ota.cancel();
      xTaskNotifyGive(_task);
      xSemaphoreGive(_lock);
      delay(10);
      xSemaphoreTake(_lock, portMAX_DELAY);
    }
    xSemaphoreGive(_lock);
    vSemaphoreDelete(_lock);
  }
  if (_answered != nullptr) vSemaphoreDelete(_answered);
}

void AwsOta::configure(const char* base, const char* endpoint, const char* version, const char* rootCa) {
  {
    std::lock_guard<std::mutex> held(_sharing);
    _url = String(base != nullptr ? base : "") + (endpoint != nullptr ? endpoint : "");
    _version = version != nullptr ? version : "";
    _rootCa = rootCa != nullptr ? rootCa : "";
  }
  log("AwsOta initialized");
  log("Version: %s", version != nullptr ? version : "none");
  log("Manifest URL: %s%s", base != nullptr ? base : "", endpoint != nullptr ? endpoint : "");
  // A firmware that never checks would never be confirmed.
  if (S3Ota::isOnTrial()) wake("OTA_Trial", S3Ota::STACK, 1);
}

/* --- What the sketch asks for ----------------------------------------------------------------------------------------- */

void AwsOta::checkOnBoot(int delaySeconds) {
  log("Checking for an update %d seconds after the network is there", delaySeconds);
  _bootDelayMs = delaySeconds > 0 ? static_cast<uint32_t>(delaySeconds) * 1000 : 0;
  _bootPending = true;
  wake("OTA_Boot", S3Ota::STACK, 1);
}

void AwsOta::checkEvery(unsigned long intervalMs) {
  log("Checking for an update every %lu ms", intervalMs);
  _intervalMs = static_cast<uint32_t>(intervalMs > 0 ? intervalMs : 1);
  wake("OTA_Interval", S3Ota::STACK, 1);
}

void AwsOta::startBootCheckTask(const char* taskName, uint32_t stackSize, UBaseType_t priority) {
  log("Checking for an update %lu ms after the network is there", _startupDelayMs);
  _bootDelayMs = static_cast<uint32_t>(_startupDelayMs);
  _bootPending = true;
  wake(taskName, stackSize, priority);
}

bool AwsOta::checkNow() {
  log("Manual OTA check triggered");
  if (_working || _asked || xTaskGetCurrentTaskHandle() == _task) {
    log("OTA already in progress");
    return false;
  }
  _asked = true;
  if (!wake("OTA_Check", S3Ota::STACK, 1)) {
    _asked = false;
    return failed("there is not enough memory for the task of the check");
  }
  if (xSemaphoreTake(_answered, pdMS_TO_TICKS(LONGEST_CHECK_MS)) != pdTRUE) return false;
  return _result;
}

bool AwsOta::checkAndUpdate(bool) { return checkNow(); }

void AwsOta::setMaxRetries(int retries) {
  _maxRetries = retries < 1 ? 1 : retries > 255 ? 255 : retries;
  log("Max retries set to: %d", _maxRetries.load());
}

void AwsOta::setHttpTimeout(int timeoutSeconds) {
  _httpTimeout = timeoutSeconds < 1 ? 1 : timeoutSeconds > 3600 ? 3600 : timeoutSeconds;
  log("HTTP timeout set to: %d seconds", _httpTimeout.load());
}

/* --- The task --------------------------------------------------------------------------------------------------------- */

/* Lets the task look again at what is to be done, and starts it if it does not run. */
bool AwsOta::wake(const char* name, uint32_t stack, UBaseType_t priority) {
  if (_lock == nullptr) _lock = xSemaphoreCreateMutex();
  if (_answered == nullptr) _answered = xSemaphoreCreateBinary();
  if (_lock == nullptr || _answered == nullptr) return false;
  xSemaphoreTake(_lock, portMAX_DELAY);
  bool runs = _task != nullptr;
  if (runs) {
    xTaskNotifyGive(_task);
  } else {
    const uint32_t enough = stack < S3Ota::STACK ? S3Ota::STACK : stack;
    TaskHandle_t made = nullptr;
    runs = xTaskCreate(task, name, enough, this, priority, &made) == pdPASS;
    // It cannot have ended yet: for that it needs the lock.
    _task = runs ? made : nullptr;
  }
  xSemaphoreGive(_lock);
  if (!runs) log("ERROR: there is not enough memory for the task %s", name);
  return runs;
}

void AwsOta::task(void* self) {
  static_cast<AwsOta*>(self)->work();
  vTaskDelete(nullptr);
}

void AwsOta::work() {
  for (;;) {
    if (isOnline() && !_wasOnline) {
      _wasOnline = true;
      _onlineSince = _lastCheck = millis();
    }
    if (_asked) {
      _result = attempt();
      _asked = false;
      xSemaphoreGive(_answered);
    } else if (S3Ota::isOnTrial() && !_ending) {
      onTrial();
    } else if (isIdle()) {
      return;
    } else if (restUntilDue()) {
      _bootPending = false;
      attempt();
      _lastCheck = millis();
    }
  }
}

/* Ends the task if there is nothing more to do. */
bool AwsOta::isIdle() {
  xSemaphoreTake(_lock, portMAX_DELAY);
  const bool idle = _ending || (!_asked && !_bootPending && _intervalMs == 0);
  // Whoever takes the lock from now on finds no task, and starts another.
  if (idle) _task = nullptr;
  xSemaphoreGive(_lock);
  return idle;
}

/* Rests until something else is asked for, or a part of the time until the next check is over. Whether that is due. */
bool AwsOta::restUntilDue() {
  if (!isOnline()) return rest(OFFLINE_REST_MS), false;
  const uint32_t now = millis();
  uint32_t left = LONGEST_REST_MS;
  if (_bootPending) {
    const uint32_t passed = now - _onlineSince;
    if (passed >= _bootDelayMs) return true;
    left = _bootDelayMs - passed;
  }
  if (_intervalMs > 0) {
    const uint32_t passed = now - _lastCheck;
    if (passed >= _intervalMs) return true;
    if (_intervalMs - passed < left) left = _intervalMs - passed;
  }
  rest(left < LONGEST_REST_MS ? left : LONGEST_REST_MS);
  return false;
}

bool AwsOta::rest(uint32_t ms) { return ulTaskNotifyTake(pdTRUE, pdMS_TO_TICKS(ms) + 1) != 0; }

/*
 * On trial: a check shows that this firmware could be updated, and confirms it. Where the server is not reached in time, the boot
 * ends in order. So it does where the network is not there and the sketch waits for it; but a sketch that has the network and does
 * not come to its begin() hangs, and is left to the watchdog.
 */
void AwsOta::onTrial() {
  const bool begun = shared(_url).length() > 0;
  if (begun && isOnline()) {
    _bootPending = false;
    attempt();
    _lastCheck = millis();
    if (!S3Ota::isOnTrial()) return;
  }
  const uint32_t left = s3ota_trial_left_ms();
  const bool isOver = left == UINT32_MAX ? millis() >= TRIAL_MS : left < TRIAL_REST_MS * 2;
  if (isOver && (begun || !isOnline())) {
    log("The server was not reached: this boot of the trial is over");
    if (prepare()) _ota.endTrialBoot();
    ESP.restart();
  }
  rest(begun ? TRIAL_REST_MS : OFFLINE_REST_MS);
}

/* --- A check ---------------------------------------------------------------------------------------------------------- */

bool AwsOta::attempt() {
  const OtaCheckCallback_t mayCheck = shared(_onCheckStart);
  if (mayCheck && !mayCheck()) {
    log("onCheckStart allows no check");
    return false;
  }
  if (!isOnline()) return failed("WiFi not connected");
  const OtaTaskControlCallback_t suspend = shared(_onSuspendTasks);
  if (suspend && !suspend()) return failed("onSuspendTasks failed");
  _working = true;
  _tens = -1;
  tell(_onStart);
  tell(_onOtaStarted);
  const bool updated = prepare() ? answer(_ota.update()) : failed(_problem.c_str());
  // Its memory is the sketch's again until the next check.
  _ota.end();
  const OtaTaskControlCallback_t resume = shared(_onResumeTasks);
  if (resume && !resume()) log("ERROR: onResumeTasks failed");
  _working = false;
  return updated;
}

/* Begins, with the settings as they are now. */
bool AwsOta::prepare() {
  _ota.end();
  _ota.clearRootCas();
  String url, version, rootCa;
  {
    std::lock_guard<std::mutex> held(_sharing);
    url = _url, version = _version, rootCa = _rootCa;
  }
  // Before begin() this serves to end a trial's boot only.
  if (url.length() == 0) url = "https://begin.was.not.called.invalid/", version = "0.0.0";
  const bool hasRootCa = rootCa.length() > 0;
  if (hasRootCa && !_ota.addRootCa(rootCa.c_str())) {
    _problem = "the root certificate is not PEM: it begins with -----BEGIN CERTIFICATE-----";
    return false;
  }
  _ota.useBuiltInRoots(!hasRootCa);
  _ota.setLimits(static_cast<uint8_t>(_maxRetries), static_cast<uint32_t>(_httpTimeout) * 1000);
  _ota.restartWhenDone(false);
  _ota.onProgress([this](size_t written, size_t total) { progress(written, total); });
  _ota.onError([this](int code, const char* text, uint32_t retryMs) {
    log("%s: %s", S3Ota::name(code), text);
    if (retryMs != S3OTA_NONE) log("Retry in %lu ms", static_cast<unsigned long>(retryMs));
  });
  _ota.onConfirmed([this]() { log("This firmware is confirmed"); });
  const bool begun = _ota.begin(url, version.c_str());
  if (!begun) _problem = _ota.lastErrorText();
  return begun;
}

void AwsOta::progress(size_t written, size_t total) {
  tell(_onOtaProgress);
  if (total == 0) return;
  const int tens = static_cast<int>(static_cast<uint64_t>(written) * 10 / total);
  if (tens <= _tens) return;
  _tens = tens;
  log("Progress: %d%%", tens * 10);
  const OtaProgressCallback_t callback = shared(_onProgress);
  if (callback) callback(tens * 10);
}

/* Tells the sketch how a check went. */
bool AwsOta::answer(int result) {
  if (result == S3OTA_INSTALLED) {
    log("OTA update successful, restarting");
    tell(_onComplete);
    tell(_onOtaFinished);
    delay(2000);
    ESP.restart();
    return true;
  }
  if (result < 0) {
    const String text = _ota.lastErrorText();
    return failed(text.length() > 0 ? text.c_str() : S3Ota::name(result));
  }
  log("No update: %s", S3Ota::name(result));
  tell(_onNoUpdate);
  tell(_onOtaUpToDate);
  return false;
}

bool AwsOta::failed(const char* text) {
  log("ERROR: %s", text);
  for (const OtaErrorCallback_t& callback : {shared(_onError), shared(_onOtaFailed)}) {
    if (callback) callback(text);
  }
  return false;
}

void AwsOta::tell(const OtaEventCallback_t& event) {
  const OtaEventCallback_t callback = shared(event);
  if (callback) callback();
}

void AwsOta::log(const char* format, ...) {
  if (!_debug) return;
  char line[256];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  Serial.print("[OTA] ");
  Serial.println(line);
}
