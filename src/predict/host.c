/* SPDX-License-Identifier: Apache-2.0 */
/* What reductions cost a processor, whatever the network: TCP's copies and checks, and additions. */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"

/* As much as a bucket: more than caches hold. */
enum { BYTES = 32 << 20, ROUNDS = 3 };

/* Two ends of a TCP connection with ourselves. */
static bool connect_ends(int end[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    end[0] = socket(AF_INET, SOCK_STREAM, 0);
    end[1] = -1;
    if (listener >= 0 && end[0] >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
        connect(end[0], (struct sockaddr *)&address, length) == 0)
        end[1] = accept(listener, NULL, NULL);
    if (listener >= 0)
        close(listener);
    return end[1] >= 0;
}

/* One thread plays both sides: what the connection takes is sent, then what has come is received. */
static bool transfer(const int end[2], const char *from, char *to) {
    size_t sent = 0, received = 0;
    while (received < BYTES) {
        if (sent < BYTES) {
            const ssize_t n = send(end[0], from + sent, BYTES - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                return false;
            sent += n > 0 ? (size_t)n : 0;
        }
        const ssize_t n = recv(end[1], to + received, BYTES - received, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        received += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void add(float *restrict sum, const float *restrict x) {
    for (size_t i = 0; i < BYTES / sizeof(float); i++)
        sum[i] += x[i];
}

static double least(double a, double b) { return a < b ? a : b; }

sd_status sd_measure_host(double *transfer_seconds_per_byte, double *add_seconds_per_byte) {
    float *a = NULL, *b = NULL;
    int end[2] = {-1, -1};
    double best_transfer = 1e9, best_add = 1e9;
    sd_status status;
    SD_TRY_CLEANUP(sd_alloc_floats(&a, BYTES / sizeof(float)));
    SD_TRY_CLEANUP(sd_alloc_floats(&b, BYTES / sizeof(float)));
    memset(a, 0, BYTES);
    memset(b, 0, BYTES);
    bool connected = connect_ends(end);
    for (int i = 0; i < ROUNDS; i++) {
        double begin = sd_clock_seconds();
        connected = connected && transfer(end, (const char *)a, (char *)b);
        best_transfer = least(best_transfer, sd_clock_seconds() - begin);
        begin = sd_clock_seconds();
        add(b, a);
        best_add = least(best_add, sd_clock_seconds() - begin);
    }
    if (!connected)
        sd_log_warn("no TCP connection with this host itself (%s): what sending costs the processor is left out",
                    strerror(errno));
    *transfer_seconds_per_byte = connected ? best_transfer / BYTES : 0;
    *add_seconds_per_byte = best_add / BYTES;
cleanup:
    for (int i = 0; i < 2; i++)
        if (end[i] >= 0)
            close(end[i]);
    free(a);
    free(b);
    return status;
}
