/* Linux, with a C library. */
#define _GNU_SOURCE
#include "os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os_errno.h"

uint8_t *os_map(const char *path, uint32_t *len, int shared)
{
    int file = open(path, shared ? O_RDWR : O_RDONLY);
    struct stat stat;
    if (file < 0 || fstat(file, &stat) < 0)
        return NULL;
    *len = (uint32_t)stat.st_size;
    /* A text ends with a 0: there is always room behind a private copy. */
    size_t size = (size_t)stat.st_size + (shared ? 0 : 1);
    int kind = shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    uint8_t *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, kind, shared ? file : -1, 0);
    if (bytes != MAP_FAILED && !shared && read(file, bytes, *len) != (ssize_t)*len)
        bytes = MAP_FAILED;
    close(file);
    return bytes == MAP_FAILED ? NULL : bytes;
}

void os_print(const char *text, uint32_t len)
{
    while (len > 0) {
        ssize_t written = write(1, text, len);
        if (written <= 0)
            return;
        text += written;
        len -= (uint32_t)written;
    }
}

void os_exit(int code)
{
    _exit(code);
}

static uint64_t ms(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

uint64_t os_uptime_ms(void)
{
    return ms(CLOCK_MONOTONIC);
}

int64_t os_date(void)
{
    return (int64_t)(ms(CLOCK_REALTIME) / 1000);
}

void os_random(void *to, uint32_t len)
{
    uint8_t *bytes = to;
    while (len > 0) {
        ssize_t got = getrandom(bytes, len, 0);
        if (got > 0) {
            bytes += got;
            len -= (uint32_t)got;
        }
    }
}

static int32_t result(ssize_t result)
{
    return result < 0 ? port_error(errno) : (int32_t)result;
}

int32_t os_socket(uint8_t family)
{
    int kind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    return result(socket(family == S3OTA_IPV6 ? AF_INET6 : AF_INET, kind, 0));
}

int32_t os_connect(int32_t socket, const s3ota_address *address)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    memcpy(&six.sin6_addr, address->bytes, 16);
    memcpy(&four.sin_addr, address->bytes, 4);
    int is_six = address->family == S3OTA_IPV6;
    const void *to = is_six ? (const void *)&six : (const void *)&four;
    int connected = connect(socket, to, is_six ? sizeof six : sizeof four);
    return connected < 0 && errno == EISCONN ? 0 : result(connected);
}

int32_t os_recv(int32_t socket, void *to, uint32_t len)
{
    return result(recv(socket, to, len, 0));
}

int32_t os_send(int32_t socket, const void *from, uint32_t len)
{
    return result(send(socket, from, len, MSG_NOSIGNAL));
}

void os_close(int32_t socket)
{
    close(socket);
}

void os_wait(int32_t socket, int to_send, uint32_t ms)
{
    struct pollfd poll_for = {.fd = socket, .events = to_send ? POLLOUT : POLLIN};
    poll(&poll_for, 1, (int)ms);
}

#ifndef NO_MAIN
int main(int argc, char **argv)
{
    return device(argc, argv);
}
#endif
