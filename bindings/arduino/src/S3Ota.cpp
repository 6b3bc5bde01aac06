#include "S3Ota.h"

#include <WiFi.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "esp_flash_encrypt.h"
#include "port/internal.h"
}

const uint32_t S3Ota::STACK;

namespace {

const uint32_t END_WITHIN_MS = 10 * 1000;
/* A turn of the library's task, and the longest rest after it. */
const uint32_t TURN_MS = 200, REST_MS = 500;
/* No call waits longer for another task's turn: its budget, and an operation. */
const uint32_t TURN_WITHIN_MS = 5 * 1000;
/* The library's task does: it may be asked for something by whoever has the state. */
const uint32_t LOOK_WITHIN_MS = 20;

S3Ota& at(void* self) { return *static_cast<S3Ota*>(self); }

/* Midnight of "Nov  9 2026", as __DATE__ is, in seconds since 1970; less two days, since the builder's clock may be in any time zone.
 * 0 if it is not understood. */
uint64_t dateOfBuild(const char* text) {
  static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (text == nullptr || strlen(text) != 11) return 0;
  const char name[] = {text[0], text[1], text[2], 0};
  const char* found = strstr(MONTHS, name);
  const int day = atoi(text + 4), year = atoi(text + 7);
  if (found == nullptr || (found - MONTHS) % 3 != 0 || day < 1 || year < 2020) return 0;
  // Days from March on: the leap day comes last.
  const int month = (int)(found - MONTHS) / 3 + 1;
  const int y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;
  const int days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
  return static_cast<uint64_t>(days - 2) * 86400;
}

/* The MAC address in the eFuses: twelve hexadecimal digits. */
String macAddress() {
  const uint64_t mac = ESP.getEfuseMac();  // its first byte is the lowest
  char text[13];
  for (int i = 0; i < 6; i++) snprintf(text + 2 * i, 3, "%02x", static_cast<unsigned>(mac >> (8 * i)) & 0xff);
  return String(text);
}

const char* orNull(const String& text) { return text.length() > 0 ? text.c_str() : nullptr; }

}  // namespace

class S3Ota::Turn {
 public:
  explicit Turn(S3Ota& ota, uint32_t withinMs = TURN_WITHIN_MS) : _ota(ota), _has(false) {
    // From a callback: this task has it already.
    if (ota._lock == nullptr || ota._holder == xTaskGetCurrentTaskHandle()) return;
    _has = xSemaphoreTake(ota._lock, pdMS_TO_TICKS(withinMs)) == pdTRUE;
    if (_has) ota._holder = xTaskGetCurrentTaskHandle();
  }
  ~Turn() {
    if (!_has) return;
    _ota._holder = nullptr;
    xSemaphoreGive(_ota._lock);
  }
  /* Whether no other task changes anything meanwhile. */
  bool isMine() const { return _has || _ota._lock == nullptr || _ota._holder == xTaskGetCurrentTaskHandle(); }
  /* S3OTA_OK, or why there is nothing to call. */
  int problem() const { return _ota._state == nullptr ? S3OTA_ERR_STATE : _has ? S3OTA_OK : S3OTA_ERR_BUSY; }

 private:
  S3Ota& _ota;
  bool _has;
};

S3Ota::S3Ota()
    : _set(),
      _used(),
      _roots(),
      _keys(),
      _everyMs(0),
      _firstMs(0),
      _idleMs(0),
      _deadlineMs(0),
      _attempts(0),
      _builtInRoots(true),
      _confirmBySketch(false),
      _restart(true),
      _log(nullptr),
      _tens(0),
      _marker(nullptr),
      _memory(nullptr),
      _state(nullptr),
      _task(nullptr),
      _holder(nullptr),
      _lock(nullptr),
      _asked(nullptr),
      _answer(0),
      _ending(false),
      _toldOfRestart(false),
      _wasOnline(false),
      _goodStack(nullptr),
      _wear(),
      _hasWear(false),
      _lastError(0) {}

S3Ota::~S3Ota() {
  // Its task has `this`: it must not outlive it.
  while (!end()) delay(10);
  if (_lock != nullptr) vSemaphoreDelete(_lock);
  forget(_roots);
  forget(_keys);
}

