/*
 * S3Ota: an ESP32 updates itself over the air from nothing but an S3 bucket.
 *
 *   #include <S3Ota.h>
 *   SET_LOOP_TASK_STACK_SIZE(16 * 1024);
 *
 *   S3Ota ota;
 *   void setup() {
 *     // …bring up the network…
 *     ota.begin("https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json", "1.2.0");
 *   }
 *   void loop() { ota.loop(); }
 *
 * A sketch with this library has the boot guard: new firmware runs on trial, and is confirmed once it has shown that it could
 * be updated. Firmware that crashes, or never reaches its server, is given up for the one before.
 */
#ifndef S3OTA_ARDUINO_H
#define S3OTA_ARDUINO_H

#include <Arduino.h>
#include <freertos/FreeRTOS.h>
#include <freertos/semphr.h>
#include <freertos/task.h>

#include <atomic>
#include <functional>

#include "s3ota.h"
#include "s3ota_version.h"

#if defined(ESP_ARDUINO_VERSION_MAJOR) && ESP_ARDUINO_VERSION_MAJOR < 3
#error "s3ota needs version 3.0 or newer of the ESP32 core: update it in the Boards Manager"
#endif

class S3Ota {
 public:
  /* Bytes of stack that an update needs in the task that runs it, with room for short callbacks. */
  static const uint32_t STACK = 14 * 1024;

  /* What callbacks are. They hold the update up while they run: keep them short. They run in the task that calls loop(), or in
   * the library's own (startTask). In them only checkNow() and cancel() work; all else answers S3OTA_ERR_BUSY.
   *
   * All other methods may be called from any task. While a check or an update is under way they answer S3OTA_ERR_BUSY, too. */
  typedef std::function<void()> Event;
  typedef std::function<void(const char* version)> ReleaseEvent;
  typedef std::function<bool(const char* version)> Question;
  typedef std::function<void(size_t written, size_t total)> Progress;
  typedef std::function<void(int code)> Nothing;
  typedef std::function<void(int code, const char* text, uint32_t retryMs)> Failure;
  typedef std::function<bool()> Online;

  S3Ota();
  /* Ends it, as end() does, but waits for a task of startTask() for as long as that takes. */
  ~S3Ota();
  S3Ota(const S3Ota&) = delete;
  S3Ota& operator=(const S3Ota&) = delete;

  /*
   * Begins. Nothing is sent yet: loop(), startTask() or update() do the work. `version` is the sketch's own, "1.2.0".
   * `s3ota publish` finds it in the image if it is a literal, or S3OTA_VERSION("1.2.0").
   *
   * false if it cannot: lastError() and lastErrorText() say why. Called again, it ends and begins anew with the settings
   * as they are by then. Both texts are copied.
   */
  S3OTA_ALWAYS bool begin(const char* manifestUrl, const char* version) {
    keepMarker(version != nullptr ? s3ota::mark(version) : nullptr);
    return start(manifestUrl, version, __DATE__);
  }
  S3OTA_ALWAYS bool begin(const String& manifestUrl, const char* version) { return begin(manifestUrl.c_str(), version); }

  /* Ends it and frees its memory: 33 KB of the heap. A task of startTask() is cancelled, and has 10 seconds. false if it
   * is still at work, or if this is called from a callback; then nothing is freed. */
  bool end();

  /* --- Settings: they count from the next begin() on. Texts are copied. ------------------------------------------------- */

