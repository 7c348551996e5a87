// SPDX-License-Identifier: Apache-2.0
// The fence of a run's checkpoints: the file `fence` names the newest attempt that has begun. An
// attempt raises it before it looks for a checkpoint, and a save may commit only while its attempt
// is the newest: one that was stopped or cut off, and wakes up late, cannot write over the work of
// its successor. Its lock is the kernel's, so a killed holder holds nothing.
#pragma once

#include <filesystem>

#include "cluster/base/file.h"

namespace talaria::storage {

// The attempt that the fence names; 0 without a fence. Throws Error for a damaged one.
int read_fence(const std::filesystem::path& root);

// Raises the fence to `attempt` (>= 1), making `root` and the fence where they are missing. When it
// returns, no older attempt commits. The same number again changes nothing. Throws UsageError when
// a newer attempt has begun.
void raise_fence(const std::filesystem::path& root, int attempt);

// The right to change the folder of checkpoints, for as long as the object lives: nobody raises the
// fence meanwhile. A folder without a fence lets everybody pass.
class FencePass {
 public:
  // Throws Error "...: attempt 3 may not <deed>: attempt 4 has begun ..." when the fence is higher.
  FencePass(const std::filesystem::path& root, int attempt, const char* deed);

 private:
  UniqueFd fd_;  // closing it gives the lock back
};

}  // namespace talaria::storage