/* --- Settings --------------------------------------------------------------------------------------------------------- */

bool S3Ota::addPem(Ders& ders, size_t most, const char* pem) {
  const char* rest = pem;
  size_t found = 0;
  while (rest != nullptr) {
    const size_t room = strlen(rest) / 4 * 3 + 3;
    uint8_t* der = static_cast<uint8_t*>(malloc(room));
    if (der == nullptr) return false;
    const int32_t length = s3ota_pem(&rest, der, room);
    if (length > 0 && ders.count < most) {
      ders.list[ders.count].data = der;
      ders.list[ders.count].len = static_cast<size_t>(length);
      ders.count++, found++;
      continue;
    }
    free(der);
    return length == 0 && found > 0;
  }
  return false;
}

bool S3Ota::addRootCa(const char* pem) { return addPem(_roots, S3OTA_MAX_ROOTS, pem); }

bool S3Ota::clearRootCas() {
  if (_state != nullptr) return false;
  forget(_roots);
  return true;
}

void S3Ota::forget(Ders& ders) {
  for (size_t i = 0; i < ders.count; i++) free(const_cast<uint8_t*>(ders.list[i].data));
  ders.count = 0;
}

bool S3Ota::addReleaseKey(const char* pem) { return addPem(_keys, S3OTA_MAX_RELEASE_KEYS, pem); }

bool S3Ota::addHeader(const char* name, const char* value) {
  if (_set.headers >= S3OTA_MAX_HEADERS) return false;
  _set.headerNames[_set.headers] = name;
  _set.headerValues[_set.headers] = value;
  _set.headers++;
  return true;
}

/* --- Begin and end ---------------------------------------------------------------------------------------------------- */

bool S3Ota::start(const char* manifestUrl, const char* version, const char* builtOn) {
  if (!end()) return fail(S3OTA_ERR_BUSY, "begin() was called from a callback, or while an update is under way"), false;
  if (manifestUrl == nullptr || manifestUrl[0] == 0 || version == nullptr || version[0] == 0) {
    return fail(S3OTA_ERR_TEXT, "begin() needs the manifest's URL and the sketch's version"), false;
  }
  _set.manifestUrl = manifestUrl;
  _set.version = version;
  if (_set.deviceId.length() == 0) _set.deviceId = macAddress();
  _used = _set;

  s3ota_port port;
  if (!s3ota_port_make(&port)) return fail(S3OTA_ERR_FLASH_IO, "the size of the flash chip is not known"), false;
  if (esp_flash_encryption_enabled()) {
    return fail(S3OTA_ERR_FLASH_LAYOUT, "the flash is encrypted, which this library cannot update"), false;
  }
  s3ota_config config = {};
  config.size = sizeof config;
  config.confirm = _confirmBySketch ? S3OTA_CONFIRM_BY_APPLICATION : S3OTA_CONFIRM_WHEN_SERVER_REACHED;
  config.manifest_url = _used.manifestUrl.c_str();
  config.version = _used.version.c_str();
  config.chip = CONFIG_IDF_TARGET;
  config.device_id = _used.deviceId.c_str();
  config.id_key.data = reinterpret_cast<const uint8_t*>(_used.deviceIdKey.c_str());
  config.id_key.len = _used.deviceIdKey.length();
  config.board = orNull(_used.board);
  config.channel = orNull(_used.channel);
  config.release_keys = _keys.list;
  config.release_key_count = _keys.count;
  config.roots = _roots.list;
  config.root_count = _roots.count;
  s3ota_header headers[S3OTA_MAX_HEADERS] = {};
  for (size_t i = 0; i < _used.headers; i++) {
    headers[i].name = _used.headerNames[i].c_str();
    headers[i].value = _used.headerValues[i].c_str();
  }
  config.headers = headers;
  config.header_count = _used.headers;
  const uint64_t builtAt = dateOfBuild(builtOn);
  if (builtAt > 0) s3ota_arduino_built_at = static_cast<int64_t>(builtAt);
  config.built_at = static_cast<uint64_t>(s3ota_arduino_built_at);
  config.no_built_in_roots = _builtInRoots ? 0 : 1;
  config.attempts = _attempts;
  config.idle_ms = _idleMs;
  config.deadline_ms = _deadlineMs;
  config.first_ms = _firstMs;
  config.every_ms = _everyMs;
  // A minute before the watchdog the boot ends in order.
  const uint32_t left = s3ota_trial_left_ms();
  if (left != UINT32_MAX) config.trial_time_ms = left > 2 * 60 * 1000 ? left - 60 * 1000 : left / 2 + 1;
  s3ota_hooks hooks = {};
  hooksInto(hooks);

  if (_lock == nullptr) _lock = xSemaphoreCreateMutex();
  // The heap aligns to 4 on the chips with RISC-V cores.
  const size_t size = s3ota_size(), align = s3ota_align();
  _memory = malloc(size + align - 1);
  if (_memory == nullptr || _lock == nullptr) {
    free(_memory);
    _memory = nullptr;
    return fail(S3OTA_ERR_MEMORY, String("there is no block of ") + String(static_cast<unsigned long>(size)) +
                                      " bytes on the heap: call begin() earlier, or free some memory"),
           false;
  }
  void* aligned = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(_memory) + align - 1) & ~(align - 1));
  const int32_t result = s3ota_init(aligned, size, &config, &port, &hooks, &_state);
  if (result != S3OTA_OK) {
    free(_memory);
    _memory = nullptr, _state = nullptr;
    return fail(result, String("the settings cannot be used: ") + s3ota_error_name(result)), false;
  }
  if (_hasWear) {
    s3ota_set_wear(_state, _wear);
  } else {
    s3ota_wear_load(_state);
  }
  _toldOfRestart = false, _wasOnline = false;
  return true;
}

