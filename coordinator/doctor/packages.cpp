// SPDX-License-Identifier: Apache-2.0
#include "coordinator/doctor/packages.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

namespace talaria::doctor {
namespace {

struct Row {
  const char* library;  // the soname begins with it
  const char* package;
};
// What talaria-worker links, and what those libraries link that a small system may lack.
constexpr Row kRows[] = {
    {"libmpi.so", "libopenmpi3"},
    {"libopen-rte.so", "libopenmpi3"},
    {"libopen-pal.so", "libopenmpi3"},
    {"libhdf5_serial.so", "libhdf5-103-1"},
    {"libdnnl.so", "libdnnl2"},
    {"libfmt.so", "libfmt9"},
    {"libboost_json.so", "libboost-json1.81.0"},
    {"libtomlplusplus.so", "libtomlplusplus3"},
    {"libpcre2-8.so", "libpcre2-8-0"},
    {"libsimdjson.so", "libsimdjson14"},
    {"libzstd.so", "libzstd1"},
    {"libxxhash.so", "libxxhash0"},
    {"liburing.so", "liburing2"},
    {"libdw.so", "libdw1"},
    {"libsqlite3.so", "libsqlite3-0"},
    {"libgomp.so", "libgomp1"},
    {"libstdc++.so", "libstdc++6"},
    {"libgcc_s.so", "libgcc-s1"},
    {"libhwloc.so", "libhwloc15"},
    {"libevent_core-", "libevent-core-2.1-7"},
    {"libevent_pthreads-", "libevent-pthreads-2.1-7"},
    {"libOpenCL.so", "ocl-icd-libopencl1"},
    {"libsz.so", "libsz2"},
    {"libaec.so", "libaec0"},
    {"libcurl.so", "libcurl4"},
    {"libcrypto.so", "libssl3"},
    {"libssl.so", "libssl3"},
    {"libz.so", "zlib1g"},
};

}  // namespace

std::string package_of(const std::string& soname) {
  for (const Row& row : kRows) {
    if (soname.starts_with(row.library)) return row.package;
  }
  return "";
}

std::string install_command(const std::vector<std::string>& sonames) {
  std::vector<std::string> packages;
  for (const std::string& soname : sonames) {
    const std::string package = package_of(soname);
    if (package.empty()) return "scripts/install build";
    if (std::find(packages.begin(), packages.end(), package) == packages.end()) {
      packages.push_back(package);
    }
  }
  return fmt::format("apt-get install {}", fmt::join(packages, " "));
}

std::vector<std::string> libraries_not_found(const std::string& ldd_output) {
  std::vector<std::string> missing;
  std::istringstream lines(ldd_output);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t arrow = line.find(" => not found");
    if (arrow == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t");
    missing.push_back(line.substr(begin, arrow - begin));
  }
  return missing;
}

std::string readable_bytes(std::int64_t bytes) {
  constexpr std::int64_t kMib = std::int64_t{1} << 20;
  constexpr std::int64_t kGib = std::int64_t{1} << 30;
  if (bytes >= 10 * kGib) return fmt::format("{} GiB", bytes / kGib);
  if (bytes >= kGib) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / kGib);
  if (bytes >= kMib) return fmt::format("{} MiB", bytes / kMib);
  return fmt::format("{} KiB", bytes >> 10);
}

}  // namespace talaria::doctor
