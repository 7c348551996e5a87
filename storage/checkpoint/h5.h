// SPDX-License-Identifier: Apache-2.0
// HDF5 as this project uses it: every id owned by a handle, every call checked by check_h5, which
// throws the text of HDF5's error stack. The library is not thread-safe: hold an H5Session around
// every stretch of calls, destruction of handles included.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>

#include <hdf5.h>

#include "cluster/base/handle.h"

namespace talaria::storage {

template <herr_t (*Close)(hid_t)>
struct H5Traits {
  using Handle = hid_t;
  static Handle empty() { return H5I_INVALID_HID; }
  static void close(Handle id) noexcept { Close(id); }
};
using H5File = UniqueHandle<H5Traits<H5Fclose>>;
using H5Group = UniqueHandle<H5Traits<H5Gclose>>;
using H5Dataset = UniqueHandle<H5Traits<H5Dclose>>;
using H5Space = UniqueHandle<H5Traits<H5Sclose>>;
using H5Plist = UniqueHandle<H5Traits<H5Pclose>>;
using H5Attribute = UniqueHandle<H5Traits<H5Aclose>>;
using H5Type = UniqueHandle<H5Traits<H5Tclose>>;

// Holds the process-wide lock of HDF5 and turns off its printing of errors.
class H5Session {
 public:
  H5Session();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

// Throws Error "call subject: innermost reason; ...; outermost reason" from HDF5's error stack.
[[noreturn]] void fail_h5(const char* call, const std::string& subject);

template <class Int>
Int check_h5(Int rc, const char* call, const std::string& subject) {
  if (rc < 0) fail_h5(call, subject);
  return rc;
}

// A creation property list (H5P_DATASET_CREATE, ...) whose objects carry no time stamps, so that
// the same content gives the same bytes.
H5Plist timeless(hid_t property_class);
H5Group create_group(const H5File& file, const std::string& name, const std::string& path);

// Closes a file that was written, checked; handles close unchecked.
void close_h5(H5File file, const std::string& path);

// Runs `write`, which writes the file `path` through HDF5: an Error whose cause is a lack of space
// becomes a DiskFull that says how many bytes are needed.
void or_disk_full(const std::filesystem::path& path, std::int64_t needed,
                  const std::function<void()>& write);

// Writes `text` as a string attribute of an object.
void write_text_attribute(hid_t object, const char* name, const std::string& text,
                          const std::string& path);

}  // namespace talaria::storage
