/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: texts of strangers, such as names of files, on standard output. */
#ifndef SDTRAIN_CLI_SHOWN_H
#define SDTRAIN_CLI_SHOWN_H

/* For a terminal: control characters and what is no UTF-8 become '?'. Padded by blanks to width characters; each
 * counts as one column. */
void sd_show_plain(const char *text, int width);
/* Characters of such a text. */
int sd_shown_width(const char *text);

/* A field of CSV, bytes as they are; in quotes where RFC 4180 (section 2) wants them. */
void sd_show_csv(const char *text);

/* A string of JSON with its quotes (RFC 8259, section 7). Bytes that are no UTF-8 become U+FFFD. */
void sd_show_json(const char *text);

/* An error sentence without the path that it begins with, where it does. */
const char *sd_reason_of(const char *message, const char *path);

#endif
