// SPDX-License-Identifier: Apache-2.0
// A lock that one process of one host holds, as a file that names the holder ("pid 17 on node1").
#pragma once

#include <filesystem>
#include <string>

#include "cluster/base/file.h"

namespace talaria {

// The name of this host. Throws Error.
std::string host_name();

class LockFile {
 public:
  // Makes the file if needed and locks it (flock) until the object dies. When another process holds
  // it, throws UsageError "<what>: in use by pid 17 on node1; <remedy>".
  LockFile(const std::filesystem::path& path, const std::string& what, const std::string& remedy);

 private:
  UniqueFd fd_;
};

}  // namespace talaria
