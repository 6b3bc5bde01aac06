/* What the test device takes from its operating system: Linux, with a C library (os_posix.c) or without (os_bare.c). */
#ifndef OS_H
#define OS_H

#include "s3ota.h"

/* A file in memory: `shared`, so that what is written is in the file at once, or a private copy. NULL if it cannot be. */
uint8_t *os_map(const char *path, uint32_t *len, int shared);
void os_print(const char *text, uint32_t len);
void os_exit(int code);

uint64_t os_uptime_ms(void);
int64_t os_date(void);
void os_random(void *to, uint32_t len);

/* Sockets that do not block. Results are those of the port: S3OTA_PORT_… */
int32_t os_socket(uint8_t family);
int32_t os_connect(int32_t socket, const s3ota_address *address);
int32_t os_recv(int32_t socket, void *to, uint32_t len);
int32_t os_send(int32_t socket, const void *from, uint32_t len);
void os_close(int32_t socket);
/* Waits until there is something to receive, or room to send. With a socket below 0, for the time. */
void os_wait(int32_t socket, int to_send, uint32_t ms);

/* The program. */
int device(int argc, char **argv);

#endif