bool S3Ota::end() {
  if (_state == nullptr) return true;
  // From a callback.
  if (_holder == xTaskGetCurrentTaskHandle()) return false;
  _ending = true;
  const uint32_t since = millis();
  while (hasTask()) {
    s3ota_cancel(_state);
    if (millis() - since > END_WITHIN_MS) return false;
    delay(10);
  }
  _ending = false;
  Turn turn(*this);
  if (turn.problem() != S3OTA_OK) return false;
  _hasWear = s3ota_wear(_state, _wear) == S3OTA_OK || _hasWear;
  s3ota_wear_save(_state);
  if (s3ota_deinit(_state) != S3OTA_OK) return false;
  free(_memory);
  _memory = nullptr, _state = nullptr;
  return true;
}

/* --- Hooks ------------------------------------------------------------------------------------------------------------ */

void S3Ota::hooksInto(s3ota_hooks& hooks) {
  hooks.size = sizeof hooks;
  hooks.ctx = this;
  hooks.may_start = [](void* self, const s3ota_release* release) -> int32_t {
    at(self).print("there is ", release->version);
    return !at(self)._mayStart || at(self)._mayStart(release->version);
  };
  hooks.start = [](void* self, const s3ota_release* release) {
    at(self).print("installing ", release->version);
    at(self)._tens = 0;
    if (at(self)._onStart) at(self)._onStart(release->version);
  };
  hooks.progress = [](void* self, uint32_t written, uint32_t total) {
    at(self).printProgress(written, total);
    if (at(self)._onProgress) at(self)._onProgress(written, total);
  };
  hooks.no_update = [](void* self, int32_t result) {
    at(self).print("no update: ", s3ota_error_name(result));
    if (at(self)._onNoUpdate) at(self)._onNoUpdate(result);
  };
  hooks.error = [](void* self, int32_t code, const char* text, uint32_t retryMs) {
    at(self)._lastError = code;
    at(self)._text = text;
    at(self).print(text, retryMs != S3OTA_NONE ? "; another attempt follows" : "");
    if (at(self)._onError) at(self)._onError(code, text, retryMs);
  };
  hooks.stop = [](void* self) {
    if (at(self)._onStop) at(self)._onStop();
  };
  hooks.complete = [](void* self, const s3ota_release* release) {
    at(self).print("installed: ", release->version);
    if (at(self)._onComplete) at(self)._onComplete(release->version);
  };
  hooks.confirmed = [](void* self) {
    s3ota_trial_is_over();
    at(self).print("this firmware is confirmed");
    if (at(self)._onConfirmed) at(self)._onConfirmed();
  };
}

