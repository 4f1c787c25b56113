/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/console.h"

#include <math.h>
#include <stdarg.h>
#include <unistd.h>

#include "sdtrain/clock.h"

static const double TERMINAL_SECONDS = 0.2, BATCH_SECONDS = 30;

void sd_console_init(sd_console *console, FILE *to, sd_display display) {
    const bool on_terminal = isatty(fileno(to));
    *console = (sd_console){.to = to,
                            .rewrite = display == SD_DISPLAY_ON || (display == SD_DISPLAY_AUTO && on_terminal),
                            .last_seconds = sd_clock_seconds()};
}

void sd_console_progress(sd_console *console, const char *format, ...) {
    double now = sd_clock_seconds();
    if (now - console->last_seconds < (console->rewrite ? TERMINAL_SECONDS : BATCH_SECONDS))
        return;
    console->last_seconds = now;
    va_list arguments;
    va_start(arguments, format);
    if (console->rewrite)
        fputc('\r', console->to);
    int bytes = vfprintf(console->to, format, arguments);
    va_end(arguments);
    if (console->rewrite)
        fprintf(console->to, "%*s", console->shown_bytes > bytes ? console->shown_bytes - bytes : 0,
                ""); /* erases the rest of a longer line */
    else
        fputc('\n', console->to);
    console->shown_bytes = bytes;
    fflush(console->to);
}

const char *sd_console_number(double value, int decimals, const char *unit, char text[32]) {
    if (isfinite(value))
        snprintf(text, 32, "%.*f%s", decimals, value, unit);
    else
        snprintf(text, 32, "-");
    return text;
}

void sd_console_line(sd_console *console, const char *format, ...) {
    if (console->rewrite && console->shown_bytes > 0)
        fprintf(console->to, "\r%*s\r", console->shown_bytes, "");
    console->shown_bytes = 0;
    console->last_seconds = sd_clock_seconds();
    va_list arguments;
    va_start(arguments, format);
    vfprintf(console->to, format, arguments);
    va_end(arguments);
    fputc('\n', console->to);
}
