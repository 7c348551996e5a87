// SPDX-License-Identifier: Apache-2.0
// The rows of the kill table: what is done to a running job, when, and what must come of it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tests/system/kill_table/world.h"

namespace talaria::kill_table {

// A running job, as a row sees it.
struct Scene {
  std::filesystem::path run;
  pid_t coordinator = 0;  // `talaria run`
  std::mt19937_64* random = nullptr;
  double started = 0.0;  // monotonic, of the victim's first sight
  std::size_t seen = 0;  // lines of metrics.jsonl when the instant had come
  double aimed = 0.0;    // wall clock, in the middle of a phase
  double instant = 0.0;  // seconds after that at which the blow falls
  pid_t victim = 0;      // filled by the blow
  int rank = -1;         // of the victim, if it is one
  double struck = 0.0;   // monotonic
  double struck_wall = 0.0;
  std::vector<std::string> prefix;            // before `talaria run`: where it runs
  std::vector<std::string> set;               // further job file overrides
  std::vector<std::filesystem::path> memory;  // folders for shared memory beside /dev/shm
  std::vector<std::function<void()>> mend;  // run in the end, in reverse order: unmount, heal, ...
};

// What a row disturbs.
enum class JobKind { kPretrain, kPpo };

struct Row {
  std::string name;                   // "rank"
  std::string title;                  // "kill -9 of a rank"
  std::vector<std::string> set = {};  // job file overrides
  // Called every few milliseconds until it answers true: the blow has fallen. Not before `instant`.
  std::function<bool(Scene&)> strike;
  // Called every few milliseconds afterwards.
  std::function<void(Scene&)> after = nullptr;
  // Before the run starts, in its directory (mounts, namespaces).
  std::function<void(Scene&)> prepare = nullptr;
  bool restarts = true;      // a failure and a new attempt are expected
  bool again = false;        // the victim is `talaria run` itself: it is started again
  bool ends_failed = false;  // nothing can go on: exit 1 and a remedy
  std::string remedy = {};   // that the output must have then
  double notice_bar = 2.0;   // seconds from the event to its notice
  bool from_blow = false;    // which is timed from the blow, not by the run's own account
  std::string phase = {};    // in which a rank must have died; empty: any
  JobKind job = JobKind::kPretrain;
};

const std::vector<Row>& rows();

}  // namespace talaria::kill_table
