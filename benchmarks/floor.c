/*
 * floor - what a socketmap server on this machine is measured against.
 *
 * One thread, epoll, no parsing: one fixed reply for every ',' that arrives.
 *
 *   cc -O2 -o floor floor.c
 *   floor inet:127.0.0.1:18499
 *   floor unix:/tmp/floor.sock
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char reply[] = "72:OK secure match=aspmx.l.google.com:.aspmx.google.com servername=hostname,";
static char in[65536], out[1 << 20];

static int listen_on(const char *where) {
    int one = 1, fd;
    if (!strncmp(where, "unix:", 5)) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        snprintf(a.sun_path, sizeof a.sun_path, "%s", where + 5);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(fd, (void *)&a, sizeof a)) return -1;
    } else {
        char host[64]; int port;
        if (sscanf(where, "inet:%63[^:]:%d", host, &port) != 2) return -1;
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
        inet_pton(AF_INET, host, &a.sin_addr);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&a, sizeof a)) return -1;
    }
    return listen(fd, 1024) ? -1 : fd;
}

static void answer(int fd) {
    const size_t size = sizeof reply - 1;
    size_t length = 0;
    ssize_t got = read(fd, in, sizeof in);
    if (got <= 0) { close(fd); return; }
    for (ssize_t i = 0; i < got; i++)
        if (in[i] == ',' && length + size < sizeof out) { memcpy(out + length, reply, size); length += size; }
    if (length && write(fd, out, length) < 0) close(fd);
}

int main(int argc, char **argv) {
    int one = 1, listener = argc == 2 ? listen_on(argv[1]) : -1;
    if (listener < 0) { perror("floor: usage: floor ADDRESS"); return 2; }
    signal(SIGPIPE, SIG_IGN); /* the load ends with replies unread */
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd != listener) { answer(ready[i].data.fd); continue; }
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event.data.fd = client;
            epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
        }
    }
}
