// SPDX-License-Identifier: Apache-2.0
#include "cluster/device/module.h"

#include <utility>

#include <dlfcn.h>

namespace talaria {

Module::Module(void* handle, std::filesystem::path path)
    : handle_(handle), path_(std::move(path)) {}

Result<Module> Module::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (path.has_parent_path() && !std::filesystem::exists(path, ignored)) {
    return Result<Module>::failure(fmt::format("{} is missing", path.string()));
  }
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    return Result<Module>::failure(fmt::format("{} does not load: {}", path.string(),
                                               why != nullptr ? why : "no reason given"));
  }
  return Module(handle, path);
}

void* Module::symbol(const char* name) const { return ::dlsym(handle_, name); }

}  // namespace talaria
