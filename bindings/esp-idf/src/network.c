/*
 * Sockets and names: lwIP's, which do not block.
 *
 * lwip_select and lwip_fcntl by name: select and fcntl take 1.4 KB more, which pass them on for files of all kinds.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lwip/netdb.h"
#include "lwip/sockets.h"

#include "internal.h"

/* What the library is told about an error of lwIP. */
static int32_t failure(int error)
{
    switch (error) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
    case EINPROGRESS:
    case EALREADY:
    case EINTR:
        return S3OTA_PORT_AGAIN;
    case ECONNREFUSED:
        return S3OTA_PORT_REFUSED;
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case EPIPE:
        return S3OTA_PORT_RESET;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
        return S3OTA_PORT_UNREACHABLE;
    default:
        return S3OTA_PORT_FAILED;
    }
}

/* Waits until a socket can be read from or written to: 0, S3OTA_PORT_AGAIN after `wait_ms`, or a failure. */
static int32_t ready(int socket, bool to_write, uint32_t wait_ms)
{
    if (socket < 0 || socket >= FD_SETSIZE) {
        return S3OTA_PORT_FAILED;
    }
    fd_set sockets;
    FD_ZERO(&sockets);
    FD_SET(socket, &sockets);
    struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = (wait_ms % 1000) * 1000};
    int count = lwip_select(socket + 1, to_write ? NULL : &sockets, to_write ? &sockets : NULL, NULL, &wait);
    if (count < 0) {
        return failure(errno);
    }
    return count > 0 ? 0 : S3OTA_PORT_AGAIN;
}

/* lwIP has no resolver that does not block: `wait_ms` is not heeded. It gives up by itself after some seconds
 * (DNS_MAX_RETRIES), and in this component only the task of the updates waits for it. */
static int32_t resolve(void *ctx, const char *host, uint8_t family, s3ota_address *address, uint32_t wait_ms)
{
    (void)ctx;
    (void)wait_ms;
#if !CONFIG_LWIP_IPV6
    if (family == S3OTA_IPV6) {
        return S3OTA_PORT_NOT_FOUND;
    }
#endif
    struct addrinfo hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = family == S3OTA_IPV6 ? AF_INET6 : AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, NULL, &hints, &found);
    if (error != 0 || found == NULL) {
        return error == EAI_MEMORY ? S3OTA_PORT_FAILED : S3OTA_PORT_NOT_FOUND;
    }
    int32_t result = 0;
    address->family = family;
    if (found->ai_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, found->ai_addr, sizeof v4);
        memcpy(address->bytes, &v4.sin_addr, 4);
#if CONFIG_LWIP_IPV6
    } else if (found->ai_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, found->ai_addr, sizeof v6);
        memcpy(address->bytes, &v6.sin6_addr, 16);
#endif
    } else {
        result = S3OTA_PORT_NOT_FOUND;
    }
    freeaddrinfo(found);
    return result;
}

/* An address as lwIP takes it, and its length; 0 for a family that there is none of. */
static socklen_t socket_address(const s3ota_address *address, struct sockaddr_storage *to)
{
    memset(to, 0, sizeof *to);
    if (address->family == S3OTA_IPV4) {
        struct sockaddr_in v4;
        memset(&v4, 0, sizeof v4);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(address->port);
        memcpy(&v4.sin_addr, address->bytes, 4);
        memcpy(to, &v4, sizeof v4);
        return sizeof v4;
    }
#if CONFIG_LWIP_IPV6
    if (address->family == S3OTA_IPV6) {
        struct sockaddr_in6 v6;
        memset(&v6, 0, sizeof v6);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(address->port);
        memcpy(&v6.sin6_addr, address->bytes, 16);
        memcpy(to, &v6, sizeof v6);
        return sizeof v6;
    }
#endif
    return 0;
}

static int32_t open_socket(void *ctx, const s3ota_address *address)
{
    (void)ctx;
    struct sockaddr_storage to;
    socklen_t length = socket_address(address, &to);
    if (length == 0) {
        return S3OTA_PORT_UNREACHABLE;
    }
    int made = socket(to.ss_family, SOCK_STREAM, IPPROTO_TCP);
    if (made < 0) {
        return S3OTA_PORT_FAILED;
    }
    int flags = lwip_fcntl(made, F_GETFL, 0);
    int32_t result = S3OTA_PORT_FAILED;
    if (flags >= 0 && lwip_fcntl(made, F_SETFL, flags | O_NONBLOCK) == 0) {
        result = connect(made, (const struct sockaddr *)&to, length) == 0 ? 0 : failure(errno);
    }
    if (result == 0 || result == S3OTA_PORT_AGAIN) {
        return made;
    }
    close(made);
    return result;
}

static int32_t is_connected(void *ctx, int32_t socket, uint32_t wait_ms)
{
    (void)ctx;
    int32_t result = ready(socket, true, wait_ms);
    if (result != 0) {
        return result;
    }
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        return S3OTA_PORT_FAILED;
    }
    return error == 0 ? 0 : failure(error);
}

static int32_t receive(void *ctx, int32_t socket, void *to, uint32_t len, uint32_t wait_ms)
{
    (void)ctx;
    ssize_t count = recv(socket, to, len, 0);
    if (count < 0 && failure(errno) == S3OTA_PORT_AGAIN && wait_ms > 0) {
        int32_t result = ready(socket, false, wait_ms);
        if (result != 0) {
            return result;
        }
        count = recv(socket, to, len, 0);
    }
    return count < 0 ? failure(errno) : (int32_t)count;
}

static int32_t transmit(void *ctx, int32_t socket, const void *from, uint32_t len, uint32_t wait_ms)
{
    (void)ctx;
    /* MSG_NOSIGNAL: lwIP knows it, and has no signals. */
    ssize_t count = send(socket, from, len, MSG_NOSIGNAL);
    if (count < 0 && failure(errno) == S3OTA_PORT_AGAIN && wait_ms > 0) {
        int32_t result = ready(socket, true, wait_ms);
        if (result != 0) {
            return result;
        }
        count = send(socket, from, len, MSG_NOSIGNAL);
    }
    if (count == 0) {
        return S3OTA_PORT_AGAIN;
    }
    return count < 0 ? failure(errno) : (int32_t)count;
}

static void close_socket(void *ctx, int32_t socket)
{
    (void)ctx;
    close(socket);
}

void s3ota_port_set_network(s3ota_port *port)
{
    port->resolve = resolve;
    port->open = open_socket;
    port->connect = is_connected;
    port->recv = receive;
    port->send = transmit;
    port->close = close_socket;
}
