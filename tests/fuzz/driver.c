/* SPDX-License-Identifier: Apache-2.0 */
/* Drives a fuzz target without libFuzzer: the same inputs on every machine, for CTest.
 *
 *     TARGET [--runs=N] [CORPUS]...     every seed and corpus file as it is, then N mutations of them
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "sdtrain/random.h"

enum { SEED = 20160730, STREAM = 7000, MOST_EDITS = 6, MOST_BYTES = 1 << 20 };

typedef struct input {
    uint8_t *bytes;
    size_t n;
} input;

static input *inputs;
static int n_inputs;

static void add(uint8_t *bytes, size_t n) {
    inputs = realloc(inputs, (size_t)(n_inputs + 1) * sizeof *inputs);
    inputs[n_inputs++] = (input){bytes, n};
}

/* Every regular file of a folder, in the order of names. */
static void add_folder(const char *folder) {
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort);
    fuzz_require(n >= 0, "%s cannot be read", folder);
    for (int i = 0; i < n; i++) {
        char path[1024];
        struct stat info;
        size_t bytes;
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
            uint8_t *text = fuzz_read(path, &bytes);
            add(text, bytes);
        }
        free(entries[i]);
    }
    free(entries);
}

/* ---- mutations ---- */

typedef struct dice {
    uint64_t run, next;
} dice;

static size_t throw(dice * d, size_t sides) {
    return sd_random_index(sd_random_at(SEED, STREAM, d->run, d->next++).word[0], sides);
}

/* Copies a piece of other (or of itself) to a place, over what is there or between. */
static void splice(input *to, const input *other, dice *d, bool insert) {
    if (other->n == 0)
        return;
    const size_t from = throw(d, other->n), most = other->n - from < 64 ? other->n - from : 64, n = 1 + throw(d, most);
    const size_t at = throw(d, to->n + 1);
    uint8_t piece[64];
    memcpy(piece, other->bytes + from, n);
    if (insert && to->n + n <= MOST_BYTES) {
        memmove(to->bytes + at + n, to->bytes + at, to->n - at);
        to->n += n;
    }
    for (size_t i = 0; i < n && at + i < to->n; i++)
        to->bytes[at + i] = piece[i];
}

static void edit(input *x, dice *d) {
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '\n', ' ', '[', ';', '='};
    const size_t at = x->n ? throw(d, x->n) : 0;
    switch (throw(d, 8)) {
    case 0:
    case 1:
        if (x->n)
            x->bytes[at] ^= (uint8_t)(1u << throw(d, 8));
        break;
    case 2:
        if (x->n)
            x->bytes[at] = (uint8_t) throw(d, 256);
        break;
    case 3:
        if (x->n)
            x->bytes[at] = odd[throw(d, sizeof odd)];
        break;
    case 4: { /* takes a piece out */
        const size_t most = x->n - at < 64 ? x->n - at : 64, n = most ? 1 + throw(d, most) : 0;
        memmove(x->bytes + at, x->bytes + at + n, x->n - at - n);
        x->n -= n;
        break;
    }
    case 5:
        if (throw(d, 8) == 0)
            x->n = at; /* cut */
        break;
    default:
        splice(x, &inputs[throw(d, (size_t)n_inputs)], d, throw(d, 2));
    }
}

static void mutate(uint64_t run, input *x) {
    dice d = {.run = run};
    const input *from = &inputs[throw(&d, (size_t)n_inputs)];
    x->n = from->n < MOST_BYTES ? from->n : MOST_BYTES;
    memcpy(x->bytes, from->bytes, x->n);
    for (size_t edits = 1 + throw(&d, MOST_EDITS); edits > 0; edits--)
        edit(x, &d);
}

/* An input of exactly its own size, so that a sanitizer sees what reads beyond it. */
static void run_one(const input *x) {
    uint8_t *bytes = malloc(x->n);
    memcpy(bytes, x->bytes, x->n);
    LLVMFuzzerTestOneInput(bytes, x->n);
    free(bytes);
}

int main(int argc, char **argv) {
    uint64_t runs = 1000;
    uint8_t *bytes;
    size_t n;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 0; fuzz_seed(i, &bytes, &n); i++)
        add(bytes, n);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "--runs=", 7))
            runs = strtoull(argv[i] + 7, NULL, 10);
        else
            add_folder(argv[i]);
    for (int i = 0; i < n_inputs; i++)
        run_one(&inputs[i]);
    input x = {.bytes = malloc(MOST_BYTES)};
    for (uint64_t run = 0; n_inputs > 0 && run < runs; run++) {
        mutate(run, &x);
        run_one(&x);
    }
    printf("%d inputs and %llu mutations of them\n", n_inputs, (unsigned long long)runs);
    free(x.bytes);
    for (int i = 0; i < n_inputs; i++)
        free(inputs[i].bytes);
    free(inputs);
    return EXIT_SUCCESS;
}
