#include <fcntl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#define lwip_select select
#define lwip_fcntl fcntl
