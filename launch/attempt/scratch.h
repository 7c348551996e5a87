// SPDX-License-Identifier: Apache-2.0
// The attempt's own folder for shared memory and session files (attempt_scratch, command_line.h).
#pragma once

#include <string>

namespace talaria::launch {

// Makes it, or finds it made by the same user. Throws Error when another user has taken the name.
void make_scratch(const std::string& attempt_id);
// Removes it and every other file of the attempt in /dev/shm. What cannot be removed is a warning.
void remove_scratch(const std::string& attempt_id);

}  // namespace talaria::launch