void S3Ota::print(const char* what, const char* more) {
  if (_log == nullptr) return;
  _log->print("[s3ota] ");
  _log->print(what);
  _log->println(more);
}

/* A line for every tenth part. */
void S3Ota::printProgress(uint32_t written, uint32_t total) {
  if (total == 0) return;
  const uint32_t tens = static_cast<uint32_t>(static_cast<uint64_t>(written) * 10 / total);
  if (tens <= _tens) return;
  _tens = tens;
  print(String(static_cast<unsigned int>(tens * 10)).c_str(), "%");
}

/* --- Work ------------------------------------------------------------------------------------------------------------- */

int S3Ota::loop(uint32_t budgetMs) {
  if (_state == nullptr) return S3OTA_ERR_STATE;
  if (hasTask()) return S3OTA_ERR_BUSY;
  if (!hasStack()) return S3OTA_ERR_MEMORY;
  return turn(budgetMs, TURN_WITHIN_MS);
}

/* One turn of the agent, and a restart if that is what it comes to. */
int S3Ota::turn(uint32_t budgetMs, uint32_t withinMs) {
  int result;
  {
    Turn turn(*this, withinMs);
    if (turn.problem() != S3OTA_OK) return turn.problem();
    if (!isOnline()) return S3OTA_WAITING;
    result = seen(s3ota_poll(_state, budgetMs));
  }
  return finished(result);
}

bool S3Ota::startTask(uint32_t stack, UBaseType_t priority) {
  if (_state == nullptr || hasTask()) return false;
  // FreeRTOS sets the handle before the task runs (prvInitialiseNewTask).
  if (xTaskCreate(task, "s3ota", stack, this, priority, &_task) != pdPASS) {
    _task = nullptr;
    fail(S3OTA_ERR_MEMORY, "there is not enough memory for the stack of the task");
    return false;
  }
  return true;
}

void S3Ota::task(void* self) {
  at(self).work();
  __atomic_store_n(&at(self)._task, static_cast<TaskHandle_t>(nullptr), __ATOMIC_RELEASE);
  vTaskDelete(nullptr);
}

void S3Ota::work() {
  while (!_ending) {
    answer();
    const int result = turn(TURN_MS, LOOK_WITHIN_MS);
    // Without a restart by the library there is nothing left to do.
    if (result == S3OTA_INSTALLED || result == S3OTA_TRIAL_OVER) return;
    delay(result == S3OTA_WORKING || result == S3OTA_ERR_BUSY ? 1 : REST_MS);
  }
}

/* The task's answer to what another one asks for. */
void S3Ota::answer() {
  const Call asked = _asked;
  if (asked == nullptr) return;
  _answer = asked(_state);
  _asked = nullptr;
}

/* A call of the library that takes 6 KB of stack and more: the library's task does it, if there is one. */
int S3Ota::ask(Call call) {
  const TaskHandle_t task = __atomic_load_n(&_task, __ATOMIC_ACQUIRE);
  if (task == nullptr) return call(_state);
  // Callbacks come from it.
  _holder = task;
  _answer = S3OTA_ERR_BUSY;
  _asked = call;
  // Until it has answered, or has come to its end.
  while (_asked != nullptr && hasTask()) delay(1);
  _asked = nullptr;
  _holder = xTaskGetCurrentTaskHandle();
  return _answer;
}

void S3Ota::checkNow() {
  if (_state != nullptr) s3ota_check_now(_state);
}

void S3Ota::cancel() {
  if (_state != nullptr) s3ota_cancel(_state);
}

int S3Ota::check(String* version) {
  if (_state != nullptr && !hasStack()) return S3OTA_ERR_MEMORY;
  Turn turn(*this);
  if (turn.problem() != S3OTA_OK) return turn.problem();
  s3ota_release release = {};
  release.size = sizeof release;
  const int32_t result = s3ota_check(_state, &release);
  if (result == S3OTA_AVAILABLE && version != nullptr) *version = release.version;
  return seen(result);
}

