#include "port.h"

#include "os.h"

/* Where a socket connects to: connect is called again until it is there. */
static s3ota_address remote;

static int32_t flash_read(void *ctx, uint32_t offset, void *to, uint32_t len)
{
    struct port *port = ctx;
    uint8_t *bytes = to;
    if (offset > port->flash_size || len > port->flash_size - offset)
        return -1;
    for (uint32_t at = 0; at < len; at++)
        bytes[at] = port->flash[offset + at];
    return 0;
}

static int32_t flash_write(void *ctx, uint32_t offset, const void *from, uint32_t len)
{
    struct port *port = ctx;
    const uint8_t *bytes = from;
    if (offset % 4 != 0 || len % 4 != 0 || (uintptr_t)from % 4 != 0)
        return -1;
    if (offset > port->flash_size || len > port->flash_size - offset)
        return -1;
    uint32_t number = ++port->writes;
    if (port->fails_at_write != 0 && number >= port->fails_at_write)
        return -1;
    for (uint32_t at = 0; at < len; at++) {
        if (port->dies_at_write == number && at == len / 2)
            os_exit(9);
        /* Flash only clears bits. A byte that is to be set again is a mistake of the library. */
        if ((port->flash[offset + at] & bytes[at]) != bytes[at])
            return -1;
        port->flash[offset + at] = bytes[at];
    }
    if (port->lies_at_write != 0 && number >= port->lies_at_write && len == 4096) {
        port->lies_at_write = 0;
        port->flash[offset + 100] ^= 1;
    }
    return 0;
}

static int32_t flash_erase(void *ctx, uint32_t offset, uint32_t len)
{
    struct port *port = ctx;
    if (offset % 4096 != 0 || len % 4096 != 0 || len == 0 || len > 65536)
        return -1;
    if (offset > port->flash_size || len > port->flash_size - offset)
        return -1;
    port->erased += len;
    for (uint32_t at = 0; at < len; at++)
        port->flash[offset + at] = 0xff;
    return 0;
}

static void pass(struct port *port, int32_t socket, int to_send, uint32_t ms)
{
    uint64_t before = os_uptime_ms();
    if (ms > 0)
        os_wait(socket, to_send, ms);
    port->waited_ms += os_uptime_ms() - before;
}

static int is_localhost(const char *host)
{
    const char *name = "localhost";
    while (*name != 0 && *name == *host)
        name++, host++;
    return *name == 0 && *host == 0;
}

static int32_t resolve(void *ctx, const char *host, uint8_t family, s3ota_address *address, uint32_t wait_ms)
{
    struct port *port = ctx;
    port->calls++;
    (void)wait_ms;
    if (os_uptime_ms() < port->offline_until)
        return S3OTA_PORT_UNREACHABLE;
    if (!is_localhost(host) || (port->only_ipv6 && family == S3OTA_IPV4))
        return S3OTA_PORT_NOT_FOUND;
    /* It asks somebody else: the first answer is "not yet". */
    static int is_asked;
    is_asked = !is_asked;
    if (is_asked)
        return S3OTA_PORT_AGAIN;
    address->family = family;
    for (int at = 0; at < 16; at++)
        address->bytes[at] = 0;
    if (family == S3OTA_IPV6) {
        address->bytes[15] = 1;
    } else {
        address->bytes[0] = 127;
        address->bytes[3] = 1;
    }
    return 0;
}

static int32_t open(void *ctx, const s3ota_address *address)
{
    struct port *port = ctx;
    port->calls++;
    if (os_uptime_ms() < port->offline_until)
        return S3OTA_PORT_UNREACHABLE;
    int32_t socket = os_socket(address->family);
    if (socket < 0)
        return socket;
    remote = *address;
    port->sockets++;
    port->open++;
    return socket;
}

static int32_t connect(void *ctx, int32_t socket, uint32_t wait_ms)
{
    struct port *port = ctx;
    port->calls++;
    int32_t result = os_connect(socket, &remote);
    if (result == S3OTA_PORT_AGAIN && wait_ms > 0) {
        pass(port, socket, 1, wait_ms);
        result = os_connect(socket, &remote);
    }
    return result;
}

static int32_t receive(void *ctx, int32_t socket, void *to, uint32_t len, uint32_t wait_ms)
{
    struct port *port = ctx;
    port->calls++;
    if (port->is_mute)
        return S3OTA_PORT_AGAIN;
    if (port->is_deaf) {
        pass(port, -1, 0, wait_ms);
        return S3OTA_PORT_AGAIN;
    }
    int32_t result = os_recv(socket, to, len);
    if (result == S3OTA_PORT_AGAIN && wait_ms > 0) {
        pass(port, socket, 0, wait_ms);
        result = os_recv(socket, to, len);
    }
    return result;
}

static int32_t send(void *ctx, int32_t socket, const void *from, uint32_t len, uint32_t wait_ms)
{
    struct port *port = ctx;
    port->calls++;
    int32_t result = os_send(socket, from, len);
    if (result == S3OTA_PORT_AGAIN && wait_ms > 0) {
        pass(port, socket, 1, wait_ms);
        result = os_send(socket, from, len);
    }
    return result;
}

static void close(void *ctx, int32_t socket)
{
    struct port *port = ctx;
    port->open--;
    os_close(socket);
}

static uint64_t uptime_ms(void *ctx)
{
    (void)ctx;
    return os_uptime_ms();
}

static int64_t unix_time(void *ctx)
{
    struct port *port = ctx;
    return port->has_no_date ? -1 : os_date();
}

static void sleep_ms(void *ctx, uint32_t ms)
{
    (void)ctx;
    os_wait(-1, 0, ms);
}

static void random_bytes(void *ctx, void *to, uint32_t len)
{
    (void)ctx;
    os_random(to, len);
}

s3ota_port port_of(struct port *port, uint32_t running)
{
    s3ota_port made = {0};
    made.size = sizeof made;
    made.flash_size = port->flash_size;
    made.running = running;
    made.ctx = port;
    made.flash_read = flash_read;
    made.flash_write = flash_write;
    made.flash_erase = flash_erase;
    made.resolve = resolve;
    made.open = open;
    made.connect = connect;
    made.recv = receive;
    made.send = send;
    made.close = close;
    made.uptime_ms = uptime_ms;
    made.unix_time = unix_time;
    made.sleep_ms = sleep_ms;
    made.random = random_bytes;
    return made;
}
