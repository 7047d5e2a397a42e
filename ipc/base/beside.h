/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that belong to the running program: those that are installed in its directory, and those
 * of the same build, which lie in other directories of the build.
 */
#ifndef ESM1NV_BESIDE_H
#define ESM1NV_BESIDE_H

#include <limits.h>
#include <stdbool.h>

/* Puts the path of `name` together. With `room` "" that is a name in the program's own directory.
 * Otherwise room is where a build leaves the program, "/client/filter" for instance, and name is a
 * path from the top of the build; a program that lies elsewhere was installed and finds nothing, so
 * that it never loads what chanced to lie near it. Returns whether the file exists. */
bool beside_find(char path[PATH_MAX], const char *room, const char *name);

#endif
