// SPDX-License-Identifier: Apache-2.0
// A shared library opened at run time. It stays in memory until the process ends, because objects
// and exceptions made by it may live that long.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "cluster/base/error.h"

namespace talaria {

class Module {
 public:
  // The failure says why the library cannot be opened: missing, or what it lacks itself.
  static Result<Module> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  // The C function `name`, or null where the module has none.
  template <class Function>
  Function function(const char* name) const {
    return reinterpret_cast<Function>(symbol(name));
  }

 private:
  Module(void* handle, std::filesystem::path path);
  void* symbol(const char* name) const;

  void* handle_;
  std::filesystem::path path_;
};

}  // namespace talaria
