// SPDX-License-Identifier: Apache-2.0
#include "worker/probe.h"

#include <exception>
#include <string>

#include <boost/json.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/device/backend.h"
#include "model/cpu/isa.h"
#include "parallel/comm/mpi_probe.h"
#include "parallel/nccl/nccl.h"
#include "storage/checkpoint/index.h"

namespace talaria::worker {
namespace {

namespace json = boost::json;

// In the child of ask_mpi: everything that MPI tells, written to `out`.
[[noreturn]] void answer_for_mpi(int out) {
  json::object answer;
  try {
    const parallel::MpiProbe probe = parallel::probe_mpi();
    answer = {{"library", probe.library},   {"version", probe.version},
              {"standard", probe.standard}, {"thread_level", probe.thread_level},
              {"rank", probe.rank},         {"ranks", probe.size}};
  } catch (const std::exception& error) {
    answer = {{"error", error.what()}};
  }
  const std::string text = json::serialize(answer);
  try {
    write_all(out, std::as_bytes(std::span(text)), "pipe");
  } catch (const Error&) {
    ::_exit(kExitFailed);
  }
  ::_exit(kExitDone);
}

std::string read_to_end(int fd) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (check_sys(got, "read", "pipe") == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

// MPI ends a process that it cannot start in; so a child asks, and the rest of the answer stands.
json::object ask_mpi() {
  int ends[2] = {-1, -1};
  check_sys(::pipe2(ends, O_CLOEXEC), "pipe2", "");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = check_sys(::fork(), "fork", "");
  if (child == 0) answer_for_mpi(write_end.get());
  write_end.reset();
  const std::string text = read_to_end(read_end.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail_errno("waitpid", "");
  }
  json::error_code error;
  const json::value answer = json::parse(text, error);
  if (!error && answer.is_object()) return answer.get_object();
  return {{"error", fmt::format("MPI_Init_thread {}", describe_end(status))}};
}

json::object describe_cpu() {
  return {{"isa", model::cpu::cpu_kernels_isa()},
          {"missing", model::cpu::cpu_kernels_missing_feature()}};
}

json::array describe_devices(DeviceDriver& driver) {
  json::array devices;
  const Result<int> count = driver.device_count();
  for (int index = 0; count && index < count.value(); ++index) {
    const DeviceInfo info = driver.info(index);
    devices.push_back(json::object{
        {"name", info.name},
        {"memory_bytes", info.memory_bytes},
        {"capability", fmt::format("{}.{}", info.capability_major, info.capability_minor)}});
  }
  return devices;
}

json::object describe_cuda(const BackendChoice& choice) {
  return {{"module", (executable_folder() / "libtalaria_cuda.so").string()},
          {"loaded", choice.module.has_value()},
          {"reason", choice.reason},
          {"usable", choice.device == DeviceKind::kCuda},
          {"devices", choice.driver != nullptr ? describe_devices(*choice.driver) : json::array()}};
}

// 22809 -> "2.28.9".
std::string nccl_version_text(int code) {
  return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
}

json::object describe_nccl(const BackendChoice& choice) {
  if (!choice.module) return {{"error", "asked through the CUDA module, which is not loaded"}};
  const auto entry = choice.module->function<parallel::NcclEntry>(parallel::kNcclEntry);
  if (entry == nullptr) return {{"error", "the CUDA module was built without NCCL"}};
  const Result<int> version = entry()->version();
  if (!version) return {{"error", version.error()}};
  return {{"version", nccl_version_text(version.value())}};
}

}  // namespace

int probe_command() {
  const json::object mpi = ask_mpi();
  const json::value* rank = mpi.if_contains("rank");
  if (rank != nullptr && rank->to_number<int>() != 0) return kExitDone;
  const BackendChoice choice = choose_backend(BackendRequest::kAuto);
  const json::object answer = {
      {"cpu", describe_cpu()},           {"mpi", mpi},
      {"hdf5", storage::hdf5_version()}, {"onednn", model::cpu::onednn_version()},
      {"cuda", describe_cuda(choice)},   {"nccl", describe_nccl(choice)}};
  fmt::print("{}\n", json::serialize(answer));
  return kExitDone;
}

}  // namespace talaria::worker
