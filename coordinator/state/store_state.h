// SPDX-License-Identifier: Apache-2.0
// What store_read.cpp and store_write.cpp share.
#pragma once

#include "coordinator/state/database.h"
#include "coordinator/state/store.h"

namespace talaria::coordinator {

// The words of the partial index `unended_stages`: SQLite uses it for this very text only.
inline constexpr const char* kUnended = "state NOT IN ('done', 'failed', 'stopped', 'cancelled')";

struct Store::State {
  State(const std::filesystem::path& file, bool look_only)
      : database(file, look_only ? Database::Open::kSnapshot : Database::Open::kWrite),
        read_only(look_only) {}

  Database& for_writing() {
    TALARIA_CHECK(!read_only, "{} was opened for reading", database.file().string());
    return database;
  }

  Database database;
  bool read_only;
};

}  // namespace talaria::coordinator
