/* Linux without a C library, for RISC-V and Xtensa in QEMU's user mode: system calls, the memory functions, the start. */
#include "os.h"

typedef int32_t word;

/* The numbers are those of the kernel's tables for the two: include/uapi/asm-generic/unistd.h, and
 * arch/xtensa/kernel/syscalls/syscall.tbl. */
#if defined(__riscv)
enum {
    NR_OPENAT = 56, NR_CLOSE = 57, NR_LLSEEK = 62, NR_READ = 63, NR_WRITE = 64, NR_EXIT = 94, NR_SOCKET = 198,
    NR_CONNECT = 203, NR_SENDTO = 206, NR_RECVFROM = 207, NR_MMAP2 = 222, NR_GETRANDOM = 278,
    NR_CLOCK_GETTIME64 = 403, NR_PPOLL_TIME64 = 414,
};

static word call(word number, word a, word b, word c, word d, word e, word f)
{
    register word a7 __asm__("a7") = number;
    register word a0 __asm__("a0") = a;
    register word a1 __asm__("a1") = b;
    register word a2 __asm__("a2") = c;
    register word a3 __asm__("a3") = d;
    register word a4 __asm__("a4") = e;
    register word a5 __asm__("a5") = f;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
}

/* The stack has the arguments when the kernel starts a program. */
__asm__(".section .text._start\n"
        ".global _start\n"
        "_start:\n"
        ".option push\n"
        ".option norelax\n"
        "la gp, __global_pointer$\n"
        ".option pop\n"
        "mv a0, sp\n"
        "andi sp, sp, -16\n"
        "call begin\n");
#elif defined(__xtensa__)
enum {
    NR_OPEN = 8, NR_CLOSE = 9, NR_READ = 12, NR_WRITE = 13, NR_LSEEK = 15, NR_POLL = 16, NR_MMAP2 = 80,
    NR_SOCKET = 96, NR_CONNECT = 101, NR_SENDTO = 110, NR_RECVFROM = 111, NR_EXIT = 119, NR_CLOCK_GETTIME = 245,
    NR_GETRANDOM = 338,
};

/* In os_xtensa.S: clang's assembler in line knows no registers of the windowed ABI. */
word call(word number, word a, word b, word c, word d, word e, word f);
#else
#error "an unknown machine"
#endif

/* Errors, the same on both. */
enum { EINTR = 4, EAGAIN = 11, EPIPE = 32, ENETUNREACH = 101, ECONNRESET = 104, EISCONN = 106, ECONNREFUSED = 111,
       EHOSTUNREACH = 113, EALREADY = 114, EINPROGRESS = 115 };

#include "os_errno.h"

static word address(const void *pointer)
{
    return (word)(uintptr_t)pointer;
}

uint8_t *os_map(const char *path, uint32_t *len, int shared)
{
    const word read_only = 0, read_write = 2, end = 2;
    word file, size;
#if defined(__riscv)
    const word here = -100;
    file = call(NR_OPENAT, here, address(path), shared ? read_write : read_only, 0, 0, 0);
    int64_t place = 0;
    call(NR_LLSEEK, file, 0, 0, address(&place), end, 0);
    size = (word)place;
#else
    file = call(NR_OPEN, address(path), shared ? read_write : read_only, 0, 0, 0, 0);
    size = call(NR_LSEEK, file, 0, end, 0, 0, 0);
#endif
    if (file < 0)
        return NULL;
    *len = (uint32_t)size;
    /* PROT_READ | PROT_WRITE, and MAP_SHARED or MAP_PRIVATE. A private copy of a file has zeros behind its end, unless that is
     * the end of a page, where one byte more is mapped from nowhere: no file of the tests ends there. */
    word mapped = call(NR_MMAP2, 0, size, 3, shared ? 1 : 2, file, 0);
    call(NR_CLOSE, file, 0, 0, 0, 0, 0);
    return mapped < 0 && mapped > -4096 ? NULL : (uint8_t *)(uintptr_t)(uint32_t)mapped;
}

void os_print(const char *text, uint32_t len)
{
    while (len > 0) {
        word written = call(NR_WRITE, 1, address(text), (word)len, 0, 0, 0);
        if (written <= 0)
            return;
        text += written;
        len -= (uint32_t)written;
    }
}

void os_exit(int code)
{
    for (;;)
        call(NR_EXIT, code, 0, 0, 0, 0, 0);
}

static void time_of(word clock, int64_t *seconds, uint32_t *ms)
{
#if defined(__riscv)
    int64_t time[2];
    call(NR_CLOCK_GETTIME64, clock, address(time), 0, 0, 0, 0);
#else
    int32_t time[2];
    call(NR_CLOCK_GETTIME, clock, address(time), 0, 0, 0, 0);
#endif
    *seconds = time[0];
    *ms = (uint32_t)time[1] / 1000000;
}

