// SPDX-License-Identifier: Apache-2.0
// What `checkpoint list|show|verify` print, as text for people or JSON for programs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"

namespace talaria::storage {

std::string describe_list(const std::vector<CheckpointInfo>& checkpoints, bool as_json);

std::string describe_checkpoint(const std::filesystem::path& dir, const Manifest& manifest,
                                bool as_json);

// Reads the whole tensor ("blocks.0.ln1.weight", "adam_m/blocks.0.ln1.weight"; no group means
// param) and compares its hash with the manifest's; throws Error where they differ, UsageError for
// an unknown tensor. JSON has every value, text the first few.
std::string describe_tensor(const CheckpointReader& reader, const std::string& name, bool as_json);

std::string describe_verification(const std::vector<VerifyReport>& reports, double seconds,
                                  bool as_json);

}  // namespace talaria::storage
