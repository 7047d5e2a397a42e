/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds files that belong to the running program: files in its own directory, and files of the same
 * build in other directories.
 */
#ifndef ESM1NV_BESIDE_H
#define ESM1NV_BESIDE_H

#include <limits.h>
#include <stdbool.h>

/* Puts the path of `name` together. With `room` "", name is a file in the program's own directory.
 * Otherwise room is the directory where a build leaves the program, such as "/client/filter", and
 * name is a path from the top of the build. A program that lies elsewhere was installed and finds
 * nothing then, so it never loads a file that only happens to be near. Returns whether the file
 * exists. */
bool beside_find(char path[PATH_MAX], const char *room, const char *name);

#endif
