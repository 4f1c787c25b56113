/* SPDX-License-Identifier: Apache-2.0 */
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

enum { COMMAND_LINE = -1, LINE_BYTES = 200 /* some distributions' inih cuts longer lines without an error */ };

static void format_place(const sd_config *config, int line, char *place, size_t place_bytes) {
    if (line == COMMAND_LINE)
        snprintf(place, place_bytes, "command line: ");
    else if (line > 0)
        snprintf(place, place_bytes, "%s:%d: ", config->file, line);
    else
        snprintf(place, place_bytes, "%s%s", config->file, config->file[0] ? ": " : "");
}

/* ---- finding the key ---- */

/* The Levenshtein distance of a and b. */
static int distance(const char *a, const char *b) {
    enum { LONGEST = 63 };
    int row[LONGEST + 1];
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    if (a_bytes > LONGEST || b_bytes > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a_bytes; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_bytes; j++) {
            int above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_bytes];
}

static sd_status unknown_key(const char *place, const char *section, const char *name) {
    const key *nearest = &sd_keys[0];
    int least = 1000;
    bool known_section = false;
    for (int i = 0; i < sd_n_keys; i++) {
        int d = distance(name, sd_keys[i].name) * 4 + distance(section, sd_keys[i].section);
        known_section |= !strcmp(section, sd_keys[i].section);
        if (d < least) {
            least = d;
            nearest = &sd_keys[i];
        }
    }
    for (int i = 0; sd_keys_later[i]; i++) {
        char full[128];
        snprintf(full, sizeof full, "%s.%s", section, name);
        if (!strcmp(full, sd_keys_later[i]))
            return sd_fail(SD_ERR_CONFIG, "%s%s is not in this version", place, full);
    }
    if (*section == '\0')
        return sd_fail(SD_ERR_CONFIG, "%s'%s' stands before the first [section]; the nearest known key is %s.%s", place,
                       name, nearest->section, nearest->name);
    return sd_fail(SD_ERR_CONFIG, "%sunknown %s '%s.%s'; the nearest known key is %s.%s (--help lists all)", place,
                   known_section ? "key" : "section or key", section, name, nearest->section, nearest->name);
}

static sd_status unknown_section(const char *place, const char *section) {
    const char *nearest = sd_keys[0].section;
    for (int i = 0; i < sd_n_keys; i++)
        if (distance(section, sd_keys[i].section) < distance(section, nearest))
            nearest = sd_keys[i].section;
    return sd_fail(SD_ERR_CONFIG, "%sunknown section [%s]; the nearest known one is [%s] (--help lists all)", place,
                   section, nearest);
}

/* Assigns a value of a line (or COMMAND_LINE). more: it continues the previous value. */
static sd_status set_key(sd_config *config, const char *section, const char *name, const char *text, int line,
                         bool more) {
    char place[SD_CONFIG_FILE + 32], allowed[256];
    format_place(config, line, place, sizeof place);
    const key *k = sd_key_find(section, name);
    if (!k)
        return unknown_key(place, section, name);
    int *known_line = &config->line[k - sd_keys];
    const char *indented =
        more ? "; an indented line goes on with the value above it, so a key must not be indented" : "";
    if (line != COMMAND_LINE && *known_line > 0 && !(more && sd_key_is_list(k)))
        return sd_fail(SD_ERR_CONFIG, "%s%s.%s is given a second time (first in line %d)%s", place, section, name,
                       *known_line, indented);
    if (sd_key_is_list(k) && !more)
        ((sd_list *)sd_key_value(k, config))->n = 0;
    if (!sd_key_read(k, config, text)) {
        sd_key_allowed(k, allowed, sizeof allowed);
        return sd_fail(SD_ERR_CONFIG, "%s%s.%s = %s is not allowed; allowed: %s%s", place, section, name, text, allowed,
                       indented);
    }
    *known_line = line;
    return SD_OK;
}

void sd_config_init(sd_config *config) {
    memset(config, 0, sizeof *config);
    for (int i = 0; i < sd_n_keys; i++)
        sd_key_read(&sd_keys[i], config, sd_keys[i].initial);
}

/* ---- the text ---- */

typedef struct reader {
    sd_config *config;
    const char *rest;
    int line;        /* of the last line returned */
    bool continues;  /* the line continues the previous line's value */
    bool after_head; /* no key since the last [section] */
    sd_status status;
    int error_line; /* of status */
} reader;

static void refuse(reader *r, sd_status status) {
    r->status = status;
    r->error_line = r->line;
}

/* Checks a section's head: inih reports neither sections without keys nor text behind the bracket. */
static void check_section(reader *r, const char *line) {
    char name[64], place[SD_CONFIG_FILE + 32];
    const size_t bytes = strcspn(line + 1, "]\r\n");
    const char *bracket = line + 1 + bytes; /* a missing one is an error of inih */
    snprintf(name, sizeof name, "%.*s", (int)bytes, line + 1);
    format_place(r->config, r->line, place, sizeof place);
    bool known = false;
    for (int i = 0; i < sd_n_keys; i++)
        known |= !strcmp(name, sd_keys[i].section);
    if (!known) {
        refuse(r, unknown_section(place, name));
    } else if (*bracket == ']') {
        const char *behind = bracket + 1 + strspn(bracket + 1, " \t\r\n\v\f");
        if (!strchr(";#", *behind)) /* strchr() also finds the final 0 */
            refuse(r,
                   sd_fail(SD_ERR_CONFIG,
                           "%s'%.*s' follows [%s], where only a comment is allowed; put each key on a line of its own",
                           place, (int)strcspn(behind, "\r\n"), behind, name));
    }
}

