/* SPDX-License-Identifier: Apache-2.0 */
#include "natural_order.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int lower(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c; }

/* A run without digits; one that ends is less than one that goes on. Both end up behind theirs if they are equal. */
static int compare_words(const char **a, const char **b) {
    for (;; ++*a, ++*b) {
        const bool a_ends = **a == '\0' || is_digit(**a), b_ends = **b == '\0' || is_digit(**b);
        if (a_ends || b_ends)
            return (int)b_ends - (int)a_ends;
        if (lower(**a) != lower(**b))
            return lower(**a) - lower(**b);
    }
}

/* The digits of a number without zeros in front. *text ends up behind it. */
static size_t take_number(const char **text, const char **digits) {
    const char *at = *text;
    while (*at == '0')
        at++;
    *digits = at;
    while (is_digit(*at))
        at++;
    *text = at;
    return (size_t)(at - *digits);
}

static int compare_numbers(const char **a, const char **b) {
    const char *x, *y;
    const size_t m = take_number(a, &x), n = take_number(b, &y);
    return m != n ? (m < n ? -1 : 1) : memcmp(x, y, n);
}

int sd_natural_compare(const char *a, const char *b) {
    for (;;) {
        const int words = compare_words(&a, &b);
        if (words != 0)
            return words;
        if (*a == '\0' || *b == '\0')
            return (*a != '\0') - (*b != '\0');
        const int numbers = compare_numbers(&a, &b);
        if (numbers != 0)
            return numbers;
    }
}