int S3Ota::update() {
  if (_state != nullptr && !hasStack()) return S3OTA_ERR_MEMORY;
  int result;
  {
    Turn turn(*this);
    if (turn.problem() != S3OTA_OK) return turn.problem();
    result = seen(s3ota_update(_state));
  }
  return finished(result);
}

int S3Ota::confirm() {
  Turn turn(*this);
  if (turn.problem() != S3OTA_OK) return turn.problem();
  const int32_t result = ask(s3ota_confirm);
  if (result == S3OTA_OK || result == S3OTA_CONFIRMED) s3ota_trial_is_over();
  return seen(result);
}

int S3Ota::rollBack() {
  if (_state != nullptr && !hasTask() && !hasStack()) return S3OTA_ERR_MEMORY;
  int result;
  {
    Turn turn(*this);
    if (turn.problem() != S3OTA_OK) return turn.problem();
    result = seen(ask(s3ota_roll_back));
  }
  if (result == S3OTA_OK && _restart) ESP.restart();
  return result;
}

bool S3Ota::isOnTrial() { return s3ota_esp_idf_is_on_trial(); }

int S3Ota::endTrialBoot() {
  Turn turn(*this);
  return turn.problem() != S3OTA_OK ? turn.problem() : seen(ask(s3ota_end_trial_boot));
}

/* --- How it went ------------------------------------------------------------------------------------------------------ */

int S3Ota::bootResult() { return s3ota_esp_idf_boot()->result; }
uint32_t S3Ota::trialBoot() { return s3ota_esp_idf_boot()->boot; }
uint32_t S3Ota::trialBoots() { return s3ota_esp_idf_boot()->of; }

String S3Ota::lastErrorText() {
  Turn turn(*this);
  return turn.isMine() ? _text : String();
}

/* Keeps an error of this class. */
int S3Ota::fail(int code, const String& text) {
  _lastError = code;
  _text = text;
  return code;
}

/* Keeps an error of the library. */
int S3Ota::seen(int result) {
  if (result < 0 && result != S3OTA_ERR_BUSY && result != S3OTA_ERR_CANCELLED) {
    char text[192] = "";
    s3ota_error_text(_state, text, sizeof text);
    fail(result, text[0] != 0 ? String(text) : String(s3ota_error_name(result)));
  }
  return result;
}

/* What a turn or an update has led to: a restart, perhaps. */
int S3Ota::finished(int result) {
  if (result != S3OTA_INSTALLED && result != S3OTA_TRIAL_OVER) return result;
  s3ota_wear_save(_state);
  if (!_toldOfRestart && _beforeRestart) _beforeRestart(result);
  _toldOfRestart = true;
  if (_restart) ESP.restart();
  return result;
}

/* Whether the network has been there since begin(), or the firmware is on trial and must not wait. */
bool S3Ota::isOnline() {
  if (!_wasOnline) _wasOnline = isOnTrial() || (_online ? _online() : WiFi.status() == WL_CONNECTED);
  return _wasOnline;
}

/* Whether this task's stack is large enough. An overflow would be a crash, and on trial the end of the firmware. */
bool S3Ota::hasStack() {
  const TaskHandle_t task = xTaskGetCurrentTaskHandle();
  if (_goodStack == task) return true;
  const uint32_t left = uxTaskGetStackHighWaterMark(nullptr);
  if (left >= STACK - 2048) return _goodStack = task, true;
  if (_lastError != S3OTA_ERR_MEMORY) {
    const String text = String("this task has ") + String(static_cast<unsigned long>(left)) +
                        " bytes of stack left, too few for an update: put SET_LOOP_TASK_STACK_SIZE(16 * 1024); into the "
                        "sketch, or call startTask()";
    fail(S3OTA_ERR_MEMORY, text);
    if (_onError) _onError(S3OTA_ERR_MEMORY, text.c_str(), S3OTA_NONE);
  }
  return false;
}