static const char BYTE_ORDER_MARK[] = "\xEF\xBB\xBF";
static const size_t MARK_BYTES = 3;

/* Refuses long lines, and bytes of editors that hide lines. bytes: of the line with its line feed. */
static void check_bytes(reader *r, const char *line, size_t bytes, size_t most) {
    const char *cr = memchr(line, '\r', bytes);
    if (cr && (cr + 1 == line + bytes || cr[1] != '\n'))
        refuse(r, sd_fail(SD_ERR_CONFIG,
                          "%s:%d: a carriage return without a line feed; save the file with the line ends of Unix or "
                          "Windows",
                          r->config->file, r->line));
    else if (!strncmp(line, BYTE_ORDER_MARK, MARK_BYTES))
        refuse(r, sd_fail(SD_ERR_CONFIG, "%s:%d: a byte order mark, which only a file may begin with; remove it",
                          r->config->file, r->line));
    else if (bytes > most)
        refuse(r, sd_fail(SD_ERR_CONFIG,
                          "%s:%d: the line has %zu bytes; at most %zu are allowed (a list may go on in indented lines)",
                          r->config->file, r->line, bytes, most));
}

/* inih's reader: returns one line, and counts lines, as inih does not give its handler the number. */
static char *next_line(char *buffer, int buffer_bytes, void *context) {
    reader *r = context;
    if (*r->rest == '\0' || r->status != SD_OK)
        return NULL;
    size_t bytes = strcspn(r->rest, "\n");
    bytes += r->rest[bytes] == '\n';
    r->line++;
    check_bytes(r, r->rest, bytes, (size_t)(buffer_bytes < LINE_BYTES ? buffer_bytes : LINE_BYTES) - 2);
    if (r->status != SD_OK)
        return NULL;
    memcpy(buffer, r->rest, bytes);
    buffer[bytes] = '\0';
    r->rest += bytes;
    const char *begin = buffer + strspn(buffer, " \t");
    if (*begin == '[' && (begin == buffer || r->after_head)) { /* else inih treats it as a continued value */
        r->after_head = true;
        check_section(r, begin);
    }
    r->continues = begin > buffer && !r->after_head;
    return r->status == SD_OK ? buffer : NULL;
}

static int handle(void *context, const char *section, const char *name, const char *value) {
    reader *r = context;
    sd_status status = SD_OK;
    if (r->status == SD_OK)
        status = set_key(r->config, section, name, value, r->line, r->continues);
    if (status != SD_OK)
        refuse(r, status);
    r->after_head = false;
    return r->status == SD_OK;
}

sd_status sd_config_check_text(const char *text, size_t bytes, const char *file) {
    if (bytes >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2)))
        return sd_fail(SD_ERR_CONFIG, "%s: is encoded in UTF-16 or UTF-32; save it as UTF-8", file);
    if (memchr(text, '\0', bytes))
        return sd_fail(SD_ERR_CONFIG,
                       "%s: is not a text file: it holds a zero byte (if it is UTF-16, save it as UTF-8)", file);
    return SD_OK;
}

sd_status sd_config_parse(sd_config *config, const char *text, const char *file) {
    const size_t bytes = strlen(file), most = sizeof config->file - 1;
    snprintf(config->file, sizeof config->file, "%s",
             file + (bytes > most ? bytes - most : 0)); /* the end, which has the file's name */
    if (!strncmp(text, BYTE_ORDER_MARK, MARK_BYTES))
        text += MARK_BYTES;
    reader r = {.config = config, .rest = text, .after_head = true};
    /* inih continues after an error, and returns the line of the first one */
    int first_error = ini_parse_stream(next_line, &r, handle, &r);
    if (first_error > 0 && (r.status == SD_OK || first_error < r.error_line))
        return sd_fail(SD_ERR_CONFIG, "%s:%d: expected [section], key = value, or a comment (; or #)", file,
                       first_error);
    return r.status;
}

sd_status sd_config_set(sd_config *config, const char *assignment) {
    char section[64], name[64];
    int end = 0;
    if (sscanf(assignment, "%63[^.=].%63[^.= ] = %n", section, name, &end) != 2 || end == 0)
        return sd_fail(SD_ERR_USAGE, "--set %s: expected section.key=value", assignment);
    return set_key(config, section, name, assignment + end, COMMAND_LINE, false);
}

/* ---- messages ---- */

static const key *find_full(const char *full, size_t bytes) {
    char section[64];
    size_t dot = strcspn(full, ".");
    if (dot >= bytes || dot >= sizeof section || bytes - dot - 1 >= sizeof section)
        return NULL;
    char name[64];
    snprintf(section, sizeof section, "%.*s", (int)dot, full);
    snprintf(name, sizeof name, "%.*s", (int)(bytes - dot - 1), full + dot + 1);
    return sd_key_find(section, name);
}

sd_status sd_config_fail(const sd_config *config, const char *full, const char *format, ...) {
    char place[SD_CONFIG_FILE + 32], message[2048];
    const key *k = find_full(full, strlen(full));
    format_place(config, k ? config->line[k - sd_keys] : 0, place, sizeof place);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return sd_fail(SD_ERR_CONFIG, "%s%s: %s", place, full, message);
}

sd_status sd_config_locate(const sd_config *config, sd_status status) {
    char message[2048];
    snprintf(message, sizeof message, "%s", sd_error_message());
    size_t bytes = strcspn(message, ": ");
    if (status != SD_ERR_CONFIG || message[bytes] != ':' || !find_full(message, bytes))
        return status;
    message[bytes] = '\0';
    return sd_config_fail(config, message, "%s", message + bytes + 2);
}
