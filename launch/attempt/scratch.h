// SPDX-License-Identifier: Apache-2.0
// The attempt's own folder for shared memory and session files on a node (attempt_scratch,
// command_line.h).
#pragma once

#include <string>

#include "cluster/base/file.h"

namespace talaria::launch {

// Held, by a shared lock, by the launcher and by each process beside a rank, so that on every node
// the last of them removes it.
class Scratch {
 public:
  // Makes it, or finds it made by the same user. Throws Error when another user has taken the name.
  explicit Scratch(std::string attempt_id);

  // Lets go of it. Nobody else holds it: removes it, with what killed attempts of this user have
  // left here.
  void release();

 private:
  std::string attempt_id_;
  UniqueFd held_;
};

// Removes it and every other file of the attempt in /dev/shm, whoever holds it. What cannot be
// removed is a warning.
void remove_scratch(const std::string& attempt_id);

}  // namespace talaria::launch
