/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/status.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char error_message[SD_MESSAGE_BYTES];
static _Thread_local char error_trace[512];
static int log_muted;
static const char *program = "sdtrain-mpi";

static const struct {
    int exit_code;
    const char *text;
} status_table[] = {
#define STATUS_ROW(name, code, text) {code, text},
    SD_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

int sd_status_exit_code(sd_status status) { return status_table[status].exit_code; }

const char *sd_status_text(sd_status status) { return status_table[status].text; }

const char *sd_error_message(void) { return error_message; }

const char *sd_error_trace(void) { return error_trace; }

const char *sd_printable(const char *text, char out[SD_PRINTABLE_BYTES]) {
    static const char cut[] = "...";
    const size_t room = SD_PRINTABLE_BYTES - sizeof cut;
    size_t n = 0;
    for (; text[n] && n < room; n++)
        out[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    strcpy(out + n, text[n] ? cut : "");
    return out;
}

void sd_error_clear(void) { error_message[0] = error_trace[0] = '\0'; }

void sd_error_push(const char *file, int line) {
    size_t used = strlen(error_trace);
    snprintf(error_trace + used, sizeof error_trace - used, "%s%s:%d", used ? " < " : "", file, line);
}

sd_status sd_fail_at(const char *file, int line, sd_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_message, sizeof error_message, format, arguments);
    va_end(arguments);
    for (char *c = error_message; *c; c++) /* user text may contain newlines: make it one line */
        if (iscntrl((unsigned char)*c))
            *c = '?';
    error_trace[0] = '\0';
    sd_error_push(file, line);
    return status;
}

void sd_outcome_keep(sd_outcome *outcome, sd_status status) {
    outcome->status = status;
    if (status != SD_OK)
        snprintf(outcome->message, sizeof outcome->message, "%s", error_message);
}

sd_status sd_outcome_report(const sd_outcome *outcome) {
    return outcome->status == SD_OK ? SD_OK : sd_fail(outcome->status, "%s", outcome->message);
}

void sd_log_set_program(const char *name) { program = name; }

void sd_log_mute(int muted) { log_muted = muted; }

static void log_line(const char *prefix, const char *format, va_list arguments) {
    if (log_muted)
        return;
    char line[1024];
    vsnprintf(line, sizeof line, format, arguments);
    fprintf(stderr, "%s: %s%s\n", program, prefix, line);
}

void sd_log_error(void) {
    const bool traced = getenv("SD_TRACE") != NULL;
    fprintf(stderr, "%s: error: %s%s%s%s\n", program, error_message, traced ? " [" : "", traced ? error_trace : "",
            traced ? "]" : "");
}

void sd_log_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_line("", format, arguments);
    va_end(arguments);
}

void sd_log_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_line("warning: ", format, arguments);
    va_end(arguments);
}
