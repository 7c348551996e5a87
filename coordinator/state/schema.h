// SPDX-License-Identifier: Apache-2.0
// The tables of the coordinator's database, and how a file of an older version becomes the newest.
#pragma once

#include "coordinator/state/database.h"

namespace talaria::coordinator {

// What this program reads and writes.
int newest_schema();

// Brings the schema from the file's version (0: empty) to the newest, one transaction a version.
// Throws Error, naming both versions, for a file of a newer program, and for a database that is no
// state of a coordinator.
void upgrade_schema(Database& database);

}  // namespace talaria::coordinator
