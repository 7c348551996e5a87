// SPDX-License-Identifier: Apache-2.0
// The CUDA module, the driver, the GPUs and NCCL. None stops the quickstart, which runs on the CPU.
#include <fmt/format.h>

#include "coordinator/doctor/judge.h"
#include "coordinator/doctor/packages.h"

namespace talaria::doctor {
namespace {

// choose_backend()'s sentence without its opening "cpu: " or "cpu: no CUDA module: ".
std::string reason_of(const Probe& probe) {
  std::string reason = probe.cuda_reason;
  for (const std::string opening : {"cpu: ", "no CUDA module: "}) {
    if (reason.starts_with(opening)) reason.erase(0, opening.size());
  }
  return reason;
}

Finding judge_module(const Probe& probe, bool has_gpu) {
  if (probe.module_loaded) return {"CUDA module", Level::kOk, "loads", "", false};
  return {"CUDA module", Level::kMissing,
          fmt::format("{}{}", reason_of(probe), has_gpu ? "" : "; not needed without a GPU"),
          "install the CUDA toolkit, 13 (apt-get install cuda-toolkit-13-0, from NVIDIA's "
          "repository), then scripts/build release",
          false};
}

Finding judge_driver(const inventory::Gpus& gpus) {
  if (!gpus.driver.empty())
    return {"driver", Level::kOk, fmt::format("NVIDIA {}", gpus.driver), "", false};
  if (gpus.by_driver > 0) return {"driver", Level::kOk, "NVIDIA, of unknown version", "", false};
  return {"driver", gpus.on_bus > 0 ? Level::kWarning : Level::kMissing,
          gpus.on_bus > 0 ? fmt::format("none, though {} NVIDIA GPU{} there", gpus.on_bus,
                                        gpus.on_bus == 1 ? " is" : "s are")
                          : "none; not needed without a GPU",
          "apt-get install nvidia-driver", false};
}

std::string list_gpus(const std::vector<Gpu>& gpus) {
  std::vector<std::string> names;
  names.reserve(gpus.size());
  for (const Gpu& gpu : gpus) {
    names.push_back(fmt::format("{} ({}, compute capability {})", gpu.name,
                                readable_bytes(gpu.memory_bytes), gpu.capability));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

Finding judge_devices(const Facts& facts) {
  const std::optional<Probe>& probe = facts.worker.probe;
  const inventory::Gpus& gpus = facts.node.gpus;
  if (probe && probe->cuda_usable) return {"GPUs", Level::kOk, list_gpus(probe->gpus), "", false};
  const int there = std::max(gpus.on_bus, gpus.by_driver);
  if (there == 0) {
    return {"GPUs", Level::kMissing, "no NVIDIA GPU; ranks compute on the CPU", "", false};
  }
  return {"GPUs", Level::kWarning,
          fmt::format("{} there, but not usable{}", there, probe ? ": " + reason_of(*probe) : ""),
          "mend what the lines above name", false};
}

Finding judge_nccl(const Probe& probe, bool has_gpu) {
  if (!probe.nccl.empty()) return {"NCCL", Level::kOk, probe.nccl, "", false};
  return {"NCCL", Level::kMissing,
          fmt::format("{}{}", probe.nccl_error, has_gpu ? "" : "; not needed without a GPU"),
          "apt-get install libnccl2 libnccl-dev, then scripts/build release", false};
}

}  // namespace

std::vector<Finding> judge_gpus(const Facts& facts) {
  const inventory::Gpus& gpus = facts.node.gpus;
  const bool has_gpu = gpus.on_bus > 0 || gpus.by_driver > 0;
  std::vector<Finding> findings;
  if (facts.worker.probe) findings.push_back(judge_module(*facts.worker.probe, has_gpu));
  findings.push_back(judge_driver(gpus));
  findings.push_back(judge_devices(facts));
  if (facts.worker.probe) findings.push_back(judge_nccl(*facts.worker.probe, has_gpu));
  return findings;
}

}  // namespace talaria::doctor