  /* Trusts the certificates in a PEM text besides those built in, which are Amazon's. false if it is not PEM, or too many. */
  bool addRootCa(const char* pem);
  /* Forgets them. false between begin() and end(), when they are in use. */
  bool clearRootCas();
  /* false: only what addRootCa() was given is trusted. */
  void useBuiltInRoots(bool use) { _builtInRoots = use; }
  /* Installs only what this key has signed: the text of the PEM file that `s3ota keygen` writes. Several keys may be given, the
   * newest first. false if it is not PEM, or too many. */
  bool addReleaseKey(const char* pem);
  /* Sends a header field to the manifest's server: a token for a gateway. false if there are too many. */
  bool addHeader(const char* name, const char* value);
  /* Refuses releases for another board. */
  void setBoard(const char* board) { _set.board = board; }
  /* The channel, if the URL does not end in CHANNEL.json. */
  void setChannel(const char* channel) { _set.channel = channel; }
  /* Tells devices apart in a staged rollout. By default the MAC address. */
  void setDeviceId(const char* id) { _set.deviceId = id; }
  /* Sends a hash of the device's id in the User-Agent, with this key, and not the id: `s3ota device hash` computes the same. */
  void setDeviceIdKey(const char* key) { _set.deviceIdKey = key; }
  /* Milliseconds between checks (one hour), and until the first (10 seconds, and up to as much again at random). */
  void setInterval(uint32_t everyMs, uint32_t firstMs = 0) { _everyMs = everyMs, _firstMs = firstMs; }
  /* Attempts for an update (5), the longest silence on a connection (20 seconds), and the deadline for all of it (30 minutes);
   * 0 for the default. */
  void setLimits(uint8_t attempts, uint32_t idleMs = 0, uint32_t deadlineMs = 0) {
    _attempts = attempts, _idleMs = idleMs, _deadlineMs = deadlineMs;
  }
  /* true: firmware on trial waits for confirm(), after the sketch's own tests, and installs nothing before. */
  void confirmBySketch(bool bySketch) { _confirmBySketch = bySketch; }
  /* false: the sketch restarts the chip itself when loop() or update() return S3OTA_INSTALLED or S3OTA_TRIAL_OVER. */
  void restartWhenDone(bool restart) { _restart = restart; }
  /* Whether the network is there. No check begins before, except on trial. By default WiFi.status() == WL_CONNECTED. */
  void setOnline(Online online) { _online = online; }
  /* Prints a line about each step: setLog(Serial). */
  void setLog(Print& out) { _log = &out; }

  /* --- Callbacks: before startTask() ----------------------------------------------------------------------------------- */

  /* There is a release. false leaves it for the next check: low battery, a print running. */
  void mayStart(Question question) { _mayStart = question; }
  /* The download begins. */
  void onStart(ReleaseEvent event) { _onStart = event; }
  /* So many bytes are on flash; total is 0 while it is not known. */
  void onProgress(Progress event) { _onProgress = event; }
  /* A check found nothing to do: S3OTA_UP_TO_DATE, S3OTA_NOT_IN_ROLLOUT… */
  void onNoUpdate(Nothing event) { _onNoUpdate = event; }
  /* An attempt failed. Another follows after retryMs; with S3OTA_NONE, none. */
  void onError(Failure event) { _onError = event; }
  /* What onStart began ended without a new firmware. */
  void onStop(Event event) { _onStop = event; }
  /* A new firmware is on flash. The restart follows. */
  void onComplete(ReleaseEvent event) { _onComplete = event; }
  /* The running firmware was confirmed: its trial is over. */
  void onConfirmed(Event event) { _onConfirmed = event; }
  /* The chip restarts next, because of S3OTA_INSTALLED or S3OTA_TRIAL_OVER: save what must be saved. */
  void beforeRestart(Nothing event) { _beforeRestart = event; }

  /* --- Work ------------------------------------------------------------------------------------------------------------- */

  /*
   * One turn: call it again and again, from loop(). It checks, installs, confirms a firmware on trial, and restarts. It takes
   * budgetMs at most, and now and then some hundred milliseconds more: for the arithmetic of TLS, or to erase flash.
   *
   * It needs STACK bytes, more than the Arduino task has by default: put SET_LOOP_TASK_STACK_SIZE(16 * 1024); into the sketch.
   * Where there are less, it does nothing and says so by onError.
   *
   * S3OTA_WORKING, S3OTA_WAITING, S3OTA_INSTALLED, S3OTA_TRIAL_OVER, or an error.
   */
  int loop(uint32_t budgetMs = 20);
  /* The same: some know it by this name. */
  int handle() { return loop(); }

  /* Does what loop() does in a task of its own, from now on. Callbacks run in that task. false if there is one already, or not
   * enough memory. */
  bool startTask(uint32_t stack = STACK, UBaseType_t priority = 1);

  /* Lets loop() or the task check at the next turn. From any task, any callback, any interrupt. */
  void checkNow();
  /* Ends what is under way: it returns S3OTA_ERR_CANCELLED. From any task, any callback, any interrupt. */
  void cancel();

