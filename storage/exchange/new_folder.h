// SPDX-License-Identifier: Apache-2.0
// A folder that has its name only when it is whole.
#pragma once

#include <filesystem>

namespace talaria::storage {

// Makes a hidden temporary folder beside `path`; commit() gives it the name, and what is not
// committed is removed. Throws UsageError where `path` is there already, at the start and at the
// commit; Error where the file system fails.
class NewFolder {
 public:
  explicit NewFolder(const std::filesystem::path& path);
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder();

  const std::filesystem::path& temporary() const { return temporary_; }
  // The folder is on stable storage afterwards; its files must be synced before.
  void commit();

 private:
  void refuse_existing() const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

}  // namespace talaria::storage
