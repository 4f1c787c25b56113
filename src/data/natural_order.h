/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: the order in which timm sorts the names of classes. */
#ifndef SDTRAIN_DATA_NATURAL_ORDER_H
#define SDTRAIN_DATA_NATURAL_ORDER_H

/* < 0, 0 or > 0 as timm's natural_key() orders a and b: letters without their case, runs of digits as numbers, so that
 * "2" < "10" and "a" = "A". Local. Case and digits are those of ASCII, where timm's are those of Unicode. */
int sd_natural_compare(const char *a, const char *b);

#endif
