// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/h5.h"

#include <algorithm>

#include "cluster/base/error.h"
#include "storage/checkpoint/disk.h"

namespace talaria::storage {
namespace {

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

herr_t append_reason(unsigned, const H5E_error2_t* error, void* text) {
  auto& reasons = *static_cast<std::string*>(text);
  if (!reasons.empty()) reasons += "; ";
  if (error->desc == nullptr) return 0;
  std::string description = error->desc;
  // The time in it ends in a newline (ctime), and an error is one line.
  std::replace(description.begin(), description.end(), '\n', ' ');
  reasons += description;
  return 0;
}

}  // namespace

H5Session::H5Session() : lock_(library_mutex()) {
  check_h5(H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr), "H5Eset_auto2", "");
}

void fail_h5(const char* call, const std::string& subject) {
  std::string reasons;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, append_reason, &reasons);
  H5Eclear2(H5E_DEFAULT);
  fail("{} {}: {}", call, subject, reasons.empty() ? "HDF5 gives no reason" : reasons);
}

H5Plist timeless(hid_t property_class) {
  H5Plist list(check_h5(H5Pcreate(property_class), "H5Pcreate", ""));
  check_h5(H5Pset_obj_track_times(list.get(), false), "H5Pset_obj_track_times", "");
  return list;
}

H5Group create_group(const H5File& file, const std::string& name, const std::string& path) {
  const H5Plist creation = timeless(H5P_GROUP_CREATE);
  return H5Group(
      check_h5(H5Gcreate2(file.get(), name.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
               "H5Gcreate", path));
}

void close_h5(H5File file, const std::string& path) {
  check_h5(H5Fclose(file.release()), "H5Fclose", path);
}

void or_disk_full(const std::filesystem::path& path, std::int64_t needed,
                  const std::function<void()>& write) {
  try {
    write();
  } catch (const Error& error) {
    const std::string_view text = error.what();
    for (const int shortage : {ENOSPC, EDQUOT, EFBIG}) {  // HDF5 tells errno only in its text
      if (text.find(fmt::format("errno = {},", shortage)) != std::string_view::npos) {
        fail_disk_full(path, needed, shortage);
      }
    }
    throw;
  }
}

void write_text_attribute(hid_t object, const char* name, const std::string& text,
                          const std::string& path) {
  const H5Type type(check_h5(H5Tcopy(H5T_C_S1), "H5Tcopy", path));
  check_h5(H5Tset_size(type.get(), text.empty() ? 1 : text.size()), "H5Tset_size", path);
  const H5Space space(check_h5(H5Screate(H5S_SCALAR), "H5Screate", path));
  const H5Attribute attribute(
      check_h5(H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
               "H5Acreate", path));
  check_h5(H5Awrite(attribute.get(), type.get(), text.c_str()), "H5Awrite", path);
}

}  // namespace talaria::storage
