/* SPDX-License-Identifier: Apache-2.0 */
#include "emulation_number.h"
