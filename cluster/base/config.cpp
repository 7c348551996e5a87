// SPDX-License-Identifier: Apache-2.0
#include "cluster/base/config.h"
