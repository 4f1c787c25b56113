/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line of a run: rewritten in place on a terminal, else a new line at times. Local; rank 0 calls it. */
#ifndef SDTRAIN_CONSOLE_H
#define SDTRAIN_CONSOLE_H

#include <stdbool.h>
#include <stdio.h>

#include "sdtrain/choice.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sd_console {
    FILE *to;
    bool rewrite;
    double last_seconds; /* sd_clock_seconds() of the last output */
    int shown_bytes;
} sd_console;

/* Whether the line is rewritten: if on a terminal, always, never. */
#define SD_DISPLAY_LIST(X) X(SD_DISPLAY_AUTO, "auto") X(SD_DISPLAY_ON, "on") X(SD_DISPLAY_OFF, "off")
typedef enum sd_display { SD_DISPLAY_LIST(SD_CHOICE_ENUMERATOR) } sd_display;
SD_CHOICE_WORD_OF(sd_display, SD_DISPLAY_LIST)

/* to: the output, which must outlive the console. */
void sd_console_init(sd_console *console, FILE *to, sd_display display);
/* Shows the progress line if due (terminal: 5 times a second; else every half minute). */
void sd_console_progress(sd_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Formats a number with its unit into text; "-" if not finite. Returns text. */
const char *sd_console_number(double value, int decimals, const char *unit, char text[32]);
/* Shows a line of its own, always. */
void sd_console_line(sd_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
