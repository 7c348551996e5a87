// SPDX-License-Identifier: Apache-2.0
#include "storage/exchange/new_folder.h"

#include <cstdio>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"

namespace talaria::storage {

namespace fs = std::filesystem;

NewFolder::NewFolder(const fs::path& path) : path_(path) {
  refuse_existing();
  std::error_code error;
  fs::create_directories(path_.parent_path(), error);
  if (error) fail("{}: {}", one_line(path_.parent_path().string()), error.message());
  std::string name =
      (path_.parent_path() / fmt::format(".{}.XXXXXX", path_.filename().string())).string();
  if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", one_line(name));
  temporary_ = name;
  fs::permissions(temporary_, fs::perms(0755));
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void NewFolder::commit() {
  sync_directory(temporary_);
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) refuse_existing();
    fail_errno("renameat2", one_line(path_.string()));
  }
  temporary_.clear();
  sync_directory(path_.parent_path());
}

void NewFolder::refuse_existing() const {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path_, error))) return;
  fail_usage("{}: is there already; choose another --out", one_line(path_.string()));
}

}  // namespace talaria::storage
