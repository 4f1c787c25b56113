/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes and the error message that goes with them.
 *
 * Local. Every fallible function returns an sd_status; on failure it has recorded one sentence for the user in the
 * calling thread's error context by sd_fail(). The library never ends the process: main() prints the sentence and exits
 * with sd_status_exit_code(). The codes follow sysexits(3). */
#ifndef SDTRAIN_STATUS_H
#define SDTRAIN_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, exit code, what it means) */
#define SD_STATUS_LIST(X)                                                                                              \
    X(SD_OK, 0, "success")                                                                                             \
    X(SD_ERR_USAGE, 64, "wrong use of the command line")                                                               \
    X(SD_ERR_DATA, 65, "input data is damaged or not what it should be")                                               \
    X(SD_ERR_NOINPUT, 66, "input is missing or cannot be read")                                                        \
    X(SD_ERR_INTERNAL, 70, "internal error, or ranks disagree")                                                        \
    X(SD_ERR_DIVERGED, 70, "training diverged")                                                                        \
    X(SD_ERR_MEMORY, 70, "out of memory")                                                                              \
    X(SD_ERR_IO, 74, "input or output failed")                                                                         \
    X(SD_STOPPED, 75, "stopped by a signal, a checkpoint was written")                                                 \
    X(SD_ERR_CONFIG, 78, "bad configuration")

typedef enum sd_status {
#define SD_STATUS_ENUM(name, code, text) name,
    SD_STATUS_LIST(SD_STATUS_ENUM)
#undef SD_STATUS_ENUM
} sd_status;

/* The process exit code of a status, and its meaning in words (static text). */
int sd_status_exit_code(sd_status status);
const char *sd_status_text(sd_status status);

/* Records a formatted sentence (no trailing newline) as this thread's error, replacing an earlier one, and returns
 * status: `return sd_fail(SD_ERR_IO, "%s: ...", path);`. */
sd_status sd_fail_at(const char *file, int line, sd_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define sd_fail(...) sd_fail_at(__FILE__, __LINE__, __VA_ARGS__)

/* This thread's last error sentence ("" if none); and the places in the source that it passed ("file:line < ..."). */
const char *sd_error_message(void);
const char *sd_error_trace(void);
void sd_error_clear(void);

enum { SD_MESSAGE_BYTES = 4096 }; /* of a sentence; longer ones are cut */

/* A foreign text for a message: ASCII, '?' for all else, and "..." where it is cut. Returns out. */
enum { SD_PRINTABLE_BYTES = 100 };
const char *sd_printable(const char *text, char out[SD_PRINTABLE_BYTES]);

/* The status and message of a call on one thread, to be reported by another. Initialise to {0}: SD_OK. */
typedef struct sd_outcome {
    sd_status status;
    char message[SD_MESSAGE_BYTES]; /* of a status that is not SD_OK */
} sd_outcome;

/* Stores a status and, on failure, this thread's error sentence. */
void sd_outcome_keep(sd_outcome *outcome, sd_status status);
/* Returns the status, and records its sentence as this thread's error. */
sd_status sd_outcome_report(const sd_outcome *outcome);

/* Adds a place in the source to the error's trace; used by SD_TRY. */
void sd_error_push(const char *file, int line);

/* Returns the call's status from the calling function if it fails. */
#define SD_TRY(call)                                                                                                   \
    do {                                                                                                               \
        sd_status sd_try_status_ = (call);                                                                             \
        if (sd_try_status_ != SD_OK) {                                                                                 \
            sd_error_push(__FILE__, __LINE__);                                                                         \
            return sd_try_status_;                                                                                     \
        }                                                                                                              \
    } while (0)

/* Likewise in functions that hold resources: sets `status` and jumps to `cleanup`. */
#define SD_TRY_CLEANUP(call)                                                                                           \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != SD_OK) {                                                                                         \
            sd_error_push(__FILE__, __LINE__);                                                                         \
            goto cleanup;                                                                                              \
        }                                                                                                              \
    } while (0)

/* Messages for the user on stderr, one line each, prefixed "sdtrain-mpi: ", or by another program's name (text that
 * lasts). A muted rank prints nothing (sd_log_mute(true) on all ranks but 0). */
void sd_log_set_program(const char *name);
void sd_log_mute(int muted);
/* Prints the last error, with its trace if SD_TRACE is set, even if muted. For main() only. */
void sd_log_error(void);
void sd_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sd_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A warning that a line of the source prints once per process. */
#define sd_log_warn_once(...)                                                                                          \
    do {                                                                                                               \
        static char sd_warned_;                                                                                        \
        if (!__atomic_exchange_n(&sd_warned_, 1, __ATOMIC_RELAXED))                                                    \
            sd_log_warn(__VA_ARGS__);                                                                                  \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
