/* What the port says of an error. For a file in which Linux's errors have their names. */
#ifndef OS_ERRNO_H
#define OS_ERRNO_H

#include "os.h"

static int32_t port_error(int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR:
    case EINPROGRESS:
    case EALREADY:
        return S3OTA_PORT_AGAIN;
    case ECONNREFUSED:
        return S3OTA_PORT_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return S3OTA_PORT_RESET;
    case ENETUNREACH:
    case EHOSTUNREACH:
        return S3OTA_PORT_UNREACHABLE;
    default:
        return S3OTA_PORT_FAILED;
    }
}

#endif