uint64_t os_uptime_ms(void)
{
    int64_t seconds;
    uint32_t ms;
    time_of(1, &seconds, &ms);
    return (uint64_t)seconds * 1000 + ms;
}

int64_t os_date(void)
{
    int64_t seconds;
    uint32_t ms;
    time_of(0, &seconds, &ms);
    /* Seconds of 32 bits: good until 2106, if taken as unsigned. */
    return sizeof(word) == 4 ? (int64_t)(uint32_t)seconds : seconds;
}

void os_random(void *to, uint32_t len)
{
    uint8_t *bytes = to;
    while (len > 0) {
        word got = call(NR_GETRANDOM, address(bytes), (word)len, 0, 0, 0, 0);
        if (got > 0) {
            bytes += got;
            len -= (uint32_t)got;
        }
    }
}

static int32_t result(word result)
{
    return result < 0 ? port_error(-result) : result;
}

/* Of AF_INET and AF_INET6; SOCK_STREAM | SOCK_NONBLOCK; MSG_NOSIGNAL. */
enum { INET = 2, INET6 = 10, STREAM_NONBLOCK = 1 | 04000, NO_SIGNAL = 0x4000 };

int32_t os_socket(uint8_t family)
{
    return result(call(NR_SOCKET, family == S3OTA_IPV6 ? INET6 : INET, STREAM_NONBLOCK, 0, 0, 0, 0));
}

int32_t os_connect(int32_t socket, const s3ota_address *to)
{
    /* A sockaddr_in has the port and 4 bytes, a sockaddr_in6 the port, 4 bytes of flow, 16 bytes, and 4 of scope. */
    uint8_t name[28] = {0};
    int is_six = to->family == S3OTA_IPV6;
    name[0] = is_six ? INET6 : INET;
    name[2] = (uint8_t)(to->port >> 8);
    name[3] = (uint8_t)to->port;
    for (int at = 0; at < (is_six ? 16 : 4); at++)
        name[(is_six ? 8 : 4) + at] = to->bytes[at];
    word connected = call(NR_CONNECT, socket, address(name), is_six ? 28 : 16, 0, 0, 0);
    return connected == -EISCONN ? 0 : result(connected);
}

int32_t os_recv(int32_t socket, void *to, uint32_t len)
{
    return result(call(NR_RECVFROM, socket, address(to), (word)len, 0, 0, 0));
}

int32_t os_send(int32_t socket, const void *from, uint32_t len)
{
    return result(call(NR_SENDTO, socket, address(from), (word)len, NO_SIGNAL, 0, 0));
}

void os_close(int32_t socket)
{
    call(NR_CLOSE, socket, 0, 0, 0, 0, 0);
}

void os_wait(int32_t socket, int to_send, uint32_t ms)
{
    struct {
        int32_t socket;
        int16_t events, seen;
    } poll_for = {socket, to_send ? 4 : 1, 0};
#if defined(__riscv)
    int64_t time[2] = {ms / 1000, (int64_t)(ms % 1000) * 1000000};
    call(NR_PPOLL_TIME64, address(&poll_for), 1, address(time), 0, 8, 0);
#else
    call(NR_POLL, address(&poll_for), 1, (word)ms, 0, 0, 0);
#endif
}

/* What a C library has. */

void *memcpy(void *to, const void *from, size_t len)
{
    uint8_t *bytes = to;
    const uint8_t *source = from;
    for (size_t at = 0; at < len; at++)
        bytes[at] = source[at];
    return to;
}

void *memmove(void *to, const void *from, size_t len)
{
    uint8_t *bytes = to;
    const uint8_t *source = from;
    if (bytes <= source)
        return memcpy(to, from, len);
    while (len-- > 0)
        bytes[len] = source[len];
    return to;
}

void *memset(void *to, int value, size_t len)
{
    uint8_t *bytes = to;
    for (size_t at = 0; at < len; at++)
        bytes[at] = (uint8_t)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
    const uint8_t *one = a, *other = b;
    for (size_t at = 0; at < len; at++) {
        if (one[at] != other[at])
            return one[at] - other[at];
    }
    return 0;
}

int bcmp(const void *a, const void *b, size_t len)
{
    return memcmp(a, b, len);
}

size_t strlen(const char *text)
{
    size_t len = 0;
    while (text[len] != 0)
        len++;
    return len;
}

void abort(void)
{
    os_print("aborted\n", 8);
    os_exit(134);
    for (;;)
        ;
}

/* The stack as the kernel made it: the number of arguments, and the arguments. */
void begin(const int32_t *stack);

void begin(const int32_t *stack)
{
    os_exit(device(stack[0], (char **)(uintptr_t)(stack + 1)));
}
