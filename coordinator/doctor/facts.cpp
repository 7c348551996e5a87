// SPDX-License-Identifier: Apache-2.0
#include "coordinator/doctor/facts.h"

#include <sstream>

#include <boost/json.hpp>

namespace talaria::doctor {
namespace {

namespace json = boost::json;

// A member that must be there.
const json::value& at(const json::object& object, const char* key) { return object.at(key); }

std::string text(const json::object& object, const char* key) {
  return json::value_to<std::string>(at(object, key));
}

// A member that may be absent.
std::string text_or_empty(const json::object& object, const char* key) {
  return object.contains(key) ? text(object, key) : "";
}

Probe read_probe(const json::object& answer) {
  Probe probe;
  const json::object& cpu = at(answer, "cpu").as_object();
  probe.isa = text(cpu, "isa");
  probe.missing_isa = text(cpu, "missing");
  const json::object& mpi = at(answer, "mpi").as_object();
  probe.mpi_error = text_or_empty(mpi, "error");
  if (probe.mpi_error.empty()) {
    probe.mpi_library = text(mpi, "library");
    probe.mpi_version = text(mpi, "version");
    probe.mpi_standard = text(mpi, "standard");
    probe.thread_level = text(mpi, "thread_level");
    probe.ranks = at(mpi, "ranks").to_number<int>();
  }
  probe.hdf5 = text(answer, "hdf5");
  probe.onednn = text(answer, "onednn");
  const json::object& cuda = at(answer, "cuda").as_object();
  probe.module_loaded = at(cuda, "loaded").as_bool();
  probe.cuda_usable = at(cuda, "usable").as_bool();
  probe.cuda_reason = text(cuda, "reason");
  for (const json::value& entry : at(cuda, "devices").as_array()) {
    const json::object& device = entry.as_object();
    probe.gpus.push_back({text(device, "name"),
                          at(device, "memory_bytes").to_number<std::int64_t>(),
                          text(device, "capability")});
  }
  const json::object& nccl = at(answer, "nccl").as_object();
  probe.nccl = text_or_empty(nccl, "version");
  probe.nccl_error = text_or_empty(nccl, "error");
  return probe;
}

}  // namespace

Result<Probe> parse_probe(const std::string& text) {
  std::istringstream lines(text);
  std::string why = "no answer";
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('{')) continue;
    try {
      return read_probe(json::parse(line).as_object());
    } catch (const std::exception& error) {
      why = fmt::format("an answer of another version ({})", error.what());
    }
  }
  return Result<Probe>::failure(why);
}

}  // namespace talaria::doctor
