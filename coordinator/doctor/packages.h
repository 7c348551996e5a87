// SPDX-License-Identifier: Apache-2.0
// Which Debian 12 package brings a shared library, and how sizes are written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace talaria::doctor {

// "libhdf5-103-1" for "libhdf5_serial.so.103"; "" where the library is not one of ours.
std::string package_of(const std::string& soname);

// The command that installs the libraries: their packages, each once; scripts/install build where
// one is not known.
std::string install_command(const std::vector<std::string>& sonames);

// The sonames that ldd(1) says are "not found", in its order.
std::vector<std::string> libraries_not_found(const std::string& ldd_output);

std::string readable_bytes(std::int64_t bytes);  // "1.5 GiB", "48 MiB"

}  // namespace talaria::doctor
