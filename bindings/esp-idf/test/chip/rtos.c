/* FreeRTOS' tasks, notifications and semaphores, on threads. */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "board.h"

/* A counter that is waited for: a notification's value, or a semaphore's. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t count;
} counter_t;

struct chip_task {
    counter_t notified;
    void (*run)(void *);
    void *argument;
};

struct chip_semaphore {
    counter_t given;
};

static __thread struct chip_task *current;

static void prepare(counter_t *counter, uint32_t count)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&counter->lock, NULL);
    pthread_cond_init(&counter->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    counter->count = count;
}

static void give(counter_t *counter, bool only_one)
{
    pthread_mutex_lock(&counter->lock);
    counter->count = only_one ? 1 : counter->count + 1;
    pthread_cond_signal(&counter->changed);
    pthread_mutex_unlock(&counter->lock);
}

/* What there was, up to one or all of it; 0 after `ticks`. */
static uint32_t take(counter_t *counter, bool all, TickType_t ticks)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ticks / 1000;
    until.tv_nsec += (long)(ticks % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec += 1;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&counter->lock);
    int error = 0;
    while (counter->count == 0 && error != ETIMEDOUT) {
        if (ticks == portMAX_DELAY) {
            pthread_cond_wait(&counter->changed, &counter->lock);
        } else {
            error = pthread_cond_timedwait(&counter->changed, &counter->lock, &until);
        }
    }
    uint32_t had = counter->count;
    if (had > 0) {
        counter->count = all ? 0 : had - 1;
    }
    pthread_mutex_unlock(&counter->lock);
    return had;
}

static void *begin(void *task)
{
    current = task;
    current->run(current->argument);
    /* FreeRTOS forbids a task to return. */
    abort();
}

BaseType_t xTaskCreate(void (*run)(void *), const char *name, uint32_t stack, void *argument, UBaseType_t priority,
                       TaskHandle_t *task)
{
    (void)name;
    (void)stack;
    (void)priority;
    struct chip_task *made = calloc(1, sizeof *made);
    pthread_t thread;
    if (made == NULL) {
        return 0;
    }
    prepare(&made->notified, 0);
    made->run = run;
    made->argument = argument;
    *task = made;
    if (pthread_create(&thread, NULL, begin, made) != 0) {
        free(made);
        return 0;
    }
    pthread_detach(thread);
    return pdPASS;
}

void vTaskDelete(TaskHandle_t task)
{
    if (task != NULL) {
        abort();
    }
    pthread_exit(NULL);
}

void vTaskDelay(TickType_t ticks)
{
    struct timespec time = {.tv_sec = ticks / 1000, .tv_nsec = (long)(ticks % 1000) * 1000000};
    nanosleep(&time, NULL);
}

TaskHandle_t xTaskGetCurrentTaskHandle(void)
{
    return current;
}

BaseType_t xTaskNotifyGive(TaskHandle_t task)
{
    give(&task->notified, false);
    return pdPASS;
}

uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks)
{
    return take(&current->notified, clear != 0, ticks);
}

static SemaphoreHandle_t new_semaphore(uint32_t count)
{
    struct chip_semaphore *made = calloc(1, sizeof *made);
    if (made != NULL) {
        prepare(&made->given, count);
    }
    return made;
}

SemaphoreHandle_t xSemaphoreCreateMutex(void)
{
    return new_semaphore(1);
}

SemaphoreHandle_t xSemaphoreCreateBinary(void)
{
    return new_semaphore(0);
}

BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks)
{
    return take(&semaphore->given, false, ticks) > 0 ? pdTRUE : 0;
}

BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore)
{
    give(&semaphore->given, true);
    return pdTRUE;
}