  /* Whether there is a release to install; its version. Blocks, writes nothing. S3OTA_AVAILABLE, S3OTA_UP_TO_DATE… */
  int check(String* version = nullptr);
  /* Checks, installs, confirms, once. Blocks until that is done, and then restarts if it must. */
  int update();
  /* The running firmware stays. S3OTA_OK, or S3OTA_CONFIRMED if it was not on trial. */
  int confirm();
  /* Gives the running firmware up for the one before, which is on trial, and restarts. S3OTA_ERR_UPDATE_ROLLBACK if there is
   * none. */
  int rollBack();
  /* Whether the running firmware is on trial. Needs no begin(). */
  static bool isOnTrial();
  /* A firmware on trial that could not reach its server and is about to restart: this boot ran well. */
  int endTrialBoot();

  /* --- How it went ------------------------------------------------------------------------------------------------------ */

  /* What the boot guard found: S3OTA_CONFIRMED, S3OTA_ON_TRIAL, S3OTA_FELL_BACK, or an error. Needs no begin(). S3OTA_OK in the
   * constructor of a global object, where the guard may not have run yet. */
  static int bootResult();
  /* On trial: which of its boots this is, from 1, and after how many it is given up. 0 otherwise. */
  static uint32_t trialBoot();
  static uint32_t trialBoots();

  /* The last result below 0, and a sentence about it. 0 and empty if there was none; the sentence is also empty while another
   * task is inside update() or check(). */
  int lastError() const { return _lastError; }
  String lastErrorText();
  /* A short, stable name for a result: "tls.certificate", "installed". */
  static const char* name(int result) { return s3ota_error_name(result); }

 private:
  /* Certificates or keys. */
  struct Ders {
    s3ota_bytes list[S3OTA_MAX_ROOTS];
    size_t count;
  };
  /* Texts that the library points into from begin() to end(). */
  struct Texts {
    String manifestUrl, version, board, channel, deviceId, deviceIdKey;
    String headerNames[S3OTA_MAX_HEADERS], headerValues[S3OTA_MAX_HEADERS];
    size_t headers;
  };
  /* Holds the library for one call, so that calls of several tasks follow each other. */
  class Turn;
  bool start(const char* manifestUrl, const char* version, const char* builtOn);
  void keepMarker(const s3ota::VersionMarker* marker) { _marker = marker; }
  void hooksInto(s3ota_hooks& hooks);
  static void forget(Ders& ders);
  bool addPem(Ders& ders, size_t most, const char* pem);
  bool hasTask() const { return __atomic_load_n(&_task, __ATOMIC_ACQUIRE) != nullptr; }
  bool hasStack();
  bool isOnline();
  void print(const char* what, const char* more = "");
  void printProgress(uint32_t written, uint32_t total);
  int fail(int code, const String& text);
  int seen(int result);
  int turn(uint32_t budgetMs, uint32_t withinMs);
  int finished(int result);
  void work();
  typedef int32_t (*Call)(s3ota_state* state);
  int ask(Call call);
  void answer();
  static void task(void* self);

  /* Settings: as they will be, and as they are in use. */
  Texts _set, _used;
  Ders _roots, _keys;
  uint32_t _everyMs, _firstMs, _idleMs, _deadlineMs;
  uint8_t _attempts;
  bool _builtInRoots, _confirmBySketch, _restart;
  Online _online;

  /* Callbacks. */
  Question _mayStart;
  ReleaseEvent _onStart, _onComplete;
  Progress _onProgress;
  Nothing _onNoUpdate, _beforeRestart;
  Failure _onError;
  Event _onStop, _onConfirmed;
  Print* _log;
  uint32_t _tens;

  /* What runs. */
  const s3ota::VersionMarker* volatile _marker;
  void* _memory;
  s3ota_state* _state;
  TaskHandle_t _task;
  /* The task that is inside a call of the library. */
  std::atomic<TaskHandle_t> _holder;
  SemaphoreHandle_t _lock;
  /* What another task asks the library's for, and holds the lock for, until it is answered. */
  std::atomic<Call> _asked;
  std::atomic<int> _answer;
  std::atomic<bool> _ending;
  bool _toldOfRestart, _wasOnline;
  /* The task whose stack is known to be large enough. */
  std::atomic<TaskHandle_t> _goodStack;
  uint32_t _wear[S3OTA_WEAR_WORDS];
  bool _hasWear;
  std::atomic<int> _lastError;
  String _text;
};

#endif
